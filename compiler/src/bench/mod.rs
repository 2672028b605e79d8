//! `sinter bench`: how long a model takes here, kernel by kernel and next to other runtimes.
//!
//! All who take part run in turns (rounds), so that what disturbs the machine disturbs everyone; a peer is another
//! runtime in a process of its own ([`peer`]).

pub mod inputs;
pub mod language;
pub mod page;
pub mod peaks;
pub mod peer;
pub mod profile;
pub mod rounds;
pub mod sites;
pub mod stats;

pub use stats::Stats;

use serde::Serialize;

/// What one of those who took part needed.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// `sinter` or the peer's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Times of single runs; none when it could not take part.
    pub latency: Option<Stats>,
    /// Why it could not.
    pub unavailable: Option<String>,
    /// Median of its time divided by ours: above 1 we are faster.
    pub ratio: Option<f64>,
    /// Largest difference of its outputs to ours, relative to the largest magnitude of the output.
    pub difference: Option<f64>,
}

/// A finished measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Bench {
    /// Version of this layout.
    pub schema: u32,
    /// The model or bundle as it was named.
    pub model: String,
    /// Target of the code.
    pub target: String,
    /// Threads of everyone.
    pub threads: usize,
    /// Arithmetic that peers may use.
    pub precision: String,
    /// Rounds that were measured.
    pub rounds: usize,
    /// Shapes of the inputs.
    pub inputs: Vec<String>,
    /// Ours first.
    pub entries: Vec<Entry>,
    /// Smallest `ratio` of all peers that took part: how we compare with the fastest.
    pub against_fastest: Option<f64>,
    /// Kernel by kernel, where a model was named.
    pub profile: Option<profile::Profile>,
}

/// Version of the JSON layout.
pub const SCHEMA: u32 = 1;

impl Bench {
    /// How we compare with the fastest peer.
    pub fn fastest(&self) -> Option<f64> {
        self.entries.iter().filter_map(|e| e.ratio).reduce(f64::min)
    }
}

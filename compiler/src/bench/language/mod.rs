//! Language models: tokens per second of reading a prompt and of generating, next to llama.cpp and OpenVINO GenAI.
//!
//! Protocol, that of `llama-bench`: random tokens, an empty cache before every measurement, no sampling. Reading is
//! one prompt, in as many chunks as the model wants; generating is one token after the other.

pub mod llama;
pub mod openvino;
pub mod own;

use super::Stats;
use super::profile::Profile;
use serde::Serialize;
use sinter_ir::Result;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading a prompt of so many tokens.
    Read(usize),
    /// Generating so many tokens.
    Generate(usize),
}

impl Phase {
    /// Its tokens.
    pub fn tokens(self) -> usize {
        match self {
            Phase::Read(n) | Phase::Generate(n) => n,
        }
    }
}

/// Someone who can do both.
pub trait Contender {
    /// Seconds that a phase takes from an empty cache.
    fn time(&mut self, phase: Phase) -> Result<f64>;
}

/// Tokens per second over all rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// Best round.
    pub best: f64,
    /// As many rounds were faster as slower.
    pub median: f64,
    /// Rounds.
    pub rounds: usize,
}

impl Rate {
    /// From seconds per round.
    fn of(seconds: &[f64], tokens: usize) -> Option<Self> {
        let s = Stats::of(seconds)?;
        let rate = |t: f64| tokens as f64 / t.max(1e-12);
        Some(Self { best: rate(s.min), median: rate(s.median), rounds: s.runs })
    }
}

/// What one of those who took part reached.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// `sinter` or the other's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Bytes of its weights.
    pub bytes: Option<u64>,
    /// Reading.
    pub read: Option<Rate>,
    /// Generating.
    pub generate: Option<Rate>,
    /// Why there are no rates.
    pub unavailable: Option<String>,
    /// Our median rate of reading divided by its own: above 1 we are faster.
    pub read_ratio: Option<f64>,
    /// The same of generating.
    pub generate_ratio: Option<f64>,
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
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens that are generated.
    pub generated: usize,
    /// Tokens that are in the caches before.
    pub depth: usize,
    /// Most tokens of one run.
    pub chunk: usize,
    /// Bytes of code.
    pub code_bytes: u64,
    /// Bytes of caches and other states, with room for all of this.
    pub state_bytes: u64,
    /// Ours first.
    pub entries: Vec<Entry>,
    /// Kernel by kernel, where a checkpoint was named.
    pub profiles: Option<Profiles>,
}

/// Version of the JSON layout.
pub const SCHEMA: u32 = 2;

/// Both phases, one run each.
#[derive(Debug, Clone, Serialize)]
pub struct Profiles {
    /// A chunk in the middle of the prompt.
    pub read: Profile,
    /// A token in the middle of what is generated.
    pub generate: Profile,
    /// Bytes that this token must touch.
    pub bytes_per_token: f64,
    /// Seconds that memory needs for them, at the rate at which it was read in this measurement.
    pub memory_floor: Option<f64>,
}

/// One who takes part.
struct Player<'a> {
    who: &'a mut dyn Contender,
    times: [Vec<f64>; 2],
    failure: Option<String>,
}

/// Lets everyone do both phases in turns, the order turned round every time; a first round does not count.
/// Gives the seconds of both phases, or why there are none.
pub fn play(
    who: Vec<&mut dyn Contender>,
    phases: [Phase; 2],
    rounds: usize,
) -> Vec<std::result::Result<[Vec<f64>; 2], String>> {
    let mut players: Vec<Player> =
        who.into_iter().map(|who| Player { who, times: Default::default(), failure: None }).collect();
    for round in 0..=rounds {
        let turn = |p: &mut Player| {
            for (phase, times) in phases.into_iter().zip(&mut p.times) {
                if p.failure.is_some() {
                    return;
                }
                match p.who.time(phase) {
                    Ok(t) if round > 0 => times.push(t),
                    Ok(_) => {}
                    Err(d) => p.failure = Some(d.message),
                }
            }
        };
        if round % 2 == 0 {
            players.iter_mut().for_each(turn)
        } else {
            players.iter_mut().rev().for_each(turn)
        }
    }
    players.into_iter().map(|p| p.failure.map_or(Ok(p.times), Err)).collect()
}

/// What is known of one who takes part before its rates.
pub fn entry(name: &str, version: &str, bytes: Option<u64>) -> Entry {
    let (name, version) = (name.to_owned(), version.to_owned());
    let (read, generate, unavailable, read_ratio, generate_ratio) = Default::default();
    Entry { name, version, bytes, read, generate, unavailable, read_ratio, generate_ratio }
}

impl Entry {
    /// Adds what [`play`] gave.
    pub fn take(&mut self, phases: [Phase; 2], times: std::result::Result<[Vec<f64>; 2], String>) {
        match times {
            Ok([read, generate]) => {
                self.read = Rate::of(&read, phases[0].tokens());
                self.generate = Rate::of(&generate, phases[1].tokens());
            }
            Err(why) => self.unavailable = Some(why),
        }
    }
    /// Compares ours with it.
    pub fn compare(&mut self, ours: &Entry) {
        let ratio = |a: Option<Rate>, b: Option<Rate>| a.zip(b).map(|(a, b)| a.median / b.median);
        self.read_ratio = ratio(ours.read, self.read);
        self.generate_ratio = ratio(ours.generate, self.generate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinter_ir::Diag;

    struct Steady(f64, usize);
    impl Contender for Steady {
        fn time(&mut self, phase: Phase) -> Result<f64> {
            self.1 += 1;
            if self.1 > 7 { Err(Diag::limit("tired")) } else { Ok(self.0 * phase.tokens() as f64) }
        }
    }

    #[test]
    fn rates_are_tokens_by_time_and_failures_stay_alone() {
        let (mut a, mut b) = (Steady(0.5, 0), Steady(0.25, 2));
        let phases = [Phase::Read(8), Phase::Generate(4)];
        let all = play(vec![&mut a, &mut b], phases, 2);
        let mut ours = entry("a", "", None);
        ours.take(phases, all[0].clone());
        assert_eq!(ours.read, Some(Rate { best: 2.0, median: 2.0, rounds: 2 }));
        assert_eq!(all[1].clone().unwrap_err(), "tired");
        let mut other = entry("b", "", None);
        other.take(phases, Ok([vec![2.0], vec![1.0]]));
        other.compare(&ours);
        assert_eq!((other.read_ratio, other.generate_ratio), (Some(0.5), Some(0.5)));
    }
}

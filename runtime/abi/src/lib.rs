//! The C ABI of bundles, version 1: context layout, weights header, error codes.
//!
//! The C header and the Rust bindings of a bundle are generated from what is here. Frozen: fields and numbers are
//! only ever added. Owns no code that runs in a bundle.

#![no_std]
#![forbid(unsafe_code)]

/// Version of everything in this crate.
pub const ABI_VERSION: u32 = 1;

/// First bytes of a weights file.
pub const WEIGHTS_MAGIC: [u8; 8] = *b"SINTERW\x01";
/// Bytes of the weights header; the packed weights follow.
pub const WEIGHTS_HEADER_BYTES: usize = 64;
/// Alignment of weights and arena.
pub const ALIGNMENT: usize = 64;

/// Offsets of the fields of the weights header (little endian).
pub mod header {
    /// [`super::WEIGHTS_MAGIC`].
    pub const MAGIC: usize = 0;
    /// u32: [`super::ABI_VERSION`].
    pub const ABI: usize = 8;
    /// u64: bytes of the whole file.
    pub const TOTAL: usize = 16;
    /// u64: [`super::hash`] of everything behind the header.
    pub const HASH: usize = 24;
}

/// Byte offsets of the context's fields; every field has 8 bytes.
pub mod context {
    /// `const void *`: the weights file in memory.
    pub const WEIGHTS: i32 = 0;
    /// `void *`: the arena.
    pub const ARENA: i32 = 8;
    /// `void (*)(void *pool, int64_t n, void (*task)(void *arg, int64_t begin, int64_t end), void *arg)`: runs a task
    /// over `0..n` in any split on any threads and returns when all of it is done; null: no threads.
    pub const PARALLEL_FOR: i32 = 16;
    /// `void *`: first argument of `parallel_for`.
    pub const POOL: i32 = 24;
    /// `uint64_t`: set by init.
    pub const STATE: i32 = 32;
    /// Bytes of the context of a model without states.
    pub const BYTES: usize = 40;
    /// `void *`: the states, `<name>_state_bytes(capacity)` bytes, zeroed before a sequence begins. A run reads and
    /// changes them; they may be exchanged between runs. Only in the context of a model with states, like the next.
    pub const STATES: i32 = 40;
    /// `int64_t`: what the states were made for.
    pub const CAPACITY: i32 = 48;
    /// Bytes of the context of a model with states.
    pub const STATEFUL_BYTES: usize = 56;
    /// `uint64_t *`: two words for every kernel call and copy in the order of the program, ticks spent and how often.
    /// Only in code that was emitted for measuring, which no bundle holds.
    pub const PROFILE: i32 = 56;
    /// Bytes of the context of such code.
    pub const PROFILED_BYTES: usize = 64;
    /// Value of `state` after a successful init of a bundle for one level of instruction sets.
    pub const READY: u64 = ready(0);
    /// Value of `state` after init has chosen a level of a bundle for several, by its number, strongest first.
    pub const fn ready(level: u32) -> u64 {
        0x5349_4e54_4552_0001 + ((level as u64) << 8)
    }
}

/// Results of a bundle's functions. 0 is success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
#[allow(missing_docs)]
pub enum Code {
    Ok = 0,
    BadDim = 1,
    BadConstraint = 2,
    BadWeights = 3,
    BadPointer = 4,
    BadIndex = 5,
    MissingIsa = 6,
    BadRunTimeValue = 7,
    TooManyIterations = 8,
    NotInitialised = 9,
    NoTextSpace = 10,
}

/// All codes with their texts, in order of their numbers.
pub const CODES: &[(Code, &str)] = &[
    (Code::Ok, "ok"),
    (Code::BadDim, "an input dim is outside the range the bundle was compiled for"),
    (Code::BadConstraint, "input dims that the model needs to be equal differ"),
    (Code::BadWeights, "the weights do not belong to this bundle"),
    (Code::BadPointer, "a pointer is null or not aligned to 64 bytes"),
    (Code::BadIndex, "an index in the data is outside its axis"),
    (Code::MissingIsa, "this processor lacks instructions that the bundle was compiled for"),
    (Code::BadRunTimeValue, "a size computed while running is outside the range the bundle was compiled for"),
    (Code::TooManyIterations, "a loop ran longer than the bundle was compiled for"),
    (Code::NotInitialised, "the context was not initialised"),
    (Code::NoTextSpace, "strings made while running need more space than the bundle was compiled for"),
];

/// Text of a result.
pub fn error_text(code: i32) -> &'static str {
    CODES.iter().find(|(c, _)| *c as i32 == code).map_or("unknown error", |(_, t)| t)
}

/// FNV-1a, 64 bit: ties weights to their bundle. Not cryptographic.
pub fn hash(bytes: &[u8]) -> u64 {
    hash_more(HASH_START, bytes)
}

/// [`hash`] of nothing.
pub const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;

/// [`hash`] of what gave `sum` so far, followed by `bytes`.
pub fn hash_more(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

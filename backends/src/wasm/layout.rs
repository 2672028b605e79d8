//! Where everything lies in linear memory: `[texts | arena | weights file | dims | inputs | outputs | what threads share | room]`, known at
//! compile time. States lie behind it, where the caller puts them.

use sinter_abi::{ALIGNMENT, CODES, WEIGHTS_HEADER_BYTES};
use sinter_ir::program::{Port, Program};
use sinter_ir::{Diag, Result};

/// Address of the error texts: not 0, so that no pointer is null.
pub const TEXTS: u32 = ALIGNMENT as u32;
/// What vector loads may read beyond the last buffer, and more.
const ROOM: u64 = 64;
/// Memory that 32-bit addresses reach, less a page.
const MOST: u64 = (1 << 32) - (1 << 16);

/// Addresses in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Arena, which begins with the symbol array.
    pub arena: u32,
    /// Weights file with its header.
    pub weights: u32,
    /// Bytes of the weights file.
    pub weights_bytes: u32,
    /// `i64` per dim of every input, then of every output.
    pub dims: u32,
    /// Inputs, each with room for its largest size.
    pub inputs: Vec<u32>,
    /// Outputs, each with room for its largest size.
    pub outputs: Vec<u32>,
    /// What threads share of their work, where there are threads.
    pub pool: Option<u32>,
    /// First byte that is nobody's: memory must be at least so large.
    pub end: u32,
}

/// All texts, NUL-terminated, and where each begins; the last is for unknown codes.
pub fn texts() -> (Vec<u8>, Vec<u32>) {
    let (mut bytes, mut offsets) = (vec![], vec![]);
    for text in CODES.iter().map(|c| c.1).chain(["unknown error"]) {
        offsets.push(TEXTS + bytes.len() as u32);
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
    }
    (bytes, offsets)
}

/// Lays a program out; a program too large for 32-bit addresses is refused, with what takes the room.
pub fn layout(p: &Program, threads: bool) -> Result<Layout> {
    let mut at = u64::from(TEXTS) + texts().0.len() as u64;
    let mut take = |bytes: u64| {
        let begin = at.next_multiple_of(ALIGNMENT as u64);
        at = begin.saturating_add(bytes).min(u64::MAX / 2);
        // What does not fit is refused below.
        begin as u32
    };
    let weights_bytes = WEIGHTS_HEADER_BYTES as u64 + p.weights_bytes();
    let dims: usize = p.inputs.iter().chain(&p.outputs).map(|q| q.dims.len()).sum();
    let (arena, weights, dims) = (take(p.arena_bytes), take(weights_bytes), take(8 * dims as u64));
    let mut ports = |all: &[Port]| all.iter().map(|q| take(q.max_bytes)).collect::<Vec<u32>>();
    let (inputs, outputs) = (ports(&p.inputs), ports(&p.outputs));
    let pool = threads.then(|| take(super::threads::bytes(p)));
    let end = at.next_multiple_of(ALIGNMENT as u64) + ROOM;
    if end > MOST {
        let sum = |all: &[Port]| all.iter().fold(0u64, |n, q| n.saturating_add(q.max_bytes));
        return Err(Diag::limit(format!(
            "{} needs {end} bytes of memory, a WebAssembly module has {MOST}: arena {}, weights {weights_bytes}, inputs {}, \
             outputs {}",
            p.name,
            p.arena_bytes,
            sum(&p.inputs),
            sum(&p.outputs)
        ))
        .help("bound the dims with --dim NAME=MIN..MAX, or compile for a 64-bit target"));
    }
    let weights_bytes = weights_bytes as u32;
    Ok(Layout { arena, weights, weights_bytes, dims, inputs, outputs, pool, end: end as u32 })
}

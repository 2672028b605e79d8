//! Reference interpreter of kernels: the oracle of lowering and of the emitters.
//!
//! Every access is checked against both the memory given and the size that the buffer declares, so a kernel
//! that runs here without an error stays inside its buffers for these symbols.

mod code;
mod exec;
mod memory;
mod odd;
mod scalar;

use super::{Kernel, verify};
use crate::{Diag, Result};
pub(crate) use exec::dim;
use exec::{Machine, Stop};
pub use memory::{Space, View, base, bytes_at};

/// How to interpret.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Statements to execute at most.
    pub steps: u64,
    /// Whether float `MulAdd` rounds once; both are allowed, so results must be right either way.
    pub fused: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { steps: 1 << 34, fused: false }
    }
}

/// Runs a kernel with one byte slice per buffer. `syms` holds the values of all symbols; `begin..end` is the
/// part of the parallel loop to run, where there is one. The result is the kernel's code, 0 for success.
pub fn run(k: &Kernel, bufs: &mut [&mut [u8]], syms: &mut [i64], begin: i64, end: i64) -> Result<i32> {
    let views: Vec<View> =
        bufs.iter().enumerate().map(|(i, b)| View { space: i, offset: 0, len: b.len() }).collect();
    let mut spaces: Vec<Space> = bufs.iter_mut().map(|b| Space::Write(b)).collect();
    run_in(k, &mut spaces, &views, syms, begin..end, Options::default())
}

/// Runs a kernel on windows that may overlap, as buffers of one arena do.
pub fn run_in(
    k: &Kernel,
    spaces: &mut [Space],
    views: &[View],
    syms: &mut [i64],
    range: std::ops::Range<i64>,
    options: Options,
) -> Result<i32> {
    if let Some(d) = verify::verify(k).into_iter().next() {
        return Err(d);
    }
    if views.len() != k.bufs.len() {
        return Err(Diag::bug(format!(
            "kernel {} takes {} buffers, {} given",
            k.name,
            k.bufs.len(),
            views.len()
        )));
    }
    let own = k.defines();
    let views: Vec<View> = views
        .iter()
        .zip(&k.bufs)
        .map(|(v, b)| {
            // The size of a buffer that depends on what this very kernel finds is not known yet.
            let known = !b.bytes.syms().iter().any(|s| own.contains(s));
            let declared = dim(&b.bytes, syms).filter(|_| known).and_then(|n| usize::try_from(n).ok());
            View { len: declared.map_or(v.len, |n| n.min(v.len)), ..*v }
        })
        .collect();
    let resolver = code::Resolver::new(k, options.fused);
    let ops = resolver.block(&k.body);
    let regs = vec![0; resolver.lanes()];
    let range = (range.start, range.end);
    let mut m = Machine { k, regs, spaces, views: &views, syms, range, steps: options.steps };
    match m.block(&ops) {
        Ok(()) => Ok(0),
        Err(Stop::Code(c)) => Ok(c),
        Err(Stop::Fault(d)) => Err(*d),
    }
}

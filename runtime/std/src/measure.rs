//! Measuring code: loops that find a machine's limits, and the counter that measured bundles read.

#![allow(unsafe_code)]

use crate::code::Code;
use crate::pool::Pool;
use std::ffi::c_void;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

type Entry = unsafe extern "C" fn(*const c_void, u64, u64);

/// A loop in machine code, see `sinter_backends::peaks`.
#[derive(Debug)]
pub struct Loop {
    _code: Code,
    entry: Entry,
}

impl Loop {
    /// Maps the code.
    ///
    /// # Safety
    /// The code must be a function `void(const void *memory, uint64_t bytes, uint64_t passes)` that this processor can
    /// run and that only reads `bytes` bytes of `memory`, at least 64.
    pub unsafe fn map(code: &[u8]) -> io::Result<Self> {
        let code = Code::map(code)?;
        let at = code.at(0).ok_or_else(|| io::Error::other("no code"))?;
        // SAFETY: the caller's promise; the mapping lives as long as self.
        let entry = unsafe { std::mem::transmute::<*const u8, Entry>(at) };
        Ok(Self { _code: code, entry })
    }
    /// Runs the loop over memory; at least one pass. Memory of less than 64 bytes is left alone.
    pub fn run(&self, memory: &[u8], passes: u64) {
        if memory.len() >= 64 {
            // SAFETY: the promise of `map`.
            unsafe { (self.entry)(memory.as_ptr().cast(), memory.len() as u64, passes.max(1)) }
        }
    }
}

/// The counter that code emitted for measuring reads.
#[cfg(target_arch = "x86_64")]
pub fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has both instructions.
    unsafe {
        std::arch::x86_64::_mm_lfence();
        std::arch::x86_64::_rdtsc()
    }
}

/// The counter that code emitted for measuring reads.
#[cfg(not(target_arch = "x86_64"))]
pub fn ticks() -> u64 {
    0
}

/// Looks at the others before a thread gives up waiting for them.
const PATIENCE: u32 = 100_000;

/// Lets all threads of a pool meet: what splitting a kernel costs before and after the work itself. Whether they met.
pub fn fork_join(pool: &Pool) -> bool {
    struct Meeting {
        present: AtomicI64,
        expected: i64,
        met: AtomicBool,
    }
    unsafe extern "C" fn arrive(meeting: *mut c_void, _: i64, _: i64) {
        // SAFETY: a meeting, which outlives the run.
        let m = unsafe { &*meeting.cast::<Meeting>() };
        m.present.fetch_add(1, Ordering::AcqRel);
        for _ in 0..PATIENCE {
            if m.present.load(Ordering::Acquire) >= m.expected {
                return m.met.store(true, Ordering::Release);
            }
            std::hint::spin_loop();
        }
    }
    let expected = pool.threads() as i64;
    let mut m = Meeting { present: AtomicI64::new(0), expected, met: AtomicBool::new(false) };
    // SAFETY: the task is meant for several threads at once, and the meeting lives until run returns.
    unsafe { pool.run(expected, arrive, (&raw mut m).cast()) }
    m.met.load(Ordering::Acquire)
}

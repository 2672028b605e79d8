//! What this machine can do at most, measured.

use crate::system::{self, Clock};
use serde::Serialize;
use sinter_backends::peaks::{self, Peak};
use sinter_ir::{Diag, Result};
use sinter_runtime::measure::{self, Loop};
use sinter_runtime::{Aligned, Pool};

/// A level of memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Level {
    /// `L1`, `L2`, `L3` or `DRAM`.
    pub name: &'static str,
    /// Bytes that were read again and again by each thread.
    pub bytes: u64,
    /// Bytes per second of all threads.
    pub rate: f64,
}

/// Rates per second of all threads together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Peaks {
    /// Operations by f32 multiply-adds.
    pub fma: Option<f64>,
    /// Operations by sums of products of bytes.
    pub dot8: Option<f64>,
    /// Operations by sums of products of bf16.
    pub bf16: Option<f64>,
    /// Reading, nearest level first.
    pub read: Vec<Level>,
    /// Seconds that splitting a kernel over the threads costs, with more than one.
    pub fork_join: Option<f64>,
}

/// What is read to find out a level's rate: well inside the caches of any processor of today, and far outside.
const LEVELS: &[(&str, u64)] = &[("L1", 16 << 10), ("L2", 192 << 10), ("L3", 4 << 20), ("DRAM", 256 << 20)];

/// A trial lasts at least this long.
const TRIAL_SECONDS: f64 = 1e-3;
/// The best of so many counts: anything else that runs can only make a trial slower.
const TRIALS: usize = 15;

/// Operations per second of an instruction by so many threads at once; none where this machine does not have it.
pub fn operations(peak: Peak, threads: usize) -> Result<Option<f64>> {
    let Some((run, per_pass)) = load(peak)? else { return Ok(None) };
    rate(&run, per_pass as f64, 4096, threads).map(Some)
}

impl Peaks {
    /// Measures, with so many threads at once.
    pub fn measure(threads: usize) -> Result<Self> {
        let ops = |peak| operations(peak, threads);
        // The first loop also wakes the processor up.
        let fma = ops(Peak::Fma)?;
        let mut read = Vec::new();
        if let Some((run, _)) = load(Peak::Read)? {
            for &(name, bytes) in LEVELS {
                read.push(Level { name, bytes, rate: rate(&run, bytes as f64, bytes, threads)? });
            }
        }
        Ok(Self {
            fma,
            dot8: ops(Peak::Dot8)?,
            bf16: ops(Peak::DotBf16)?,
            read,
            fork_join: fork_join(threads),
        })
    }
    /// The level that holds so many bytes, where there is one.
    pub fn level(&self, bytes: f64) -> Option<&Level> {
        // Twice what was read is still likely to fit.
        self.read.iter().find(|l| bytes <= 2.0 * l.bytes as f64).or(self.read.last())
    }
}

/// Memory that is read to be compared with something that reads as much.
#[derive(Debug)]
pub struct Reader {
    run: Loop,
    /// Of every thread.
    memory: Vec<Aligned>,
}

impl Reader {
    /// So many bytes, divided among the threads. None where this machine has no loop for it.
    pub fn new(bytes: usize, threads: usize) -> Result<Option<Self>> {
        let Some((run, _)) = load(Peak::Read)? else { return Ok(None) };
        let each = (bytes / threads.max(1)).next_multiple_of(peaks::READ_STEP as usize);
        let make = |_| {
            let mut memory = Aligned::dense(each).map_err(|e| Diag::limit(e.to_string()))?;
            memory.bytes_mut().fill(0x3f);
            Ok(memory)
        };
        Ok(Some(Self { run, memory: (0..threads.max(1)).map(make).collect::<Result<_>>()? }))
    }
    /// Reads all of it once, and gives the bytes per second.
    pub fn rate(&self) -> f64 {
        let bytes: usize = self.memory.iter().map(|m| m.bytes().len()).sum();
        let clock = Clock::start();
        match self.memory.as_slice() {
            [one] => self.run.run(one.bytes(), 1),
            all => std::thread::scope(|s| {
                all.iter().for_each(|m| drop(s.spawn(|| self.run.run(m.bytes(), 1))));
            }),
        }
        bytes as f64 / clock.seconds().max(1e-12)
    }
}

/// The best of many, one after the other as kernels are. `None` where threads never met.
fn fork_join(threads: usize) -> Option<f64> {
    const TIMES: usize = 2000;
    const SECONDS: f64 = 0.2;
    let pool = (threads > 1).then(|| Pool::new(threads))?;
    let all = Clock::start();
    let trial = |_| {
        let clock = Clock::start();
        let met = measure::fork_join(&pool);
        met.then(|| clock.seconds())
    };
    (0..TIMES).take_while(|_| all.seconds() < SECONDS).filter_map(trial).reduce(f64::min)
}

#[allow(unsafe_code)]
fn load(peak: Peak) -> Result<Option<(Loop, u64)>> {
    let Some(found) = peaks::code(peak, &system::host_has)? else { return Ok(None) };
    // SAFETY: made for the features of this processor; it reads whole steps of its memory, of which all sizes here
    // are multiples.
    let run = unsafe { Loop::map(&found.code) }.map_err(|e| Diag::output(format!("cannot map code: {e}")))?;
    Ok(Some((run, found.operations)))
}

/// Best rate of `threads` threads that each make passes over memory of their own.
fn rate(run: &Loop, per_pass: f64, bytes: u64, threads: usize) -> Result<f64> {
    let worker = || -> Result<f64> {
        let mut memory = Aligned::dense(bytes as usize).map_err(|e| Diag::limit(e.to_string()))?;
        // Pages that were never written are all the same page.
        memory.bytes_mut().fill(0x3f);
        let timed = |passes| {
            let clock = Clock::start();
            run.run(memory.bytes(), passes);
            clock.seconds()
        };
        let mut passes = 1;
        while timed(passes) < TRIAL_SECONDS && passes < 1 << 40 {
            passes *= 2;
        }
        let best = (0..TRIALS).map(|_| timed(passes)).fold(f64::INFINITY, f64::min);
        Ok(per_pass * passes as f64 / best.max(1e-12))
    };
    let all: Vec<Result<f64>> = std::thread::scope(|s| {
        let started: Vec<_> = (0..threads).map(|_| s.spawn(worker)).collect();
        let died = || Err(Diag::bug("a measuring thread died"));
        started.into_iter().map(|t| t.join().unwrap_or_else(|_| died())).collect()
    });
    all.into_iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearer_memory_is_not_slower() {
        let p = Peaks::measure(1).unwrap();
        if p.read.is_empty() {
            return;
        }
        let rate = |name| p.read.iter().find(|l| l.name == name).unwrap().rate;
        assert!(rate("L1") > rate("DRAM"), "{p:?}");
        assert_eq!(p.level(1.0).unwrap().name, "L1");
        assert_eq!(p.level(1e12).unwrap().name, "DRAM");
    }
}

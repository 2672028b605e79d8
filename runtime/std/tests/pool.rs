//! The thread pool under stress: nothing runs twice or never, every worker wakes for every job, however jobs and the
//! workers' way to sleep fall together.

#![allow(unsafe_code, clippy::disallowed_methods)]

use sinter_runtime::Pool;
use std::ffi::c_void;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Far beyond any scheduling delay: what takes longer never happens.
const NEVER: Duration = Duration::from_secs(20);

/// Lets closures be tasks.
fn run<F: Fn(i64, i64) + Sync>(pool: &Pool, n: i64, f: F) {
    unsafe extern "C" fn call<F: Fn(i64, i64)>(arg: *mut c_void, begin: i64, end: i64) {
        // SAFETY: `arg` is the closure below, which outlives the run.
        unsafe { (*arg.cast::<F>())(begin, end) }
    }
    // SAFETY: `F` is `Sync`, so that it may be called from several threads at once.
    unsafe { pool.run(n, call::<F>, (&raw const f).cast_mut().cast()) }
}

/// Waits that hit the spinning, the falling asleep and the sleep of workers.
fn pause(round: u64) {
    let micros = [0, 0, 3, 17, 40, 90, 150, 400][(round.wrapping_mul(0x9e37_79b9) >> 7) as usize % 8];
    let start = Instant::now();
    while start.elapsed() < Duration::from_micros(micros) {
        std::hint::spin_loop();
    }
}

/// As many items as threads, none of which ends before all have begun: a worker that misses its wake-up would leave the
/// others waiting.
#[test]
fn every_worker_wakes_for_every_job() {
    for threads in 2..=4 {
        let pool = Pool::new(threads);
        for round in 0..400 {
            pause(round);
            let begun = AtomicUsize::new(0);
            run(&pool, threads as i64, |begin, end| {
                assert_eq!(end - begin, 1, "an item each");
                begun.fetch_add(1, Ordering::SeqCst);
                let start = Instant::now();
                while begun.load(Ordering::SeqCst) < threads {
                    if start.elapsed() > NEVER {
                        eprintln!("round {round} of {threads} threads: a worker sleeps through a job");
                        std::process::abort();
                    }
                    std::thread::yield_now();
                }
            });
        }
    }
}

#[test]
fn sums_are_equal_on_any_number_of_threads() {
    let cells: Vec<i64> = (0..10_007).map(|i| i * i % 1013).collect();
    for threads in 1..=3 {
        let pool = Pool::new(threads);
        assert_eq!(pool.threads(), threads);
        for n in [0, 1, 2, 3, 11, 12, 13, 1000, 10_007] {
            let sum = AtomicI64::new(0);
            run(&pool, n, |begin, end| {
                assert!(begin < end && end <= n);
                sum.fetch_add(cells[begin as usize..end as usize].iter().sum(), Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), cells[..n as usize].iter().sum::<i64>(), "{n} on {threads}");
        }
    }
}

/// What a task wrote is there when the run is over, without any help of its own.
#[test]
fn plain_writes_are_visible_afterwards() {
    struct Cells(*mut i64);
    // SAFETY: items write apart.
    unsafe impl Sync for Cells {}
    impl Cells {
        fn add(&self, i: i64, v: i64) {
            // SAFETY: inside the vector below; items write apart.
            unsafe { *self.0.add(i as usize) += v }
        }
    }
    let pool = Pool::new(3);
    let mut data = vec![0i64; 64];
    let cells = Cells(data.as_mut_ptr());
    for round in 1..=1500 {
        run(&pool, 64, |begin, end| (begin..end).for_each(|i| cells.add(i, i * round)));
    }
    let rounds: i64 = (1..=1500).sum();
    assert!(data.iter().enumerate().all(|(i, &v)| v == i as i64 * rounds), "{data:?}");
}

#[test]
fn several_callers_share_a_pool() {
    let pool = Pool::new(3);
    std::thread::scope(|s| {
        for caller in 0..3i64 {
            let pool = &pool;
            s.spawn(move || {
                for round in 0..500 {
                    let n = 1 + (round * 7 + caller) % 50;
                    let sum = AtomicI64::new(0);
                    run(pool, n, |begin, end| {
                        sum.fetch_add((begin..end).sum(), Ordering::Relaxed);
                    });
                    assert_eq!(sum.into_inner(), n * (n - 1) / 2);
                }
            });
        }
    });
}

#[test]
fn pools_end_at_any_moment() {
    for round in 0..150 {
        let pool = Pool::new(2 + (round % 3) as usize);
        pause(round);
        if round % 4 != 0 {
            let count = AtomicI64::new(0);
            run(&pool, 9, |begin, end| {
                count.fetch_add(end - begin, Ordering::Relaxed);
            });
            assert_eq!(count.into_inner(), 9);
        }
    }
}

//! A thread pool for `parallel_for`: workers spin for a moment, then sleep; the caller takes chunks as well and can
//! always finish alone, so a descheduled worker delays nothing but the chunk it holds.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

/// `task(arg, begin, end)`.
pub type Task = unsafe extern "C" fn(arg: *mut c_void, begin: i64, end: i64);

/// Rounds of spinning before a worker sleeps: some tens of microseconds.
const SPINS: u32 = 20_000;
/// Chunks per thread: evens out uneven work.
const CHUNKS: i64 = 4;

struct Job {
    task: Task,
    arg: *mut c_void,
    n: i64,
    chunk: i64,
    next: AtomicI64,
    /// Workers inside.
    users: AtomicUsize,
}

impl Job {
    fn work(&self) {
        loop {
            let begin = self.next.fetch_add(self.chunk, Ordering::Relaxed);
            if begin >= self.n {
                return;
            }
            let end = (begin + self.chunk).min(self.n);
            // SAFETY: the caller of `run` vouches for task and arg until it returns, which is after this.
            unsafe { (self.task)(self.arg, begin, end) }
        }
    }
}

struct JobRef(*const Job);
// SAFETY: the job outlives its entry in the slot, see `Pool::run`.
unsafe impl Send for JobRef {}

struct Shared {
    epoch: AtomicU64,
    slot: Mutex<Option<JobRef>>,
    wake: Condvar,
    stop: AtomicBool,
}

/// Worker threads; dropped, they are joined.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// A pool of `threads` in all, the caller's included.
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            epoch: AtomicU64::new(0),
            slot: Mutex::new(None),
            wake: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let workers = (1..threads.max(1))
            .map(|_| {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || worker(&shared))
            })
            .collect();
        Self { shared, workers }
    }
    /// Threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }
    /// Runs `task` over `0..n` and returns when all of it is done.
    ///
    /// # Safety
    /// `task` must be callable with `arg` and disjoint sub-ranges from several threads at once.
    pub unsafe fn run(&self, n: i64, task: Task, arg: *mut c_void) {
        let chunk = (n / (self.threads() as i64 * CHUNKS)).max(1);
        let job = Job { task, arg, n, chunk, next: AtomicI64::new(0), users: AtomicUsize::new(0) };
        if self.workers.is_empty() || n <= 1 {
            return job.work();
        }
        {
            let mut slot = lock(&self.shared.slot);
            *slot = Some(JobRef(&raw const job));
            // Under the lock: a worker between its look at the epoch and its sleep would miss both.
            self.shared.epoch.fetch_add(1, Ordering::Release);
        }
        self.shared.wake.notify_all();
        job.work();
        // From here on no worker can enter; those inside are waited for.
        *lock(&self.shared.slot) = None;
        let mut spins = 0;
        while job.users.load(Ordering::Acquire) != 0 {
            spins += 1;
            // A worker that has lost its processor needs one to finish its chunk.
            if spins < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }
    /// The hook for a bundle's context, with the pool as its first argument.
    ///
    /// # Safety
    /// `pool` must point to a live `Pool`; see [`Pool::run`] for the rest.
    pub unsafe extern "C" fn parallel_for(pool: *mut c_void, n: i64, task: Task, arg: *mut c_void) {
        // SAFETY: the caller's promise.
        unsafe { (*pool.cast::<Pool>()).run(n, task, arg) }
    }
}

fn lock<T>(m: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    m.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn worker(shared: &Shared) {
    let mut seen = 0;
    loop {
        let mut spins = 0;
        while shared.epoch.load(Ordering::Acquire) == seen && spins < SPINS {
            std::hint::spin_loop();
            spins += 1;
        }
        let mut slot = lock(&shared.slot);
        while shared.epoch.load(Ordering::Acquire) == seen && !shared.stop.load(Ordering::Relaxed) {
            slot = shared.wake.wait(slot).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        seen = shared.epoch.load(Ordering::Acquire);
        let Some(JobRef(job)) = *slot else { continue };
        // SAFETY: the job is in the slot under the lock, so its `run` has not returned and will wait for `users`.
        let job = unsafe { &*job };
        job.users.fetch_add(1, Ordering::AcqRel);
        drop(slot);
        job.work();
        job.users.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        {
            let _slot = lock(&self.shared.slot);
            self.shared.stop.store(true, Ordering::Relaxed);
            self.shared.epoch.fetch_add(1, Ordering::Release);
        }
        self.shared.wake.notify_all();
        for w in self.workers.drain(..) {
            let _ = w.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "C" fn count(arg: *mut c_void, begin: i64, end: i64) {
        // SAFETY: the tests pass an array of counters.
        let cells = unsafe { std::slice::from_raw_parts(arg.cast::<AtomicI64>(), 1000) };
        for i in begin..end {
            cells[i as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn every_index_runs_once() {
        let pool = Pool::new(4);
        for n in [0, 1, 2, 7, 1000] {
            for _ in 0..200 {
                let mut cells: Vec<AtomicI64> = (0..1000).map(|_| AtomicI64::new(0)).collect();
                // SAFETY: counters live until run returns.
                unsafe { pool.run(n, count, cells.as_mut_ptr().cast()) };
                let want = |i: i64| i64::from(i < n);
                assert!(cells.iter().enumerate().all(|(i, c)| c.load(Ordering::Relaxed) == want(i as i64)));
            }
        }
    }
}

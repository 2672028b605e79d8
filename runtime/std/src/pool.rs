//! A thread pool for `parallel_for`: workers spin for a moment, then sleep; the caller takes chunks as well and can
//! always finish alone, so a descheduled worker delays nothing but the chunk it holds. Every thread has a range of its own
//! and goes through it in order, so that what it reads of the memory is one stream; then it helps the others.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

/// `task(arg, begin, end)`.
pub type Task = unsafe extern "C" fn(arg: *mut c_void, begin: i64, end: i64);

/// Looks at the state before a worker sleeps: 20 to 50 microseconds, longer than most kernels are apart.
const SPINS: u32 = 2_000;
/// Chunks per thread: evens out uneven work.
const CHUNKS: i64 = 4;

/// Bit of [`Shared::state`]: workers may enter.
const OPEN: u64 = 1;
/// One worker inside, in bits 1 to 15 of the state.
const USER: u64 = 2;
/// All workers inside.
const USERS: u64 = 0xfffe;
/// One job, in the other bits of the state.
const EPOCH: u64 = 1 << 16;

/// On a cache line of its own, with the one that is fetched along.
#[repr(align(128))]
struct Line<T>(T);

/// What the threads share. The job's fields are written while nobody is inside and read by those who have entered:
/// who enters changes `state` and so sees what was written before the job was opened.
struct Shared {
    /// Epoch, workers inside, [`OPEN`].
    state: Line<AtomicU64>,
    /// By thread: the first index of its range that nobody has taken.
    next: Vec<Line<AtomicI64>>,
    task: AtomicPtr<c_void>,
    arg: AtomicPtr<c_void>,
    n: AtomicI64,
    chunk: AtomicI64,
    /// Workers that sleep or are about to.
    sleepers: AtomicUsize,
    stop: AtomicBool,
    bed: Mutex<()>,
    wake: Condvar,
}

impl Shared {
    /// Where the range of a thread begins in `0..n`; that of the next one begins where it ends.
    fn start(&self, thread: usize, n: i64) -> i64 {
        (i128::from(n) * thread as i128 / self.next.len() as i128) as i64
    }
    /// Takes chunks of thread `me`, then of those behind it, until there are none.
    fn work(&self, me: usize, task: Task, arg: *mut c_void, n: i64, chunk: i64) {
        for thread in (me..self.next.len()).chain(0..me) {
            let (next, end) = (&self.next[thread].0, self.start(thread + 1, n));
            while next.load(Ordering::Relaxed) < end {
                let begin = next.fetch_add(chunk, Ordering::Relaxed);
                if begin < end {
                    // SAFETY: the caller of `run` vouches for task and arg until it returns, which is after this.
                    unsafe { task(arg, begin, (begin + chunk).min(end)) }
                }
            }
        }
    }
    /// Whether there is something new for one who has seen `seen`.
    fn news(&self, seen: u64) -> bool {
        let state = self.state.0.load(Ordering::SeqCst);
        state & OPEN != 0 && state / EPOCH != seen || self.stop.load(Ordering::SeqCst)
    }
    /// Enters the open job, if there is one that was not seen yet: gives its epoch.
    fn enter(&self, seen: u64) -> Option<u64> {
        let mut state = self.state.0.load(Ordering::Acquire);
        while state & OPEN != 0 && state / EPOCH != seen {
            match self.state.0.compare_exchange_weak(state, state + USER, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Some(state / EPOCH),
                Err(now) => state = now,
            }
        }
        None
    }
    fn sleep(&self, seen: u64) {
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let mut bed = lock(&self.bed);
        while !self.news(seen) {
            bed = self.wake.wait(bed).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        drop(bed);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
    /// Wakes whoever sleeps. A worker counts itself before its last look at the state, and the state was changed
    /// before this look at the count: one of the two sees the other.
    fn rouse(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(lock(&self.bed));
            self.wake.notify_all();
        }
    }
}

/// Worker threads; dropped, they are joined.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// One job at a time; who comes second does its job alone.
    busy: AtomicBool,
}

impl Pool {
    /// A pool of `threads` in all, the caller's included.
    pub fn new(threads: usize) -> Self {
        // More would not fit the state's count.
        let threads = threads.clamp(1, 1024);
        let shared = Arc::new(Shared {
            state: Line(AtomicU64::new(0)),
            next: (0..threads).map(|_| Line(AtomicI64::new(0))).collect(),
            task: AtomicPtr::new(std::ptr::null_mut()),
            arg: AtomicPtr::new(std::ptr::null_mut()),
            n: AtomicI64::new(0),
            chunk: AtomicI64::new(1),
            sleepers: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            bed: Mutex::new(()),
            wake: Condvar::new(),
        });
        let workers = (1..threads)
            .map(|me| {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || worker(&shared, me))
            })
            .collect();
        Self { shared, workers, busy: AtomicBool::new(false) }
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
        if n <= 0 {
            return;
        }
        if self.workers.is_empty() || n == 1 || self.busy.swap(true, Ordering::Acquire) {
            // SAFETY: the caller's promise.
            return unsafe { task(arg, 0, n) };
        }
        let s = &*self.shared;
        let chunk = (n / (self.threads() as i64 * CHUNKS)).max(1);
        s.task.store(task as *mut c_void, Ordering::Relaxed);
        s.arg.store(arg, Ordering::Relaxed);
        s.n.store(n, Ordering::Relaxed);
        s.chunk.store(chunk, Ordering::Relaxed);
        for (thread, next) in s.next.iter().enumerate() {
            next.0.store(s.start(thread, n), Ordering::Relaxed);
        }
        // Nobody is inside and nobody can enter before this.
        let epoch = s.state.0.load(Ordering::Relaxed) / EPOCH;
        s.state.0.store(epoch.wrapping_add(1).wrapping_mul(EPOCH) | OPEN, Ordering::SeqCst);
        s.rouse();
        s.work(0, task, arg, n, chunk);
        // From here on no worker can enter; those inside are waited for.
        let mut inside = s.state.0.fetch_and(!OPEN, Ordering::AcqRel) & USERS;
        let mut spins = 0;
        while inside != 0 {
            spins += 1;
            // A worker that has lost its processor needs one to finish its chunk.
            if spins < SPINS {
                std::hint::spin_loop()
            } else {
                std::thread::yield_now()
            }
            inside = s.state.0.load(Ordering::Acquire) & USERS;
        }
        self.busy.store(false, Ordering::Release);
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

fn worker(shared: &Shared, me: usize) {
    let (mut seen, mut spins) = (0, 0);
    while !shared.stop.load(Ordering::Relaxed) {
        let Some(epoch) = shared.enter(seen) else {
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
            } else {
                shared.sleep(seen);
                spins = 0;
            }
            continue;
        };
        (seen, spins) = (epoch, 0);
        let task = shared.task.load(Ordering::Relaxed);
        // SAFETY: `run` stored a task before it opened the job, and waits until this worker has left it.
        let task = unsafe { std::mem::transmute::<*mut c_void, Task>(task) };
        let (n, chunk) = (shared.n.load(Ordering::Relaxed), shared.chunk.load(Ordering::Relaxed));
        shared.work(me, task, shared.arg.load(Ordering::Relaxed), n, chunk);
        shared.state.0.fetch_sub(USER, Ordering::AcqRel);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.rouse();
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
    #[test]
    fn sleeping_workers_wake_and_callers_may_meet() {
        let pool = Pool::new(3);
        let cells: Vec<AtomicI64> = (0..1000).map(|_| AtomicI64::new(0)).collect();
        let at = cells.as_ptr() as usize;
        for _ in 0..20 {
            // Longer than workers spin.
            std::thread::sleep(std::time::Duration::from_millis(1));
            std::thread::scope(|s| {
                for _ in 0..2 {
                    // SAFETY: counters live until run returns.
                    s.spawn(|| unsafe { pool.run(1000, count, at as *mut c_void) });
                }
            });
        }
        assert!(cells.iter().all(|c| c.load(Ordering::Relaxed) == 40));
    }
}

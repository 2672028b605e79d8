//! Watches code that reads hostile input: panics, time and memory, each with the case that caused it.

#![allow(dead_code, unsafe_code, clippy::disallowed_methods, clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// An allocation of this size is never right here: the process stops and names the case.
const ABSURD: usize = 6 << 30;

thread_local! {
    static NOW: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
    static SLOT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Counts what each thread holds.
pub struct Counting;

fn grew(n: usize) {
    let _ = NOW.try_with(|now| {
        now.set(now.get().saturating_add(n));
        let _ = PEAK.try_with(|p| p.set(p.get().max(now.get())));
    });
}

fn shrank(n: usize) {
    // Memory may come from another thread.
    let _ = NOW.try_with(|now| now.set(now.get().saturating_sub(n)));
}

fn refuse(n: usize) -> bool {
    if n >= ABSURD {
        eprintln!("allocation of {n} bytes in {}", running());
        return true;
    }
    false
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, l: Layout) -> *mut u8 {
        if refuse(l.size()) {
            return std::ptr::null_mut();
        }
        grew(l.size());
        unsafe { System.alloc(l) }
    }
    unsafe fn alloc_zeroed(&self, l: Layout) -> *mut u8 {
        if refuse(l.size()) {
            return std::ptr::null_mut();
        }
        grew(l.size());
        unsafe { System.alloc_zeroed(l) }
    }
    unsafe fn dealloc(&self, p: *mut u8, l: Layout) {
        shrank(l.size());
        unsafe { System.dealloc(p, l) }
    }
    unsafe fn realloc(&self, p: *mut u8, l: Layout, n: usize) -> *mut u8 {
        if refuse(n) {
            return std::ptr::null_mut();
        }
        grew(n);
        shrank(l.size());
        unsafe { System.realloc(p, l, n) }
    }
}

/// Bytes that this thread held at most, beyond what it held before.
pub fn peak<R>(f: impl FnOnce() -> R) -> (R, usize) {
    let before = NOW.get();
    PEAK.set(before);
    let r = f();
    (r, PEAK.get().saturating_sub(before))
}

/// A panic as an error with its place.
pub fn caught<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).map_err(|_| PANIC.take())
}

/// Keeps panics quiet and remembers where they were.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|info| {
        let text = info.payload().downcast_ref::<String>().cloned();
        let text = text.or_else(|| info.payload().downcast_ref::<&str>().map(|s| (*s).to_owned()));
        let place = info.location().map(|l| format!("{}:{}", l.file(), l.line())).unwrap_or_default();
        PANIC.set(format!("panic at {place}: {}", text.unwrap_or_default()));
    }));
}

/// What a thread works on, its number, and since when.
type Work = (&'static str, u64, Instant);

static RUNNING: Mutex<Vec<Option<Work>>> = Mutex::new(Vec::new());

fn running() -> String {
    match SLOT.try_with(Cell::get).ok().and_then(|i| RUNNING.lock().ok()?.get(i).copied().flatten()) {
        Some((name, number, _)) => format!("{name} #{number}"),
        None => "another thread".into(),
    }
}

/// Names what this thread works on, for the watchdog.
pub fn working_on(name: &'static str, number: u64) {
    let mut slots = RUNNING.lock().unwrap();
    if SLOT.get() == usize::MAX {
        SLOT.set(slots.len());
        slots.push(None);
    }
    slots[SLOT.get()] = Some((name, number, Instant::now()));
}

/// This thread is done.
pub fn idle() {
    if let Some(s) = RUNNING.lock().unwrap().get_mut(SLOT.get()) {
        *s = None;
    }
}

/// Ends the process, naming the case, when one takes longer than `limit`.
pub fn watchdog(limit: Duration) {
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(200));
            let late = RUNNING.lock().unwrap().iter().flatten().find(|r| r.2.elapsed() > limit).copied();
            if let Some((name, number, since)) = late {
                eprintln!("{name} #{number} runs for {:?}, at most {limit:?} is allowed", since.elapsed());
                std::process::abort();
            }
        }
    });
}

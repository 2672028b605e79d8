//! Work on several threads whose results do not tell how many there were.

use sinter_ir::{Diag, Result};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What `f` gives for `0..n`, in that order.
pub fn map<T: Send>(n: usize, threads: usize, f: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = vec![];
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= n {
                return done;
            }
            done.push((i, f(i)));
        }
    };
    let mut all = std::thread::scope(|s| {
        let others: Vec<_> = (1..threads.min(n)).map(|_| s.spawn(work)).collect();
        let mut all = work();
        for t in others {
            all.extend(t.join().unwrap_or_default());
        }
        all
    });
    all.sort_by_key(|(i, _)| *i);
    match all.len() == n {
        true => all.into_iter().map(|(_, r)| r).collect(),
        false => Err(Diag::bug("a thread gave up")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_and_the_first_error_is_told() {
        for threads in [1, 3, 40] {
            assert_eq!(map(20, threads, |i| Ok(i * i)).unwrap(), (0..20).map(|i| i * i).collect::<Vec<_>>());
            let fail = |i| if i % 7 == 6 { Err(Diag::input(format!("{i}"))) } else { Ok(()) };
            assert_eq!(map(20, threads, fail).unwrap_err().message, "6");
        }
        assert!(map(0, 4, |_| Ok(())).unwrap().is_empty());
    }
}

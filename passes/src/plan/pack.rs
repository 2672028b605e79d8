//! Interval packing: arena offsets such that buffers that are live together do not overlap.

use super::life::Life;

/// Alignment of every arena and weights buffer.
pub const ALIGN: u64 = 64;

/// Improvements tried per order.
const ROUNDS: usize = 24;

/// Rounds up to [`ALIGN`].
pub fn align(bytes: u64) -> u64 {
    bytes.div_ceil(ALIGN).saturating_mul(ALIGN)
}

/// A buffer to be packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// Bytes, at least 1.
    pub bytes: u64,
    /// When it is live.
    pub life: Life,
}

/// A packing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Packing {
    /// Offset per item.
    pub offsets: Vec<u64>,
    /// End of the highest item.
    pub total: u64,
    /// Largest sum of live items: the lower bound of `total`.
    pub bound: u64,
}

/// Largest sum of aligned sizes live at one step.
pub fn bound(items: &[Item]) -> u64 {
    let mut events: Vec<(u32, bool, u64)> = Vec::with_capacity(items.len() * 2);
    for i in items {
        events.push((i.life.first, true, align(i.bytes)));
        // Ends take effect after the last step: at the next one, before its starts.
        events.push((i.life.last.saturating_add(1), false, align(i.bytes)));
    }
    events.sort_unstable();
    let (mut now, mut max) = (0u64, 0u64);
    for (_, starts, bytes) in events {
        now = if starts { now.saturating_add(bytes) } else { now.saturating_sub(bytes) };
        max = max.max(now);
    }
    max
}

/// Places items by best fit in several orders, improves each a little, and keeps the smallest result; the
/// first of equals wins.
pub fn pack(items: &[Item]) -> Packing {
    let bound = bound(items);
    let len = |i: &usize| u64::from(items[*i].life.last - items[*i].life.first) + 1;
    let by = |key: &dyn Fn(&usize) -> (u64, u64, u64)| {
        let mut order: Vec<usize> = (0..items.len()).collect();
        order.sort_by_key(|i| (key(i), *i));
        order
    };
    let down = |v: u64| u64::MAX - v;
    let first = |i: &usize| u64::from(items[*i].life.first);
    let orders = [
        by(&|i| (down(items[*i].bytes), down(len(i)), first(i))),
        by(&|i| (down(items[*i].bytes.saturating_mul(len(i))), down(items[*i].bytes), first(i))),
        by(&|i| (down(len(i)), down(items[*i].bytes), first(i))),
        by(&|i| (first(i), down(items[*i].bytes), down(len(i)))),
        by(&|i| (down(u64::from(items[*i].life.last)), down(items[*i].bytes), down(len(i)))),
    ];
    let mut best = Packing { total: u64::MAX, ..Packing::default() };
    for mut order in orders {
        // An item that ends at the top is placed first in the next try.
        for _ in 0..ROUNDS {
            let offsets = place(items, &order);
            let end = |i: &usize| offsets[*i] + align(items[*i].bytes);
            let total = (0..items.len()).map(|i| end(&i)).max().unwrap_or(0);
            let top = order.iter().rposition(|i| end(i) == total);
            if total < best.total {
                best = Packing { offsets, total, bound };
            }
            match top {
                Some(at) if total > bound && at > 0 => order[..=at].rotate_right(1),
                _ => break,
            }
        }
        if best.total == bound {
            break;
        }
    }
    best
}

/// Puts each item into the smallest gap that holds it among the items already placed and live with it.
fn place(items: &[Item], order: &[usize]) -> Vec<u64> {
    let mut offsets = vec![0u64; items.len()];
    let mut placed: Vec<usize> = Vec::with_capacity(items.len());
    for &i in order {
        let item = items[i];
        let overlaps = |j: &usize| {
            let (a, b) = (item.life, items[*j].life);
            a.first <= b.last && b.first <= a.last
        };
        let mut taken: Vec<(u64, u64)> = placed
            .iter()
            .copied()
            .filter(overlaps)
            .map(|j| (offsets[j], offsets[j] + align(items[j].bytes)))
            .collect();
        taken.sort_unstable();
        let need = align(item.bytes);
        let (mut end, mut found) = (0u64, None::<(u64, u64)>);
        for (lo, hi) in taken {
            if lo > end {
                let gap = lo - end;
                if gap >= need && found.is_none_or(|(g, _)| gap < g) {
                    found = Some((gap, end));
                }
            }
            end = end.max(hi);
        }
        offsets[i] = found.map_or(end, |(_, at)| at);
        placed.push(i);
    }
    offsets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(bytes: u64, first: u32, last: u32) -> Item {
        Item { bytes, life: Life { first, last } }
    }

    #[test]
    fn chain_needs_two_buffers() {
        let items: Vec<Item> = (0..10).map(|i| item(100, i, i + 1)).collect();
        let p = pack(&items);
        assert_eq!((p.bound, p.total), (256, 256));
    }

    /// Random intervals: nothing overlaps, and the result stays near the bound.
    #[test]
    fn random_intervals_do_not_overlap() {
        let mut seed = 1u64;
        let mut next = move |n: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % n
        };
        for _ in 0..50 {
            let items: Vec<Item> = (0..60)
                .map(|_| {
                    let first = next(100) as u32;
                    item(1 + next(5000), first, first + next(12) as u32)
                })
                .collect();
            let p = pack(&items);
            for a in 0..items.len() {
                for b in 0..a {
                    let (x, y) = (items[a], items[b]);
                    let live = x.life.first <= y.life.last && y.life.first <= x.life.last;
                    let apart =
                        p.offsets[a] + x.bytes <= p.offsets[b] || p.offsets[b] + y.bytes <= p.offsets[a];
                    assert!(!live || apart, "{x:?} and {y:?} overlap");
                }
            }
            assert!(p.total >= p.bound && p.total <= p.bound + p.bound / 10, "{} of {}", p.total, p.bound);
        }
    }
}

//! Liveness: where in the linear code each virtual register holds a value that is still wanted.
//!
//! Item `i` reads at position `2i` and writes at `2i + 1`, so that a result may take the register of an operand that
//! ends there.

use crate::machine::Forms;
use crate::machine::access::Access;
use crate::machine::mir::{Func, Item, VReg};

/// Where a virtual register is live.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Interval {
    /// Half-open ranges of positions, ascending and apart.
    pub ranges: Vec<(u32, u32)>,
    /// Accesses, each worth ten times more per loop around it.
    pub uses: f64,
}

impl Interval {
    /// First position.
    pub fn start(&self) -> u32 {
        self.ranges.first().map_or(0, |r| r.0)
    }
    /// Positions covered.
    pub fn len(&self) -> u32 {
        self.ranges.iter().map(|(a, b)| b - a).sum()
    }
    /// Whether both are live somewhere.
    pub fn overlaps(&self, o: &Self) -> bool {
        let (mut i, mut j) = (0, 0);
        while let (Some(a), Some(b)) = (self.ranges.get(i), o.ranges.get(j)) {
            if a.0 < b.1 && b.0 < a.1 {
                return true;
            }
            if a.1 <= b.1 {
                i += 1;
            } else {
                j += 1;
            }
        }
        false
    }
    /// Takes over the ranges of another that it does not overlap.
    pub fn merge(&mut self, o: &Self) {
        self.ranges.extend(&o.ranges);
        self.ranges.sort_unstable();
        self.ranges.dedup_by(|next, before| {
            let touch = before.1 == next.0;
            if touch {
                before.1 = next.1;
            }
            touch
        });
        self.uses += o.uses;
    }
}

/// A straight piece of code: items `from..to`.
struct Block {
    from: usize,
    to: usize,
    next: Vec<usize>,
}

/// A set of virtual registers.
#[derive(Clone, PartialEq)]
struct Set(Vec<u64>);

impl Set {
    /// Puts a register in.
    fn add(&mut self, v: VReg) {
        self.0[v.0 as usize / 64] |= 1 << (v.0 % 64);
    }
    /// Takes a register out.
    fn remove(&mut self, v: VReg) {
        self.0[v.0 as usize / 64] &= !(1 << (v.0 % 64));
    }
    /// Puts all of another set in.
    fn join(&mut self, o: &Self) {
        self.0.iter_mut().zip(&o.0).for_each(|(a, b)| *a |= b);
    }
    /// Members, ascending.
    fn iter(&self) -> impl Iterator<Item = VReg> {
        self.0.iter().enumerate().flat_map(|(i, w)| {
            let mut w = *w;
            std::iter::from_fn(move || {
                let bit = (w != 0).then(|| w.trailing_zeros())?;
                w &= w - 1;
                Some(VReg(i as u32 * 64 + bit))
            })
        })
    }
}

/// Straight pieces of the code and where each goes on.
fn blocks<C: Forms>(f: &Func<C>) -> Vec<Block> {
    let mut out: Vec<Block> = Vec::new();
    let mut at = vec![0; f.labels()];
    let mut from = 0;
    let close = |from: &mut usize, to: usize, out: &mut Vec<Block>| {
        if *from < to {
            out.push(Block { from: *from, to, next: vec![] });
        }
        *from = to;
    };
    for (i, item) in f.items.iter().enumerate() {
        match item {
            Item::Bind(l) => {
                close(&mut from, i, &mut out);
                at[l.0 as usize] = out.len();
            }
            Item::Jump(_) | Item::Branch(..) | Item::Ret(_) => close(&mut from, i + 1, &mut out),
            _ => {}
        }
    }
    close(&mut from, f.items.len(), &mut out);
    let count = out.len();
    for (i, b) in out.iter_mut().enumerate() {
        let mut falls = i + 1 < count;
        match &f.items[b.to - 1] {
            Item::Jump(l) => {
                b.next.push(at[l.0 as usize]);
                falls = false;
            }
            Item::Branch(_, l) => b.next.push(at[l.0 as usize]),
            Item::Ret(_) => falls = false,
            _ => {}
        }
        if falls {
            b.next.push(i + 1);
        }
    }
    out
}

/// Walks an item backwards: writes end what is live above, reads begin it.
fn back<C: Forms>(item: &Item<C>, live: &mut Set) {
    item.regs(&mut |v, a| {
        if a == Access::Write {
            live.remove(v);
        }
    });
    item.regs(&mut |v, a| {
        if a.reads() {
            live.add(v);
        }
    });
}

/// Intervals of all virtual registers.
pub fn intervals<C: Forms>(f: &Func<C>) -> Vec<Interval> {
    let blocks = blocks(f);
    let empty = Set(vec![0; f.classes.len().div_ceil(64)]);
    let mut live_in = vec![empty.clone(); blocks.len()];
    let mut changed = true;
    while changed {
        changed = false;
        for (i, b) in blocks.iter().enumerate().rev() {
            let mut live = live_out(b, &live_in, &empty);
            f.items[b.from..b.to].iter().rev().for_each(|item| back(item, &mut live));
            if live != live_in[i] {
                live_in[i] = live;
                changed = true;
            }
        }
    }
    let mut out = vec![Interval::default(); f.classes.len()];
    let mut open: Vec<Option<u32>> = vec![None; f.classes.len()];
    // Ranges grow backwards here.
    let close = |iv: &mut Interval, from: u32, to: u32| match iv.ranges.last_mut() {
        Some(r) if r.0 == to => r.0 = from,
        _ => iv.ranges.push((from, to)),
    };
    for b in blocks.iter().rev() {
        let mut live = live_out(b, &live_in, &empty);
        live.iter().for_each(|v| open[v.0 as usize] = Some(2 * b.to as u32));
        for i in (b.from..b.to).rev() {
            let p = 2 * i as u32;
            f.items[i].regs(&mut |v, a| {
                let n = v.0 as usize;
                if a.writes() && open[n].is_none() {
                    open[n] = Some(p + 2);
                }
                if a == Access::Write
                    && let Some(end) = open[n].take()
                {
                    close(&mut out[n], p + 1, end);
                }
            });
            f.items[i].regs(&mut |v, a| {
                if a.reads() {
                    open[v.0 as usize].get_or_insert(p + 1);
                }
            });
            back(&f.items[i], &mut live);
        }
        for v in live.iter() {
            if let Some(end) = open[v.0 as usize].take() {
                close(&mut out[v.0 as usize], 2 * b.from as u32, end);
            }
        }
    }
    out.iter_mut().for_each(|iv| iv.ranges.reverse());
    weigh(f, &mut out);
    out
}

/// What is live behind a block.
fn live_out(b: &Block, live_in: &[Set], empty: &Set) -> Set {
    let mut live = empty.clone();
    b.next.iter().for_each(|n| live.join(&live_in[*n]));
    live
}

/// Counts the accesses of every register, with the loops around them.
fn weigh<C: Forms>(f: &Func<C>, out: &mut [Interval]) {
    let mut worth = 1.0;
    for item in &f.items {
        match item {
            Item::LoopBegin => worth *= 10.0,
            Item::LoopEnd => worth /= 10.0,
            item => item.regs(&mut |v, a| {
                out[v.0 as usize].uses += if a == Access::ReadWrite { 2.0 * worth } else { worth };
            }),
        }
    }
}

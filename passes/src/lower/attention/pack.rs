//! Operands of an attention in the layouts that the register tile reads. They are pulled, so that transposes of heads
//! and other movement in front of them cost nothing extra.

use super::{Attention, Memory, raw};
use crate::lower::contract::gemm::scaled;
use crate::lower::index::{Idx, dim, int};
use crate::lower::line::{Line, Place};
use crate::lower::pull::{Puller, Raw, is_not_vector};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, Bound, CvtOp, Elem, Inst, LoopKind, Reg, Scalar, Stmt, UnOp};
use sinter_ir::{Expr, Result, ValueId};

/// Emits code with vectors, or, where something has no vector form, one element at a time.
fn with_lanes(
    b: &mut KernelBuilder,
    p: &mut Puller,
    lanes: u16,
    f: &mut dyn FnMut(&mut KernelBuilder, &mut Puller, u16) -> Result<()>,
) -> Result<()> {
    let before = p.snapshot();
    for lanes in [lanes, 1] {
        let mut done = Ok(());
        let code: Vec<Stmt> = b.detached(|b| done = f(b, p, lanes));
        p.restore(&before);
        match done {
            Err(d) if lanes > 1 && is_not_vector(&d) => continue,
            other => {
                code.into_iter().for_each(|s| b.push(s));
                return other;
            }
        }
    }
    Ok(())
}

/// One vector of an operand.
fn part(b: &mut KernelBuilder, p: &mut Puller, v: ValueId, idx: &[Idx], lanes: u16) -> Result<Reg> {
    let own = p.aligned(v, idx);
    let r = p.at(b, v, &own, lanes)?;
    Ok(b.splat(r, lanes))
}

/// The same as it is in memory.
fn raw_part(
    b: &mut KernelBuilder,
    p: &mut Puller,
    v: ValueId,
    idx: &[Idx],
    (lanes, raw): (u16, Raw),
) -> Result<Reg> {
    p.raw = raw;
    let r = part(b, p, v, idx, lanes);
    p.raw = Raw::No;
    r
}

/// Words of two bf16 each, given as numbers or as bits.
fn words(b: &mut KernelBuilder, low: Reg, high: Reg) -> Reg {
    let lanes = b.ty(low).lanes;
    let [low, high] = [low, high].map(|r| {
        let bits = if b.ty(r).elem == Elem::F32 { b.un(UnOp::F32ToBf16, r) } else { r };
        b.cvt(CvtOp::ZExt, Elem::I32, bits)
    });
    let half = b.hoist(Elem::I32, lanes, Inst::Const(Scalar::Int(16)));
    let high = b.bin(BinOp::Shl, high, half);
    b.bin(BinOp::Or, low, high)
}

impl Attention<'_> {
    /// How an operand is loaded whose pairs run along its axis `back` from the end.
    fn raw(&self, p: &Puller, v: ValueId, back: usize) -> Raw {
        match p.ty(v).rank().checked_sub(back) {
            Some(axis) if self.pairs => raw::form(p.body, v, axis),
            _ => Raw::No,
        }
    }
    /// Stores a vector of an operand; of pairs the two at `at` that become words.
    fn put_part(
        &self,
        b: &mut KernelBuilder,
        p: &mut Puller,
        m: &Memory,
        (v, raw, at): (ValueId, Raw, [Vec<Idx>; 2]),
        (place, to): (Place, Idx),
    ) -> Result<()> {
        p.tail = place.tail;
        let mut value = raw_part(b, p, v, &at[0], (place.lanes, raw))?;
        if self.pairs && raw != Raw::Words {
            let high = raw_part(b, p, v, &at[1], (place.lanes, raw))?;
            value = words(b, value, high);
        }
        b.store(m.buf, to.addr(), value, place.tail);
        p.tail = None;
        p.forget();
        Ok(())
    }
    /// `[keys / nr][depth][nr]`.
    pub(super) fn pack_keys(
        &self,
        b: &mut KernelBuilder,
        p: &mut Puller,
        m: &Memory,
        batch: &[Idx],
    ) -> Result<()> {
        let nr = self.first.nr() as i64;
        with_lanes(b, p, self.lanes, &mut |b, p, lanes| {
            let hi = b.bound(&self.keys);
            let mut done = Ok(());
            b.for_(Bound::Const(0), hi, nr, LoopKind::Serial, |b, j0| {
                let panel = scaled(b, j0, self.depth_words());
                let panel = b.add(m.k, panel);
                let (end, size) = (dim(b, &self.keys), int(b, nr));
                let left = b.sub(end, j0);
                let count = b.bin(BinOp::MinS, left, size);
                done = self.pack_panel(b, p, m, (batch, j0, panel, count), lanes);
            });
            done
        })
    }
    /// One panel of keys. Vectors run along the keys; single elements follow a key, which is how keys mostly lie.
    fn pack_panel(
        &self,
        b: &mut KernelBuilder,
        p: &mut Puller,
        m: &Memory,
        (batch, j0, panel, count): (&[Idx], Reg, Reg, Reg),
        lanes: u16,
    ) -> Result<()> {
        let (nr, depth) = (self.first.nr() as i64, self.depth_words());
        let raw = self.raw(p, self.k, 2);
        let mut done = Ok(());
        let outer = if lanes > 1 { Bound::Const(depth) } else { Bound::Reg(count) };
        b.for_(Bound::Const(0), outer, 1, LoopKind::Serial, |b, o| {
            let (line, range, length) = match lanes {
                1 => (Line { lanes: 1, unroll: 1 }, Bound::Const(depth), Expr::from(depth)),
                _ => {
                    // The last panel may be short; known to be whole, it needs no masks.
                    let whole = self.keys.modulo(&nr.into()).is(0);
                    let hi = if whole { Bound::Const(nr) } else { Bound::Reg(count) };
                    (Line { lanes, unroll: 1 }, hi, if whole { nr.into() } else { self.keys.clone() })
                }
            };
            done = line.emit(b, (Bound::Const(0), range), &length, &mut |b, at| {
                let (k, j) = if lanes > 1 { (Idx::reg(o), at.idx()) } else { (at.idx(), Idx::reg(o)) };
                let to = Idx::reg(panel).plus(&k.times(nr)).plus(&j);
                let j = j.plus(&Idx::reg(j0));
                let k = if self.pairs { k.times(2) } else { k };
                let own = [k.clone(), k.plus(&Idx::at(1))].map(|k| [batch, &[k, j.clone()]].concat());
                self.put_part(b, p, m, (self.k, raw, own), (at, to))
            });
        });
        p.tail = None;
        done
    }
    /// `[width / nr][keys][nr]`.
    pub(super) fn pack_values(
        &self,
        b: &mut KernelBuilder,
        p: &mut Puller,
        m: &Memory,
        batch: &[Idx],
    ) -> Result<()> {
        let nr = self.second.nr() as i64;
        with_lanes(b, p, self.lanes, &mut |b, p, lanes| {
            let mut done = Ok(());
            let raw = self.raw(p, self.v, 2);
            let size = dim(b, &(self.key_words() * nr.into()));
            b.range(&self.key_words(), |b, j| {
                let row = scaled(b, j, nr);
                let row = b.add(m.v, row);
                let keys = self.keys_of(b, j);
                let panels = (self.width + nr - 1) / nr;
                b.for_(Bound::Const(0), Bound::Const(panels), 1, LoopKind::Serial, |b, n| {
                    let skip = b.mul(n, size);
                    let to = b.add(row, skip);
                    let c0 = scaled(b, n, nr);
                    let whole = self.width % nr == 0;
                    let hi = if whole {
                        Bound::Const(nr)
                    } else {
                        let (end, most) = (int(b, self.width), int(b, nr));
                        let left = b.sub(end, c0);
                        Bound::Reg(b.bin(BinOp::MinS, left, most))
                    };
                    let length = if whole { nr } else { self.width };
                    let line = Line { lanes, unroll: 1 };
                    done = line.emit(b, (Bound::Const(0), hi), &length.into(), &mut |b, at| {
                        let own = keys.clone().map(|j| [batch, &[j, at.idx().plus(&Idx::reg(c0))]].concat());
                        self.put_part(b, p, m, (self.v, raw, own), (at, at.idx().plus(&Idx::reg(to))))
                    });
                });
            });
            p.tail = None;
            done
        })
    }
    /// The keys of word `j`: where their number is odd the last one comes twice, the second time with weight 0.
    fn keys_of(&self, b: &mut KernelBuilder, j: Reg) -> [Idx; 2] {
        if !self.pairs {
            return [Idx::reg(j), Idx::reg(j)];
        }
        let first = Idx::reg(j).times(2);
        let next = first.plus(&Idx::at(1));
        if self.keys.modulo(&2.into()).is(0) {
            return [first, next];
        }
        let (next, last) = (next.materialise(b), dim(b, &(self.keys.clone() - 1.into())));
        [first, Idx::reg(b.bin(BinOp::MinS, next, last))]
    }
    /// `[mr][depth]`: the queries of a block.
    pub(super) fn pack_queries(
        &self,
        b: &mut KernelBuilder,
        p: &mut Puller,
        m: &Memory,
        batch: &[Idx],
        row: Reg,
    ) -> Result<()> {
        with_lanes(b, p, self.lanes, &mut |b, p, lanes| {
            let mut done = Ok(());
            let raw = match self.raw(p, self.q, 1) {
                Raw::Words => Raw::Bits,
                other => other,
            };
            b.range(&self.first.mr.into(), |b, i| {
                let r = self.row(b, row, i);
                // Pairs lie as rows of bf16 do.
                let start = Idx::reg(m.q).times(if self.pairs { 2 } else { 1 });
                let to = start.plus(&Idx::reg(i).times(self.depth));
                let line = Line { lanes, unroll: 1 };
                let ends = (Bound::Const(0), Bound::Const(self.depth));
                done = line.emit(b, ends, &self.depth.into(), &mut |b, at| {
                    p.tail = at.tail;
                    let idx = [batch, &[Idx::reg(r), at.idx()]].concat();
                    let mut v = raw_part(b, p, self.q, &idx, (lanes, raw))?;
                    if self.pairs && raw == Raw::No {
                        v = b.un(UnOp::F32ToBf16, v);
                    }
                    b.store(m.buf, at.idx().plus(&to).addr(), v, at.tail);
                    p.tail = None;
                    p.forget();
                    Ok(())
                });
            });
            p.tail = None;
            done
        })
    }
}

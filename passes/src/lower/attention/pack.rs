//! Operands of an attention in the layouts that the register tile reads. They are pulled, so that transposes of heads
//! and other movement in front of them cost nothing extra.

use super::{Attention, Memory};
use crate::lower::contract::gemm::scaled;
use crate::lower::index::{Idx, dim, int};
use crate::lower::line::Line;
use crate::lower::pull::{Puller, is_not_vector};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Bound, LoopKind, Reg, Stmt};
use sinter_ir::{Expr, Result};

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

impl Attention<'_> {
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
                let panel = scaled(b, j0, self.depth);
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
        let nr = self.first.nr() as i64;
        let mut done = Ok(());
        let outer = if lanes > 1 { Bound::Const(self.depth) } else { Bound::Reg(count) };
        b.for_(Bound::Const(0), outer, 1, LoopKind::Serial, |b, o| {
            let (line, range, length) = match lanes {
                1 => (Line { lanes: 1, unroll: 1 }, Bound::Const(self.depth), Expr::from(self.depth)),
                _ => {
                    // The last panel may be short; known to be whole, it needs no masks.
                    let whole = self.keys.modulo(&nr.into()).is(0);
                    let hi = if whole { Bound::Const(nr) } else { Bound::Reg(count) };
                    (Line { lanes, unroll: 1 }, hi, if whole { nr.into() } else { self.keys.clone() })
                }
            };
            done = line.emit(b, (Bound::Const(0), range), &length, &mut |b, at| {
                let (k, j) = if lanes > 1 { (Idx::reg(o), at.idx()) } else { (at.idx(), Idx::reg(o)) };
                let idx = [batch, &[k.clone(), j.plus(&Idx::reg(j0))]].concat();
                p.tail = at.tail;
                let own = p.aligned(self.k, &idx);
                let v = p.at(b, self.k, &own, lanes)?;
                let v = b.splat(v, lanes);
                let to = Idx::reg(panel).plus(&k.times(nr)).plus(&j);
                b.store(m.buf, to.addr(), v, at.tail);
                p.tail = None;
                p.forget();
                Ok(())
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
            let size = dim(b, &(self.keys.clone() * nr.into()));
            b.range(&self.keys, |b, j| {
                let row = scaled(b, j, nr);
                let row = b.add(m.v, row);
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
                        let idx = [batch, &[Idx::reg(j), at.idx().plus(&Idx::reg(c0))]].concat();
                        p.tail = at.tail;
                        let own = p.aligned(self.v, &idx);
                        let v = p.at(b, self.v, &own, lanes)?;
                        let v = b.splat(v, lanes);
                        b.store(m.buf, at.idx().plus(&Idx::reg(to)).addr(), v, at.tail);
                        p.tail = None;
                        p.forget();
                        Ok(())
                    });
                });
            });
            p.tail = None;
            done
        })
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
            b.range(&self.first.mr.into(), |b, i| {
                let r = self.row(b, row, i);
                let to = scaled(b, i, self.depth);
                let to = b.add(m.q, to);
                let line = Line { lanes, unroll: 1 };
                let ends = (Bound::Const(0), Bound::Const(self.depth));
                done = line.emit(b, ends, &self.depth.into(), &mut |b, at| {
                    let idx = [batch, &[Idx::reg(r), at.idx()]].concat();
                    p.tail = at.tail;
                    let own = p.aligned(self.q, &idx);
                    let v = p.at(b, self.q, &own, lanes)?;
                    let v = b.splat(v, lanes);
                    b.store(
                        m.buf,
                        Addr { terms: at.idx().plus(&Idx::reg(to)).terms, offset: at.offset },
                        v,
                        at.tail,
                    );
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

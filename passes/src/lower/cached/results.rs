//! The product with values.

use super::{Block, Cached, SPAN};
use crate::lower::access;
use crate::lower::contract::arith::{add_const, scaled};
use crate::lower::contract::micro::{Depth, Operand, Step, contract, sums};
use crate::lower::contract::num::Num;
use crate::lower::index::{Idx, dim, int, linear};
use crate::lower::pull::Puller;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Bound, Buf, CmpOp, Elem, LoopKind, Reg};
use sinter_ir::{DType, Result};

impl Cached<'_> {
    /// The sums of values, divided by the sums of exponentials.
    pub(super) fn results(&self, b: &mut KernelBuilder, p: &mut Puller, x: &Block) -> Result<()> {
        let tile = self.second;
        // Positions that are one term.
        let (buf, values, weights, per) = match x.packed {
            Some([_, values]) if self.pairs => (values, Num::bf16_pairs(), Num::bf16_pairs(), 2),
            _ => {
                let values = Num::plain(p.ty(self.v).dtype, Elem::F32);
                (p.params.value(b, p.body, self.v)?, values, Num::f32(), 1)
            }
        };
        let terms = |b: &mut KernelBuilder, positions: Reg| match per {
            1 => positions,
            _ => {
                let (next, one) = (add_const(b, positions, 1), int(b, 1));
                b.bin(BinOp::ShrU, next, one)
            }
        };
        let out = p.output(b, 0);
        let row = dim(b, &(self.slots[1].ceil_div(&per.into()) * self.width.into()));
        let head = b.mul(x.head, row);
        let mut done = Ok(());
        let panels = (self.width as usize).div_ceil(tile.nr()) as i64;
        b.for_(Bound::Const(0), Bound::Const(panels), 1, LoopKind::Serial, |b, panel| {
            let column = scaled(b, panel, tile.nr() as i64);
            let acc = sums(b, tile, Num::f32(), None);
            let start = b.add(head, column);
            b.for_(Bound::Reg(x.from), Bound::Reg(x.end), SPAN, LoopKind::Serial, |b, span| {
                let slot = self.slot(b, span);
                let slot = terms(b, slot);
                let skip = scaled(b, slot, self.width);
                let start = b.add(start, skip);
                let (left, most) = (b.sub(x.end, span), int(b, SPAN));
                let left = b.bin(BinOp::MinS, left, most);
                let depth = Bound::Reg(terms(b, left));
                let at = b.sub(span, x.from);
                let at = terms(b, at);
                let mut line = b.add(x.scores, at);
                let mut starts = vec![line];
                for _ in 1..tile.mr {
                    line = b.add(line, x.pitch);
                    starts.push(line);
                }
                let parts = (0..tile.mr).map(|i| (i, 0)).collect();
                let w = Operand { buf: x.buf, num: weights, starts, parts, step: Step::Const(1) };
                // A short last panel reads no further than its row.
                let tails = (self.width % tile.nr() as i64 != 0)
                    .then(|| (0..tile.nv).map(|v| self.left(b, column, tile.column(v))).collect());
                let ragged = tails.map(|t| (int(b, 0), t));
                let depth = Depth { all: depth, ragged, list: None };
                let step = Step::Const(self.width);
                let v = Operand { buf, num: values, starts: vec![start], parts: vec![(0, 0)], step };
                contract(b, tile, &depth, &w, &v, &acc);
            });
            for i in 0..tile.mr {
                let (token, own) = self.token(b, x.row, i as i64);
                let heads = scaled(b, x.head, self.group);
                let head = b.add(heads, own);
                let scale = b.load(Elem::F32, 1, x.buf, Addr::reg(x.sums).offset(i as i64), None);
                let scale = b.splat(scale, tile.lanes);
                for v in 0..tile.nv {
                    let value = b.mul(acc[i * tile.nv + v], scale);
                    let c = add_const(b, column, tile.column(v));
                    let column = if tile.lanes > 1 { Idx::lanes(c) } else { Idx::reg(c) };
                    let row = linear(b, &[Idx::reg(token), Idx::reg(head), Idx::default()], p.dims(self.y));
                    done = done.clone().and_then(|()| self.put(b, (out, &row?), &column, value));
                }
            }
        });
        done
    }
    /// Columns of the result that are left from `column + ahead` on, at most a vector.
    fn left(&self, b: &mut KernelBuilder, column: Reg, ahead: i64) -> Reg {
        let (end, zero, most) = (int(b, self.width - ahead), int(b, 0), int(b, self.lanes.into()));
        let left = b.sub(end, column);
        let left = b.bin(BinOp::MaxS, left, zero);
        b.bin(BinOp::MinS, left, most)
    }
    /// Stores a vector of a row of the result.
    fn put(&self, b: &mut KernelBuilder, (out, row): (Buf, &Idx), column: &Idx, v: Reg) -> Result<()> {
        let at = row.plus(column);
        let whole = self.width % self.second.nr() as i64 == 0;
        let column = (!whole).then(|| column.materialise(b));
        match column {
            None => access::store(b, DType::F32, out, &at, v, None),
            Some(c) if self.lanes > 1 => {
                let left = self.left(b, c, 0);
                access::store(b, DType::F32, out, &at, v, Some(left))
            }
            Some(c) => {
                let (left, zero, mut done) = (self.left(b, c, 0), int(b, 0), Ok(()));
                let some = b.cmp(CmpOp::Gt, left, zero);
                b.if_(some, |b| done = access::store(b, DType::F32, out, &at, v, None), |_| {});
                done
            }
        }
    }
}

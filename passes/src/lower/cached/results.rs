//! The product with values.

use super::{Block, Cached, SPAN};
use crate::lower::access;
use crate::lower::contract::arith::{add_const, scaled};
use crate::lower::contract::micro::{Depth, Operand, Step, contract, sums};
use crate::lower::contract::num::Num;
use crate::lower::index::{Idx, dim, int, linear};
use crate::lower::pull::Puller;
use sinter_ir::op::pages::{TILE, WORDS};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Bound, Buf, CmpOp, Elem, LoopKind, Reg};
use sinter_ir::{DType, Result};

/// Values that are floats.
struct Values {
    buf: Buf,
    num: Num,
    /// Of their factors.
    weights: Num,
    /// Positions that are one term.
    per: i64,
    /// Where those of the block's head begin, and the first column of a panel.
    head: Reg,
    column: Reg,
}

impl Values {
    /// Terms that some positions are.
    fn terms(&self, b: &mut KernelBuilder, positions: Reg) -> Reg {
        if self.per == 1 {
            return positions;
        }
        let (next, one) = (add_const(b, positions, 1), int(b, 1));
        b.bin(BinOp::ShrU, next, one)
    }
}

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
        let out = p.output(b, 0);
        let row = dim(b, &(self.slots[1].ceil_div(&per.into()) * self.width.into()));
        let head = b.mul(x.head, row);
        let codes = match &self.coded {
            None => None,
            Some(c) => Some((p.params.value(b, p.body, c.values)?, &p.dims(c.values)[1])),
        };
        let mut done = Ok(());
        let panels = match self.coded {
            None => (self.width as usize).div_ceil(tile.nr()) as i64,
            Some(_) => (self.width as usize).div_ceil(TILE) as i64 * self.strip_count(),
        };
        b.for_(Bound::Const(0), Bound::Const(panels), 1, LoopKind::Serial, |b, panel| {
            let (block, strip) = self.place_of(b, panel);
            let column = match self.coded {
                None => scaled(b, panel, tile.nr() as i64),
                Some(_) => {
                    let first = scaled(b, block, TILE as i64);
                    b.add(first, strip)
                }
            };
            let acc = sums(b, tile, Num::f32(), None);
            let values = Values { buf, num: values, weights, per, head, column };
            b.for_(Bound::Reg(x.from), Bound::Reg(x.end), SPAN, LoopKind::Serial, |b, span| {
                let at = b.sub(span, x.from);
                let at = values.terms(b, at);
                let mut line = b.add(x.scores, at);
                let mut lines = vec![line];
                for _ in 1..tile.mr {
                    line = b.add(line, x.pitch);
                    lines.push(line);
                }
                match codes {
                    None => self.float_results(b, x, &values, (span, lines), &acc),
                    Some(codes) => {
                        let coded = self.in_codes(b, x, span);
                        let here = (span, lines.as_slice());
                        b.if_(
                            coded,
                            |b| self.code_results(b, x, codes, here, (block, strip), &acc),
                            |b| self.float_results(b, x, &values, (span, lines.clone()), &acc),
                        );
                    }
                }
            });
            for i in 0..tile.mr {
                let (token, own) = self.token(b, x.rows, i as i64);
                let heads = scaled(b, x.head, self.group);
                let head = b.add(heads, own);
                let scale = b.load(Elem::F32, 1, x.buf, Addr::reg(x.sums).offset(i as i64), None);
                let scale = b.splat(scale, tile.lanes);
                for v in 0..tile.nv {
                    let value = b.mul(acc[i * tile.nv + v], scale);
                    let c = add_const(b, column, self.column(v));
                    let column = if tile.lanes > 1 { Idx::lanes(c) } else { Idx::reg(c) };
                    let row = linear(b, &[Idx::reg(token), Idx::reg(head), Idx::default()], p.dims(self.y));
                    done = done.clone().and_then(|()| self.put(b, (out, &row?), &column, value));
                }
            }
        });
        done
    }
    /// Adds the values of a span of floats.
    fn float_results(
        &self,
        b: &mut KernelBuilder,
        x: &Block,
        values: &Values,
        (span, starts): (Reg, Vec<Reg>),
        acc: &[Reg],
    ) {
        let tile = self.second;
        let slot = self.slot(b, span);
        let slot = values.terms(b, slot);
        let skip = scaled(b, slot, self.width);
        let row = b.add(values.head, skip);
        let (left, most) = (b.sub(x.end, span), int(b, SPAN));
        let left = b.bin(BinOp::MinS, left, most);
        let depth = Bound::Reg(values.terms(b, left));
        let parts = (0..tile.mr).map(|i| (i, 0)).collect();
        let w = Operand { buf: x.buf, num: values.weights, starts, parts, step: Step::Const(1) };
        // A short last panel reads no further than its row.
        let short = !self.whole_panels();
        let tails = (short && tile.lanes > 1)
            .then(|| (0..tile.nv).map(|v| self.left(b, values.column, self.column(v))).collect());
        let ragged = tails.map(|t| (int(b, 0), t));
        let depth = Depth { all: depth, ragged, list: None };
        let start = |b: &mut KernelBuilder, column| b.add(row, column);
        let (starts, parts) = match short && tile.lanes == 1 {
            false => (vec![start(b, values.column)], (0..tile.nv).map(|v| (0, self.column(v))).collect()),
            // Single elements behind the row are read from its end instead, and never stored.
            true => {
                let last = int(b, self.width - 1);
                let starts = (0..tile.nv).map(|v| {
                    let column = add_const(b, values.column, self.column(v));
                    let column = b.bin(BinOp::MinS, column, last);
                    start(b, column)
                });
                (starts.collect(), (0..tile.nv).map(|v| (v, 0)).collect())
            }
        };
        let step = Step::Const(self.width);
        let v = Operand { buf: values.buf, num: values.num, starts, parts, step };
        contract(b, tile, &depth, &w, &v, acc);
    }
    /// Columns in front of vector `v` of a panel.
    fn column(&self, v: usize) -> i64 {
        if self.coded.is_some() { (v * WORDS) as i64 } else { self.second.column(v) }
    }
    /// Whether the last panel has all its columns.
    fn whole_panels(&self) -> bool {
        let panel = if self.coded.is_some() { TILE } else { self.second.nr() };
        self.width % panel as i64 == 0
    }
    /// Strips of a tile of codes.
    fn strip_count(&self) -> i64 {
        WORDS as i64 / i64::from(self.lanes)
    }
    /// Tile of codes of a panel, and the first column of its strip.
    fn place_of(&self, b: &mut KernelBuilder, panel: Reg) -> (Reg, Reg) {
        let count = self.strip_count();
        if count == 1 {
            return (panel, int(b, 0));
        }
        let n = int(b, count);
        let block = b.bin(BinOp::DivU, panel, n);
        let skip = b.mul(block, n);
        let strip = b.sub(panel, skip);
        (block, scaled(b, strip, self.lanes.into()))
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
        let column = (!self.whole_panels()).then(|| column.materialise(b));
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

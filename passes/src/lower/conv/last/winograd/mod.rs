//! Winograd's method for windows of stride 1, along one axis or both: tiles of 2 to 4 results from fewer products.
//!
//! A block of tiles is transformed into as many matrices as a tile has products, each `[tile][channel]`; each is
//! multiplied with a matrix of its own that stands for the weights; and what the products give is transformed back,
//! one panel of columns after the other, so that the weights pass once for all tiles of a block. Everything between
//! stays in scratch that fits the second-level cache.
//!
//! With data and weights in bf16 both are transformed in f32 and rounded once more: the error of the result is some 1.7
//! times that of plain sums of products of bf16.

mod input;
mod output;
mod plan;
mod points;

use super::super::Layer;
use crate::lower::Lowered;
use crate::lower::contract::finish::Strip;
use crate::lower::contract::gemm::{add_const, scaled};
use crate::lower::contract::kernel::{Kernel, Source, build};
use crate::lower::contract::micro::{self, Depth, Operand, Step, Tile, contract};
use crate::lower::contract::nest::{for_tiles, reg};
use crate::lower::contract::slots;
use crate::lower::window::Axis;
use plan::Plan;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Addr, BinOp, Bound, Buf, CmpOp, LoopKind, Reg};
use sinter_ir::{Result, Tensor};

/// Lowers a convolution, if it is one that this makes faster.
pub fn lower(layer: &Layer, w: &Tensor, axes: &[Axis]) -> Result<Option<Lowered>> {
    let Some(plan) = Plan::new(layer, w, axes) else { return Ok(None) };
    let packed = plan.pack(w)?;
    let slots = plan.slots();
    let name = layer.name(&format!("winograd{}x{}", plan.points[0].results(), plan.points[1].results()));
    build(layer.cx, layer.body, &name, |k| {
        let finish = k.out.finish();
        let weights = k.source(Source::Packed(packed.clone(), plan.num.dtype))?;
        let x = k.source(Source::Value(layer.x))?;
        let mut memory = |elements: i64| {
            let buf = k.scratch(&(elements * slots).into(), layer.num.acc);
            (buf, elements)
        };
        let memory = [
            memory(plan.area() * plan.plane(plan.pitch)),
            memory(plan.area() * plan.plane(plan.column_pitch())),
            memory(2 * plan.area() * i64::from(plan.tile.lanes)),
        ];
        let Kernel { b, out, .. } = k;
        let start = |b: &mut KernelBuilder, slot| {
            memory.map(|(buf, size)| Place { buf, start: scaled(b, slot, size) })
        };
        let mut done = Ok(());
        slots::for_each_run(b, slots, &plan.work(), start, |b, &[data, sums, rest], at, lo, hi| {
            let (lo, hi) = (reg(b, &lo), reg(b, &hi));
            let first = scaled(b, at[0], plan.block);
            let all = b.dim(&plan.tiles());
            let end = add_const(b, first, plan.block);
            let end = b.bin(BinOp::MinS, end, all);
            let block =
                Block { plan: &plan, x, weights, data, sums, rest, tiles: (first, end), panels: (lo, hi) };
            block.input(b);
            let (lo, hi) = block.panels;
            b.for_(Bound::Reg(lo), Bound::Reg(hi), 1, LoopKind::Serial, |b, q| {
                block.products(b, q);
                done = block.output(b, q, finish, out);
            });
        });
        done
    })
    .map(Some)
}

/// A piece of scratch memory of a slot.
#[derive(Clone, Copy)]
struct Place {
    buf: Buf,
    /// Offset of its first element.
    start: Reg,
}

/// A block of tiles in a run of panels.
struct Block<'a> {
    plan: &'a Plan<'a>,
    x: Buf,
    weights: Buf,
    /// Transformed data, `[product][tile][channel]`.
    data: Place,
    /// Products of one panel, `[product][tile][column]`.
    sums: Place,
    /// Two squares of vectors: a tile between the passes of a transform.
    rest: Place,
    /// First tile, and one past the last.
    tiles: (Reg, Reg),
    panels: (Reg, Reg),
}

impl Block<'_> {
    /// Multiplies all matrices with panel `q` of theirs.
    fn products(&self, b: &mut KernelBuilder, q: Reg) {
        let plan = self.plan;
        let nr = plan.tile.nr() as i64;
        let size = plan.depth() * nr;
        let first = scaled(b, q, plan.area() * size);
        b.for_(Bound::Const(0), Bound::Const(plan.area()), 1, LoopKind::Serial, |b, p| {
            let ahead = scaled(b, p, size);
            let weights = b.add(first, ahead);
            let (left, whole) = (plan.columns % nr, plan.columns / nr);
            let last = |b: &mut KernelBuilder| {
                self.panel(b, p, weights, Strip::last(left, plan.tile).vectors(plan.tile))
            };
            if left == 0 {
                return self.panel(b, p, weights, plan.tile.nv);
            }
            if whole == 0 {
                return last(b);
            }
            let end = b.i64(whole);
            let inside = b.cmp(CmpOp::Lt, q, end);
            b.if_(inside, |b| self.panel(b, p, weights, plan.tile.nv), last);
        });
    }
    /// All tiles by one panel of matrix `p`.
    fn panel(&self, b: &mut KernelBuilder, p: Reg, weights: Reg, nv: usize) {
        let plan = self.plan;
        let rows = plan.rows();
        let count = match rows.as_const() {
            Some(n) => b.i64(n),
            None => b.sub(self.tiles.1, self.tiles.0),
        };
        let data = scaled(b, p, plan.plane(plan.pitch));
        let data = b.add(self.data.start, data);
        let pitch = plan.column_pitch();
        let sums = scaled(b, p, plan.plane(pitch));
        let sums = b.add(self.sums.start, sums);
        let zero = b.i64(0);
        for_tiles(b, &rows, (plan.tile.mr, plan.tile.uniform), (zero, count), &mut |b, row, mr| {
            let tile = Tile { mr, nv, ..plan.tile };
            let num = plan.num;
            let acc = micro::sums(b, tile, num, None);
            let ahead = scaled(b, row, plan.pitch);
            let x = Operand {
                buf: self.data.buf,
                num,
                starts: vec![b.add(data, ahead)],
                parts: (0..mr as i64).map(|i| (0, i * plan.pitch)).collect(),
                step: Step::Const(1),
            };
            let y = Operand {
                buf: self.weights,
                num,
                starts: vec![weights],
                parts: vec![(0, 0)],
                step: Step::Const(plan.tile.nr() as i64),
            };
            let depth = Depth { all: Bound::Const(plan.depth()), ragged: None, list: None };
            contract(b, tile, &depth, &x, &y, &acc);
            let ahead = scaled(b, row, pitch);
            let to = b.add(sums, ahead);
            for (i, row) in (0..).zip(acc.chunks(nv)) {
                for (v, &sum) in row.iter().enumerate() {
                    b.store(self.sums.buf, Addr::reg(to).offset(i * pitch + tile.column(v)), sum, None);
                }
            }
        });
    }
}

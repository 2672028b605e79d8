//! RNN, GRU and LSTM.
//!
//! The input part of all gates of all steps is one matrix product. A second kernel then walks the steps; where there is
//! only one, it is the only kernel, and adds up both parts in registers. Rows of the batch and directions are independent and run in parallel. Everything per gate is padded to whole register
//! tiles, so that neither kernel has tails. Weights computed at run time are brought into the same layout first.

mod activation;
mod cell;
mod input;
mod prepare;
mod steps;

use super::body::{Body, Params};
use super::contract::micro::Tile;
use super::contract::num::Num;
use super::{Arg, KernelCall, LowerCx, Lowered};
use bytes::Bytes;
use sinter_ir::op::Recurrent;
use sinter_ir::op::recurrent::CellKind;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, Buf, Elem};
use sinter_ir::{DType, Diag, Expr, Result, TensorType, ValueId};

/// Sizes and layouts shared by the kernels.
pub(super) struct Plan<'a> {
    pub cx: &'a LowerCx<'a>,
    pub body: &'a Body,
    pub op: &'a Recurrent,
    pub inputs: &'a [ValueId],
    pub num: Num,
    /// Steps.
    pub t: Expr,
    /// Rows.
    pub b: Expr,
    /// Width of the input.
    pub i: Expr,
    pub directions: usize,
    pub gates: usize,
    /// Units.
    pub h: usize,
    /// Units padded to whole tiles.
    pub hp: usize,
    /// Tile of the input product.
    pub wide: Tile,
    /// Tile of one row of a step.
    pub thin: Tile,
    /// One step, which takes the input part along: no kernel before it.
    pub single: bool,
}

/// Operands in the layout of the kernels, and temporaries.
pub(super) struct Data {
    /// Input weights, state weights, gate biases, and the state bias that GRUs apply before the reset.
    pub packed: [Arg; 4],
    pub lowered: Lowered,
}

impl Data {
    /// A temporary of some elements.
    pub fn scratch(&mut self, count: &Expr, elem: Elem) -> Arg {
        self.lowered.scratch.push(count.clone() * i64::from(elem.bytes()).into());
        Arg::Scratch(self.lowered.scratch.len() - 1)
    }
    pub fn pack(&mut self, bytes: Bytes) -> Arg {
        self.lowered.packed.push(bytes);
        Arg::Packed(self.lowered.packed.len() - 1)
    }
    pub fn push(&mut self, b: KernelBuilder, params: Params) {
        let (args, _) = params.into_parts();
        self.lowered.calls.push(KernelCall { kernel: b.finish(), args });
    }
}

/// Lowers a recurrent node.
pub fn lower(cx: &LowerCx, body: &Body, op: &Recurrent) -> Result<Lowered> {
    let root = body.root_node()?;
    let plan = Plan::new(cx, body, op, &root.inputs)?;
    let mut data = prepare::run(&plan)?;
    // The biases are where gates start when a step takes its own input.
    let gates = if plan.single { data.packed[2] } else { input::emit(&plan, &mut data)? };
    steps::emit(&plan, &mut data, gates)?;
    Ok(data.lowered)
}

impl<'a> Plan<'a> {
    fn new(cx: &'a LowerCx<'a>, body: &'a Body, op: &'a Recurrent, inputs: &'a [ValueId]) -> Result<Self> {
        let (x, r) = (body.ty(inputs[0]), body.ty(inputs[2]));
        let num = Num::of(x.dtype)?;
        let known = |e: &Expr, what: &str| {
            let v = e.as_const().and_then(|v| usize::try_from(v).ok());
            v.ok_or_else(|| Diag::unsupported(format!("a recurrent layer whose {what} is not fixed")))
        };
        let (directions, h) = (known(&r.dims[0], "number of directions")?, known(&r.dims[2], "hidden size")?);
        let (t, b) = (x.dims[0].clone(), x.dims[1].clone());
        let lanes = cx.target.lanes(num.acc.bits());
        // A step is bound by the latency of its sums: as few tiles as possible, then as little padding. Even, so
        // that tiles of the input product fit as well.
        let pad = |nv: usize| h.next_multiple_of(nv * usize::from(lanes));
        let nv = [8, 6, 4, 2].into_iter().min_by_key(|&nv| (pad(nv) / nv, pad(nv))).unwrap_or(2);
        let thin = Tile::new(&cx.target.cost, 1, nv, lanes);
        let late = op.kind == CellKind::Gru && op.linear_before_reset;
        let single = t.is(1) && !late;
        let wide = match (t.clone() * b.clone()).as_const() {
            _ if single => thin,
            Some(0..=1) => thin,
            Some(m @ 2..=3) => Tile::new(&cx.target.cost, m as usize, 2, lanes),
            Some(4..=7) => Tile::new(&cx.target.cost, 4, 2, lanes),
            _ => Tile::fixed(if cx.target.vector_registers >= 32 { 8 } else { 4 }, 2, lanes),
        };
        let i = x.dims[2].clone();
        Ok(Self {
            cx,
            body,
            op,
            inputs,
            num,
            t,
            b,
            i,
            directions,
            gates: op.gates(),
            h,
            hp: pad(nv),
            wide,
            thin,
            single,
        })
    }
    /// Columns of all gates.
    pub fn columns(&self) -> usize {
        self.gates * self.hp
    }
    pub fn ty(&self, i: usize) -> &TensorType {
        self.body.ty(self.inputs[i])
    }
    /// Whether the new-gate of a GRU sees its state product through the reset gate.
    pub fn resets_late(&self) -> bool {
        self.op.linear_before_reset && self.gates == 3
    }
    pub fn name(&self, part: &str) -> String {
        let dim = |e: &Expr| e.as_const().map_or("n".to_owned(), |c| c.to_string());
        let kind = format!("{:?}", self.op.kind).to_lowercase();
        format!(
            "{kind}_{part}_{}_{}x{}x{}x{}",
            self.num.dtype,
            dim(&self.t),
            dim(&self.b),
            dim(&self.i),
            self.h
        )
    }
}

/// Declares memory in the form of the arithmetic.
pub(super) fn ready(
    b: &mut KernelBuilder,
    p: &mut Params,
    arg: Arg,
    access: Access,
    num: Num,
    count: &Expr,
) -> Buf {
    let dtype: DType = num.ready().dtype;
    p.buf(b, arg, access, &TensorType::new(dtype, vec![count.clone()]))
}

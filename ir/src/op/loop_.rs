//! `Loop`: counted and conditional loop (ONNX Loop; Scan imports to it).

use super::OpSpec;
use crate::eval::EvalCx;
use crate::{DType, Diag, Expr, Graph, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// A symbol that describes the shape of a carried value and may change per iteration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CarriedSym {
    /// Symbol, valid in the body and, with its last value, after the loop.
    pub sym: Sym,
    /// Value before the first iteration.
    pub init: Expr,
    /// Value after an iteration, in terms of the symbols of the body.
    pub next: Expr,
}

/// counted and conditional loop (ONNX Loop; Scan imports to it).
///
/// Inputs: `[trip: i64 scalar, cond: bool scalar, carried.., captures..]`. Body inputs: `[iteration: i64 scalar, carried.., captures..]`; body outputs: `[cond: bool scalar, carried.., scanned..]`.
/// Results: `[carried.., scanned..]`; each scanned result has the leading dim `count`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loop {
    /// Body region.
    #[serde(skip)]
    pub body: Graph,
    /// Number of carried values.
    pub carried: usize,
    /// Number of scanned outputs.
    pub scanned: usize,
    /// Defined as the number of iterations run; its range bounds the loop.
    pub count: Sym,
    /// Symbols in the dims of carried values.
    pub shape_syms: Vec<CarriedSym>,
}

impl OpSpec for Loop {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let results = self.carried.checked_add(self.scanned).and_then(|n| n.checked_add(1));
        if x.len() < 2
            || self.carried > x.len() - 2
            || self.body.inputs.len() != x.len() - 1
            || Some(self.body.outputs.len()) != results
        {
            return Err(Diag::bug("Loop: operand counts do not fit the body"));
        }
        if x[0].dtype != DType::I64 || x[1].dtype != DType::Bool || !x[0].numel().is(1) || !x[1].numel().is(1)
        {
            return Err(Diag::input(format!(
                "Loop: trip count and condition must be one i64 and one bool, got {} and {}",
                x[0], x[1]
            )));
        }
        let go = self.body.outputs.first().map(|&v| self.body.ty(v));
        if let Some(go) = go.filter(|t| t.dtype != DType::Bool || !t.numel().is(1)) {
            return Err(Diag::input(format!(
                "Loop: the condition that the body gives must be one bool, got {go}"
            )));
        }
        let init =
            |e: &Expr| e.subst(&|y| self.shape_syms.iter().find(|c| c.sym == y).map(|c| c.init.clone()));
        for (i, &v) in self.body.inputs[1..].iter().enumerate() {
            let (want, have) = (self.body.ty(v), x[2 + i]);
            if want.dtype != have.dtype || want.rank() != have.rank() {
                return Err(Diag::input(format!("Loop: value {i} is {have} outside and {want} inside")));
            }
            for (a, b) in want.dims.iter().zip(&have.dims) {
                s.require_eq(&init(a), b, "Loop carried shape")?;
            }
        }
        let mut types = Vec::new();
        for i in 0..self.carried {
            let (inside, next) =
                (self.body.ty(self.body.inputs[1 + i]), self.body.ty(self.body.outputs[1 + i]));
            if inside.dtype != next.dtype || inside.rank() != next.rank() {
                return Err(Diag::input(format!("Loop: carried value {i} changes from {inside} to {next}")));
            }
            types.push(inside.clone());
        }
        for &v in &self.body.outputs[1 + self.carried..] {
            let t = self.body.ty(v);
            types.push(TensorType::new(t.dtype, [&[self.count.into()], t.dims.as_slice()].concat()));
        }
        Ok(types)
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let trip = x[0].scalar_i64()?;
        let mut go = x[1].scalar_i64()? != 0;
        let mut carried = x[2..2 + self.carried].to_vec();
        let captures = &x[2 + self.carried..];
        let mut scanned: Vec<Vec<Tensor>> = vec![vec![]; self.scanned];
        for c in &self.shape_syms {
            let v = cx.expr(&c.init)?;
            cx.define(c.sym, v)?;
        }
        let mut n = 0;
        while go && n < trip {
            if n >= MAX_ITERATIONS {
                return Err(Diag::limit(format!("Loop runs more than {MAX_ITERATIONS} iterations")));
            }
            cx.define(self.count, n)?;
            let ins = [&[Tensor::i64(n)], carried.as_slice(), captures].concat();
            let mut outs = crate::eval::graph(&self.body, cx, &ins)?.into_iter();
            go = outs.next().map_or(Ok(0), |c| c.scalar_i64())? != 0;
            carried = outs.by_ref().take(self.carried).collect();
            outs.zip(&mut scanned).for_each(|(t, s)| s.push(t));
            let next =
                self.shape_syms.iter().map(|c| Ok((c.sym, cx.expr(&c.next)?))).collect::<Result<Vec<_>>>()?;
            next.into_iter().try_for_each(|(s, v)| cx.define(s, v))?;
            n += 1;
        }
        cx.define(self.count, n)?;
        for (i, rows) in scanned.iter().enumerate() {
            let t = self.body.ty(self.body.outputs[1 + self.carried + i]);
            let row = match rows.first() {
                Some(r) => r.shape().to_vec(),
                // No iteration ran: dims that only the body knows are empty.
                None => t.dims.iter().map(|d| cx.dim(d).unwrap_or(0)).collect(),
            };
            if rows.iter().any(|r| r.shape() != row) {
                return Err(Diag::input("Loop: a scanned output changes its shape"));
            }
            let per: usize = row.iter().product();
            let shape = [&[rows.len()], row.as_slice()].concat();
            let picks: Vec<(usize, usize)> =
                (0..rows.len()).flat_map(|r| (0..per).map(move |i| (r, i))).collect();
            carried.push(if picks.is_empty() {
                Tensor::zeros(t.dtype, shape)?
            } else {
                Tensor::pick_many(&rows.iter().collect::<Vec<_>>(), shape, &picks)?
            });
        }
        Ok(carried)
    }
    fn defines(&self) -> Vec<Sym> {
        std::iter::once(self.count).chain(self.shape_syms.iter().map(|c| c.sym)).collect()
    }
}

/// Iterations after which the evaluator gives up.
const MAX_ITERATIONS: i64 = 1 << 24;

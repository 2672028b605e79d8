//! Helpers of op builders that add core ops.

use super::contents::{self, Contents, Fraction};
use super::node::NodeCx;
use sinter_ir::eval::EvalCx;
use sinter_ir::expr::product;
use sinter_ir::op::binary::BinaryKind;
use sinter_ir::op::compare::CompareKind;
use sinter_ir::op::reduce::ReduceKind;
use sinter_ir::op::unary::UnaryKind;
use sinter_ir::op::{self, Constant};
use sinter_ir::tensor::extent;
use sinter_ir::{DType, Diag, Expr, Op, Result, Tensor, TensorType, ValueId};

/// Largest result that is evaluated at import when all operands are constants.
const MAX_EAGER: usize = 1 << 14;

/// Ops that shape arithmetic is made of: their work is bounded by the sizes of operands and results. Windows, loops
/// and the like can work long on little data and are left to the passes.
fn eager(op: &Op) -> bool {
    let short = !matches!(
        op,
        Op::Constant(_)
            | Op::Random(_)
            | Op::If(_)
            | Op::Loop(_)
            | Op::Conv(_)
            | Op::ConvTranspose(_)
            | Op::Pool(_)
            | Op::RoiAlign(_)
            | Op::Resize(_)
            | Op::GridSample(_)
            | Op::Recurrent(_)
    );
    short && op.defines().is_empty() && !has_symbols(op)
}

/// Whether attributes hang on symbols.
fn has_symbols(op: &Op) -> bool {
    let mut found = false;
    op.clone().map_exprs(&mut |e| found |= e.as_const().is_none());
    found
}

impl NodeCx<'_, '_> {
    /// Adds a core op; small results of constants are evaluated at once, contents are tracked.
    pub fn add(&mut self, op: Op, inputs: &[ValueId]) -> Result<Vec<ValueId>> {
        let mut op = op;
        self.im.symbols.check_attributes(&mut op)?;
        let graph = &self.im.scope.levels[self.im.scope.depth()].graph;
        let consts: Option<Vec<Tensor>> = inputs.iter().map(|&v| graph.as_const(v).cloned()).collect();
        let small = |shape: &[usize]| extent(shape).is_some_and(|n| n <= MAX_EAGER);
        // Quantised weights and biases stay recognisable for the passes; pads and sizes, which some tools quantise as
        // well, are no longer than this.
        let weights = |a: &[Tensor]| matches!(op, Op::Dequantize(_)) && a.iter().any(|t| t.len() > 8);
        let eager = |a: &Vec<Tensor>| eager(&op) && a.iter().all(|t| small(t.shape())) && !weights(a);
        if let Some(args) = consts.filter(eager) {
            let types: Vec<TensorType> = args.iter().map(TensorType::of).collect();
            let outs = op.infer(&mut self.im.symbols, &types.iter().collect::<Vec<_>>())?;
            if outs.iter().all(|t| t.const_dims().is_some_and(|d| small(&d))) {
                let out = op.eval(&mut EvalCx::default(), &args)?;
                return out
                    .into_iter()
                    .map(|tensor| self.add_plain(Constant { tensor }.into(), &[]).map(|v| v[0]))
                    .collect();
            }
        }
        let contents = self.infer_contents(&op, inputs);
        if let Some((contents, ty)) = contents {
            return Ok(vec![self.known_value(op, inputs, contents, &ty)?]);
        }
        self.add_plain(op, inputs)
    }
    fn infer_contents(&mut self, op: &Op, inputs: &[ValueId]) -> Option<(Contents, TensorType)> {
        let types: Vec<TensorType> = inputs.iter().map(|&v| self.ty(v).clone()).collect();
        let refs: Vec<&TensorType> = types.iter().collect();
        let operands: Vec<Option<Contents>> = inputs.iter().map(|&v| self.contents_of(v)).collect();
        if !matches!(op, Op::FromDims(_)) && operands.iter().any(Option::is_none) {
            return None;
        }
        let [out]: [TensorType; 1] = op.infer(&mut self.im.symbols.clone(), &refs).ok()?.try_into().ok()?;
        let shapes: Vec<Option<Vec<usize>>> = types.iter().map(TensorType::const_dims).collect();
        let float = types.first().is_some_and(|t| t.dtype.is_float());
        let c = contents::infer(&self.im.symbols, op, &operands, &shapes, &out.const_dims()?, float)?;
        Some((c, out))
    }
    /// A value with known contents: a constant, symbolic integers, or the op itself when it has fractions.
    fn known_value(&mut self, op: Op, inputs: &[ValueId], c: Contents, ty: &TensorType) -> Result<ValueId> {
        let whole: Option<Vec<Expr>> = c.iter().map(Fraction::as_whole).collect();
        let shape = ty.const_dims().unwrap_or_default();
        let v = match whole {
            Some(e) if e.iter().all(|e| e.as_const().is_some()) && !ty.dtype.is_float() => {
                let ints: Vec<i64> = e.iter().filter_map(Expr::as_const).collect();
                self.add_plain(Constant { tensor: Tensor::from_i64(ty.dtype, shape, &ints)? }.into(), &[])?[0]
            }
            Some(values) if ty.dtype == DType::I64 && !matches!(op, Op::FromDims(_)) && shape.len() <= 1 => {
                self.add_plain(op::FromDims { values, scalar: shape.is_empty() }.into(), &[])?[0]
            }
            _ => self.add_plain(op, inputs)?[0],
        };
        self.im.scope.top().contents.insert(v, c);
        Ok(v)
    }
    fn add_plain(&mut self, op: Op, inputs: &[ValueId]) -> Result<Vec<ValueId>> {
        let level = self.im.scope.levels.len() - 1;
        self.im.scope.levels[level].graph.add(&mut self.im.symbols, op, inputs, &self.origin)
    }
    /// Adds a core op with one result.
    pub fn emit(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Result<ValueId> {
        let out = self.add(op.into(), inputs)?;
        out.first().copied().ok_or_else(|| Diag::bug("emit of an op without results"))
    }
    /// A constant.
    pub fn constant(&mut self, tensor: Tensor) -> Result<ValueId> {
        Ok(self.add_plain(Constant { tensor }.into(), &[])?[0])
    }
    /// A scalar constant, rounded to the type.
    pub fn scalar(&mut self, dtype: DType, v: f64) -> Result<ValueId> {
        self.constant(Tensor::from_f64(dtype, vec![], &[v])?)
    }
    /// A scalar constant of the type of another value.
    pub fn scalar_like(&mut self, v: ValueId, value: f64) -> Result<ValueId> {
        self.scalar(self.dtype(v), value)
    }
    /// Symbolic integers as an i64 tensor of rank 1.
    pub fn dims_tensor(&mut self, values: Vec<Expr>) -> Result<ValueId> {
        self.emit(op::FromDims { values, scalar: false }, &[])
    }
    /// A symbolic integer as a scalar of some type.
    pub fn dim_scalar(&mut self, value: Expr, dtype: DType) -> Result<ValueId> {
        let v = self.emit(op::FromDims { values: vec![value], scalar: true }, &[])?;
        self.cast(v, dtype)
    }
    /// Element-wise function of one operand.
    pub fn unary(&mut self, kind: UnaryKind, x: ValueId) -> Result<ValueId> {
        self.emit(op::Unary { kind }, &[x])
    }
    /// Element-wise function of two operands.
    pub fn binary(&mut self, kind: BinaryKind, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.emit(op::Binary { kind }, &[a, b])
    }
    /// Sum.
    pub fn sum(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(BinaryKind::Add, a, b)
    }
    /// Difference.
    pub fn sub(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(BinaryKind::Sub, a, b)
    }
    /// Product.
    pub fn mul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(BinaryKind::Mul, a, b)
    }
    /// Quotient.
    pub fn div(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(BinaryKind::Div, a, b)
    }
    /// Sum with a number.
    pub fn add_num(&mut self, a: ValueId, v: f64) -> Result<ValueId> {
        let c = self.scalar_like(a, v)?;
        self.sum(a, c)
    }
    /// Product with a number.
    pub fn mul_num(&mut self, a: ValueId, v: f64) -> Result<ValueId> {
        let c = self.scalar_like(a, v)?;
        self.mul(a, c)
    }
    /// Comparison.
    pub fn compare(&mut self, kind: CompareKind, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.emit(op::Compare { kind }, &[a, b])
    }
    /// Choice.
    pub fn select(&mut self, cond: ValueId, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.emit(op::Select {}, &[cond, a, b])
    }
    /// Conversion (the value itself when it has the type).
    pub fn cast(&mut self, x: ValueId, to: DType) -> Result<ValueId> {
        if self.dtype(x) == to {
            return Ok(x);
        }
        self.emit(op::Cast { to, saturate: true }, &[x])
    }
    /// New dims, same elements (the value itself when it has them).
    pub fn reshape(&mut self, x: ValueId, dims: Vec<Expr>) -> Result<ValueId> {
        if self.ty(x).dims == dims {
            return Ok(x);
        }
        self.emit(op::Reshape { dims }, &[x])
    }
    /// Axis permutation (the value itself for the identity).
    pub fn transpose(&mut self, x: ValueId, perm: Vec<usize>) -> Result<ValueId> {
        if perm.iter().enumerate().all(|(i, &p)| i == p) && perm.len() == self.rank(x) {
            return Ok(x);
        }
        self.emit(op::Transpose { perm }, &[x])
    }
    /// Numpy broadcast to dims (the value itself when it has them).
    pub fn broadcast(&mut self, x: ValueId, dims: Vec<Expr>) -> Result<ValueId> {
        if self.ty(x).dims == dims {
            return Ok(x);
        }
        self.emit(op::Broadcast { dims }, &[x])
    }
    /// Reduction.
    pub fn reduce(
        &mut self,
        kind: ReduceKind,
        x: ValueId,
        axes: &[usize],
        keepdims: bool,
    ) -> Result<ValueId> {
        self.emit(op::Reduce { kind, axes: axes.to_vec(), keepdims }, &[x])
    }
    /// Elements `start..start + size` of one axis.
    pub fn slice_axis(&mut self, x: ValueId, axis: usize, start: Expr, size: Expr) -> Result<ValueId> {
        let dims = self.dims_at_least(x, axis + 1)?;
        let mut starts = vec![Expr::from(0); dims.len()];
        let mut sizes = dims.clone();
        starts[axis] = start;
        sizes[axis] = size;
        self.emit(op::Slice { starts, sizes, steps: vec![1.into(); dims.len()] }, &[x])
    }
    /// Inserts dims of 1.
    pub fn unsqueeze(&mut self, x: ValueId, axes: &[usize]) -> Result<ValueId> {
        let own = self.dims(x);
        let rank = own.len() + axes.len();
        let mut rest = own.into_iter();
        let dims =
            (0..rank).map(|i| if axes.contains(&i) { 1.into() } else { rest.next().unwrap_or(1.into()) });
        self.reshape(x, dims.collect())
    }
    /// Removes dims of 1.
    pub fn squeeze(&mut self, x: ValueId, axes: &[usize]) -> Result<ValueId> {
        let dims = self.dims(x);
        let kept = dims.iter().enumerate().filter(|(i, _)| !axes.contains(i)).map(|(_, d)| d.clone());
        self.reshape(x, kept.collect())
    }
    /// Concatenation.
    pub fn concat(&mut self, parts: &[ValueId], axis: usize) -> Result<ValueId> {
        if let [one] = parts {
            return Ok(*one);
        }
        self.emit(op::Concat { axis }, parts)
    }
    /// A value filled with a number.
    pub fn full(&mut self, dtype: DType, dims: Vec<Expr>, v: f64) -> Result<ValueId> {
        let c = self.scalar(dtype, v)?;
        self.broadcast(c, dims)
    }
    /// 1-D operand laid out along one axis of a rank, for broadcasting.
    pub fn along(&mut self, x: ValueId, axis: usize, rank: usize) -> Result<ValueId> {
        let mut dims = vec![Expr::from(1); rank];
        let own =
            dims.get_mut(axis).ok_or_else(|| Diag::input(format!("axis {axis} is outside rank {rank}")))?;
        *own = self.ty(x).numel();
        self.reshape(x, dims)
    }
    /// Merges dims `axis..` into two: `[outer, inner]`.
    pub fn flatten(&mut self, x: ValueId, axis: usize) -> Result<ValueId> {
        let d = self.dims_at_least(x, axis)?;
        self.reshape(x, vec![product(&d[..axis]), product(&d[axis..])])
    }
}

//! What op builders see: attributes, operands, symbolic contents, and helpers that emit core ops.

use super::contents::{self, Contents, Fraction};
use super::importer::Importer;
use super::proto::{AttributeProto, GraphProto, NodeProto};
use super::scope::Item;
use sinter_ir::eval::EvalCx;
use sinter_ir::expr::product;
use sinter_ir::op::binary::BinaryKind;
use sinter_ir::op::compare::CompareKind;
use sinter_ir::op::reduce::ReduceKind;
use sinter_ir::op::unary::UnaryKind;
use sinter_ir::op::{self, Constant};
use sinter_ir::{DType, Diag, Expr, Op, Origin, Result, SymKind, Symbols, Tensor, TensorType, ValueId};

/// Builder of one op: results in order.
pub type Build = fn(&mut NodeCx) -> Result<Vec<Item>>;

/// Largest result that is evaluated at import when all operands are constants.
const MAX_EAGER: usize = 1 << 14;
/// Bound of a run-time dim about which nothing is known.
pub const DEFAULT_RUN_MAX: i64 = 1 << 12;

/// One node being imported.
pub struct NodeCx<'a, 'm> {
    /// The importer: symbols, scopes.
    pub im: &'a mut Importer<'m>,
    /// The node.
    pub node: &'a NodeProto,
    /// Opset version of the node's domain.
    pub opset: i64,
    /// Provenance for everything that the node becomes.
    pub origin: Origin,
}

impl<'a, 'm> NodeCx<'a, 'm> {
    // ---- attributes ----

    /// An attribute by name.
    pub fn attr(&self, name: &str) -> Option<&'a AttributeProto> {
        self.node.attribute.iter().find(|a| a.name == name)
    }
    /// Integer attribute.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.attr(name).map_or(default, |a| a.i)
    }
    /// Flag attribute.
    pub fn flag(&self, name: &str, default: bool) -> bool {
        self.int(name, i64::from(default)) != 0
    }
    /// Float attribute.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        self.attr(name).map_or(default, |a| a.f)
    }
    /// Text attribute.
    pub fn text(&self, name: &str, default: &str) -> String {
        self.attr(name).map_or(default.to_owned(), |a| String::from_utf8_lossy(&a.s).into_owned())
    }
    /// Integer list attribute.
    pub fn int_list(&self, name: &str) -> Option<Vec<i64>> {
        self.attr(name).map(|a| a.ints.clone())
    }
    /// Integer list of known length whose entries are at least `min`.
    pub fn sizes(&self, name: &str, n: usize, default: usize, min: i64) -> Result<Vec<usize>> {
        let list = self.int_list(name).filter(|l| !l.is_empty()).unwrap_or_else(|| vec![default as i64; n]);
        if list.len() != n || list.iter().any(|&v| v < min || v > 1 << 30) {
            return Err(Diag::input(format!(
                "attribute `{name}` is {list:?}: {n} values of at least {min} are needed"
            )));
        }
        Ok(list.into_iter().map(|v| v as usize).collect())
    }
    /// Subgraph attribute.
    pub fn graph(&self, name: &str) -> Result<&'a GraphProto> {
        let g = self.attr(name).and_then(|a| a.g.as_ref());
        g.ok_or_else(|| Diag::input(format!("attribute `{name}` (a graph) is missing")))
    }
    /// An axis, negative counting from the end, below `rank`.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize> {
        let a = if axis < 0 { axis + rank as i64 } else { axis };
        let a = usize::try_from(a).ok().filter(|&a| a < rank);
        a.ok_or_else(|| Diag::input(format!("axis {axis} is outside rank {rank}")))
    }
    /// Axes, sorted, each once.
    pub fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>> {
        let mut out = axes.iter().map(|&a| self.axis(a, rank)).collect::<Result<Vec<_>>>()?;
        out.sort_unstable();
        if out.windows(2).any(|w| w[0] == w[1]) {
            return Err(Diag::input(format!("axes {axes:?} repeat")));
        }
        Ok(out)
    }

    // ---- operands ----

    /// Number of operands written, absent ones included.
    pub fn arity(&self) -> usize {
        self.node.input.len()
    }
    /// Whether result `i` is used by name.
    pub fn wants(&self, i: usize) -> bool {
        self.node.output.get(i).is_some_and(|n| !n.is_empty())
    }
    /// An optional operand, whatever it is.
    pub fn item(&mut self, i: usize) -> Result<Option<Item>> {
        match self.node.input.get(i).filter(|n| !n.is_empty()) {
            None => Ok(None),
            Some(name) => self.im.lookup(name).map(Some),
        }
    }
    /// An optional tensor operand.
    pub fn opt(&mut self, i: usize) -> Result<Option<ValueId>> {
        match self.item(i)? {
            None | Some(Item::None) => Ok(None),
            Some(item) => self.tensor(item).map(Some),
        }
    }
    /// A required tensor operand.
    pub fn input(&mut self, i: usize) -> Result<ValueId> {
        self.opt(i)?.ok_or_else(|| Diag::input(format!("operand {i} is missing")))
    }
    /// An item as a tensor of the current graph.
    pub fn tensor(&mut self, item: Item) -> Result<ValueId> {
        match item {
            Item::Tensor(level, v) => self.im.scope.reach(&mut self.im.symbols, level, v),
            Item::Seq(_) => Err(Diag::input("a sequence is given where a tensor is needed")),
            Item::None => Err(Diag::input("an empty optional is given where a tensor is needed")),
            Item::Poison => Err(Importer::poison()),
        }
    }
    /// A value of the current graph as an item.
    pub fn wrap(&self, v: ValueId) -> Item {
        Item::Tensor(self.im.scope.depth(), v)
    }
    /// One result.
    pub fn one(&self, v: ValueId) -> Result<Vec<Item>> {
        Ok(vec![self.wrap(v)])
    }
    /// Several results.
    pub fn many(&self, v: &[ValueId]) -> Result<Vec<Item>> {
        Ok(v.iter().map(|&v| self.wrap(v)).collect())
    }
    /// Symbols of the module.
    pub fn symbols(&mut self) -> &mut Symbols {
        &mut self.im.symbols
    }
    /// Type of a value.
    pub fn ty(&self, v: ValueId) -> &TensorType {
        self.im.scope.levels[self.im.scope.depth()].graph.ty(v)
    }
    /// Dims of a value.
    pub fn dims(&self, v: ValueId) -> Vec<Expr> {
        self.ty(v).dims.clone()
    }
    /// Rank of a value.
    pub fn rank(&self, v: ValueId) -> usize {
        self.ty(v).rank()
    }
    /// Element type of a value.
    pub fn dtype(&self, v: ValueId) -> DType {
        self.ty(v).dtype
    }
    /// Tensor of a constant.
    pub fn const_of(&self, v: ValueId) -> Option<Tensor> {
        self.im.scope.levels[self.im.scope.depth()].graph.as_const(v).cloned()
    }
    /// Tensor of a constant operand, or an explanation.
    pub fn need_const(&self, v: ValueId, what: &str) -> Result<Tensor> {
        self.const_of(v).ok_or_else(|| Diag::unsupported(format!("{what} must be known at compile time")))
    }
    fn contents_of(&self, v: ValueId) -> Option<Contents> {
        let level = &self.im.scope.levels[self.im.scope.depth()];
        level.contents.get(&v).cloned().or_else(|| level.graph.as_const(v).and_then(contents::of_constant))
    }
    /// Symbolic integers of a small tensor, when known without running the model.
    pub fn known_ints(&self, v: ValueId) -> Option<Vec<Expr>> {
        self.contents_of(v)?.iter().map(Fraction::as_whole).collect()
    }
    /// Constant integers of a small tensor.
    pub fn const_ints(&self, v: ValueId) -> Option<Vec<i64>> {
        self.known_ints(v)?.iter().map(Expr::as_const).collect()
    }
    /// Symbolic integers of a small integer tensor; contents known only at run time are read into symbols with
    /// the range that `range` gives for each position.
    pub fn ints(&mut self, v: ValueId, range: &dyn Fn(usize) -> (i64, i64)) -> Result<Vec<Expr>> {
        if let Some(known) = self.known_ints(v) {
            return Ok(known);
        }
        let n = self.ty(v).numel().as_const().filter(|&n| n <= contents::MAX_TRACKED as i64);
        let n = n.ok_or_else(|| {
            Diag::unsupported(format!("{} decides a shape, but its length is not known", self.ty(v)))
        })?;
        let v64 =
            if matches!(self.dtype(v), DType::I32 | DType::I64) { v } else { self.cast(v, DType::I64)? };
        let name = self.origin.first().map_or("value", |o| o.as_ref()).to_owned();
        let syms: Vec<_> = (0..n as usize)
            .map(|i| {
                let (lo, hi) = range(i);
                self.im.symbols.fresh(format!("{name}#{i}"), lo, hi, SymKind::Run)
            })
            .collect();
        self.add(op::ReadSyms { syms: syms.clone() }.into(), &[v64])?;
        let exprs: Vec<Expr> = syms.into_iter().map(Expr::from).collect();
        let level = self.im.scope.top();
        level.contents.insert(v, exprs.iter().cloned().map(Fraction::whole).collect());
        Ok(exprs)
    }
    /// Symbolic integers of a single value.
    pub fn int_value(&mut self, v: ValueId, range: (i64, i64)) -> Result<Expr> {
        let v = self.ints(v, &|_| range)?;
        v.first().cloned().filter(|_| v.len() == 1).ok_or_else(|| Diag::input("a single value is needed"))
    }
    /// Demands, when the code at this place runs, that an expression has a value.
    pub fn expect(&mut self, e: &Expr, value: i64) -> Result<()> {
        let (lo, hi) = self.im.symbols.range(e);
        if value < lo || value > hi {
            return Err(Diag::input(format!("{} must be {value}", self.im.symbols.show(e))));
        }
        let v = self.from_dims(vec![e.clone()])?;
        self.expect_value(v, value)
    }
    /// Demands that an integer or bool tensor of one element has a value when the code at this place runs.
    pub fn expect_value(&mut self, v: ValueId, value: i64) -> Result<()> {
        let v = if matches!(self.dtype(v), DType::I32 | DType::I64) { v } else { self.cast(v, DType::I64)? };
        let name = format!("{}#expected", self.origin.first().map_or("value", |o| o.as_ref()));
        let sym = self.im.symbols.fresh(name, value, value, SymKind::Run);
        self.add(op::ReadSyms { syms: vec![sym] }.into(), &[v]).map(|_| ())
    }
    /// Dims that the model declares for result `i`, when it declares them: hints, which may be wrong.
    pub fn declared(&self, i: usize) -> Option<Vec<Option<i64>>> {
        self.node.output.get(i).and_then(|n| self.im.declared(n))
    }

    // ---- emission ----

    /// Adds a core op; small results of constants are evaluated at once, contents are tracked.
    pub fn add(&mut self, op: Op, inputs: &[ValueId]) -> Result<Vec<ValueId>> {
        let graph = &self.im.scope.levels[self.im.scope.depth()].graph;
        let consts: Option<Vec<Tensor>> = inputs.iter().map(|&v| graph.as_const(v).cloned()).collect();
        let pure = !matches!(op, Op::Constant(_) | Op::Random(_) | Op::If(_) | Op::Loop(_))
            && op.defines().is_empty();
        if let Some(args) = consts.filter(|a| pure && a.iter().all(|t| t.len() <= MAX_EAGER)) {
            let types: Vec<TensorType> = args.iter().map(TensorType::of).collect();
            let outs = op.infer(&mut self.im.symbols, &types.iter().collect::<Vec<_>>())?;
            let small = |t: &TensorType| t.numel().as_const().is_some_and(|n| n <= MAX_EAGER as i64);
            if outs.iter().all(small)
                && !matches!(&op, Op::FromDims(f) if f.values.iter().any(|v| v.as_const().is_none()))
            {
                let out = op.eval(&mut EvalCx::default(), &args)?;
                return out
                    .into_iter()
                    .map(|tensor| self.add_plain(Constant { tensor }.into(), &[]).map(|v| v[0]))
                    .collect();
            }
        }
        let contents = self.infer_contents(&op, inputs);
        if let Some((contents, ty)) = contents {
            return Ok(vec![self.from_contents(op, inputs, contents, &ty)?]);
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
    fn from_contents(&mut self, op: Op, inputs: &[ValueId], c: Contents, ty: &TensorType) -> Result<ValueId> {
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
    pub fn from_dims(&mut self, values: Vec<Expr>) -> Result<ValueId> {
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
        let dims = self.dims(x);
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
        dims[axis] = self.ty(x).numel();
        self.reshape(x, dims)
    }
    /// Merges dims `axis..` into two: `[outer, inner]`.
    pub fn flatten(&mut self, x: ValueId, axis: usize) -> Result<ValueId> {
        let d = self.dims(x);
        self.reshape(x, vec![product(&d[..axis]), product(&d[axis..])])
    }
}

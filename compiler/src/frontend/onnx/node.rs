//! What op builders see: attributes, operands, symbolic contents, and helpers that emit core ops.

use super::contents::{self, Contents, Fraction};
use super::importer::Importer;
use super::proto::{AttributeProto, GraphProto, NodeProto, attribute_proto::AttributeType as Kind};
use super::scope::Item;
use sinter_ir::op;
use sinter_ir::op::binary::BinaryKind;
use sinter_ir::{DType, Diag, Expr, Op, Origin, Result, SymKind, Symbols, Tensor, TensorType, ValueId};
use std::cell::RefCell;

/// Builder of one op: results in order.
pub type Build = fn(&mut NodeCx) -> Result<Vec<Item>>;

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
    /// What is wrong with the first attribute of another type than the operator reads.
    pub mistyped: RefCell<Option<String>>,
}

impl<'a, 'm> NodeCx<'a, 'm> {
    // ---- attributes ----

    /// An attribute by name.
    pub fn attr(&self, name: &str) -> Option<&'a AttributeProto> {
        self.node.attribute.iter().find(|a| a.name == name)
    }
    /// An attribute that should have a type. One of another type is remembered as the node's error; files of old
    /// exporters name no type, and some name the wrong one for a value that is there.
    fn typed(
        &self,
        name: &str,
        want: Kind,
        absent: fn(&AttributeProto) -> bool,
    ) -> Option<&'a AttributeProto> {
        let a = self.attr(name)?;
        if a.r#type != Kind::Undefined as i32 && a.r#type != want as i32 && absent(a) {
            let got = Kind::try_from(a.r#type).map_or("of an unknown type", |k| k.as_str_name());
            let want = want.as_str_name();
            let what = format!("attribute `{name}` is {got}, {want} is needed");
            self.mistyped.borrow_mut().get_or_insert(what);
        }
        Some(a)
    }
    /// Integer attribute, if there.
    pub fn opt_int(&self, name: &str) -> Option<i64> {
        self.typed(name, Kind::Int, |a| a.i == 0).map(|a| a.i)
    }
    /// Float attribute, if there.
    pub fn opt_float(&self, name: &str) -> Option<f32> {
        self.typed(name, Kind::Float, |a| a.f == 0.0).map(|a| a.f)
    }
    /// Float list attribute.
    pub fn float_list(&self, name: &str) -> Option<Vec<f32>> {
        self.typed(name, Kind::Floats, |a| a.floats.is_empty()).map(|a| a.floats.clone())
    }
    /// Integer attribute.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.opt_int(name).unwrap_or(default)
    }
    /// Flag attribute.
    pub fn flag(&self, name: &str, default: bool) -> bool {
        self.int(name, i64::from(default)) != 0
    }
    /// Float attribute.
    pub fn float(&self, name: &str, default: f32) -> f32 {
        self.opt_float(name).unwrap_or(default)
    }
    /// Text attribute.
    pub fn text(&self, name: &str, default: &str) -> String {
        let a = self.typed(name, Kind::String, |a| a.s.is_empty());
        a.map_or(default.to_owned(), |a| String::from_utf8_lossy(&a.s).into_owned())
    }
    /// Integer list attribute.
    pub fn int_list(&self, name: &str) -> Option<Vec<i64>> {
        self.typed(name, Kind::Ints, |a| a.ints.is_empty()).map(|a| a.ints.clone())
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
            Item::Seq(_) | Item::Stack(..) => {
                Err(Diag::input("a sequence is given where a tensor is needed"))
            }
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
    /// Tells the user something about this node.
    pub fn warn(&mut self, what: String) {
        let node = self.origin.first().map_or("a node", |o| o.as_ref());
        let told = format!("{node}: {what}");
        self.im.warnings.push(told);
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
    /// Dims of a value, of which there must be at least `n`.
    pub fn dims_at_least(&self, v: ValueId, n: usize) -> Result<Vec<Expr>> {
        let dims = self.dims(v);
        if dims.len() < n {
            return Err(Diag::input(format!("rank {n} at least is needed, got {}", self.ty(v))));
        }
        Ok(dims)
    }
    /// The last axis of a value; a scalar has none.
    pub fn last_axis(&self, v: ValueId) -> Result<usize> {
        self.dims_at_least(v, 1).map(|d| d.len() - 1)
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
    pub fn need_const(&mut self, v: ValueId, what: &str) -> Result<Tensor> {
        if let Some(t) = self.im.read_now(v) {
            return t;
        }
        self.const_of(v).ok_or_else(|| Diag::unsupported(format!("{what} must be known at compile time")))
    }
    /// Symbolic contents of a small tensor, when known.
    pub fn contents_of(&self, v: ValueId) -> Option<Contents> {
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
        if let Some(made) = self.made_ints(v, range)? {
            let level = self.im.scope.top();
            level.contents.insert(v, made.iter().cloned().map(Fraction::whole).collect());
            return Ok(made);
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
    /// Integers as what they are made of has them, so that values which hang together do so as expressions: parts of a
    /// list, and sums with constants.
    fn made_ints(&mut self, v: ValueId, range: &dyn Fn(usize) -> (i64, i64)) -> Result<Option<Vec<Expr>>> {
        let ty = self.ty(v);
        if ty.rank() > 1 || !matches!(ty.dtype, DType::I32 | DType::I64) {
            return Ok(None);
        }
        let Some(node) = self.im.scope.levels[self.im.scope.depth()].graph.def(v) else { return Ok(None) };
        let (op, inputs) = (node.op.clone(), node.inputs.clone());
        let small = |cx: &Self, v: ValueId| {
            cx.ty(v)
                .numel()
                .as_const()
                .and_then(|n| usize::try_from(n).ok())
                .filter(|&n| n <= contents::MAX_TRACKED)
        };
        match op {
            Op::Concat(_) => {
                let lengths: Option<Vec<usize>> = inputs.iter().map(|&p| small(self, p)).collect();
                let Some(lengths) = lengths else { return Ok(None) };
                let (mut all, mut at) = (vec![], 0);
                for (&part, n) in inputs.iter().zip(lengths) {
                    all.extend(self.ints(part, &|i| range(at + i))?);
                    at += n;
                }
                Ok((at <= contents::MAX_TRACKED).then_some(all))
            }
            Op::Reshape(_) if small(self, inputs[0]).is_some() => self.ints(inputs[0], range).map(Some),
            Op::Cast(_)
                if matches!(self.dtype(inputs[0]), DType::I32 | DType::I64)
                    && small(self, inputs[0]).is_some() =>
            {
                self.ints(inputs[0], range).map(Some)
            }
            Op::Binary(b) if matches!(b.kind, BinaryKind::Add | BinaryKind::Sub) => {
                let constant = |cx: &Self, v: ValueId| match cx.const_ints(v)?.as_slice() {
                    [c] => Some(*c),
                    _ => None,
                };
                let (x, c) = match (constant(self, inputs[0]), constant(self, inputs[1])) {
                    (None, Some(c)) if b.kind == BinaryKind::Add => (inputs[0], c),
                    (None, Some(c)) => (inputs[0], -c),
                    (Some(c), None) if b.kind == BinaryKind::Add => (inputs[1], c),
                    _ => return Ok(None),
                };
                if small(self, x).is_none() || self.ty(x).numel() != self.ty(v).numel() || c.abs() > 1 << 30 {
                    return Ok(None);
                }
                let own = self.ints(x, &|i| (range(i).0 - c, range(i).1 - c))?;
                Ok(Some(own.into_iter().map(|e| e + c.into()).collect()))
            }
            _ => Ok(None),
        }
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
        let v = self.dims_tensor(vec![e.clone()])?;
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
}

//! A language model under construction: the graph, its states, and the weights that go into it.

use super::cache::KvCache;
use super::deferred::{self, Form};
use super::rotate::Turned;
use super::weights::Weights;
use sinter_ir::graph::Origin;
use sinter_ir::op::binary::{Binary, BinaryKind as B};
use sinter_ir::op::quantized_matmul::Activations;
use sinter_ir::op::reduce::{Reduce, ReduceKind};
use sinter_ir::op::unary::{Unary, UnaryKind as U};
use sinter_ir::op::{self, Constant};
use sinter_ir::{
    DType, Diag, Expr, Graph, Module, Op, Result, State, SymKind, Symbols, Tensor, TensorType, ValueId,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sizes that the user may choose.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Most tokens of one run.
    pub chunk: i64,
    /// Most positions that a sequence can have.
    pub context: i64,
    /// How caches hold keys and values.
    pub cache: KvCache,
    /// Logits of every token instead of those of the last.
    pub all_logits: bool,
    /// Look at no weights, only at their dims.
    pub skip_weights: bool,
    /// Keep matrices that are stored in codes as they are; what activations are in products with them.
    pub stored: Option<Activations>,
}

/// Problems that are told at once.
const MAX_PROBLEMS: usize = 200;

/// A memory between runs: what it holds now.
struct Memory {
    input: ValueId,
    now: ValueId,
}

/// The model so far. Methods add nodes; what is wrong with weights is collected, so that all of it can be told at once.
pub struct Net {
    pub(super) graph: Graph,
    pub(super) symbols: Symbols,
    /// Tokens of this run.
    pub tokens: Expr,
    /// Positions before them.
    pub past: Expr,
    /// Positions that states have room for.
    pub capacity: Expr,
    /// What the user chose.
    pub sizes: Sizes,
    pub(super) weights: Arc<dyn Weights>,
    problems: Vec<Diag>,
    origin: Origin,
    states: Vec<Memory>,
    /// Inputs in place of weights.
    holes: Vec<ValueId>,
    /// Values that several layers use, by what they are.
    shared: BTreeMap<String, Vec<ValueId>>,
    /// Where the model is rotated.
    pub turned: Option<Arc<Turned>>,
    /// Large constants of this graph, by name and form.
    large: BTreeMap<(String, Form), ValueId>,
}

impl Net {
    /// The two inputs; gives the token ids.
    pub fn new(weights: Arc<dyn Weights>, sizes: Sizes) -> Result<(Self, ValueId)> {
        let mut symbols = Symbols::default();
        let tokens = symbols.fresh("tokens", 1, sizes.chunk.min(sizes.context), SymKind::Input);
        let capacity = symbols.fresh("capacity", 1, sizes.context, SymKind::Input);
        let past = symbols.fresh("past", 0, sizes.context - 1, SymKind::Run);
        let mut graph = Graph::default();
        let ids = graph.add_input(TensorType::new(DType::I32, vec![tokens.into()]), Some("tokens".into()));
        let position = graph.add_input(TensorType::new(DType::I64, vec![1.into()]), Some("position".into()));
        graph.add(
            &mut symbols,
            op::ReadSyms { syms: vec![past] }.into(),
            &[position],
            &vec!["position".into()],
        )?;
        let net = Self {
            graph,
            symbols,
            tokens: tokens.into(),
            past: past.into(),
            capacity: capacity.into(),
            sizes,
            weights,
            problems: vec![],
            origin: vec![],
            states: vec![],
            holes: vec![],
            shared: BTreeMap::new(),
            turned: None,
            large: BTreeMap::new(),
        };
        Ok((net, ids))
    }
    /// Names what is added from now on.
    pub fn at(&mut self, place: impl AsRef<str>) {
        self.origin = vec![place.as_ref().into()];
    }
    /// The module, with `logits` as its output.
    pub fn finish(mut self, name: String, logits: ValueId) -> Result<Module, Vec<Diag>> {
        if !self.problems.is_empty() {
            self.problems.sort();
            return Err(self.problems);
        }
        // What stands for weights comes last.
        let (mut inputs, holes): (Vec<_>, Vec<_>) =
            self.graph.inputs.iter().partition(|v| !self.holes.contains(v));
        inputs.extend(holes);
        self.graph.inputs = inputs;
        self.graph.set_name(logits, "logits".into());
        self.graph.outputs = std::iter::once(logits).chain(self.states.iter().map(|s| s.now)).collect();
        let at = |v: ValueId| self.graph.inputs.iter().position(|i| *i == v).unwrap_or_default() as u32;
        let states =
            self.states.iter().enumerate().map(|(i, s)| State { input: at(s.input), output: i as u32 + 1 });
        let states = states.collect();
        Ok(Module { name, symbols: self.symbols, graph: self.graph, states, ..Module::default() })
    }
    /// Notes something wrong with the model and goes on, unless that is too much already.
    pub fn problem(&mut self, d: Diag) -> Result<()> {
        if self.problems.len() >= MAX_PROBLEMS {
            return Err(Diag::input(format!(
                "more than {MAX_PROBLEMS} tensors are missing or wrong; {}",
                d.message
            )));
        }
        self.problems.push(d);
        Ok(())
    }

    // Nodes.

    /// A node with one result.
    pub fn add(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Result<ValueId> {
        self.graph.add1(&mut self.symbols, op.into(), inputs, &self.origin)
    }
    /// A node with any number of results.
    pub fn add_all(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Result<Vec<ValueId>> {
        self.graph.add(&mut self.symbols, op.into(), inputs, &self.origin)
    }
    /// A constant.
    pub fn constant(&mut self, tensor: Tensor) -> Result<ValueId> {
        self.add(Constant { tensor }, &[])
    }
    /// A scalar.
    pub fn number(&mut self, v: f32) -> Result<ValueId> {
        let tensor = Tensor::f32s(vec![], &[v])?;
        self.constant(tensor)
    }
    /// A vector.
    pub fn vector(&mut self, v: &[f32]) -> Result<ValueId> {
        let tensor = Tensor::f32s(vec![v.len()], v)?;
        self.constant(tensor)
    }
    /// Dims of a value.
    pub fn dims(&self, v: ValueId) -> Vec<Expr> {
        self.graph.ty(v).dims.clone()
    }
    /// A function of one value.
    pub fn unary(&mut self, kind: U, x: ValueId) -> Result<ValueId> {
        self.add(Unary { kind }, &[x])
    }
    /// A function of two values.
    pub fn binary(&mut self, kind: B, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.add(Binary { kind }, &[a, b])
    }
    /// `a + b`.
    pub fn plus(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(B::Add, a, b)
    }
    /// `a - b`.
    pub fn minus(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(B::Sub, a, b)
    }
    /// `a * b`.
    pub fn times(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(B::Mul, a, b)
    }
    /// `x * c`; `x` itself for 1.
    pub fn scaled(&mut self, x: ValueId, c: f32) -> Result<ValueId> {
        if c == 1.0 {
            return Ok(x);
        }
        let c = self.number(c)?;
        self.times(x, c)
    }
    /// A reduction of one axis, which stays as 1 where `keep`.
    pub fn reduce(&mut self, kind: ReduceKind, x: ValueId, axis: usize, keep: bool) -> Result<ValueId> {
        self.add(Reduce { kind, axes: vec![axis], keepdims: keep }, &[x])
    }
    /// The product of matrices.
    pub fn matmul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.add(op::MatMul::default(), &[a, b])
    }
    /// Other dims for the same elements.
    pub fn reshape(&mut self, x: ValueId, dims: Vec<Expr>) -> Result<ValueId> {
        self.add(op::Reshape { dims }, &[x])
    }
    /// Another order of axes.
    pub fn transpose(&mut self, x: ValueId, perm: &[usize]) -> Result<ValueId> {
        self.add(op::Transpose { perm: perm.to_vec() }, &[x])
    }
    /// `len` indices from `start` on along one axis.
    pub fn slice(&mut self, x: ValueId, axis: usize, start: Expr, len: Expr) -> Result<ValueId> {
        self.steps(x, axis, start, len, 1)
    }
    /// `len` indices from `start` on along one axis, every `step`-th.
    pub fn steps(&mut self, x: ValueId, axis: usize, start: Expr, len: Expr, step: i64) -> Result<ValueId> {
        let dims = self.dims(x);
        let mut s =
            op::Slice { starts: vec![0.into(); dims.len()], steps: vec![1.into(); dims.len()], sizes: dims };
        let bad = || Diag::bug("a slice along an axis that does not exist");
        *s.starts.get_mut(axis).ok_or_else(bad)? = start;
        *s.sizes.get_mut(axis).ok_or_else(bad)? = len;
        *s.steps.get_mut(axis).ok_or_else(bad)? = step.into();
        self.add(s, &[x])
    }
    /// One value behind the other along an axis.
    pub fn concat(&mut self, parts: &[ValueId], axis: usize) -> Result<ValueId> {
        self.add(op::Concat { axis }, parts)
    }
    /// Another element type.
    pub fn cast(&mut self, x: ValueId, to: DType) -> Result<ValueId> {
        match self.graph.ty(x).dtype == to {
            true => Ok(x),
            false => self.add(op::Cast { to, saturate: true }, &[x]),
        }
    }
    /// What `make` gives, made once per name.
    pub fn once(
        &mut self,
        name: String,
        make: impl FnOnce(&mut Self) -> Result<Vec<ValueId>>,
    ) -> Result<Vec<ValueId>> {
        if let Some(v) = self.shared.get(&name) {
            return Ok(v.clone());
        }
        let made = make(self)?;
        self.shared.insert(name, made.clone());
        Ok(made)
    }

    // States.

    /// A state, all zero before the first token.
    pub fn state(&mut self, name: &str, dtype: DType, dims: Vec<Expr>) -> StateId {
        let input = self.graph.add_input(TensorType::new(dtype, dims), Some(name.into()));
        self.states.push(Memory { input, now: input });
        StateId(self.states.len() - 1)
    }
    /// What a state holds now.
    pub fn read(&self, s: StateId) -> ValueId {
        self.states[s.0].now
    }
    /// Writes rows along an axis; gives what the state holds then.
    pub fn write(&mut self, s: StateId, rows: ValueId, axis: usize, at: Expr) -> Result<ValueId> {
        let now = self.add(op::WriteSlice { axis, at }, &[self.read(s), rows])?;
        self.states[s.0].now = now;
        Ok(now)
    }
    /// Lets no run begin that has more positions than the capacity. Caches with a slot for every position do by themselves.
    pub fn fits_capacity(&mut self) -> Result<()> {
        let end = self.past.clone() + self.tokens.clone();
        let (room, why) = (self.capacity.clone(), "positions fit the capacity");
        self.symbols.require_eq(&room, &room.max_of(&end), why).map(drop)
    }
    /// Appends rows to a cache; gives what it holds then.
    pub fn append(&mut self, s: StateId, rows: ValueId, op: impl Into<Op>) -> Result<ValueId> {
        let now = self.add(op, &[self.read(s), rows])?;
        self.states[s.0].now = now;
        Ok(now)
    }

    // Weights.

    /// Whether a tensor is there.
    pub fn has(&self, name: &str) -> bool {
        self.weights.dims(name).is_some()
    }
    /// Whether there is a tensor with these dims that is to be read.
    pub fn fits(&mut self, name: &str, dims: &[i64]) -> Result<bool> {
        let want: Vec<usize> = dims.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect();
        let problem = match self.weights.dims(name) {
            None => Diag::input(format!("tensor {name} {want:?} is missing")),
            Some(have) if have != want => {
                Diag::input(format!("tensor {name} is {have:?}, {want:?} is needed"))
            }
            Some(_) => return Ok(!self.sizes.skip_weights),
        };
        self.problem(problem)?;
        Ok(false)
    }
    /// A tensor that must have these dims; `None` where it has not, or where weights are not read.
    pub fn tensor(&mut self, name: &str, dims: &[i64]) -> Result<Option<Tensor>> {
        if !self.fits(name, dims)? {
            return Ok(None);
        }
        match self.weights.load(name) {
            Ok(t) => Ok(Some(t)),
            Err(d) => self.problem(d.at(name.to_owned())).map(|()| None),
        }
    }
    /// A constant made of tensors that are known to fit; `None` where they cannot be read. The same one if it is asked
    /// for again.
    pub fn late(&mut self, name: &str, parts: Vec<String>, form: Form) -> Result<Option<ValueId>> {
        let key = (name.to_owned(), form);
        if let Some(v) = self.large.get(&key) {
            return Ok(Some(*v));
        }
        match deferred::constant(&self.weights, parts, form) {
            Ok(t) => {
                let v = self.constant(t)?;
                self.graph.set_name(v, name.into());
                self.large.insert(key, v);
                Ok(Some(v))
            }
            Err(d) => self.problem(d.at(name.to_owned())).map(|()| None),
        }
    }
    /// A large tensor in a form; what stands for it has the dims `of`.
    pub(super) fn matrix(&mut self, name: &str, dims: &[i64], form: Form, of: &[i64]) -> Result<ValueId> {
        let v = match self.fits(name, dims)? {
            true => self.late(name, vec![name.to_owned()], form)?,
            false => None,
        };
        Ok(v.unwrap_or_else(|| self.hole(of)))
    }
    /// A tensor as a constant, after `change`. What cannot be loaded becomes an input of a module that is never used.
    pub fn weight_with(
        &mut self,
        name: &str,
        dims: &[i64],
        change: impl FnOnce(Tensor) -> Result<Tensor>,
    ) -> Result<ValueId> {
        match self.tensor(name, dims)? {
            Some(t) => {
                let changed = change(t)?;
                let v = self.constant(changed)?;
                self.graph.set_name(v, name.into());
                Ok(v)
            }
            None => Ok(self.hole(dims)),
        }
    }
    /// Stands for weights that are missing; see [`Net::weight_with`].
    pub fn hole(&mut self, dims: &[i64]) -> ValueId {
        self.hole_of(TensorType::new(DType::F32, dims.iter().map(|&d| d.into()).collect()))
    }
    /// The same for any type.
    pub fn hole_of(&mut self, ty: TensorType) -> ValueId {
        let v = self.graph.add_input(ty, None);
        self.holes.push(v);
        v
    }
    /// A small tensor in f32.
    pub fn weight(&mut self, name: &str, dims: &[i64]) -> Result<ValueId> {
        self.weight_with(name, dims, super::weights::wide)
    }
    /// Token ids in the embedding's `[vocabulary, width]`.
    pub fn embed(&mut self, name: &str, ids: ValueId, vocabulary: i64, width: i64) -> Result<ValueId> {
        let dims = [vocabulary, width];
        if let Some(rows) = self.coded_rows(name, &dims, ids)? {
            return Ok(rows);
        }
        let table = self.matrix(name, &dims, Form::Plain, &dims)?;
        let x = self.add(op::Gather { axis: 0 }, &[table, ids])?;
        self.cast(x, DType::F32)
    }
    /// `x W^T` with `W` stored as `[out, in]`, plus `NAME.bias` where `bias`.
    pub fn linear(&mut self, x: ValueId, name: &str, (from, to): (i64, i64), bias: bool) -> Result<ValueId> {
        let full = format!("{name}.weight");
        let y = match self.coded_product(x, &full, &[to, from])? {
            Some(y) => y,
            None => {
                let w = self.matrix(&full, &[to, from], Form::Turned, &[from, to])?;
                self.matmul(x, w)?
            }
        };
        self.biased(y, name, to, bias)
    }
    /// `x W` with `W` stored as `[in, out]`, plus the bias.
    pub fn conv1d(&mut self, x: ValueId, name: &str, (from, to): (i64, i64)) -> Result<ValueId> {
        let (dims, full) = ([from, to], format!("{name}.weight"));
        let y = match self.coded_product(x, &full, &[to, from])? {
            Some(y) => y,
            None => {
                let w = self.matrix(&full, &dims, Form::Plain, &dims)?;
                self.matmul(x, w)?
            }
        };
        self.biased(y, name, to, true)
    }
    fn biased(&mut self, y: ValueId, name: &str, width: i64, bias: bool) -> Result<ValueId> {
        if !bias {
            return Ok(y);
        }
        let b = self.weight(&format!("{name}.bias"), &[width])?;
        self.plus(y, b)
    }
}

/// A state of a [`Net`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateId(usize);

/// What the body of a [`Net::repeat`] gives.
pub struct Turn {
    /// Next values of what is carried.
    pub carried: Vec<ValueId>,
    /// One slice of every result that has the number of turns as its first dim.
    pub scanned: Vec<ValueId>,
}

impl Net {
    /// Repeats `body` `turns` times (at most `most`); it gets the number of the turn, what is carried and `captures`. Gives
    /// what is carried in the end, then the results with one slice per turn.
    pub fn repeat(
        &mut self,
        turns: Expr,
        most: i64,
        carried: &[ValueId],
        captures: &[ValueId],
        body: impl FnOnce(&mut Self, ValueId, &[ValueId], &[ValueId]) -> Result<Turn>,
    ) -> Result<Vec<ValueId>> {
        let count = self.symbols.fresh("turns", 0, most, SymKind::Run);
        let trip = self.add(op::FromDims { values: vec![turns], scalar: true }, &[])?;
        let go = Tensor::from_bytes(DType::Bool, vec![], vec![1u8])?;
        let cond = self.constant(go.clone())?;
        let types: Vec<TensorType> =
            carried.iter().chain(captures).map(|v| self.graph.ty(*v).clone()).collect();
        let outer = std::mem::take(&mut self.graph);
        let shared = std::mem::take(&mut self.shared);
        let large = std::mem::take(&mut self.large);
        let turn = self.graph.add_input(TensorType::new(DType::I64, vec![]), None);
        let inputs: Vec<ValueId> = types.into_iter().map(|t| self.graph.add_input(t, None)).collect();
        let (inner, held) = inputs.split_at(carried.len());
        let made = body(self, turn, inner, held).and_then(|made| {
            let again = self.constant(go)?;
            let (carried, scanned) = (made.carried.len(), made.scanned.len());
            self.graph.outputs = std::iter::once(again).chain(made.carried).chain(made.scanned).collect();
            Ok((carried, scanned))
        });
        let body = std::mem::replace(&mut self.graph, outer);
        self.shared = shared;
        self.large = large;
        let (carry, scanned) = made?;
        let op = op::Loop { body, carried: carry, scanned, count, shape_syms: vec![] };
        let operands: Vec<ValueId> = [trip, cond].iter().chain(carried).chain(captures).copied().collect();
        self.add_all(op, &operands)
    }
    /// Row `index` (a scalar) of `x`, without the first axis.
    pub fn row(&mut self, x: ValueId, index: ValueId) -> Result<ValueId> {
        self.add(op::Gather { axis: 0 }, &[x, index])
    }
}

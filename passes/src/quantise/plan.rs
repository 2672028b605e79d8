//! Which values of a model become bytes, and who reads them as such.
//!
//! Layers, convolutions and products with constant weights, want bytes. So does whatever leads to them: element-wise
//! operations, poolings, resizings, and operations that move elements. Bytes are made where a value goes from one kernel to
//! another: what is computed element by element behind a layer stays in registers as floats. Sums over rows (norms), softmax,
//! and what is computed with them stay floats, and so do the model's outputs.

use super::ranges::{NARROW, WHOLE};
use super::weights as rounded;
use sinter_ir::op::pad::PadMode;
use sinter_ir::op::pool::PoolKind;
use sinter_ir::op::reduce::ReduceKind;
use sinter_ir::op::resize::ResizeMode;
use sinter_ir::{DType, Graph, Node, NodeId, Op, Tensor, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// A convolution or product with constant weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Its node.
    pub node: NodeId,
    /// What it reads.
    pub x: ValueId,
    /// The weights.
    pub w: ValueId,
    /// Axis of the output channels in the weights.
    pub axis: usize,
    /// And in the result.
    pub channel: usize,
    /// For messages.
    pub name: String,
}

/// Where the bytes of a value come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bytes {
    /// The value is rounded.
    Rounded,
    /// The same elements as another value has, elsewhere.
    Moved(ValueId),
    /// Values of several ranges, brought into one.
    Joined,
}

/// What is to be done to a model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Layers on bytes.
    pub layers: Vec<Layer>,
    /// Values that become bytes.
    pub bytes: BTreeMap<ValueId, Bytes>,
    /// Operands that are read as bytes, if they are.
    pub reads: BTreeSet<(NodeId, usize)>,
    /// Parts of concatenations that nothing else reads as bytes: they have the range of the whole.
    pub parts: BTreeMap<ValueId, ValueId>,
    /// Whether products are summed in 16 bits where that can be.
    pub narrow: bool,
    /// Values whose bytes end at [`NARROW`](super::ranges::NARROW).
    pub small: BTreeSet<ValueId>,
}

/// What layers compute on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Widths {
    /// Layers that stay floats.
    pub float: BTreeSet<NodeId>,
    /// Whether products are summed in 16 bits where that can be.
    pub narrow: bool,
    /// Layers whose data has all bytes even so.
    pub whole: BTreeSet<NodeId>,
}

impl Plan {
    /// Values whose ranges must be known.
    pub fn ranged(&self) -> Vec<ValueId> {
        let own = |(v, b): (&ValueId, &Bytes)| {
            (!matches!(b, Bytes::Moved(_)) && !self.parts.contains_key(v)).then_some(*v)
        };
        self.bytes.iter().filter_map(own).collect()
    }
    /// The largest byte of a value.
    pub fn top(&self, v: ValueId) -> u8 {
        if self.small.contains(&self.range_of(v)) { NARROW } else { WHOLE }
    }
    /// The value whose range another one has.
    pub fn range_of(&self, mut v: ValueId) -> ValueId {
        // Every step leads to another value of a graph without cycles.
        for _ in 0..=self.bytes.len() {
            v = match (self.parts.get(&v), self.bytes.get(&v)) {
                (Some(whole), _) => *whole,
                (_, Some(Bytes::Moved(from))) => *from,
                _ => return v,
            };
        }
        v
    }
}

/// How an operation takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Layer,
    /// Element by element.
    Pointwise,
    /// Moves or chooses elements of its first operand.
    Mover,
    Concat,
    /// Means of elements.
    Mean,
    /// Sums over rows, as in norms.
    Norm,
    Float,
}

fn role(g: &Graph, n: &Node) -> Role {
    let floats = n.outputs.first().is_some_and(|v| g.ty(*v).dtype == DType::F32);
    match &n.op {
        _ if !floats => Role::Float,
        Op::Conv(_) | Op::MatMul(_) if weights(g, n).is_some() => Role::Layer,
        Op::Transpose(_) | Op::Reshape(_) | Op::Slice(_) | Op::Broadcast(_) | Op::Identity(_) => Role::Mover,
        Op::Pool(p) if p.kind == PoolKind::Max && !p.indices => Role::Mover,
        Op::Resize(r) if r.mode == ResizeMode::Nearest && r.roi.is_empty() => Role::Mover,
        Op::Pad(p) if p.mode == PadMode::Constant => match n.inputs.get(1).and_then(|v| g.as_const(*v)) {
            Some(t) if is_zero(t) => Role::Mover,
            _ => Role::Float,
        },
        Op::Pad(_) => Role::Mover,
        Op::Concat(_) => Role::Concat,
        Op::Pool(p) if p.kind == PoolKind::Average => Role::Mean,
        Op::Resize(r) if r.mode == ResizeMode::Linear && r.roi.is_empty() => Role::Mean,
        Op::Reduce(r) if r.kind == ReduceKind::Mean && r.axes.len() > 1 => Role::Mean,
        Op::Reduce(_) => Role::Norm,
        op if op.is_pointwise() => Role::Pointwise,
        _ => Role::Float,
    }
}

fn is_zero(t: &Tensor) -> bool {
    t.to_f64().is_ok_and(|v| v.iter().all(|v| *v == 0.0))
}

/// The constant weights of a convolution or product, their output channel and that of the result.
fn weights(g: &Graph, n: &Node) -> Option<(ValueId, usize, usize)> {
    let (&x, &w) = (n.inputs.first()?, n.inputs.get(1)?);
    let t = g.constant(w)?;
    let rank = g.ty(x).rank();
    let (axis, channel) = match &n.op {
        Op::Conv(c) if c.zero.is_none() => (0, if c.channels_last { rank - 1 } else { 1 }),
        Op::MatMul(m) if m.zero.is_none() && t.rank() == 2 => (1, rank - 1),
        _ => return None,
    };
    let floats = t.dtype() == DType::F32 && g.ty(x).dtype == DType::F32 && g.constant(x).is_none();
    floats.then_some((w, axis, channel))
}

/// All layers of a model that could compute on bytes.
pub fn layers(g: &Graph) -> Vec<Layer> {
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    let mut layer = |(id, n): (NodeId, &Node)| {
        let (w, axis, channel) = weights(g, n).filter(|_| role(g, n) == Role::Layer)?;
        let given = n.origin.first().map(|o| o.to_string());
        let mut name = given.unwrap_or_else(|| format!("{} {}", n.op.name(), id.0));
        let count = names.entry(name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            name = format!("{name} #{count}");
        }
        Some(Layer { node: id, x: *n.inputs.first()?, w, axis, channel, name })
    };
    g.iter().filter_map(&mut layer).collect()
}

/// Decides for a model as [`super::prepare`] leaves it.
pub fn plan(g: &Graph, widths: &Widths) -> Plan {
    let float = &widths.float;
    let uses = g.uses();
    let roles: BTreeMap<NodeId, Role> = g.iter().map(|(id, n)| (id, role(g, n))).collect();
    let role = |n: NodeId| match roles.get(&n) {
        Some(Role::Layer) if float.contains(&n) => Role::Float,
        Some(r) => *r,
        None => Role::Float,
    };
    let statistics = statistics(g, &role);
    let rows = |n: &Node| n.inputs.iter().any(|v| statistics.contains(v));
    let mut plan = Plan::default();
    // Values that should be bytes, from the outputs backwards.
    let mut wanted: BTreeSet<ValueId> = BTreeSet::new();
    for (id, n) in g.iter().rev() {
        let out = n.outputs.first().is_some_and(|v| wanted.contains(v));
        for (i, v) in n.inputs.iter().enumerate() {
            let float = g.ty(*v).dtype != DType::F32 || g.constant(*v).is_some();
            let reads = !float
                && match role(id) {
                    Role::Layer => i == 0,
                    Role::Mover | Role::Mean => i == 0 && out,
                    Role::Concat => out,
                    // What is spread over others is small: it may stay as it is.
                    Role::Pointwise => out && !rows(n) && whole(g, n, *v),
                    Role::Norm | Role::Float => false,
                };
            if reads {
                wanted.insert(*v);
                plan.reads.insert((id, i));
            }
        }
    }
    let clusters = clusters(g, &role);
    let mut readers: BTreeMap<ValueId, Vec<NodeId>> = BTreeMap::new();
    for &(id, i) in &plan.reads {
        if let Some(v) = g.node(id).inputs.get(i) {
            readers.entry(*v).or_default().push(id);
        }
    }
    for v in &wanted {
        let def = g.value(*v).def.map(|(id, _)| id);
        let by = def.map_or(Role::Float, role);
        let inside = |n: &NodeId| {
            let y = g.node(*n).outputs.first();
            role(*n) == Role::Pointwise && clusters.get(v) == y.and_then(|y| clusters.get(y))
        };
        let bytes = match (by, def.and_then(|d| g.node(d).inputs.first())) {
            (Role::Mover, Some(x)) => Bytes::Moved(*x),
            (Role::Concat, _) => Bytes::Joined,
            _ if readers.get(v).is_none_or(|r| r.iter().all(inside)) => continue,
            _ => Bytes::Rounded,
        };
        plan.bytes.insert(*v, bytes);
    }
    let joined: Vec<ValueId> =
        plan.bytes.iter().filter(|(_, b)| **b == Bytes::Joined).map(|(v, _)| *v).collect();
    for whole in joined {
        for part in g.def(whole).map(|n| n.inputs.clone()).unwrap_or_default() {
            let alone = uses.get(part.0 as usize).is_some_and(|u| u.len() == 1);
            if alone && plan.bytes.get(&part) == Some(&Bytes::Rounded) {
                plan.parts.insert(part, whole);
            }
        }
    }
    plan.layers = layers(g);
    plan.layers.retain(|l| !float.contains(&l.node));
    plan.narrow = widths.narrow;
    plan.small = small(g, &plan, &widths.whole);
    plan
}

/// Values that layers read whose products are summed in 16 bits, unless one of those is among `whole`.
fn small(g: &Graph, plan: &Plan, whole: &BTreeSet<NodeId>) -> BTreeSet<ValueId> {
    let sums = |l: &&Layer| plan.narrow && g.constant(l.w).is_some_and(|w| rounded::narrows(w, l.axis));
    let of = |kept: bool| {
        let layers = plan.layers.iter().filter(sums).filter(move |l| whole.contains(&l.node) == kept);
        layers.map(|l| plan.range_of(l.x)).collect::<BTreeSet<_>>()
    };
    &of(false) - &of(true)
}

/// Whether an operand of an element-wise operation has as many elements as the result.
fn whole(g: &Graph, n: &Node, v: ValueId) -> bool {
    n.outputs.first().is_some_and(|y| g.ty(*y).numel() == g.ty(v).numel())
}

/// Sums over rows and what is made of them element by element.
fn statistics(g: &Graph, role: &dyn Fn(NodeId) -> Role) -> BTreeSet<ValueId> {
    let mut out = BTreeSet::new();
    for (id, n) in g.iter() {
        let from = |out: &BTreeSet<ValueId>| n.inputs.iter().any(|v| out.contains(v));
        let is = match role(id) {
            Role::Norm => true,
            Role::Pointwise | Role::Mover => from(&out),
            _ => false,
        };
        if is {
            out.extend(&n.outputs);
        }
    }
    out
}

/// Element-wise nodes belong to the last node before them that is something else: they are computed with it.
fn clusters(g: &Graph, role: &dyn Fn(NodeId) -> Role) -> BTreeMap<ValueId, usize> {
    let mut out: BTreeMap<ValueId, usize> = BTreeMap::new();
    for (at, (id, n)) in g.iter().enumerate() {
        let with = match role(id) {
            Role::Pointwise => {
                let operands = n.inputs.iter().filter(|v| g.constant(**v).is_none() && whole(g, n, **v));
                operands.filter_map(|v| out.get(v)).max().copied()
            }
            _ => None,
        };
        out.extend(n.outputs.iter().map(|v| (*v, with.unwrap_or(at + 1))));
    }
    out
}

//! Rebuilds a graph without some units.

use super::labels::Labels;
use crate::rebuild::Rebuild;
use crate::report::PassReport;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sinter_ir::op::Constant;
use sinter_ir::tensor::Source;
use sinter_ir::{Diag, Expr, Graph, Module, Node, Op, Result, Tensor, TensorType, ValueId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Units that go, by what they have in one matrix.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// The user's name of the weights.
    pub name: String,
    /// The axis along which units lie.
    pub axis: usize,
    /// Indices along it.
    pub indices: Vec<usize>,
}

/// Takes units out of a module, with all that depends on them.
pub fn shrink(module: &mut Module, removed: &[Removed], report: &mut PassReport) -> Result<()> {
    if removed.is_empty() {
        return Ok(());
    }
    let labels = Labels::of(module);
    let mut gone: BTreeSet<u32> = BTreeSet::new();
    for r in removed {
        for i in &r.indices {
            let root = place(&module.graph, &labels, r, *i)?;
            if let Some(why) = labels.why_not(root) {
                return Err(Diag::unsupported(format!("{}: channel {i} cannot go: {why}", r.name)));
            }
            gone.insert(root);
        }
    }
    // What stays of every axis that loses something.
    let mut kept: BTreeMap<(ValueId, usize), Vec<usize>> = BTreeMap::new();
    for (at, all) in &labels.axes {
        let stay: Vec<usize> = all
            .iter()
            .enumerate()
            .filter(|(_, l)| !gone.contains(&labels.root(**l)))
            .map(|(i, _)| i)
            .collect();
        if stay.len() < all.len() {
            kept.insert(*at, stay);
        }
    }
    let g = std::mem::take(&mut module.graph);
    let mut s = Shrink { kept, rb: Rebuild::empty(&g, &mut module.symbols, report) };
    for v in &g.inputs {
        let new = s.rb.graph.add_input(s.ty(&g, *v), g.value(*v).name.clone());
        s.rb.bind(*v, new);
    }
    for (_, n) in g.iter() {
        s.node(&g, n)?;
    }
    s.rb.report.fired("prune/units");
    module.graph = s.rb.finish(true)?;
    Ok(())
}

/// The unit that an index of a named constant belongs to.
fn place(g: &Graph, labels: &Labels, r: &Removed, index: usize) -> Result<u32> {
    let named =
        |v: &ValueId| g.value(*v).name.as_deref() == Some(r.name.as_str()) && g.constant(*v).is_some();
    let found = labels.axes.iter().find(|((v, a), _)| *a == r.axis && named(v));
    let label = found.and_then(|(_, l)| l.get(index));
    label.map(|l| labels.root(*l)).ok_or_else(|| Diag::bug(format!("{} has no channel {index}", r.name)))
}

struct Shrink<'a> {
    kept: BTreeMap<(ValueId, usize), Vec<usize>>,
    rb: Rebuild<'a>,
}

impl Shrink<'_> {
    /// Axes of a value that lose something, with what stays.
    fn of(&self, v: ValueId) -> impl Iterator<Item = (usize, &Vec<usize>)> {
        self.kept.range((v, 0)..=(v, usize::MAX)).map(|((_, a), k)| (*a, k))
    }
    fn ty(&self, g: &Graph, v: ValueId) -> TensorType {
        let mut ty = g.ty(v).clone();
        for (a, k) in self.of(v) {
            if let Some(d) = ty.dims.get_mut(a) {
                *d = Expr::from(k.len());
            }
        }
        ty
    }
    fn node(&mut self, g: &Graph, n: &Node) -> Result<()> {
        let op = self.op(g, n)?;
        let new = self.rb.copy_as(n, op)?;
        for (old, new) in n.outputs.iter().zip(new) {
            let (want, got) = (self.ty(g, *old), self.rb.graph.ty(new));
            if want != *got {
                return Err(Diag::bug(format!(
                    "{} gives {got} without some channels, not {want}",
                    n.op.name()
                )));
            }
        }
        Ok(())
    }
    /// The op with attributes that fit.
    fn op(&self, g: &Graph, n: &Node) -> Result<Op> {
        let mut op = n.op.clone();
        let Some(&y) = n.outputs.first() else { return Ok(op) };
        if let Op::Constant(c) = &op {
            let axes: Vec<(usize, Vec<usize>)> = self.of(y).map(|(a, k)| (a, k.clone())).collect();
            return Ok(match axes.is_empty() {
                true => op,
                false => Constant { tensor: less(&c.tensor, axes)? }.into(),
            });
        }
        let dims = match &mut op {
            Op::Reshape(o) => Some(&mut o.dims),
            Op::Broadcast(o) => Some(&mut o.dims),
            Op::Resize(o) => Some(&mut o.dims),
            Op::Slice(o) => {
                for (a, kept) in n.inputs.first().into_iter().flat_map(|x| self.of(*x)) {
                    if let Some(start) = o.starts.get_mut(a)
                        && let Some(first) = start.as_const()
                    {
                        *start = Expr::from(kept.iter().filter(|i| (**i as i64) < first).count());
                    }
                }
                Some(&mut o.sizes)
            }
            Op::Conv(o) if o.group > 1 => {
                let stays = n.inputs.first().and_then(|x| self.of(*x).next()).map(|(_, k)| k.len());
                o.group = stays.unwrap_or(o.group);
                None
            }
            _ => None,
        };
        if let Some(dims) = dims {
            *dims = self.ty(g, y).dims;
        }
        Ok(op)
    }
}

/// A constant of which some indices along axes stay; what is not in memory stays where it is.
fn less(t: &Tensor, axes: Vec<(usize, Vec<usize>)>) -> Result<Tensor> {
    let mut shape = t.shape().to_vec();
    for (a, kept) in &axes {
        *shape.get_mut(*a).ok_or_else(|| Diag::bug("an axis that is not there"))? = kept.len();
    }
    let part = Less { base: t.clone(), axes };
    match t.is_deferred() {
        true => Tensor::deferred(t.dtype(), shape, Arc::new(part)),
        false => Tensor::from_bytes(t.dtype(), shape, part.read()?),
    }
}

/// A part of another constant.
#[derive(Debug)]
struct Less {
    base: Tensor,
    axes: Vec<(usize, Vec<usize>)>,
}

impl Source for Less {
    fn read(&self) -> Result<Bytes> {
        let t = self.base.load()?;
        let bits = t.dtype().bits();
        if !bits.is_multiple_of(8) {
            return Err(Diag::unsupported(format!("channels of weights of type {}", t.dtype())));
        }
        let (mut shape, mut bytes) = (t.shape().to_vec(), t.shared_bytes());
        for (a, kept) in &self.axes {
            let inner = shape.iter().skip(a + 1).product::<usize>() * bits / 8;
            let all = shape.get(*a).copied().unwrap_or(1) * inner;
            let pick = |part: &[u8]| -> Vec<u8> {
                kept.iter().filter_map(|i| part.get(i * inner..(i + 1) * inner)).flatten().copied().collect()
            };
            bytes = bytes.chunks(all.max(1)).flat_map(pick).collect::<Vec<u8>>().into();
            if let Some(d) = shape.get_mut(*a) {
                *d = kept.len();
            }
        }
        Ok(bytes)
    }
    fn turned(&self) -> Option<Tensor> {
        let axes = self.axes.iter().map(|(a, k)| (1 - (*a).min(1), k.clone())).collect();
        less(&self.base.turned()?, axes).ok()
    }
}

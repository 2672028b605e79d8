//! Writes Quantize and Dequantize round the layers of a plan.

use super::plan::{Bytes, Layer, Plan};
use super::ranges::{Params, WHOLE};
use super::weights::{self, Weights};
use crate::compress::Error;
use crate::rebuild::Rebuild;
use crate::report::PassReport;
use sinter_ir::graph::Origin;
use sinter_ir::op::binary::BinaryKind;
use sinter_ir::op::{Binary, Constant, Dequantize, Quantize};
use sinter_ir::{DType, Diag, Module, Node, NodeId, Op, Result, Tensor, ValueId};
use std::collections::BTreeMap;

/// What calibration found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Parameters of the values that [`Plan::ranged`] names.
    pub params: BTreeMap<ValueId, Params>,
    /// What channels of values are divided by in front of rounding, and the weights of their readers multiplied.
    pub scales: BTreeMap<ValueId, Vec<f32>>,
    /// What is added to every channel of a layer's result.
    pub corrections: BTreeMap<NodeId, Vec<f32>>,
}

/// A model with bytes in it.
#[derive(Debug, Clone)]
pub struct Quantised {
    /// The model.
    pub module: Module,
    /// Where the old values are in it, as floats.
    pub values: BTreeMap<ValueId, ValueId>,
}

/// What stays of a model whatever becomes of its graph.
fn bare(m: &Module) -> Module {
    let (name, states, output_names) = (m.name.clone(), m.states.clone(), m.output_names.clone());
    Module { name, states, output_names, ..Module::default() }
}

/// Puts bytes into a model.
pub fn insert(module: &Module, plan: &Plan, found: &Found, report: &mut PassReport) -> Result<Quantised> {
    let mut symbols = module.symbols.clone();
    let old = &module.graph;
    let rb = Rebuild::new(old, &mut symbols, report);
    let mut pass = Insert { rb, plan, found, bytes: BTreeMap::new() };
    for &v in &old.inputs {
        let new = pass.rb.get(v)?;
        pass.round(v, new, &Origin::new())?;
    }
    for (id, node) in old.iter() {
        pass.node(id, node)?;
    }
    let mut values = BTreeMap::new();
    for (_, node) in old.iter() {
        for v in &node.outputs {
            values.insert(*v, pass.rb.get(*v)?);
        }
    }
    let graph = pass.rb.finish(true)?;
    Ok(Quantised { module: Module { symbols, graph, ..bare(module) }, values })
}

/// Weights of a layer and their Dequantize in a graph; the float value of the rounded weights.
fn rounded(
    rb: &mut Rebuild,
    layer: &Layer,
    found: &Found,
    narrow: bool,
    origin: &Origin,
) -> Result<(ValueId, Weights)> {
    let mut t = rb.old.constant(layer.w).ok_or_else(|| Diag::bug("a layer without weights"))?.load()?;
    if let Some(by) = found.scales.get(&layer.x) {
        // The layer is depthwise: its channels are the weights' first axis.
        let mut values = t.to_f32()?;
        let each = values.len() / by.len().max(1);
        for (row, s) in values.chunks_mut(each.max(1)).zip(by) {
            row.iter_mut().for_each(|w| *w *= s);
        }
        t = Tensor::f32s(t.shape().to_vec(), &values)?;
    }
    let w = weights::quantise(&t, layer.axis, narrow).map_err(|d| d.at(layer.name.clone()))?;
    let n = w.scale.len();
    let mut add = |t: Tensor| rb.add1(Constant { tensor: t }, &[], origin);
    let (codes, scale) = (add(w.codes.clone())?, add(Tensor::f32s(vec![n], &w.scale)?)?);
    let zero = add(Tensor::zeros(DType::I8, vec![n])?)?;
    let op = Dequantize { axis: layer.axis, block: 0, to: DType::F32 };
    Ok((rb.add1(op, &[codes, scale, zero], origin)?, w))
}

struct Insert<'a> {
    rb: Rebuild<'a>,
    plan: &'a Plan,
    found: &'a Found,
    /// Bytes of old values.
    bytes: BTreeMap<ValueId, ValueId>,
}

impl Insert<'_> {
    fn params(&self, v: ValueId) -> Result<Params> {
        let of = self.plan.range_of(v);
        self.found.params.get(&of).copied().ok_or_else(|| Diag::bug("a value without a range"))
    }
    fn constants(&mut self, p: Params, origin: &Origin) -> Result<(ValueId, ValueId)> {
        let (scale, zero) = p.tensors()?;
        let scale = self.rb.add1(Constant { tensor: scale }, &[], origin)?;
        Ok((scale, self.rb.add1(Constant { tensor: zero }, &[], origin)?))
    }
    fn quantize(&mut self, x: ValueId, p: Params, origin: &Origin) -> Result<ValueId> {
        let (scale, zero) = self.constants(p, origin)?;
        let top = (p.top < WHOLE).then_some(p.top.into());
        self.rb.add1(Quantize { axis: 0, block: 0, top }, &[x, scale, zero], origin)
    }
    /// Rounds a value that was computed: its steps, and what its channels are divided by, in one multiplication.
    fn steps(&mut self, v: ValueId, new: ValueId, p: Params, origin: &Origin) -> Result<ValueId> {
        let step = 1.0 / p.scale;
        let tensor = match self.found.scales.get(&v) {
            Some(by) => {
                let mut shape = vec![1; self.rb.graph.ty(new).rank()];
                shape[1] = by.len();
                Tensor::f32s(shape, &by.iter().map(|s| step / s).collect::<Vec<f32>>())?
            }
            None => Tensor::f32s(vec![], &[step])?,
        };
        let by = self.rb.add1(Constant { tensor }, &[], origin)?;
        let x = self.rb.add1(Binary { kind: BinaryKind::Mul }, &[new, by], origin)?;
        self.quantize(x, Params { scale: 1.0, ..p }, origin)
    }
    fn dequantize(&mut self, x: ValueId, p: Params, origin: &Origin) -> Result<ValueId> {
        let (scale, zero) = self.constants(p, origin)?;
        self.rb.add1(Dequantize { axis: 0, block: 0, to: DType::F32 }, &[x, scale, zero], origin)
    }
    /// Whether a value is the sum of two values of bytes: the pass `integers` has a form of its own for that.
    fn is_sum(&self, v: ValueId) -> bool {
        let Some((id, _)) = self.rb.old.value(v).def.filter(|_| !self.found.scales.contains_key(&v)) else {
            return false;
        };
        let node = self.rb.old.node(id);
        let reads =
            |(i, x): (usize, &ValueId)| self.plan.reads.contains(&(id, i)) && self.bytes.contains_key(x);
        matches!(&node.op, Op::Binary(b) if b.kind == BinaryKind::Add)
            && node.inputs.iter().enumerate().all(reads)
    }
    /// Rounds a value that the plan wants rounded.
    fn round(&mut self, v: ValueId, new: ValueId, origin: &Origin) -> Result<()> {
        if self.plan.bytes.get(&v) == Some(&Bytes::Rounded) {
            let p = self.params(v)?;
            let y = match self.is_sum(v) {
                true => self.quantize(new, p, origin)?,
                false => self.steps(v, new, p, origin)?,
            };
            self.bytes.insert(v, y);
        }
        Ok(())
    }
    /// What an operand is read as.
    fn operand(&mut self, id: NodeId, i: usize, v: ValueId, origin: &Origin) -> Result<ValueId> {
        match self.bytes.get(&v).copied().filter(|_| self.plan.reads.contains(&(id, i))) {
            Some(b) => {
                let p = self.params(v)?;
                self.dequantize(b, p, origin)
            }
            None => self.rb.get(v),
        }
    }
    fn node(&mut self, id: NodeId, node: &Node) -> Result<()> {
        let origin = &node.origin;
        if let &[y] = node.outputs.as_slice()
            && let Some(bytes) = self.moved(id, node, y)?
        {
            self.bytes.insert(y, bytes);
            let p = self.params(y)?;
            let float = self.dequantize(bytes, p, origin)?;
            self.rb.bind(y, float);
            return Ok(());
        }
        let mut inputs = vec![];
        for (i, v) in node.inputs.iter().enumerate() {
            inputs.push(self.operand(id, i, *v, origin)?);
        }
        let layer = self.plan.layers.iter().find(|l| l.node == id);
        if let (Some(layer), Some(w)) = (layer, inputs.get_mut(1)) {
            *w = rounded(&mut self.rb, layer, self.found, self.plan.narrow, origin)?.0;
            self.rb.report.fired("quantise/layer");
        }
        let mut new = self.rb.add(node.op.clone(), &inputs, origin)?;
        if let (Some(layer), Some(by), Some(y)) = (layer, self.found.corrections.get(&id), new.first_mut()) {
            let mut shape = vec![1; self.rb.graph.ty(*y).rank() - layer.channel];
            shape[0] = by.len();
            let tensor = Tensor::f32s(shape, by)?;
            let by = self.rb.add1(Constant { tensor }, &[], origin)?;
            *y = self.rb.add1(Binary { kind: BinaryKind::Add }, &[*y, by], origin)?;
        }
        self.rb.bind_all(node, &new)?;
        for (old, new) in node.outputs.iter().zip(new) {
            self.round(*old, new, origin)?;
        }
        Ok(())
    }
    /// The bytes of a result whose elements come from other bytes as they are.
    fn moved(&mut self, id: NodeId, node: &Node, y: ValueId) -> Result<Option<ValueId>> {
        let origin = &node.origin;
        match self.plan.bytes.get(&y) {
            Some(Bytes::Moved(x)) => {
                let Some(b) = self.bytes.get(x).copied() else { return Ok(None) };
                let mut inputs = vec![b];
                if let Op::Pad(_) = node.op {
                    let tensor = self.params(y)?.tensors()?.1;
                    inputs.push(self.rb.add1(Constant { tensor }, &[], origin)?);
                }
                self.rb.add1(node.op.clone(), &inputs, origin).map(Some)
            }
            Some(Bytes::Joined) => {
                let p = self.params(y)?;
                let mut parts = vec![];
                for (i, v) in node.inputs.iter().enumerate() {
                    parts.push(match self.bytes.get(v).copied() {
                        Some(b) if self.params(*v)? == p => b,
                        _ => {
                            let float = self.operand(id, i, *v, origin)?;
                            self.quantize(float, p, origin)?
                        }
                    });
                }
                self.rb.add1(node.op.clone(), &parts, origin).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// A layer and the same on bytes, both reading what the float model gives.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The layer, of the old model.
    pub layer: Layer,
    /// Its result.
    pub float: ValueId,
    /// The other's.
    pub rounded: ValueId,
    /// What rounding did to the weights.
    pub weights: Error,
    /// Output channels.
    pub channels: usize,
}

/// A float model with a second form beside every layer.
#[derive(Debug, Clone)]
pub struct Twins {
    /// The model.
    pub module: Module,
    /// The layers.
    pub pairs: Vec<Pair>,
}

/// Puts a layer of bytes beside every float one.
pub fn twins(module: &Module, plan: &Plan, found: &Found, report: &mut PassReport) -> Result<Twins> {
    let mut symbols = module.symbols.clone();
    let old = &module.graph;
    let rb = Rebuild::new(old, &mut symbols, report);
    let mut pass = Insert { rb, plan, found, bytes: BTreeMap::new() };
    let mut pairs = vec![];
    for (id, node) in old.iter() {
        let new = pass.rb.copy(node)?;
        let layer = plan.layers.iter().find(|l| l.node == id);
        let (Some(layer), Some(&float)) = (layer, new.first()) else { continue };
        let p = pass.params(layer.x)?;
        let x = pass.rb.get(layer.x)?;
        let x = pass.steps(layer.x, x, p, &node.origin)?;
        let x = pass.dequantize(x, p, &node.origin)?;
        let (w, weights) = rounded(&mut pass.rb, layer, found, plan.narrow, &node.origin)?;
        let twin = pass.rb.add1(node.op.clone(), &[x, w], &node.origin)?;
        let (channels, weights) = (weights.scale.len(), weights.error);
        pairs.push(Pair { layer: layer.clone(), float, rounded: twin, weights, channels });
    }
    let graph = pass.rb.finish(true)?;
    Ok(Twins { module: Module { symbols, graph, ..bare(module) }, pairs })
}

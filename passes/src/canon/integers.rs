//! `integers`: contractions of dequantised operands become contractions of the integers themselves.
//!
//! `Conv(Dequantize(x), Dequantize(w)) -> Conv(x - zero, w) * (scale of x * scale of w)`: weights stay bytes, and the
//! sums are exact. Where the constant weights prove that no sum of a channel reaches 2^24, they are formed in f32,
//! which is exact up to there and fast everywhere; else in i32. A bias that was quantised in the product's scale is
//! added before scaling, and a following `Quantize` divides the scale instead of every element: together the formula
//! of the integer kernels that quantisation tools assume (`round((sum + bias) * (sx * sw / sy)) + zero`). Where only the
//! weights of a product are quantised, they keep their codes ([`super::weights`]).

use super::{clamps, weights};
use crate::rebuild::Rebuild;
use crate::report::PassReport;
use sinter_ir::graph::Origin;
use sinter_ir::op::binary::BinaryKind;
use sinter_ir::op::pad::PadMode;
use sinter_ir::op::{Binary, Cast, Constant, MulAdd, Quantize, Reshape};
use sinter_ir::{DType, Graph, Module, Node, Op, Result, Symbols, Tensor, ValueId};
use std::collections::BTreeMap;

/// Sums of integers below this are exact in f32.
pub(super) const EXACT: f64 = 16_777_216.0;

/// More than an i32 differs from the nearest f32.
const ROUNDED: f64 = 256.0;

/// Runs the pass. Regions keep their float form.
pub fn run(module: &mut Module, report: &mut PassReport) -> Result<()> {
    module.graph = graph(&module.graph, &mut module.symbols, report)?;
    Ok(())
}

fn graph(g: &Graph, symbols: &mut Symbols, report: &mut PassReport) -> Result<Graph> {
    let mut pass = Integers { rb: Rebuild::new(g, symbols, report), scaled: BTreeMap::new() };
    for (_, node) in g.iter() {
        let inputs = pass.rb.operands(node)?;
        let new = match &node.op {
            Op::Conv(_) => pass.contraction(node, &inputs)?,
            Op::MatMul(_) => match pass.contraction(node, &inputs)? {
                None => match pass.activations(node, &inputs)? {
                    None => weights::product(&mut pass.rb, node, &inputs)?,
                    done => done,
                },
                done => done,
            },
            Op::Binary(Binary { kind: BinaryKind::Add }) => pass.bias(node, &inputs)?,
            Op::Quantize(q) => pass.rounded(node, q, &inputs)?,
            _ => None,
        };
        match new {
            Some(v) => pass.rb.bind_all(node, &[v])?,
            None => drop(pass.rb.copy(node)?),
        }
    }
    pass.rb.finish(true)
}

/// A float value that is an integer sum times a constant.
#[derive(Clone)]
struct Scaled {
    sum: ValueId,
    /// Per-channel or scalar, with the sum's rank where it is not scalar.
    scale: ValueId,
    /// Largest sum, bias included.
    bound: f64,
}

struct Integers<'a> {
    rb: Rebuild<'a>,
    scaled: BTreeMap<ValueId, Scaled>,
}

/// A dequantised operand.
struct Source {
    /// The integers.
    value: ValueId,
    scale: Tensor,
    zero: Tensor,
    /// Axis of a 1-D scale.
    axis: usize,
}

impl Integers<'_> {
    fn producer(&self, v: ValueId) -> Option<&Node> {
        self.rb.graph.value(v).def.map(|(id, _)| self.rb.graph.node(id))
    }
    fn constant(&self, v: ValueId) -> Option<&Tensor> {
        self.rb.graph.as_const(v)
    }
    fn bytes(&self, v: ValueId) -> bool {
        matches!(self.rb.graph.ty(v).dtype, DType::I8 | DType::U8)
    }
    /// Looks through Dequantize to f32 with constant parameters.
    fn source(&self, v: ValueId) -> Option<Source> {
        let node = self.producer(v)?;
        let Op::Dequantize(d) = &node.op else { return None };
        let &[value, scale, zero] = node.inputs.as_slice() else { return None };
        let plain = d.block == 0 && d.to == DType::F32;
        let (scale, zero) = (self.constant(scale)?.clone(), self.constant(zero)?.clone());
        (plain && scale.rank() <= 1).then_some(Source { value, scale, zero, axis: d.axis })
    }
    /// Data in integers: `x - zero`, padding and all, and the scalar scale. The bound is on its elements.
    fn data(&mut self, v: ValueId, to: DType, origin: &Origin) -> Result<Option<ValueId>> {
        let Some(node) = self.producer(v).cloned() else { return Ok(None) };
        match &node.op {
            Op::Pad(p) if p.mode == PadMode::Constant && self.is_zero(node.inputs[1]) => {
                let Some(inner) = self.data(node.inputs[0], to, origin)? else { return Ok(None) };
                let zero = self.number(to, 0.0, origin)?;
                self.rb.add1(node.op.clone(), &[inner, zero], &node.origin).map(Some)
            }
            Op::Transpose(_) | Op::Reshape(_) => {
                let Some(inner) = self.data(node.inputs[0], to, origin)? else { return Ok(None) };
                self.rb.add1(node.op.clone(), &[inner], &node.origin).map(Some)
            }
            _ => {
                let Some(s) = self.source(v).filter(|s| s.scale.len() == 1 && self.bytes(s.value)) else {
                    return Ok(None);
                };
                let zero = first(&s.zero)?;
                let x = self.rb.add1(Cast { to, saturate: true }, &[s.value], origin)?;
                if zero == 0.0 {
                    return Ok(Some(x));
                }
                let zero = self.number(to, zero, origin)?;
                self.rb.add1(Binary { kind: BinaryKind::Sub }, &[x, zero], origin).map(Some)
            }
        }
    }
    /// The scale of data, and the largest magnitude of `x - zero`.
    fn data_scale(&self, v: ValueId) -> Option<(Tensor, f64)> {
        let node = self.producer(v)?;
        match &node.op {
            Op::Pad(p) if p.mode == PadMode::Constant && self.is_zero(*node.inputs.get(1)?) => {
                self.data_scale(node.inputs[0])
            }
            Op::Transpose(_) | Op::Reshape(_) => self.data_scale(node.inputs[0]),
            _ => {
                let s = self.source(v).filter(|s| s.scale.len() == 1 && self.bytes(s.value))?;
                let zero = first(&s.zero).ok()?;
                let (lo, hi) = s.zero.dtype().int_range()?;
                Some((s.scale.clone(), (hi as f64 - zero).max(zero - lo as f64)))
            }
        }
    }
    /// Whether data is constant bytes.
    fn is_constant(&self, v: ValueId) -> bool {
        let Some(node) = self.producer(v) else { return false };
        match &node.op {
            Op::Constant(_) => true,
            Op::Dequantize(_) | Op::Transpose(_) | Op::Reshape(_) | Op::Pad(_) => {
                node.inputs.first().is_some_and(|&v| self.is_constant(v))
            }
            _ => false,
        }
    }
    fn is_zero(&self, v: ValueId) -> bool {
        self.constant(v).and_then(|t| t.to_f64().ok()).is_some_and(|v| v.iter().all(|x| *x == 0.0))
    }
    /// A scalar constant.
    fn number(&mut self, dtype: DType, v: f64, origin: &Origin) -> Result<ValueId> {
        let tensor = Tensor::from_f64(dtype, vec![], &[v])?;
        self.rb.add1(Constant { tensor }, &[], origin)
    }

    /// A convolution or product whose operands are dequantised bytes; the weights are constant with zero point 0.
    fn contraction(&mut self, node: &Node, inputs: &[ValueId]) -> Result<Option<ValueId>> {
        let &[x, w] = inputs else { return Ok(None) };
        let rank = self.rb.graph.ty(x).rank();
        // Axis of the weights that is the output channel, and that axis in the result.
        let conv = matches!(node.op, Op::Conv(_));
        let (weights, permuted) = match self.producer(w).map(|n| (n.op.clone(), n.inputs.clone())) {
            Some((Op::Transpose(t), from)) if !conv => (self.source(from[0]), Some(t)),
            _ => (self.source(w), None),
        };
        let (Some(weights), Some((scale, most))) = (weights, self.data_scale(x)) else { return Ok(None) };
        let Some(values) = self.constant(weights.value).cloned().filter(|_| self.bytes(weights.value)) else {
            return Ok(None);
        };
        let zero = weights.zero.to_f64()?;
        let wrank = values.rank();
        if zero.iter().any(|z| *z != 0.0) || conv && wrank != rank || !conv && wrank != 2 {
            return Ok(None);
        }
        let channel = match &permuted {
            _ if conv => 0,
            Some(t) => t.perm[1],
            None => 1,
        };
        if weights.scale.len() > 1 && weights.axis != channel {
            return Ok(None);
        }
        let bound = channel_sums(&values, channel)?.into_iter().fold(0.0, f64::max) * most;
        // Sums that may wrap stay in floats.
        if bound > f64::from(i32::MAX) {
            return Ok(None);
        }
        let to = if bound < EXACT { DType::F32 } else { DType::I32 };
        let origin = &node.origin;
        let Some(data) = self.data(x, to, origin)? else { return Ok(None) };
        let kernel = match permuted {
            Some(t) => self.rb.add1(t, &[weights.value], origin)?,
            None => weights.value,
        };
        let sum = self.rb.add1(node.op.clone(), &[data, kernel], origin)?;
        // sx * sw, along the channel axis of the result.
        let sx = first(&scale)? as f32;
        let product: Vec<f32> = weights.scale.to_f32()?.iter().map(|s| sx * s).collect();
        let mut shape = vec![];
        if product.len() > 1 {
            shape = vec![1; if conv { rank } else { 1 }];
            let axis = match &node.op {
                Op::Conv(c) if c.channels_last => rank - 1,
                Op::Conv(_) => 1,
                _ => 0,
            };
            shape[axis] = product.len();
        }
        let scale = self.rb.add1(Constant { tensor: Tensor::f32s(shape, &product)? }, &[], origin)?;
        self.rb.report.fired(if to == DType::F32 { "integers/exact-f32" } else { "integers/i32" });
        self.scale(Scaled { sum, scale, bound }, origin).map(Some)
    }
    /// A product of two dequantised activations whose sums f32 holds exactly, as in quantised attention.
    fn activations(&mut self, node: &Node, inputs: &[ValueId]) -> Result<Option<ValueId>> {
        let &[x, y] = inputs else { return Ok(None) };
        let (Some((sx, mx)), Some((sy, my))) = (self.data_scale(x), self.data_scale(y)) else {
            return Ok(None);
        };
        if self.is_constant(x) || self.is_constant(y) {
            return Ok(None);
        }
        let terms = self.rb.graph.ty(x).dims.last().and_then(|d| d.as_const());
        let bound = terms.map_or(f64::INFINITY, |k| k as f64 * mx * my);
        if bound >= EXACT {
            return Ok(None);
        }
        let (origin, to) = (&node.origin, DType::F32);
        let (Some(a), Some(b)) = (self.data(x, to, origin)?, self.data(y, to, origin)?) else {
            return Ok(None);
        };
        let sum = self.rb.add1(node.op.clone(), &[a, b], origin)?;
        let scale = first(&sx)? as f32 * first(&sy)? as f32;
        let scale = self.number(DType::F32, scale.into(), origin)?;
        self.rb.report.fired("integers/activations");
        self.scale(Scaled { sum, scale, bound }, origin).map(Some)
    }
    /// The float value of a scaled sum.
    fn scale(&mut self, s: Scaled, origin: &Origin) -> Result<ValueId> {
        let float = self.rb.add1(Cast { to: DType::F32, saturate: true }, &[s.sum], origin)?;
        let y = self.rb.add1(Binary { kind: BinaryKind::Mul }, &[float, s.scale], origin)?;
        self.scaled.insert(y, s);
        Ok(y)
    }
    /// `scaled sum + dequantised bias` with the same scale.
    fn bias(&mut self, node: &Node, inputs: &[ValueId]) -> Result<Option<ValueId>> {
        let &[a, b] = inputs else { return Ok(None) };
        for (sum, bias) in [(a, b), (b, a)] {
            let Some(s) = self.scaled.get(&sum).filter(|s| s.bound.is_finite()).cloned() else { continue };
            let (source, shape) = match self.producer(bias).map(|n| (n.op.clone(), n.inputs.clone())) {
                Some((Op::Reshape(_), from)) => {
                    (self.source(from[0]), Some(self.rb.graph.ty(bias).dims.clone()))
                }
                _ => (self.source(bias), None),
            };
            let Some(q) = source else { continue };
            let (Some(values), Some(scale)) = (self.constant(q.value).cloned(), self.constant(s.scale))
            else {
                continue;
            };
            let largest = values.to_f64()?.iter().fold(0f64, |m, v| m.max(v.abs()));
            let bound = s.bound + largest;
            let unbiased = q.zero.to_f64()?.iter().all(|z| *z == 0.0);
            if values.dtype() != DType::I32 || !unbiased || !same_scale(&q.scale, scale)? {
                continue;
            }
            if s.bound + ROUNDED < EXACT && bound >= EXACT {
                return self.large_bias(node, &s, (&values, shape)).map(Some);
            }
            // Tools give dead channels biases near the end of i32: such sums go on as wider integers.
            let (mut sum, mut to) = (s.sum, self.rb.graph.ty(s.sum).dtype);
            if to == DType::F32 && bound >= EXACT || bound > f64::from(i32::MAX) {
                to = if bound > f64::from(i32::MAX) { DType::I64 } else { DType::I32 };
                sum = self.rb.add1(Cast { to, saturate: true }, &[sum], &node.origin)?;
            }
            let mut add = self.rb.add1(Cast { to, saturate: true }, &[q.value], &node.origin)?;
            if let Some(dims) = shape {
                add = self.rb.add1(Reshape { dims }, &[add], &node.origin)?;
            }
            let sum = self.rb.add1(Binary { kind: BinaryKind::Add }, &[sum, add], &node.origin)?;
            self.rb.report.fired("integers/bias");
            return self.scale(Scaled { sum, scale: s.scale, bound }, &node.origin).map(Some);
        }
        Ok(None)
    }
    /// A bias beyond what f32 holds exactly, as a float and the little that it differs from that: `(sum + little)` is
    /// exact, so the float sum is rounded once, as that of integers would be.
    fn large_bias(
        &mut self,
        node: &Node,
        s: &Scaled,
        (bias, shape): (&Tensor, Option<Vec<sinter_ir::Expr>>),
    ) -> Result<ValueId> {
        let origin = &node.origin;
        let exact = bias.to_i64()?;
        let large: Vec<f32> = exact.iter().map(|&v| v as f32).collect();
        let little: Vec<i64> = exact.iter().zip(&large).map(|(v, l)| v - *l as i64).collect();
        let place = |pass: &mut Self, tensor: Tensor| {
            let v = pass.rb.add1(Constant { tensor }, &[], origin)?;
            shape.clone().map_or(Ok(v), |dims| pass.rb.add1(Reshape { dims }, &[v], origin))
        };
        let little = place(self, Tensor::from_i64(DType::I32, bias.shape().to_vec(), &little)?)?;
        let large = place(self, Tensor::f32s(bias.shape().to_vec(), &large)?)?;
        let sum = self.rb.add1(Cast { to: DType::I32, saturate: true }, &[s.sum], origin)?;
        let sum = self.rb.add1(Binary { kind: BinaryKind::Add }, &[sum, little], origin)?;
        let sum = self.rb.add1(Cast { to: DType::F32, saturate: true }, &[sum], origin)?;
        let sum = self.rb.add1(Binary { kind: BinaryKind::Add }, &[sum, large], origin)?;
        self.rb.report.fired("integers/large-bias");
        self.scale(Scaled { sum, scale: s.scale, bound: f64::INFINITY }, origin)
    }
    /// A Quantize, of what lies in front of bounds that it has itself.
    fn rounded(&mut self, node: &Node, q: &Quantize, inputs: &[ValueId]) -> Result<Option<ValueId>> {
        let bounds = clamps::unclamped(&self.rb.graph, q, inputs);
        let mut inputs = inputs.to_vec();
        if let Some(u) = &bounds {
            inputs[0] = match u.factor.clone() {
                Some(tensor) => {
                    let by = self.rb.add1(Constant { tensor }, &[], &node.origin)?;
                    self.rb.add1(Binary { kind: BinaryKind::Mul }, &[u.value, by], &node.origin)?
                }
                None => u.value,
            };
            self.rb.report.fired("integers/saturated");
        }
        if let Some(done) = self.quantize(node, q, &inputs)? {
            return Ok(Some(done));
        }
        match self.steps(node, q, &inputs)? {
            None if bounds.is_some() => self.rb.add1(q.clone(), &inputs, &node.origin).map(Some),
            done => Ok(done),
        }
    }
    /// `Quantize((x * a + b) * c, 1) -> Quantize(x * (a * c) + b * c, 1)`: what static quantisation makes of a layer with a
    /// bias. Quantize of another tool divides, and has its roundings.
    fn steps(&mut self, node: &Node, q: &Quantize, inputs: &[ValueId]) -> Result<Option<ValueId>> {
        let &[x, scale, zero] = inputs else { return Ok(None) };
        let one = self.constant(scale).is_some_and(|t| t.len() == 1 && t.to_f64().is_ok_and(|v| v == [1.0]));
        let Some(s) = clamps::affine(&self.rb.graph, x)?.filter(|s| one && s.steps > 2) else {
            return Ok(None);
        };
        let origin = &node.origin;
        let [by, more] = [s.by, s.more].map(|tensor| self.rb.add1(Constant { tensor }, &[], origin));
        let y = self.rb.add1(MulAdd {}, &[s.value, by?, more?], origin)?;
        self.rb.report.fired("integers/steps");
        self.rb.add1(q.clone(), &[y, scale, zero], origin).map(Some)
    }
    /// `Quantize(sum * s, sy) -> Quantize(sum * (s / sy), 1)`.
    fn quantize(&mut self, node: &Node, q: &Quantize, inputs: &[ValueId]) -> Result<Option<ValueId>> {
        let &[x, scale, zero] = inputs else { return Ok(None) };
        let Some(s) = self.scaled.get(&x).cloned() else { return self.sum(node, q, inputs) };
        let (Some(by), Some(have)) = (self.constant(scale), self.constant(s.scale)) else { return Ok(None) };
        if by.len() != 1 || q.block != 0 || by.dtype() != DType::F32 {
            return Ok(None);
        }
        let by = first(by)? as f32;
        let ratio: Vec<f32> = have.to_f32()?.iter().map(|s| s / by).collect();
        let tensor = Tensor::f32s(have.shape().to_vec(), &ratio)?;
        let ratio = self.rb.add1(Constant { tensor }, &[], &node.origin)?;
        let one = self.number(DType::F32, 1.0, &node.origin)?;
        let y = self.scale(Scaled { scale: ratio, ..s }, &node.origin)?;
        self.rb.report.fired("integers/requantise");
        self.rb.add1(Quantize { axis: 0, block: 0, top: q.top }, &[y, one, zero], &node.origin).map(Some)
    }
    /// `Quantize(Dequantize(a) + Dequantize(b)) -> Quantize(a * (sa / sy) + (b * (sb / sy) + rest), 1)`: the residual
    /// sums of quantised models, with two multiply-adds an element and the roundings of integer kernels.
    fn sum(&mut self, node: &Node, q: &Quantize, inputs: &[ValueId]) -> Result<Option<ValueId>> {
        let &[x, scale, zero] = inputs else { return Ok(None) };
        let Some(add) = self.producer(x).cloned() else { return Ok(None) };
        let (Op::Binary(Binary { kind: BinaryKind::Add }), &[a, b]) = (&add.op, add.inputs.as_slice()) else {
            return Ok(None);
        };
        let scalar = |s: &Source| s.scale.len() == 1 && s.zero.len() == 1 && s.scale.dtype() == DType::F32;
        let bytes = |p: &Self, s: &Source| p.bytes(s.value) && p.constant(s.value).is_none();
        let (Some(a), Some(b)) = (self.source(a), self.source(b)) else { return Ok(None) };
        let (Some(by), Some(to)) = (self.constant(scale).cloned(), self.constant(zero).cloned()) else {
            return Ok(None);
        };
        let plain = q.block == 0 && by.len() == 1 && by.dtype() == DType::F32 && to.len() == 1;
        let operands = [&a, &b].into_iter().all(|s| scalar(s) && bytes(self, s));
        if !plain || !operands || to.dtype().bits() != 8 {
            return Ok(None);
        }
        let by = first(&by)? as f32;
        let (ra, rb) = (first(&a.scale)? as f32 / by, first(&b.scale)? as f32 / by);
        let (za, zb) = (first(&a.zero)? as f32, first(&b.zero)? as f32);
        let rest = first(&to)? as f32 - ra.mul_add(za, rb * zb);
        let (origin, mut y) = (&node.origin, self.number(DType::F32, rest.into(), &node.origin)?);
        for (from, ratio) in [(b, rb), (a, ra)] {
            let v = self.rb.add1(Cast { to: DType::F32, saturate: true }, &[from.value], origin)?;
            let ratio = self.number(DType::F32, ratio.into(), origin)?;
            y = self.rb.add1(MulAdd {}, &[v, ratio, y], origin)?;
        }
        let one = self.number(DType::F32, 1.0, origin)?;
        let none = self.number(to.dtype(), 0.0, origin)?;
        self.rb.report.fired("integers/sum");
        self.rb.add1(Quantize { axis: 0, block: 0, top: q.top }, &[y, one, none], origin).map(Some)
    }
}

fn first(t: &Tensor) -> Result<f64> {
    Ok(t.to_f64()?.first().copied().unwrap_or(0.0))
}

/// Sums of magnitudes per index of `axis`.
pub(super) fn channel_sums(t: &Tensor, axis: usize) -> Result<Vec<f64>> {
    let inner: usize = t.shape()[axis + 1..].iter().product();
    let n = t.shape()[axis];
    let mut sums = vec![0.0; n];
    for (i, v) in t.to_f64()?.into_iter().enumerate() {
        if let Some(s) = sums.get_mut(i / inner.max(1) % n.max(1)) {
            *s += v.abs();
        }
    }
    Ok(sums)
}

/// Whether a bias is quantised in the scale of the sums, up to rounding of the product.
fn same_scale(bias: &Tensor, product: &Tensor) -> Result<bool> {
    let (a, b) = (bias.to_f64()?, product.to_f64()?);
    let at = |v: &[f64], i: usize| if v.len() == 1 { v[0] } else { v[i] };
    let n = a.len().max(b.len());
    let sizes = (a.len() == 1 || a.len() == n) && (b.len() == 1 || b.len() == n);
    Ok(sizes && (0..n).all(|i| (at(&a, i) - at(&b, i)).abs() <= 1e-5 * at(&b, i).abs()))
}

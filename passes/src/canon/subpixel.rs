//! `subpixel`: transposed convolutions become convolutions whose results are put into place afterwards.
//!
//! With steps of `s`, results whose place is `r` modulo `s` are a convolution of their own over the data, with every s-th
//! weight. All of them together are one convolution with `s` times the channels (Shi et al. 2016, arXiv:1609.05158): every
//! point of it is a block of the result. What follows element by element is computed before the blocks go to their
//! places, so that it is still fused, and so that what is moved can be bytes.

use crate::rebuild::{Rebuild, map_regions};
use crate::report::PassReport;
use sinter_ir::expr::product;
use sinter_ir::graph::Origin;
use sinter_ir::op::{Constant, Conv, ConvTranspose, Reshape, Slice, Transpose};
use sinter_ir::{Expr, Graph, Module, Node, Op, Result, Symbols, Tensor, ValueId};
use std::collections::BTreeMap;

/// Products that windows grown to whole steps may have, in times of those that are asked for.
const GROWTH: usize = 3;

/// Runs the pass.
pub fn run(module: &mut Module, report: &mut PassReport) -> Result<()> {
    module.graph = graph(&module.graph, &mut module.symbols, report, true)?;
    Ok(())
}

fn graph(old: &Graph, symbols: &mut Symbols, report: &mut PassReport, main: bool) -> Result<Graph> {
    let mut pass = Subpixel { rb: Rebuild::new(old, symbols, report), known: BTreeMap::new() };
    for (_, node) in old.iter() {
        let made = match &node.op {
            Op::ConvTranspose(c) => pass.contraction(c, node)?,
            op if op.is_pointwise() => pass.pointwise(node)?,
            _ => None,
        };
        match (made, node.outputs.as_slice()) {
            (Some(p), &[y]) => {
                let v = pass.placed(&p, y, &node.origin)?;
                pass.rb.bind(y, v);
                pass.known.insert(y, p);
            }
            _ => {
                let rb = &mut pass.rb;
                let op = map_regions(&node.op, &mut |r| graph(r, rb.symbols, rb.report, false))?;
                rb.copy_as(node, op)?;
            }
        }
    }
    pass.rb.finish(main)
}

/// How the channels of the convolution lie: `[groups][block..][channels]`.
#[derive(Debug, Clone, PartialEq)]
struct Blocks {
    groups: usize,
    /// Per spatial axis.
    block: Vec<usize>,
    /// Of one group of the result.
    channels: usize,
    /// What the blocks have in front of the result, per spatial axis.
    cut: Vec<i64>,
}

/// A value as the convolution gives it.
#[derive(Debug, Clone)]
struct Product {
    /// `[n, groups * block * channels, points..]`.
    value: ValueId,
    blocks: Blocks,
}

struct Subpixel<'a> {
    rb: Rebuild<'a>,
    /// By the old values.
    known: BTreeMap<ValueId, Product>,
}

/// One axis of a transposed convolution as a convolution.
struct Axis {
    step: usize,
    taps: usize,
    before: i64,
    after: i64,
    cut: i64,
}

impl Axis {
    /// With `u = o + pad` for the place of a result, point `u / step` of the convolution holds it. None where pads are
    /// open, or cut away whole windows.
    fn new(size: &Expr, kernel: usize, step: usize, before: &Expr, after: &Expr) -> Option<Self> {
        // A single point has no neighbours, whatever the step.
        let step = if size.is(1) { kernel } else { step };
        let (s, taps) = (step as i64, kernel.div_ceil(step));
        let (before, after) = (before.as_const()?, after.as_const()?);
        let first = before.div_euclid(s);
        let axis = Self {
            step,
            taps,
            before: taps as i64 - 1 - first,
            after: (kernel as i64 - 1 - after).div_euclid(s),
            cut: before - first * s,
        };
        (axis.before >= 0 && axis.after >= 0).then_some(axis)
    }
}

impl Subpixel<'_> {
    fn contraction(&mut self, c: &ConvTranspose, node: &Node) -> Result<Option<Product>> {
        let &[x, w] = node.inputs.as_slice() else { return Ok(None) };
        let (xt, Some(weights)) = (self.rb.old.ty(x), self.rb.old.constant(w)) else { return Ok(None) };
        let Some((&[inputs, outputs], kernel)) = weights.shape().split_first_chunk() else { return Ok(None) };
        if c.channels_last || c.dilations.iter().any(|&d| d != 1) || weights.is_empty() {
            return Ok(None);
        }
        let axes: Option<Vec<Axis>> = (0..kernel.len())
            .map(|i| {
                Axis::new(
                    xt.dims.get(2 + i)?,
                    *kernel.get(i)?,
                    c.strides[i],
                    &c.pads_before[i],
                    &c.pads_after[i],
                )
            })
            .collect();
        let Some(axes) = axes else { return Ok(None) };
        let grown: usize = axes.iter().map(|a| a.step * a.taps).product();
        if grown > GROWTH * kernel.iter().product::<usize>() {
            return Ok(None);
        }
        let blocks = Blocks {
            groups: c.group,
            block: axes.iter().map(|a| a.step).collect(),
            channels: outputs,
            cut: axes.iter().map(|a| a.cut).collect(),
        };
        let (weights, origin) = (weights.load()?, &node.origin);
        let tensor = turned(&weights, &blocks, inputs / c.group, &axes)?;
        let w = self.rb.add1(Constant { tensor }, &[], origin)?;
        let conv = Conv {
            strides: vec![1; axes.len()],
            dilations: vec![1; axes.len()],
            pads_before: axes.iter().map(|a| a.before.into()).collect(),
            pads_after: axes.iter().map(|a| a.after.into()).collect(),
            group: c.group,
            channels_last: false,
            zero: None,
            largest: None,
            wide: false,
        };
        let x = self.rb.get(x)?;
        let value = self.rb.add1(conv, &[x, w], origin)?;
        self.rb.report.fired("subpixel/convolution");
        Ok(Some(Product { value, blocks }))
    }
    /// An element-wise node on results of one shape and constants per channel.
    fn pointwise(&mut self, node: &Node) -> Result<Option<Product>> {
        let Some(first) = node.inputs.iter().find_map(|v| self.known.get(v)).cloned() else {
            return Ok(None);
        };
        let dims = self.rb.graph.ty(first.value).dims.clone();
        let mut inputs = vec![];
        for v in &node.inputs {
            let same = |p: &&Product| p.blocks == first.blocks && self.rb.graph.ty(p.value).dims == dims;
            match (self.known.get(v).filter(same), self.rb.old.as_const(*v)) {
                (Some(p), _) => inputs.push(p.value),
                (None, Some(t)) => {
                    let Some(t) = repeated(t, &first.blocks)? else { return Ok(None) };
                    inputs.push(self.rb.add1(Constant { tensor: t }, &[], &node.origin)?);
                }
                _ => return Ok(None),
            }
        }
        let value = self.rb.add1(node.op.clone(), &inputs, &node.origin)?;
        Ok(Some(Product { value, ..first }))
    }
    /// The blocks in their places: what the old graph has in `y`.
    fn placed(&mut self, p: &Product, y: ValueId, origin: &Origin) -> Result<ValueId> {
        let Blocks { groups, block, channels, cut } = &p.blocks;
        let r = block.len();
        let dims = self.rb.graph.ty(p.value).dims.clone();
        let sizes = self.rb.old.ty(y).dims.clone();
        let points = &dims[2..];
        let block: Vec<Expr> = block.iter().map(|&b| b.into()).collect();
        let head = [dims[0].clone(), (*groups).into()];
        let parts = [&head, block.as_slice(), &[(*channels).into()], points].concat();
        let v = self.rb.add1(Reshape { dims: parts }, &[p.value], origin)?;
        let perm = [0, 1, 2 + r].into_iter().chain((0..r).flat_map(|i| [3 + r + i, 2 + i])).collect();
        let v = self.rb.add1(Transpose { perm }, &[v], origin)?;
        let whole: Vec<Expr> = points.iter().zip(&block).map(|(q, b)| product([q, b])).collect();
        let dims = [&sizes[..2], whole.as_slice()].concat();
        let v = self.rb.add1(Reshape { dims: dims.clone() }, &[v], origin)?;
        if dims == sizes {
            return Ok(v);
        }
        let starts = [0, 0].into_iter().chain(cut.iter().copied()).map(Expr::from).collect();
        let steps = vec![1.into(); sizes.len()];
        self.rb.add1(Slice { starts, sizes, steps }, &[v], origin)
    }
}

/// Weights `[groups * inputs, channels, kernel..]` in the order of the convolution, `[groups * block * channels, inputs,
/// taps..]`: tap t of the one with remainder r is weight `step * t + r`, and a convolution reads backwards.
fn turned(w: &Tensor, blocks: &Blocks, inputs: usize, axes: &[Axis]) -> Result<Tensor> {
    let Blocks { groups, block, channels, .. } = blocks;
    let taps: Vec<usize> = axes.iter().map(|a| a.taps).collect();
    let all = groups * block.iter().product::<usize>() * channels;
    let shape = [&[all, inputs], taps.as_slice()].concat();
    let split = [&[*groups], block.as_slice(), &[*channels, inputs], taps.as_slice()].concat();
    let (values, r) = (w.to_f64()?, axes.len());
    let mut out = vec![0.0; shape.iter().product()];
    let mut at = vec![0; split.len()];
    for (i, y) in out.iter_mut().enumerate() {
        let mut rest = i;
        for (a, n) in at.iter_mut().zip(&split).rev() {
            *a = rest % n;
            rest /= n;
        }
        let (o, c) = (at[1 + r], at[0] * inputs + at[2 + r]);
        let place = axes.iter().zip(&w.shape()[2..]).enumerate().try_fold(0, |place, (i, (a, &kernel))| {
            let k = a.step * (a.taps - 1 - at[3 + r + i]) + at[1 + i];
            (k < kernel).then_some(place * kernel + k)
        });
        let window: usize = w.shape()[2..].iter().product();
        if let Some(v) = place.and_then(|p| values.get((c * channels + o) * window + p)) {
            *y = *v;
        }
    }
    Tensor::from_f64(w.dtype(), shape, &out)
}

/// A constant with one number, or one per channel, for every channel of the convolution.
fn repeated(t: &Tensor, blocks: &Blocks) -> Result<Option<Tensor>> {
    if t.len() == 1 {
        return t.reshaped(vec![]).map(Some);
    }
    let Blocks { groups, block, channels, .. } = blocks;
    let (r, per) = (block.len(), block.iter().product::<usize>());
    let place = t.rank().checked_sub(1 + r);
    if !t.dtype().is_float() || place.is_none_or(|p| t.shape()[p] != t.len()) || t.len() != groups * channels
    {
        return Ok(None);
    }
    let values = t.to_f64()?;
    let all: Vec<f64> = values.chunks_exact(*channels).flat_map(|g| g.repeat(per)).collect();
    let shape = [vec![all.len()], vec![1; r]].concat();
    Tensor::from_f64(t.dtype(), shape, &all).map(Some)
}

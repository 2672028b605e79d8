//! `fourier`: convolutions of a signal with windowed cosines and sines become fast Fourier transforms.
//!
//! Exporters write short-time Fourier transforms as convolutions of one channel, real and imaginary parts together or
//! apart. Weights that are such a basis (`basis`) are replaced: frames of the signal are gathered, multiplied with the
//! window and sent, as columns, through two products of small matrices (`stages`), which do a small part of the work;
//! their results are put in the order of the rows.

mod basis;
mod stages;

use crate::rebuild::{Rebuild, map_regions};
use crate::report::PassReport;
use basis::Basis;
use sinter_ir::graph::Origin;
use sinter_ir::op::binary::{Binary, BinaryKind};
use sinter_ir::op::pad::{Pad, PadMode};
use sinter_ir::op::{Constant, Conv, Gather, Iota, MatMul, Reshape, Slice, Transpose};
use sinter_ir::{DType, Expr, Graph, Module, NodeId, Op, Result, Symbols, Tensor, ValueId};
use stages::Stages;
use std::collections::BTreeMap;

/// Shorter windows are left alone.
const SHORTEST: usize = 64;
/// Fewer frames than these leave vectors of them idle.
const FEWEST: i64 = 16;
/// Longer ones too: looking for frequencies takes the square of it.
const LONGEST: usize = 8192;

/// Runs the pass.
pub fn run(module: &mut Module, report: &mut PassReport) -> Result<()> {
    module.graph = graph(&module.graph, &mut module.symbols, report, true)?;
    Ok(())
}

fn graph(g: &Graph, symbols: &mut Symbols, report: &mut PassReport, main: bool) -> Result<Graph> {
    let all = spectra(g, symbols)?;
    let of: BTreeMap<NodeId, usize> =
        all.iter().enumerate().flat_map(|(i, s)| s.members.iter().map(move |m| (m.node, i))).collect();
    let mut made: BTreeMap<usize, ValueId> = BTreeMap::new();
    let mut rb = Rebuild::new(g, symbols, report);
    for (id, node) in g.iter() {
        let Some((i, spectrum)) = of.get(&id).and_then(|&i| Some((i, all.get(i)?))) else {
            let op = map_regions(&node.op, &mut |r| graph(r, rb.symbols, rb.report, false))?;
            rb.copy_as(node, op)?;
            continue;
        };
        let bins = match made.get(&i) {
            Some(&bins) => bins,
            None => {
                let bins = spectrum.emit(&mut rb, &node.origin)?;
                *made.entry(i).or_insert(bins)
            }
        };
        let y = spectrum.rows_of(&mut rb, id, bins, &node.origin)?;
        rb.bind_all(node, &[y])?;
    }
    rb.finish(main)
}

/// A convolution that computes some rows of a spectrum.
struct Member {
    node: NodeId,
    /// Its rows.
    rows: std::ops::Range<usize>,
}

/// Spectra of the same frames of the same signal.
struct Spectrum<'a> {
    old: &'a Graph,
    /// The signal, `[batch, 1, .., samples, ..]`, and its axis of more than one sample.
    signal: ValueId,
    axis: usize,
    conv: &'a Conv,
    frames: Expr,
    basis: Basis,
    stages: Stages,
    /// The outer matrices, and which result each row is.
    outer: (Vec<f64>, Vec<i64>),
    members: Vec<Member>,
}

/// All spectra of a graph.
fn spectra<'a>(g: &'a Graph, symbols: &Symbols) -> Result<Vec<Spectrum<'a>>> {
    let mut groups: Vec<(&Conv, usize, Vec<NodeId>)> = vec![];
    let mut by_signal: BTreeMap<ValueId, Vec<usize>> = BTreeMap::new();
    for (id, node) in g.iter() {
        let (Op::Conv(conv), &[x, w]) = (&node.op, node.inputs.as_slice()) else { continue };
        let Some(axis) = g.constant(w).and_then(|w| frame_axis(g, conv, x, w)) else { continue };
        let y = &g.ty(node.outputs[0]).dims;
        if symbols.max(&(y[0].clone() * y[axis].clone())) < FEWEST {
            continue;
        }
        let known = by_signal.entry(x).or_default();
        let same = |&&i: &&usize| groups.get(i).is_some_and(|(c, a, _)| *c == conv && *a == axis);
        match known.iter().find(same) {
            Some(&i) => groups[i].2.push(id),
            None => {
                known.push(groups.len());
                groups.push((conv, axis, vec![id]));
            }
        }
    }
    let mut all = vec![];
    for (conv, axis, nodes) in groups {
        // Rows that have no place among the others must not keep those from theirs.
        match Spectrum::of(g, conv, axis, &nodes)? {
            Some(s) => all.push(s),
            None if nodes.len() > 1 => {
                for n in nodes {
                    all.extend(Spectrum::of(g, conv, axis, &[n])?);
                }
            }
            None => {}
        }
    }
    Ok(all)
}

/// The axis along which a convolution of one channel in f32 takes frames.
fn frame_axis(g: &Graph, conv: &Conv, x: ValueId, w: &Tensor) -> Option<usize> {
    let (ty, shape) = (g.ty(x), w.shape());
    let plain = conv.group == 1 && !conv.channels_last && conv.zero.is_none() && shape.get(1) == Some(&1);
    let mut long = (2..shape.len()).filter(|&a| shape[a] > 1);
    let axis = long.next().filter(|_| long.next().is_none())?;
    let single = |&a: &usize| {
        let p = a - 2;
        ty.dims[a].is(1) && conv.strides[p] == 1 && conv.pads_before[p].is(0) && conv.pads_after[p].is(0)
    };
    let others = (2..shape.len()).filter(|&a| a != axis).all(|a| single(&a));
    let fits =
        plain && others && conv.dilations[axis - 2] == 1 && (SHORTEST..=LONGEST).contains(&shape[axis]);
    (fits && [ty.dtype, w.dtype()] == [DType::F32; 2]).then_some(axis)
}

impl<'a> Spectrum<'a> {
    /// What convolutions of the same frames compute, if it is a spectrum and worth it.
    fn of(old: &'a Graph, conv: &'a Conv, axis: usize, nodes: &[NodeId]) -> Result<Option<Self>> {
        let (mut weights, mut members, mut taps, mut count) = (vec![], vec![], 0, 0);
        for &node in nodes {
            let Some(w) = old.node(node).inputs.get(1).and_then(|&w| old.constant(w)) else {
                return Ok(None);
            };
            let (rows, width) = (w.shape()[0], w.shape()[axis]);
            if taps != 0 && width != taps {
                return Ok(None);
            }
            taps = width;
            members.push(Member { node, rows: count..count + rows });
            count += rows;
            weights.extend(w.load()?.to_f64()?);
        }
        let Some(first) = nodes.first().map(|&n| old.node(n)) else { return Ok(None) };
        let rows: Vec<&[f64]> = weights.chunks_exact(taps.max(1)).collect();
        let found =
            Stages::of(taps, taps, count).or_else(|| Stages::of(taps.next_power_of_two(), taps, count));
        let Some(basis) = found.and_then(|_| Basis::of(&rows)) else { return Ok(None) };
        let Some(stages) = Stages::of(basis.length, taps, count) else { return Ok(None) };
        let Some(outer) = stages.outer_matrices(&basis) else { return Ok(None) };
        let frames = old.ty(first.outputs[0]).dims[axis].clone();
        let signal = first.inputs[0];
        Ok(Some(Self { old, signal, axis, conv, frames, basis, stages, outer, members }))
    }
    /// The results of both stages, `[half * columns, batch * frames]`.
    fn emit(&self, rb: &mut Rebuild, origin: &Origin) -> Result<ValueId> {
        rb.report.fired("fourier/spectrum");
        let Stages { inner, outer } = self.stages;
        let (half, columns) = (self.stages.half(), self.stages.columns());
        let op = |rb: &mut Rebuild, op: Op, x: &[ValueId]| rb.add1(op, x, origin);
        let x = self.framed(rb, origin)?;
        let (batch, frames) = (self.batch(), self.frames.clone());
        let mut window = self.basis.window.clone();
        window.resize(self.basis.length, 0.0);
        let window = constant(rb, &[self.basis.length / self.piece(), self.piece()], &window)?;
        let x = op(rb, Binary { kind: BinaryKind::Mul }.into(), &[x, window])?;
        // Frames are the columns of both products: bins come out as channels do.
        let flat = vec![batch.clone(), frames.clone(), self.basis.length.into()];
        let x = op(rb, Reshape { dims: flat }.into(), &[x])?;
        let x = op(rb, Transpose { perm: vec![2, 0, 1] }.into(), &[x])?;
        let all = batch * frames;
        let x = op(rb, Reshape { dims: vec![inner.into(), all.clone() * outer.into()] }.into(), &[x])?;
        let first = constant(rb, &[2 * half, inner], &self.stages.inner_matrix())?;
        let x = op(rb, MatMul::default().into(), &[first, x])?;
        let x = op(rb, Reshape { dims: vec![half.into(), columns.into(), all.clone()] }.into(), &[x])?;
        let second = constant(rb, &[half, columns, columns], &self.outer.0)?;
        let x = op(rb, MatMul::default().into(), &[second, x])?;
        op(rb, Reshape { dims: vec![(half * columns).into(), all] }.into(), &[x])
    }
    fn batch(&self) -> Expr {
        self.old.ty(self.signal).dims[0].clone()
    }
    /// Samples that every frame has together or not at all.
    fn piece(&self) -> usize {
        gcd(self.conv.strides[self.axis - 2], self.basis.length)
    }
    /// Frames of the signal, `[batch, frames, pieces, piece]`: pieces that lie in one or more of them as a whole are
    /// gathered, so that what moves is as wide as may be.
    fn framed(&self, rb: &mut Rebuild, origin: &Origin) -> Result<ValueId> {
        let (length, spatial) = (self.basis.length, self.axis - 2);
        let hop = self.conv.strides[spatial];
        let mut x = rb.get(self.signal)?;
        let dims = self.old.ty(self.signal).dims.clone();
        let batch = self.batch();
        x = rb.add1(Reshape { dims: vec![batch.clone(), dims[self.axis].clone()] }, &[x], origin)?;
        // A longer transform reads on behind the window, where the factors are zeros.
        let behind = self.conv.pads_after[spatial].clone() + (length - self.basis.window.len()).into();
        let (before, after) = (self.conv.pads_before[spatial].clone(), behind);
        if !before.is(0) || !after.is(0) {
            let zero = rb.add1(
                Constant { tensor: Tensor::from_f64(DType::F32, vec![], &[0.0])? },
                &[],
                &Origin::new(),
            )?;
            let op =
                Pad { mode: PadMode::Constant, before: vec![0.into(), before], after: vec![0.into(), after] };
            x = rb.add1(op, &[x, zero], origin)?;
        }
        let piece = self.piece();
        let (step, pieces) = ((hop / piece) as i64, length / piece);
        let count = (self.frames.clone() - 1.into()) * step.into() + pieces.into();
        let slice = Slice {
            starts: vec![0.into(); 2],
            sizes: vec![batch.clone(), count.clone() * piece.into()],
            steps: vec![1.into(); 2],
        };
        x = rb.add1(slice, &[x], origin)?;
        x = rb.add1(Reshape { dims: vec![batch, count, piece.into()] }, &[x], origin)?;
        let grid = vec![self.frames.clone(), pieces.into()];
        let along = |rb: &mut Rebuild, axis| {
            rb.add1(Iota { dtype: DType::I64, dims: grid.clone(), axis }, &[], origin)
        };
        let (first, next) = (along(rb, 0)?, along(rb, 1)?);
        let step = rb.add1(
            Constant { tensor: Tensor::from_i64(DType::I64, vec![], &[step])? },
            &[],
            &Origin::new(),
        )?;
        let first = rb.add1(Binary { kind: BinaryKind::Mul }, &[first, step], origin)?;
        let at = rb.add1(Binary { kind: BinaryKind::Add }, &[first, next], origin)?;
        rb.add1(Gather { axis: 1 }, &[x, at], origin)
    }
    /// The rows of one convolution, as it gave them.
    fn rows_of(&self, rb: &mut Rebuild, node: NodeId, bins: ValueId, origin: &Origin) -> Result<ValueId> {
        let rows = self.members.iter().find(|m| m.node == node).map_or(0..0, |m| m.rows.clone());
        let places = self.outer.1.get(rows).unwrap_or_default();
        let places = Tensor::from_i64(DType::I64, vec![places.len()], places)?;
        let places = rb.add1(Constant { tensor: places }, &[], &Origin::new())?;
        let y = rb.add1(Gather { axis: 0 }, &[bins, places], origin)?;
        let dims = self.old.ty(self.old.node(node).outputs[0]).dims.clone();
        let split = vec![dims[1].clone(), dims[0].clone(), self.frames.clone()];
        let y = rb.add1(Reshape { dims: split }, &[y], origin)?;
        let y = rb.add1(Transpose { perm: vec![1, 0, 2] }, &[y], origin)?;
        rb.add1(Reshape { dims }, &[y], origin)
    }
}

fn constant(rb: &mut Rebuild, shape: &[usize], values: &[f64]) -> Result<ValueId> {
    let tensor = Tensor::from_f64(DType::F32, shape.to_vec(), values)?;
    rb.add1(Constant { tensor }, &[], &Origin::new())
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

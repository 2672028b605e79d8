//! Transposed convolutions whose windows do not overlap become products, and their results are put into place afterwards.
//!
//! `ConvTranspose(x, w)` with windows of the size of the step gives every point of `x` a block of the result: a product of
//! the points with `[channels, block * outputs]`. What follows element by element is computed on the product, so that
//! what is moved to its place in the end can be bytes.

use crate::rebuild::Rebuild;
use crate::report::PassReport;
use sinter_ir::expr::product;
use sinter_ir::graph::Origin;
use sinter_ir::op::{Constant, ConvTranspose, MatMul, Reshape, Transpose};
use sinter_ir::{DType, Expr, Module, Node, Op, Result, Tensor, ValueId};
use std::collections::BTreeMap;

/// A value in the order of the product.
#[derive(Debug, Clone)]
struct Product {
    /// `[n, h, w, block height * block width * channels]`.
    value: ValueId,
    /// `n`, `h` and `w`.
    dims: Vec<Expr>,
    /// Block height and width, and channels.
    block: [usize; 3],
}

struct Shuffle<'a> {
    rb: Rebuild<'a>,
    /// By the old values.
    known: BTreeMap<ValueId, Product>,
}

/// Runs over the main graph.
pub fn run(module: &mut Module, report: &mut PassReport) -> Result<()> {
    let old = std::mem::take(&mut module.graph);
    let mut pass = Shuffle { rb: Rebuild::new(&old, &mut module.symbols, report), known: BTreeMap::new() };
    for (_, node) in old.iter() {
        let made = match &node.op {
            Op::ConvTranspose(c) => pass.contraction(c, node)?,
            op if op.is_pointwise() => pass.pointwise(node)?,
            _ => None,
        };
        match (made, node.outputs.as_slice()) {
            (Some(p), &[y]) => {
                let v = pass.placed(&p, &node.origin)?;
                pass.rb.bind(y, v);
                pass.known.insert(y, p);
            }
            _ => drop(pass.rb.copy(node)?),
        }
    }
    module.graph = pass.rb.finish(true)?;
    Ok(())
}

impl Shuffle<'_> {
    fn contraction(&mut self, c: &ConvTranspose, node: &Node) -> Result<Option<Product>> {
        let &[x, w] = node.inputs.as_slice() else { return Ok(None) };
        let Some(weights) = self.rb.old.constant(w).filter(|t| t.dtype() == DType::F32) else {
            return Ok(None);
        };
        let &[channels, outputs, height, width] = weights.shape() else { return Ok(None) };
        let none = |v: &[Expr]| v.iter().all(|e| e.is(0));
        let plain = c.group == 1 && !c.channels_last && none(&c.pads_before) && none(&c.pads_after);
        if !plain || c.strides != [height, width] || self.rb.old.ty(x).dtype != DType::F32 {
            return Ok(None);
        }
        let values = weights.load()?.to_f32()?;
        let block = height * width;
        let mut turned = vec![0f32; values.len()];
        for (i, v) in values.iter().enumerate() {
            let (tap, o, k) = (i % block, i / block % outputs, i / block / outputs);
            if let Some(t) = turned.get_mut((k * block + tap) * outputs + o) {
                *t = *v;
            }
        }
        let tensor = Tensor::f32s(vec![channels, block * outputs], &turned)?;
        let (x, origin) = (self.rb.get(x)?, &node.origin);
        let x = self.rb.add1(Transpose { perm: vec![0, 2, 3, 1] }, &[x], origin)?;
        let w = self.rb.add1(Constant { tensor }, &[], origin)?;
        let dims = self.rb.graph.ty(x).dims.iter().take(3).cloned().collect();
        let value = self.rb.add1(MatMul::default(), &[x, w], origin)?;
        self.rb.report.fired("quantise/shuffle");
        Ok(Some(Product { value, dims, block: [height, width, outputs] }))
    }
    /// An element-wise node on products of one shape and constants per channel.
    fn pointwise(&mut self, node: &Node) -> Result<Option<Product>> {
        let Some(first) = node.inputs.iter().find_map(|v| self.known.get(v)).cloned() else {
            return Ok(None);
        };
        let mut inputs = vec![];
        for v in &node.inputs {
            let same = |p: &&Product| p.dims == first.dims && p.block == first.block;
            match (self.known.get(v).filter(same), self.rb.old.as_const(*v)) {
                (Some(p), _) => inputs.push(p.value),
                (None, Some(t)) => {
                    let Some(t) = repeated(t, first.block)? else { return Ok(None) };
                    inputs.push(self.rb.add1(Constant { tensor: t }, &[], &node.origin)?);
                }
                _ => return Ok(None),
            }
        }
        let value = self.rb.add1(node.op.clone(), &inputs, &node.origin)?;
        Ok(Some(Product { value, ..first }))
    }
    /// The blocks in their places, channels first.
    fn placed(&mut self, p: &Product, origin: &Origin) -> Result<ValueId> {
        let [height, width, outputs] = p.block.map(Expr::from);
        let [n, h, w] = p.dims.as_slice() else { return Err(sinter_ir::Diag::bug("a product of points")) };
        let parts = [n, h, w, &height, &width, &outputs].map(Clone::clone).to_vec();
        let v = self.rb.add1(Reshape { dims: parts }, &[p.value], origin)?;
        let v = self.rb.add1(Transpose { perm: vec![0, 1, 3, 2, 4, 5] }, &[v], origin)?;
        let dims = vec![n.clone(), product([h, &height]), product([w, &width]), outputs];
        let v = self.rb.add1(Reshape { dims }, &[v], origin)?;
        self.rb.add1(Transpose { perm: vec![0, 3, 1, 2] }, &[v], origin)
    }
}

/// A constant with one number, or one per channel, for every element of a block.
fn repeated(t: &Tensor, [height, width, outputs]: [usize; 3]) -> Result<Option<Tensor>> {
    if t.len() == 1 {
        return t.reshaped(vec![]).map(Some);
    }
    let [.., channels, 1, 1] = t.shape() else { return Ok(None) };
    if *channels != outputs || t.len() != outputs || t.dtype() != DType::F32 {
        return Ok(None);
    }
    let values = t.to_f32()?.repeat(height * width);
    Tensor::f32s(vec![values.len()], &values).map(Some)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use sinter_ir::TensorType;
    use sinter_ir::op::Binary;
    use sinter_ir::op::binary::BinaryKind;

    #[test]
    fn blocks_in_their_places_are_the_same_numbers() {
        let mut m = Module::default();
        let dims = [2, 3, 4, 5].map(Expr::from).to_vec();
        let x = m.graph.add_input(TensorType::new(DType::F32, dims), Some("x".into()));
        let mut state = 1u32;
        let mut numbers = |n: usize| -> Vec<f32> {
            (0..n)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 16) as f32 / 65536.0 - 0.5
                })
                .collect()
        };
        let constants = [(vec![3, 6, 2, 3], numbers(108)), (vec![6, 1, 1], numbers(6)), (vec![], vec![0.1])];
        let mut add = |op: Op, x: &[ValueId]| m.graph.add1(&mut m.symbols, op, x, &Origin::new()).unwrap();
        let [w, bias, least] =
            constants.map(|(s, v)| add(Constant { tensor: Tensor::f32s(s, &v).unwrap() }.into(), &[]));
        let op = ConvTranspose {
            strides: vec![2, 3],
            dilations: vec![1, 1],
            pads_before: vec![0.into(); 2],
            pads_after: vec![0.into(); 2],
            group: 1,
            channels_last: false,
        };
        let y = add(op.into(), &[x, w]);
        let z = add(Binary { kind: BinaryKind::Add }.into(), &[y, bias]);
        let z = add(Binary { kind: BinaryKind::Max }.into(), &[z, least]);
        let z = add(Binary { kind: BinaryKind::Mul }.into(), &[z, y]);
        m.graph.outputs = vec![z];
        let mut new = m.clone();
        let mut report = PassReport::default();
        run(&mut new, &mut report).unwrap();
        crate::canon::dce::run_final(&mut new, &mut report).unwrap();
        let input = Tensor::f32s(vec![2, 3, 4, 5], &numbers(120)).unwrap();
        let out = |m: &Module| {
            let out = sinter_ir::eval::module(m, std::slice::from_ref(&input)).unwrap();
            (out[0].shape().to_vec(), out[0].to_f32().unwrap())
        };
        let (a, b) = (out(&m), out(&new));
        assert_eq!(a.0, b.0);
        assert!(a.1.iter().zip(&b.1).all(|(a, b)| (a - b).abs() < 1e-5));
        // Only the last value is moved.
        let count = |f: &dyn Fn(&Op) -> bool| new.graph.iter().filter(|(_, n)| f(&n.op)).count();
        assert_eq!(count(&|op| matches!(op, Op::ConvTranspose(_))), 0);
        assert_eq!(count(&|op| matches!(op, Op::Transpose(_))), 3);
    }
}

//! `tables`: chains of element-wise operations from one quantised byte to another become look-ups in a table.
//!
//! `Quantize(f(Dequantize(x)))` has 256 values, whatever `f` is: a rescaling, an activation, `x * sigmoid(x)` with a
//! quantisation after every step. They are computed here by the reference evaluator. A chain that changes nothing goes
//! altogether. Operations that move elements may be part of a chain: they then move the bytes at its beginning, pads
//! with the byte that stands for what they fill in; and what is quantised behind a concatenation is quantised in front of it.

use crate::rebuild::Rebuild;
use crate::report::PassReport;
use sinter_ir::eval::EvalCx;
use sinter_ir::graph::Origin;
use sinter_ir::op::{Constant, Lookup};
use sinter_ir::{DType, Graph, Module, Node, Op, Result, Symbols, Tensor, ValueId};
use std::collections::BTreeMap;

/// Runs the pass. Regions keep their form.
pub fn run(module: &mut Module, report: &mut PassReport) -> Result<()> {
    module.graph = graph(&module.graph, &mut module.symbols, report)?;
    Ok(())
}

fn graph(g: &Graph, symbols: &mut Symbols, report: &mut PassReport) -> Result<Graph> {
    let mut pass = Tables { rb: Rebuild::new(g, symbols, report), known: BTreeMap::new() };
    for (_, node) in g.iter() {
        let inputs = pass.rb.operands(node)?;
        match pass.rewritten(node, &inputs)? {
            Some(v) => pass.rb.bind_all(node, &[v])?,
            None => {
                let new = pass.rb.copy(node)?;
                pass.learn(node, &inputs, &new)?;
            }
        }
    }
    pass.rb.finish(true)
}

/// A value whose every element depends on the element of a byte tensor at the same index, and on nothing else.
#[derive(Clone)]
struct Function {
    of: ValueId,
    /// For every byte.
    values: Tensor,
}

struct Tables<'a> {
    rb: Rebuild<'a>,
    known: BTreeMap<ValueId, Function>,
}

impl Tables<'_> {
    /// What is known about a value; bytes are functions of themselves.
    fn function(&self, v: ValueId) -> Option<Function> {
        if let Some(f) = self.known.get(&v) {
            return Some(f.clone());
        }
        let dtype = self.rb.graph.ty(v).dtype;
        let constant = self.rb.graph.constant(v).is_some();
        if constant || !byte(dtype) {
            return None;
        }
        let values = Tensor::from_bytes(dtype, vec![256], (0..=255).collect::<Vec<u8>>()).ok()?;
        Some(Function { of: v, values })
    }
    /// A constant of one element, as a scalar.
    fn number(&self, v: ValueId) -> Option<Tensor> {
        let t = self.rb.graph.as_const(v).filter(|t| t.len() == 1)?;
        Tensor::from_bytes(t.dtype(), vec![], t.shared_bytes()).ok()
    }
    /// The function that an element-wise operation gives of functions of one tensor and of numbers.
    fn apply(&self, op: &Op, inputs: &[ValueId], numel: &sinter_ir::Expr) -> Option<Function> {
        let alone = match op {
            Op::Quantize(q) => q.block == 0,
            Op::Dequantize(d) => d.block == 0,
            op => op.is_pointwise(),
        };
        let mut of = None;
        let mut args = Vec::with_capacity(inputs.len());
        for &v in inputs.iter().filter(|_| alone) {
            if let Some(t) = self.number(v) {
                args.push(t);
                continue;
            }
            let f = self.function(v)?;
            if *of.get_or_insert(f.of) != f.of {
                return None;
            }
            args.push(f.values);
        }
        let of = of.filter(|&of| self.rb.graph.ty(of).numel() == *numel)?;
        let values = op.eval(&mut EvalCx::default(), &args).ok()?.into_iter().next()?;
        (values.shape() == [256]).then_some(Function { of, values })
    }
    /// Remembers what a copied node computes.
    fn learn(&mut self, node: &Node, inputs: &[ValueId], new: &[ValueId]) -> Result<()> {
        let (&[y], Some(&x)) = (new, inputs.first()) else { return Ok(()) };
        if let Some(f) = self.apply(&node.op, inputs, &self.rb.graph.ty(y).numel()) {
            if self.rb.graph.ty(y).dims == self.rb.graph.ty(f.of).dims {
                self.known.insert(y, f);
            }
            return Ok(());
        }
        if byte(self.rb.graph.ty(x).dtype) {
            return Ok(());
        }
        let Some(f) = self.known.get(&x).cloned() else { return Ok(()) };
        let operands = match (&node.op, inputs) {
            (Op::Reshape(_) | Op::Transpose(_) | Op::Slice(_) | Op::Broadcast(_), [_]) => vec![f.of],
            (Op::Pad(_), &[_, value]) => match self.byte_of(&f, value, &node.origin)? {
                Some(byte) => vec![f.of, byte],
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        let of = self.rb.add1(node.op.clone(), &operands, &node.origin)?;
        self.known.insert(y, Function { of, ..f });
        Ok(())
    }
    /// The byte of which a function is this number.
    fn byte_of(&mut self, f: &Function, value: ValueId, origin: &Origin) -> Result<Option<ValueId>> {
        let Some(value) = self.number(value) else { return Ok(None) };
        let size = value.bytes().len().max(1);
        let at = f.values.bytes().chunks_exact(size).position(|v| v == value.bytes());
        let Some(at) = at.and_then(|i| u8::try_from(i).ok()) else { return Ok(None) };
        let byte = Tensor::from_bytes(self.rb.graph.ty(f.of).dtype, vec![], vec![at])?;
        self.rb.add1(Constant { tensor: byte }, &[], origin).map(Some)
    }
    /// Another form of a node that gives bytes.
    fn rewritten(&mut self, node: &Node, inputs: &[ValueId]) -> Result<Option<ValueId>> {
        let &[y] = node.outputs.as_slice() else { return Ok(None) };
        let ty = self.rb.old.ty(y);
        if !byte(ty.dtype) || matches!(node.op, Op::Lookup(_)) {
            return Ok(None);
        }
        if let Some(f) = self.apply(&node.op, inputs, &ty.numel())
            && self.rb.graph.ty(f.of).dims == ty.dims
        {
            return self.lookup(f, &node.origin).map(Some);
        }
        self.parts(node, inputs)
    }
    /// The bytes of a function.
    fn lookup(&mut self, f: Function, origin: &Origin) -> Result<ValueId> {
        let (to, table) = (f.values.dtype(), f.values.bytes().to_vec());
        if to == self.rb.graph.ty(f.of).dtype && table.iter().enumerate().all(|(i, &b)| i == usize::from(b)) {
            self.rb.report.fired("tables/identity");
            return Ok(f.of);
        }
        self.rb.report.fired("tables/lookup");
        let y = self.rb.add1(Lookup { to, table }, &[f.of], origin)?;
        self.known.insert(y, f);
        Ok(y)
    }
    /// `Quantize(Concat(f(x), g(y)))` as a concatenation of bytes.
    fn parts(&mut self, node: &Node, inputs: &[ValueId]) -> Result<Option<ValueId>> {
        let (Op::Quantize(_), &[x, scale, zero]) = (&node.op, inputs) else { return Ok(None) };
        let concat = self.rb.graph.value(x).def.map(|(id, _)| self.rb.graph.node(id).clone());
        let Some(Node { op: op @ Op::Concat(_), inputs: parts, .. }) = concat else { return Ok(None) };
        let numel = |s: &Self, v: ValueId| s.rb.graph.ty(v).numel();
        let functions: Option<Vec<Function>> = parts
            .iter()
            .map(|&p| self.known.get(&p).and(self.apply(&node.op, &[p, scale, zero], &numel(self, p))))
            .collect();
        let Some(functions) = functions else { return Ok(None) };
        let bytes: Result<Vec<ValueId>> =
            functions.into_iter().map(|f| self.lookup(f, &node.origin)).collect();
        self.rb.report.fired("tables/concat");
        self.rb.add1(op, &bytes?, &node.origin).map(Some)
    }
}

fn byte(dtype: DType) -> bool {
    matches!(dtype, DType::U8 | DType::I8)
}

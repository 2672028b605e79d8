//! Groups under construction.

use super::Case;
use sinter_ir::graph::SymKind;
use sinter_ir::op::reduce::ReduceKind;
use sinter_ir::op::{Binary, Constant, Group, Reduce, Unary, binary::BinaryKind, unary::UnaryKind};
use sinter_ir::{DType, Expr, Graph, Op, Sym, Symbols, Tensor, TensorType, ValueId};
use std::collections::BTreeMap;

/// The body of a group with operands for it.
#[derive(Default)]
pub struct Body {
    pub graph: Graph,
    pub symbols: Symbols,
    pub inputs: Vec<Tensor>,
    values: BTreeMap<Sym, i64>,
}

impl Body {
    pub fn input(&mut self, t: Tensor) -> ValueId {
        self.inputs.push(t.clone());
        self.graph.add_input(TensorType::of(&t), None)
    }
    /// An operand some of whose dims are symbols.
    pub fn input_of(&mut self, t: Tensor, dims: &[Expr]) -> ValueId {
        let ty = TensorType::new(t.dtype(), dims.to_vec());
        self.inputs.push(t);
        self.graph.add_input(ty, None)
    }
    /// A symbol for a dim.
    pub fn dim(&mut self, value: usize, max: i64) -> Expr {
        let sym = self.symbols.fresh(format!("n{}", self.symbols.table.len()), 0, max, SymKind::Input);
        self.values.insert(sym, value as i64);
        sym.into()
    }
    pub fn add(&mut self, op: impl Into<Op>, x: &[ValueId]) -> ValueId {
        self.graph.add1(&mut self.symbols, op.into(), x, &vec![]).unwrap()
    }
    pub fn bin(&mut self, kind: BinaryKind, x: ValueId, y: ValueId) -> ValueId {
        self.add(Binary { kind }, &[x, y])
    }
    pub fn un(&mut self, kind: UnaryKind, x: ValueId) -> ValueId {
        self.add(Unary { kind }, &[x])
    }
    pub fn reduce(&mut self, kind: ReduceKind, x: ValueId, axes: &[usize]) -> ValueId {
        self.add(Reduce { kind, axes: axes.to_vec(), keepdims: true }, &[x])
    }
    pub fn number(&mut self, v: f64, dtype: DType) -> ValueId {
        self.add(Constant { tensor: Tensor::from_f64(dtype, vec![], &[v]).unwrap() }, &[])
    }
    pub fn dims(&self, v: ValueId) -> Vec<usize> {
        self.graph.ty(v).const_dims().unwrap()
    }
    /// The finished group.
    pub fn case(mut self, outputs: &[ValueId]) -> Case {
        self.graph.outputs = outputs.to_vec();
        let types = self.graph.inputs.iter().map(|&v| self.graph.ty(v).clone()).collect();
        let mut c = Case::new(Group { body: self.graph }, self.inputs);
        c.types = types;
        c.symbols = self.symbols;
        c.values = self.values;
        c
    }
}

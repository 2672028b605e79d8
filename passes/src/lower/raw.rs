//! Values that are only moved are moved as bits: no conversion, no change of NaNs, and types without arithmetic
//! (complex numbers) can be moved too.

use sinter_ir::op::{Bitcast, Constant};
use sinter_ir::{DType, Diag, Graph, Op, Result, Symbols, Tensor, TensorType, ValueId};

/// The unsigned integer of a type's width, for types that are not integers.
fn bits(dtype: DType) -> Option<DType> {
    if dtype.is_int() {
        return None;
    }
    match dtype.bits() {
        4 => Some(DType::U4),
        8 => Some(DType::U8),
        16 => Some(DType::U16),
        32 => Some(DType::U32),
        64 => Some(DType::U64),
        _ => None,
    }
}

/// A tensor's elements as unsigned integers.
pub fn retype(t: &Tensor, dtype: DType) -> Result<Tensor> {
    if t.dtype() == dtype {
        Ok(t.clone())
    } else {
        Tensor::from_bytes(dtype, t.shape().to_vec(), t.shared_bytes())
    }
}

/// Operands whose elements an op passes on unchanged; none: it computes with its operands.
fn moved(op: &Op, inputs: usize) -> Option<std::ops::Range<usize>> {
    Some(match op {
        Op::Transpose(_)
        | Op::Broadcast(_)
        | Op::Reshape(_)
        | Op::Slice(_)
        | Op::Identity(_)
        | Op::ReverseSequence(_)
        | Op::Gather(_)
        | Op::GatherElements(_)
        | Op::GatherNd(_) => 0..1,
        Op::Pad(_) | Op::WriteSlice(_) | Op::Append(_) => 0..2,
        Op::Select(_) => 1..3,
        Op::Concat(_) => 0..inputs,
        // Both sides are free to be bits on their own.
        Op::Bitcast(_) | Op::Constant(_) => 0..0,
        _ => return None,
    })
}

/// Sets of values that share their type, and whether something computes with them.
struct Sets {
    parent: Vec<usize>,
    computed: Vec<bool>,
}

impl Sets {
    fn of(g: &Graph) -> Self {
        let n = g.value_count();
        let mut s = Self { parent: (0..n).collect(), computed: vec![false; n] };
        for (_, node) in g.iter() {
            let moved = moved(&node.op, node.inputs.len());
            let keeps = |i: usize| moved.as_ref().is_some_and(|m| m.contains(&i) || (m.is_empty() && i == 0));
            node.inputs.iter().enumerate().filter(|(i, _)| !keeps(*i)).for_each(|(_, v)| s.compute(*v));
            match moved {
                Some(m) => node.inputs[m].iter().for_each(|&x| s.join(x, node.outputs[0])),
                None => node.outputs.iter().for_each(|&v| s.compute(v)),
            }
        }
        s
    }
    fn root(&self, v: ValueId) -> usize {
        let mut i = v.0 as usize;
        while self.parent[i] != i {
            i = self.parent[i];
        }
        i
    }
    fn join(&mut self, a: ValueId, b: ValueId) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a] = b;
        self.computed[b] |= self.computed[a];
    }
    fn compute(&mut self, v: ValueId) {
        let r = self.root(v);
        self.computed[r] = true;
    }
    fn dtype(&self, g: &Graph, v: ValueId) -> DType {
        let own = g.ty(v).dtype;
        if self.computed[self.root(v)] { own } else { bits(own).unwrap_or(own) }
    }
}

/// The same graph with moved values as bits.
pub fn as_bits(old: &Graph, symbols: &Symbols) -> Result<Graph> {
    let sets = Sets::of(old);
    let mut symbols = symbols.clone();
    let mut g = Graph::default();
    let mut map: Vec<Option<ValueId>> = vec![None; old.value_count()];
    for &v in &old.inputs {
        let ty = TensorType::new(sets.dtype(old, v), old.ty(v).dims.clone());
        map[v.0 as usize] = Some(g.add_input(ty, None));
    }
    let get = |map: &[Option<ValueId>], v: ValueId| {
        map[v.0 as usize].ok_or_else(|| Diag::bug("a group uses a value before it is made"))
    };
    for (_, node) in old.iter() {
        let op = match &node.op {
            Op::Constant(c) => {
                Constant { tensor: retype(&c.tensor, sets.dtype(old, node.outputs[0]))? }.into()
            }
            Op::Bitcast(_) => Bitcast { to: sets.dtype(old, node.outputs[0]) }.into(),
            op => op.clone(),
        };
        let inputs = node.inputs.iter().map(|&v| get(&map, v)).collect::<Result<Vec<_>>>()?;
        let made = g.add(&mut symbols, op, &inputs, &node.origin)?;
        node.outputs.iter().zip(made).for_each(|(o, n)| map[o.0 as usize] = Some(n));
    }
    g.outputs = old.outputs.iter().map(|&v| get(&map, v)).collect::<Result<_>>()?;
    Ok(g)
}

//! Which results may overwrite an operand: those computed per element that read it at the same index only.

use sinter_ir::{Graph, Node, Op, Symbols, TensorType, ValueId};

/// Whether the node's only result at an index needs operand `i` at that index only, and is written after it
/// is read.
pub(super) fn same_index(symbols: &Symbols, g: &Graph, node: &Node, i: usize) -> bool {
    let (Some(&x), [y]) = (node.inputs.get(i), node.outputs.as_slice()) else { return false };
    let (tx, ty) = (g.ty(x), g.ty(*y));
    if tx.dtype.bits() != ty.dtype.bits() || !same_dims(symbols, tx, ty) || !once(node, i) {
        return false;
    }
    match &node.op {
        Op::Group(group) => {
            let body = &group.body;
            // Roots store only through their epilogue, each element right after its operands are read.
            body.outputs.len() == 1
                && body.iter().all(|(_, n)| crate::lower::can_pull(&n.op) || crate::lower::is_root(&n.op))
                && body.inputs.get(i).is_some_and(|&v| only_elementwise(symbols, body, v, ty))
        }
        op => elementwise(op),
    }
}

fn once(node: &Node, i: usize) -> bool {
    node.inputs.iter().filter(|v| **v == node.inputs[i]).count() == 1
}

fn same_dims(symbols: &Symbols, a: &TensorType, b: &TensorType) -> bool {
    a.rank() == b.rank() && a.dims.iter().zip(&b.dims).all(|(a, b)| symbols.known_eq(a, b))
}

fn elementwise(op: &Op) -> bool {
    op.is_pointwise() || matches!(op, Op::Quantize(_) | Op::Dequantize(_))
}

/// Whether every use of `v` leads to results of the same dims through element-wise ops alone.
fn only_elementwise(symbols: &Symbols, body: &Graph, v: ValueId, ty: &TensorType) -> bool {
    let mut reached = vec![false; body.value_count()];
    reached[v.0 as usize] = true;
    for (_, n) in body.iter() {
        if n.inputs.iter().any(|x| reached[x.0 as usize]) {
            let fits = elementwise(&n.op) && n.outputs.iter().all(|y| same_dims(symbols, body.ty(*y), ty));
            if !fits {
                return false;
            }
            n.outputs.iter().for_each(|y| reached[y.0 as usize] = true);
        }
    }
    true
}

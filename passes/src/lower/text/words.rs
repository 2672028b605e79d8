//! Strings that are only moved, as the two words of their views: a tensor of strings becomes one of i64 with a last
//! dim of 2, and the op moves that.

use sinter_ir::op::{Broadcast, Reshape, Slice, Transpose};
use sinter_ir::{DType, Diag, Expr, Graph, Op, Result, Symbols, TensorType, ValueId};

/// Whether a graph moves strings and does nothing else with them.
pub fn moves_texts(g: &Graph) -> bool {
    let text = |v: &ValueId| g.ty(*v).dtype == DType::Str;
    g.iter().any(|(_, n)| n.inputs.iter().any(text))
        && g.iter()
            .all(|(_, n)| crate::lower::can_pull(&n.op) || !n.inputs.iter().chain(&n.outputs).any(text))
}

fn wide(ty: &TensorType) -> TensorType {
    match ty.dtype {
        DType::Str => TensorType::new(DType::I64, with(&ty.dims, 2.into())),
        _ => ty.clone(),
    }
}

fn with(list: &[Expr], last: Expr) -> Vec<Expr> {
    [list, &[last]].concat()
}

/// The same graph on words.
pub fn rewrite(old: &Graph, symbols: &Symbols) -> Result<Graph> {
    let mut symbols = symbols.clone();
    let mut g = Graph::default();
    let mut map: Vec<Option<ValueId>> = vec![None; old.value_count()];
    for &v in &old.inputs {
        map[v.0 as usize] = Some(g.add_input(wide(old.ty(v)), None));
    }
    for (_, node) in old.iter() {
        let get = |v: &ValueId| {
            map[v.0 as usize].ok_or_else(|| Diag::bug("a group uses a value before it is made"))
        };
        let mut inputs = node.inputs.iter().map(get).collect::<Result<Vec<_>>>()?;
        let mut op = node.op.clone();
        if node.outputs.iter().any(|&v| old.ty(v).dtype == DType::Str) {
            op = match op {
                Op::Transpose(t) => {
                    let last = t.perm.len();
                    Transpose { perm: t.perm.into_iter().chain([last]).collect() }.into()
                }
                Op::Broadcast(o) => Broadcast { dims: with(&o.dims, 2.into()) }.into(),
                Op::Reshape(o) => Reshape { dims: with(&o.dims, 2.into()) }.into(),
                Op::Slice(o) => Slice {
                    starts: with(&o.starts, 0.into()),
                    sizes: with(&o.sizes, 2.into()),
                    steps: with(&o.steps, 1.into()),
                }
                .into(),
                Op::Identity(_) | Op::Gather(_) | Op::GatherNd(_) | Op::Concat(_) => op,
                Op::GatherElements(_) => {
                    let dims = g.ty(inputs[1]).dims.clone();
                    let column = Reshape { dims: with(&dims, 1.into()) };
                    let column = g.add1(&mut symbols, column.into(), &inputs[1..2], &node.origin)?;
                    let both = Broadcast { dims: with(&dims, 2.into()) };
                    inputs[1] = g.add1(&mut symbols, both.into(), &[column], &node.origin)?;
                    op
                }
                Op::Select(_) => {
                    let dims = with(&g.ty(inputs[0]).dims, 1.into());
                    inputs[0] = g.add1(&mut symbols, Reshape { dims }.into(), &inputs[..1], &node.origin)?;
                    op
                }
                other => {
                    return Err(Diag::unsupported(format!("machine code for {} of strings", other.name())));
                }
            };
        } else if node.inputs.iter().any(|&v| old.ty(v).dtype == DType::Str) {
            return Err(Diag::unsupported(format!("machine code for {} of strings", op.name())));
        }
        let made = g.add(&mut symbols, op, &inputs, &node.origin)?;
        node.outputs.iter().zip(made).for_each(|(o, n)| map[o.0 as usize] = Some(n));
    }
    let outputs = old.outputs.iter().map(|v| map[v.0 as usize].ok_or_else(|| Diag::bug("no such output")));
    g.outputs = outputs.collect::<Result<_>>()?;
    Ok(g)
}

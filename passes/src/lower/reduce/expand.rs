//! Softmax written as reductions and arithmetic, so that rows have one kind of root.

use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::op::{Binary, Cast, Reduce, Softmax, Unary};
use sinter_ir::{DType, Graph, Op, Result, Symbols, ValueId};
use std::collections::BTreeMap;

/// The graph with every softmax taken apart.
pub fn softmax(g: &Graph, symbols: &Symbols) -> Result<Graph> {
    if !g.iter().any(|(_, n)| matches!(n.op, Op::Softmax(_))) {
        return Ok(g.clone());
    }
    let mut symbols = symbols.clone();
    let mut out = Graph::default();
    let mut map: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    for &v in &g.inputs {
        map.insert(v, out.add_input(g.ty(v).clone(), g.value(v).name.clone()));
    }
    for (_, node) in g.iter() {
        let inputs: Vec<ValueId> = node.inputs.iter().map(|v| map[v]).collect();
        let results = match &node.op {
            Op::Softmax(op) => vec![parts(&mut out, &mut symbols, op, inputs[0])?],
            op => out.add(&mut symbols, op.clone(), &inputs, &node.origin)?,
        };
        map.extend(node.outputs.iter().copied().zip(results));
    }
    out.outputs = g.outputs.iter().map(|v| map[v]).collect();
    Ok(out)
}

fn parts(g: &mut Graph, s: &mut Symbols, op: &Softmax, x: ValueId) -> Result<ValueId> {
    let own = g.ty(x).dtype;
    // Types of a byte or less would round at every step.
    let narrow = own.bits() <= 8;
    let mut add = |op: Op, x: &[ValueId]| g.add1(s, op, x, &vec![]);
    let reduce = |kind| Op::from(Reduce { kind, axes: vec![op.axis], keepdims: true });
    let x = if narrow { add(Cast { to: DType::F32, saturate: true }.into(), &[x])? } else { x };
    let max = add(reduce(R::Max), &[x])?;
    let d = add(Binary { kind: B::Sub }.into(), &[x, max])?;
    let e = add(Unary { kind: U::Exp }.into(), &[d])?;
    let sum = add(reduce(R::Sum), &[e])?;
    let y = match op.log {
        true => {
            let log = add(Unary { kind: U::Log }.into(), &[sum])?;
            add(Binary { kind: B::Sub }.into(), &[d, log])?
        }
        false => {
            let scale = add(Unary { kind: U::Recip }.into(), &[sum])?;
            add(Binary { kind: B::Mul }.into(), &[e, scale])?
        }
    };
    if narrow { add(Cast { to: own, saturate: true }.into(), &[y]) } else { Ok(y) }
}

//! Slices that keep everything, of slices, of concatenations, of broadcasts and of pads.

use super::{Rule, Site, exact};
use sinter_ir::op::Slice;
use sinter_ir::{Expr, Op, Result, ValueId};

pub(super) const RULES: &[Rule] = &[
    exact("slice-all", &["Slice"], all),
    exact("slice-pair", &["Slice"], pair),
    exact("slice-of-concat", &["Slice"], of_concat),
];

fn all(s: &mut Site) -> Result<Option<ValueId>> {
    let Op::Slice(o) = s.op else { return Ok(None) };
    let full = o.starts.iter().all(|e| e.is(0))
        && o.sizes.iter().zip(&o.steps).all(|(n, st)| st.is(1) || n.is(1))
        && s.same_dims(&s.ty(0).dims, &o.sizes);
    Ok(full.then_some(s.inputs[0]))
}

/// `x[a + i*s][b + j*t] = x[a + (b + j*t)*s]`.
fn pair(s: &mut Site) -> Result<Option<ValueId>> {
    let (Op::Slice(outer), Some(node)) = (s.op, s.def(0)) else { return Ok(None) };
    let Op::Slice(inner) = &node.op else { return Ok(None) };
    let x = node.inputs[0];
    let zip = || inner.starts.iter().zip(&inner.steps).zip(outer.starts.iter().zip(&outer.steps));
    let starts = zip().map(|((a, s), (b, _))| a.clone() + b.clone() * s.clone()).collect();
    let steps = zip().map(|((_, s), (_, t))| s.clone() * t.clone()).collect();
    let op = Slice { starts, sizes: outer.sizes.clone(), steps };
    s.emit(op, &[x]).map(Some)
}

/// A window that lies in one part of a concatenation reads that part.
fn of_concat(s: &mut Site) -> Result<Option<ValueId>> {
    let (Op::Slice(o), Some(node)) = (s.op, s.def(0)) else { return Ok(None) };
    let Op::Concat(c) = &node.op else { return Ok(None) };
    let parts = node.inputs.clone();
    if !o.steps[c.axis].is(1) {
        return Ok(None);
    }
    let (lo, axis) = (o.starts[c.axis].clone(), c.axis);
    let hi = lo.clone() + o.sizes[axis].clone();
    let mut at = Expr::from(0);
    for part in parts {
        let end = at.clone() + s.type_of(part).dims[axis].clone();
        let starts_in = s.range(&(lo.clone() - at.clone())).0 >= 0;
        let ends_in = s.range(&(end.clone() - hi.clone())).0 >= 0;
        if starts_in && ends_in {
            let mut op = o.clone();
            op.starts[axis] = lo - at;
            return s.emit(op, &[part]).map(Some);
        }
        at = end;
    }
    Ok(None)
}

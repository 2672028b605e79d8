//! Concatenations of one part, of concatenations, of adjacent slices, and in front of casts.

use super::{Rule, Site, exact};
use sinter_ir::op::Concat;
use sinter_ir::{Op, Result, ValueId};

pub(super) const RULES: &[Rule] = &[
    exact("concat-one", &["Concat"], one),
    exact("concat-nested", &["Concat"], nested),
    exact("concat-of-slices", &["Concat"], of_slices),
    exact("cast-of-concat", &["Cast"], cast),
];

/// Most parts that are cast one by one.
const PARTS: usize = 8;

/// Casting to fewer bits comes first: the concatenation then stores what it was computed for, part by part.
fn cast(s: &mut Site) -> Result<Option<ValueId>> {
    let (Op::Cast(c), Some(node)) = (s.op, s.def(0)) else { return Ok(None) };
    let Op::Concat(concat) = &node.op else { return Ok(None) };
    let (concat, parts) = (concat.clone(), node.inputs.clone());
    if parts.len() > PARTS || c.to.bits() >= s.ty(0).dtype.bits() || !s.used_once(s.inputs[0]) {
        return Ok(None);
    }
    let parts: Result<Vec<ValueId>> = parts.iter().map(|&v| s.emit(c.clone(), &[v])).collect();
    s.emit(concat, &parts?).map(Some)
}

/// Parts without elements go; a single part is the result.
fn one(s: &mut Site) -> Result<Option<ValueId>> {
    let Op::Concat(c) = s.op else { return Ok(None) };
    let keep: Vec<ValueId> = s.inputs.iter().copied().filter(|&v| !s.type_of(v).dims[c.axis].is(0)).collect();
    match keep.as_slice() {
        [] => Ok(s.inputs.first().copied()),
        [one] => Ok(Some(*one)),
        _ if keep.len() == s.inputs.len() => Ok(None),
        _ => s.emit(c.clone(), &keep).map(Some),
    }
}

/// Concatenations along the same axis become one when nothing else reads the inner one.
fn nested(s: &mut Site) -> Result<Option<ValueId>> {
    let Op::Concat(c) = s.op else { return Ok(None) };
    let inner = |s: &Site, v: ValueId| match s.def_of(v) {
        Some(n) if matches!(&n.op, Op::Concat(i) if i.axis == c.axis) && s.used_once(v) => {
            Some(n.inputs.clone())
        }
        _ => None,
    };
    let parts: Vec<Vec<ValueId>> = s.inputs.iter().map(|&v| inner(s, v).unwrap_or_else(|| vec![v])).collect();
    if parts.len() == parts.iter().map(Vec::len).sum::<usize>() {
        return Ok(None);
    }
    s.emit(Concat { axis: c.axis }, &parts.concat()).map(Some)
}

/// Neighbouring slices of one tensor become one slice.
fn of_slices(s: &mut Site) -> Result<Option<ValueId>> {
    let Op::Concat(c) = s.op else { return Ok(None) };
    let mut parts: Vec<ValueId> = Vec::with_capacity(s.inputs.len());
    let mut joined = false;
    for &v in s.inputs {
        let merged = match parts.last() {
            Some(&last) => join(s, last, v, c.axis)?,
            None => None,
        };
        match merged {
            Some(m) => {
                parts.pop();
                parts.push(m);
                joined = true;
            }
            None => parts.push(v),
        }
    }
    if joined { s.emit(c.clone(), &parts).map(Some) } else { Ok(None) }
}

/// One slice for two where the second begins where the first ends and all else is equal.
fn join(s: &mut Site, a: ValueId, b: ValueId, axis: usize) -> Result<Option<ValueId>> {
    let (Some(na), Some(nb)) = (s.def_of(a), s.def_of(b)) else { return Ok(None) };
    let (Op::Slice(x), Op::Slice(y)) = (&na.op, &nb.op) else { return Ok(None) };
    let end = x.starts[axis].clone() + x.sizes[axis].clone() * x.steps[axis].clone();
    let others = (0..x.starts.len()).filter(|&i| i != axis);
    let fits = na.inputs == nb.inputs
        && s.same(&end, &y.starts[axis])
        && x.steps == y.steps
        && others.into_iter().all(|i| x.starts[i] == y.starts[i] && x.sizes[i] == y.sizes[i]);
    if !fits {
        return Ok(None);
    }
    let (mut op, source) = (x.clone(), na.inputs[0]);
    op.sizes[axis] = op.sizes[axis].clone() + y.sizes[axis].clone();
    s.emit(op, &[source]).map(Some)
}

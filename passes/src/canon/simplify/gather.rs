//! Gathers with known indices become slices.

use super::{Rule, Site, exact};
use sinter_ir::op::{Reshape, Slice};
use sinter_ir::{Expr, Op, Result, ValueId};

pub(super) const RULES: &[Rule] = &[exact("gather-to-slice", &["Gather"], to_slice)];

/// Constant indices `a, a+s, a+2s, ..` inside the axis read a slice.
fn to_slice(s: &mut Site) -> Result<Option<ValueId>> {
    let Op::Gather(g) = s.op else { return Ok(None) };
    let (x, axis) = (s.ty(0).clone(), g.axis);
    let Some(indices) = s.tensor(s.inputs[1]).filter(|t| !t.is_empty() && t.len() <= 4096) else {
        return Ok(None);
    };
    let shape: Vec<Expr> = indices.shape().iter().map(|&d| d.into()).collect();
    let values = indices.to_i64()?;
    let n = &x.dims[axis];
    // All indices must be valid for every size of the axis; negative ones need the size itself.
    let (smallest, largest) = s.range(n);
    let first = values[0];
    let step = values.get(1).map_or(1, |v| v.wrapping_sub(first));
    let even = values.windows(2).all(|w| w[1].checked_sub(w[0]) == Some(step));
    let one_sign =
        values.iter().all(|&v| (0..smallest).contains(&v)) || values.iter().all(|&v| v < 0 && v >= -smallest);
    if step == 0 || !even || !one_sign || largest < 1 {
        return Ok(None);
    }
    let start = if first < 0 { n.clone() + first.into() } else { first.into() };
    let mut op =
        Slice { starts: vec![0.into(); x.rank()], sizes: x.dims.clone(), steps: vec![1.into(); x.rank()] };
    op.starts[axis] = start;
    op.sizes[axis] = values.len().into();
    op.steps[axis] = step.into();
    let y = s.emit(op, &s.inputs[..1])?;
    let dims = [&x.dims[..axis], shape.as_slice(), &x.dims[axis + 1..]].concat();
    s.emit(Reshape { dims }, &[y]).map(Some)
}

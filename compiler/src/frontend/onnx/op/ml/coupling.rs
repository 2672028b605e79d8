//! Probabilities of classes from those of pairs of classes: the second method of Wu, Lin and Weng (2004), with the rounds
//! and the limit that runtimes have.

use crate::frontend::onnx::node::NodeCx;
use crate::frontend::onnx::op::control;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::compare::CompareKind as C;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{Diag, Result, ValueId};

/// Most classes: their pairs are written out.
const MAX_CLASSES: usize = 24;
/// Rounds at most.
const ROUNDS: i64 = 100;

/// `pairs[i][j]`, `[rows, 1]`: how probable class i is where it is i or j. Gives `[rows, classes]`.
pub fn couple(cx: &mut NodeCx, pairs: &[Vec<ValueId>]) -> Result<ValueId> {
    let n = pairs.len();
    if n > MAX_CLASSES {
        return Err(Diag::limit(format!("probabilities of {n} classes from pairs, at most {MAX_CLASSES}")));
    }
    // Probabilities minimise p^T q p.
    let mut q = vec![vec![]; n];
    for i in 0..n {
        for j in 0..n {
            let v = if i == j {
                let mut squares = vec![];
                for k in (0..n).filter(|&k| k != i) {
                    squares.push(cx.mul(pairs[k][i], pairs[k][i])?);
                }
                total(cx, &squares)?
            } else {
                let v = cx.mul(pairs[j][i], pairs[i][j])?;
                cx.unary(U::Neg, v)?
            };
            q[i].push(cx.wrap(v));
        }
    }
    // Beside the probabilities: whether a row is done.
    let like = pairs[0][1];
    let (dims, t) = (cx.dims(like), cx.dtype(like));
    let share = cx.full(t, dims.clone(), 1.0 / n as f64)?;
    let open = cx.full(t, dims, 0.0)?;
    let mut state = vec![share; n];
    state.push(open);
    let start = cx.concat(&state, 1)?;
    let end = control::times(cx, ROUNDS, start, &mut |cx, state| {
        let mut own = vec![];
        for row in &q {
            own.push(row.iter().map(|v| cx.tensor(v.clone())).collect::<Result<Vec<_>>>()?);
        }
        round(cx, state, &own)
    })?;
    cx.slice_axis(end, 1, 0.into(), (n as i64).into())
}

fn total(cx: &mut NodeCx, parts: &[ValueId]) -> Result<ValueId> {
    let (&first, rest) = parts.split_first().ok_or_else(|| Diag::bug("a sum of nothing"))?;
    rest.iter().try_fold(first, |s, &p| cx.sum(s, p))
}

/// One step along every class in turn.
fn round(cx: &mut NodeCx, state: ValueId, q: &[Vec<ValueId>]) -> Result<ValueId> {
    let n = q.len();
    let column = |cx: &mut NodeCx, i: usize| cx.slice_axis(state, 1, (i as i64).into(), 1.into());
    let mut p = (0..n).map(|i| column(cx, i)).collect::<Result<Vec<_>>>()?;
    let before = (p.clone(), column(cx, n)?);
    let dot = |cx: &mut NodeCx, a: &[ValueId], b: &[ValueId]| {
        let parts = a.iter().zip(b).map(|(&a, &b)| cx.mul(a, b)).collect::<Result<Vec<_>>>()?;
        total(cx, &parts)
    };
    let mut qp = q.iter().map(|row| dot(cx, row, &p)).collect::<Result<Vec<_>>>()?;
    let mut pqp = dot(cx, &p, &qp)?;
    let mut worst = None;
    for &v in &qp {
        let d = cx.sub(v, pqp)?;
        let d = cx.unary(U::Abs, d)?;
        worst = Some(match worst {
            Some(w) => cx.binary(B::Max, w, d)?,
            None => d,
        });
    }
    let worst = worst.ok_or_else(|| Diag::bug("no classes"))?;
    let limit = cx.scalar_like(worst, 0.005 / n as f64)?;
    let small = cx.compare(C::Lt, worst, limit)?;
    let zero = cx.scalar_like(worst, 0.0)?;
    let over = cx.compare(C::Gt, before.1, zero)?;
    let done = cx.binary(B::Or, small, over)?;
    for i in 0..n {
        let gap = cx.sub(pqp, qp[i])?;
        let step = cx.div(gap, q[i][i])?;
        let scale = cx.add_num(step, 1.0)?;
        // (p^T q p + d (d q_ii + 2 (q p)_i)) / (1 + d)^2
        let (bend, twice) = (cx.mul(step, q[i][i])?, cx.sum(qp[i], qp[i])?);
        let slope = cx.sum(bend, twice)?;
        let more = cx.mul(step, slope)?;
        pqp = cx.sum(pqp, more)?;
        pqp = cx.div(pqp, scale)?;
        pqp = cx.div(pqp, scale)?;
        p[i] = cx.sum(p[i], step)?;
        for j in 0..n {
            p[j] = cx.div(p[j], scale)?;
            let pull = cx.mul(step, q[i][j])?;
            qp[j] = cx.sum(qp[j], pull)?;
            qp[j] = cx.div(qp[j], scale)?;
        }
    }
    let mut after = vec![];
    for (new, old) in p.into_iter().zip(before.0) {
        after.push(cx.select(done, old, new)?);
    }
    after.push(cx.cast(done, cx.dtype(state))?);
    cx.concat(&after, 1)
}

//! Trees: all rows go down all trees at once, one split per round, and stay at the leaf that they reach.

mod forest;

use super::scores::{self, Post, Second, labels, plus};
use super::{features, rows};
use crate::frontend::onnx::node::NodeCx;
use crate::frontend::onnx::op::control;
use crate::frontend::onnx::scope::Item;
use forest::{Forest, Leaf};
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::compare::CompareKind as C;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::op::{Gather, GatherElements};
use sinter_ir::{DType, Diag, Result, Tensor, ValueId};

type Out = Result<Vec<Item>>;

/// Most elements of the table of what leaves say.
const MAX_TABLE: usize = 1 << 28;

/// How the trees' words become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Together {
    Average,
    Sum,
    Min,
    Max,
}

impl Together {
    fn of(cx: &NodeCx) -> Result<Self> {
        let all = [("AVERAGE", Self::Average), ("SUM", Self::Sum), ("MIN", Self::Min), ("MAX", Self::Max)];
        let Some(a) = cx.attr("aggregate_function") else { return Ok(Self::Sum) };
        let name = String::from_utf8_lossy(&a.s);
        let known = match name.as_ref() {
            "" => usize::try_from(a.i).ok().and_then(|i| all.get(i)),
            name => all.iter().find(|k| k.0 == name),
        };
        known.map(|k| k.1).ok_or_else(|| Diag::input(format!("aggregate_function `{name}` {}", a.i)))
    }
}

/// Table of trees as one tensor program.
pub fn ensemble(cx: &mut NodeCx) -> Out {
    let count = usize::try_from(cx.int("n_targets", 1)).unwrap_or(0);
    let x = rows(cx)?;
    let forest = Forest::of_ensemble(cx, features(cx, x)?, count)?;
    let y = sums(cx, x, &forest, count, Together::of(cx)?)?;
    let y = Post::of(cx)?.apply(cx, y)?;
    let to = cx.input(0)?;
    let y = cx.cast(y, cx.dtype(to))?;
    cx.one(y)
}

/// Numbers per target.
pub fn regressor(cx: &mut NodeCx) -> Out {
    let count = usize::try_from(cx.int("n_targets", 1)).unwrap_or(0);
    let x = rows(cx)?;
    let forest = Forest::of_nodes(cx, features(cx, x)?, "target", count)?;
    let y = sums(cx, x, &forest, count, Together::of(cx)?)?;
    let y = plus(cx, y, "base_values")?;
    let y = cx.cast(y, DType::F32)?;
    let y = Post::of(cx)?.apply(cx, y)?;
    cx.one(y)
}

/// Labels and scores.
pub fn classifier(cx: &mut NodeCx) -> Out {
    let (names, post) = (labels(cx, "classlabels")?, Post::of(cx)?);
    let x = rows(cx)?;
    let mut forest = Forest::of_nodes(cx, features(cx, x)?, "class", names.len())?;
    let said = || forest.leaves.iter().flatten();
    // Two classes, of which leaves speak of one alone, whichever number they give it.
    let single =
        said().next().map(|w| w.target).filter(|&t| names.len() == 2 && said().all(|w| w.target == t));
    let positive = said().all(|w| w.weight >= 0.0);
    if single.is_none() {
        let y = sums(cx, x, &forest, names.len(), Together::Sum)?;
        let y = plus(cx, y, "base_values")?;
        let y = cx.cast(y, DType::F32)?;
        let label = scores::best(cx, y, names)?;
        let y = post.apply(cx, y)?;
        return cx.many(&[label, y]);
    }
    forest.leaves.iter_mut().flatten().for_each(|w| w.target = 0);
    let mut y = sums(cx, x, &forest, 1, Together::Sum)?;
    if let Some(&b) = super::numbers(cx, "base_values")?.last() {
        y = cx.add_num(y, b)?;
    }
    let y = cx.cast(y, DType::F32)?;
    let label = scores::above(cx, y, if positive { 0.5 } else { 0.0 }, names)?;
    let y = if single == Some(0) {
        let second = if positive { Second::Rest } else { Second::Opposite };
        second.apply(cx, y, post)?
    } else {
        let none = cx.mul_num(y, 0.0)?;
        let both = cx.concat(&[none, y], 1)?;
        post.apply(cx, both)?
    };
    cx.many(&[label, y])
}

/// What the leaves that rows reach say together, `[rows, count]`.
fn sums(cx: &mut NodeCx, x: ValueId, forest: &Forest, count: usize, together: Together) -> Result<ValueId> {
    let leaf = descend(cx, x, forest)?;
    let leaves = forest.leaves.len();
    if count == 0 || leaves.checked_mul(count).is_none_or(|n| n > MAX_TABLE) {
        return Err(Diag::limit(format!("{leaves} leaves with {count} values each")));
    }
    let absent = match together {
        Together::Min => f64::INFINITY,
        Together::Max => f64::NEG_INFINITY,
        _ => 0.0,
    };
    let mut table = vec![absent; leaves * count];
    for (i, Leaf { target, weight }) in
        forest.leaves.iter().enumerate().flat_map(|(i, l)| l.iter().map(move |w| (i, w)))
    {
        let own = &mut table[i * count + target];
        *own = if own.is_finite() { *own + weight } else { *weight };
    }
    let one = count == 1;
    let shape = if one { vec![leaves] } else { vec![leaves, count] };
    let table = cx.constant(Tensor::from_f64(cx.dtype(x), shape, &table)?)?;
    let words = cx.emit(Gather { axis: 0 }, &[table, leaf])?;
    let kind = match together {
        Together::Min => R::Min,
        Together::Max => R::Max,
        _ => R::Sum,
    };
    let y = cx.reduce(kind, words, &[1], one)?;
    match together {
        Together::Sum => Ok(y),
        Together::Average => cx.mul_num(y, 1.0 / forest.roots.len().max(1) as f64),
        Together::Min | Together::Max => {
            let (inf, zero) = (cx.unary(U::IsInf, y)?, cx.scalar_like(y, 0.0)?);
            cx.select(inf, zero, y)
        }
    }
}

/// The leaf that each row reaches in each tree, `[rows, trees]`.
fn descend(cx: &mut NodeCx, x: ValueId, forest: &Forest) -> Result<ValueId> {
    let column = |v: &dyn Fn(&forest::Split) -> i64| -> Vec<i64> {
        vec![0; forest.leaves.len()].into_iter().chain(forest.splits.iter().map(v)).collect()
    };
    let n = forest.leaves.len() + forest.splits.len();
    let t = cx.dtype(x);
    let limits: Vec<f64> =
        vec![0.0; forest.leaves.len()].into_iter().chain(forest.splits.iter().map(|s| s.limit)).collect();
    let leaf = |i: usize| [i as i64; 2];
    let kids = (0..forest.leaves.len())
        .map(leaf)
        .chain(forest.splits.iter().map(|s| s.kids.map(|k| forest.index(k))));
    let kids: Vec<i64> = kids.flatten().collect();
    let features = cx.constant(Tensor::i64s(&column(&|s| s.feature as i64)))?;
    let limits = cx.constant(Tensor::from_f64(t, vec![n], &limits)?)?;
    let kids = cx.constant(Tensor::i64s(&kids))?;
    let missing = if forest.splits.iter().any(|s| s.missing) {
        Some(cx.constant(Tensor::from_i64(DType::Bool, vec![n], &column(&|s| i64::from(s.missing)))?)?)
    } else {
        None
    };
    let roots: Vec<i64> = forest.roots.iter().map(|&k| forest.index(k)).collect();
    let dims = vec![cx.dims(x)[0].clone(), (roots.len() as i64).into()];
    let roots = cx.constant(Tensor::i64s(&roots))?;
    let start = cx.broadcast(roots, dims)?;
    if forest.depth == 0 {
        return Ok(start);
    }
    let outside = [x, features, limits, kids].map(|v| cx.wrap(v));
    let missing = missing.map(|v| cx.wrap(v));
    control::times(cx, forest.depth as i64, start, &mut |cx, at| {
        let mut own = vec![];
        for item in &outside {
            own.push(cx.tensor(item.clone())?);
        }
        let get = Gather { axis: 0 };
        let feature = cx.emit(get.clone(), &[own[1], at])?;
        let value = cx.emit(GatherElements { axis: 1 }, &[own[0], feature])?;
        let limit = cx.emit(get.clone(), &[own[2], at])?;
        let mut yes = cx.compare(C::Le, value, limit)?;
        if let Some(item) = &missing {
            let flags = cx.tensor(item.clone())?;
            let flag = cx.emit(get.clone(), &[flags, at])?;
            let none = cx.unary(U::IsNan, value)?;
            let follows = cx.binary(B::And, flag, none)?;
            yes = cx.binary(B::Or, yes, follows)?;
        }
        let yes = cx.cast(yes, DType::I64)?;
        let pair = cx.sum(at, at)?;
        let kid = cx.sum(pair, yes)?;
        cx.emit(get, &[own[3], kid])
    })
}

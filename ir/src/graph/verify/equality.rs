//! Whether two dims are equal for all values of symbols that the constraints allow.
//!
//! Passes rewrite expressions by ranges and constraints, so equal dims need not look equal. Proving it in general is
//! hard, but a wrong dim differs at almost every point: expressions are compared at sample points that satisfy all
//! constraints. This never refuses equal ones.

use crate::graph::Symbols;
use crate::{Expr, Sym};
use std::collections::BTreeMap;

/// Points that are tried; some do not satisfy the constraints.
const TRIES: u64 = 96;
/// Points that are kept.
const POINTS: usize = 16;
/// Ranges are sampled up to this distance from their lower end: large dims would only overflow.
const SPAN: i64 = 1000;

/// Sample points of a module.
pub(super) struct Equality {
    points: Vec<Vec<i64>>,
}

impl Equality {
    pub fn new(symbols: &Symbols) -> Self {
        let bound = bound(symbols);
        let points = (0..TRIES).filter_map(|k| point(symbols, &bound, k)).take(POINTS).collect();
        Self { points }
    }
    /// Whether no sample point tells the two apart.
    pub fn holds(&self, a: &Expr, b: &Expr) -> bool {
        if a == b {
            return true;
        }
        // Without symbols there is nothing to sample.
        if let (Some(x), Some(y)) = (a.as_const(), b.as_const()) {
            return x == y;
        }
        self.points.iter().all(|p| match (value(a, p), value(b, p)) {
            (Some(x), Some(y)) => x == y,
            _ => true,
        })
    }
}

fn value(e: &Expr, point: &[i64]) -> Option<i64> {
    e.eval(&|s| point.get(s.0 as usize).copied())
}

/// Symbols that a constraint expresses by others.
fn bound(symbols: &Symbols) -> BTreeMap<Sym, Expr> {
    let mut bound: BTreeMap<Sym, Expr> = BTreeMap::new();
    for c in &symbols.constraints {
        let reduce = |e: &Expr| e.subst(&|s| bound.get(&s).cloned());
        let (a, b) = (reduce(&c.a), reduce(&c.b));
        let pair = match (a.as_sym(), b.as_sym()) {
            (Some(s), _) if !b.syms().contains(&s) => (s, b),
            (_, Some(s)) if !a.syms().contains(&s) => (s, a),
            _ => continue,
        };
        for e in bound.values_mut() {
            *e = e.subst(&|s| (s == pair.0).then(|| pair.1.clone()));
        }
        bound.insert(pair.0, pair.1);
    }
    bound
}

/// The k-th point: lower ends, then upper ends, then pseudo-random ones; `None` where a constraint or range fails.
fn point(symbols: &Symbols, bound: &BTreeMap<Sym, Expr>, k: u64) -> Option<Vec<i64>> {
    let mut p: Vec<i64> = Vec::with_capacity(symbols.table.len());
    for (i, s) in symbols.table.iter().enumerate() {
        let span = s.max.checked_sub(s.min)?.clamp(0, SPAN);
        p.push(match k {
            0 => s.min,
            1 => s.min + span,
            _ => s.min + (mix(k << 32 | i as u64) % (span as u64 + 1)) as i64,
        });
    }
    let free = p.clone();
    for (s, e) in bound {
        *p.get_mut(s.0 as usize)? = value(e, &free)?;
    }
    let in_range = symbols.table.iter().zip(&p).all(|(s, v)| (s.min..=s.max).contains(v));
    let holds =
        || symbols.constraints.iter().all(|c| value(&c.a, &p).is_some_and(|a| Some(a) == value(&c.b, &p)));
    (in_range && holds()).then_some(p)
}

/// SplitMix64.
fn mix(v: u64) -> u64 {
    let z = v.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

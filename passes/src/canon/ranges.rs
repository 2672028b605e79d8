//! Simplifies symbolic integers by the ranges of their symbols: `max(n + 64, 0)` is `n + 64` when `n` is never
//! below -64.

use super::substitute;
use crate::report::PassReport;
use sinter_ir::expr::Atom;
use sinter_ir::{Expr, Module, Result, Symbols};

/// Runs the pass over all types, attributes and constraints.
pub fn run(module: &mut Module, report: &mut PassReport) -> Result<()> {
    let symbols = module.symbols.clone();
    let mut changed = 0u64;
    let mut f = |e: &Expr| {
        let new = simplify(&symbols, e);
        changed += u64::from(new != *e);
        new
    };
    substitute::map(module, &mut f, report)?;
    (0..changed).for_each(|_| report.fired("ranges/expr"));
    Ok(())
}

/// The expression with every min, max, select, division and remainder decided that ranges decide.
pub fn simplify(symbols: &Symbols, e: &Expr) -> Expr {
    if e.syms().is_empty() || e.is_too_big() {
        return e.clone();
    }
    let product =
        |(atoms, c): &(Vec<Atom>, i64)| atoms.iter().fold(Expr::from(*c), |p, a| p * atom(symbols, a));
    e.terms().iter().map(product).fold(Expr::from(e.constant_term()), |sum, t| sum + t)
}

fn atom(symbols: &Symbols, a: &Atom) -> Expr {
    let go = |e: &Expr| simplify(symbols, e);
    // The difference decides more than the two ranges do: `max(n + 1, n)`.
    let sign = |a: &Expr, b: &Expr| symbols.range(&(a.clone() - b.clone()));
    match a {
        Atom::Sym(s) => (*s).into(),
        Atom::Min(a, b) => {
            let (a, b) = (go(a), go(b));
            match sign(&a, &b) {
                (_, hi) if hi <= 0 => a,
                (lo, _) if lo >= 0 => b,
                _ => a.min_of(&b),
            }
        }
        Atom::Max(a, b) => {
            let (a, b) = (go(a), go(b));
            match sign(&a, &b) {
                (lo, _) if lo >= 0 => a,
                (_, hi) if hi <= 0 => b,
                _ => a.max_of(&b),
            }
        }
        Atom::Sel(c, a, b) => {
            let (c, a, b) = (go(c), go(a), go(b));
            match symbols.range(&c) {
                (lo, _) if lo >= 0 => a,
                (_, hi) if hi < 0 => b,
                _ => Expr::select_ge0(&c, &a, &b),
            }
        }
        Atom::Div(a, b) => {
            let (a, b) = (go(a), go(b));
            quotient(symbols, &a, &b).unwrap_or_else(|| a.div(&b))
        }
        Atom::Mod(a, b) => {
            let (a, b) = (go(a), go(b));
            match quotient(symbols, &a, &b) {
                Some(q) => a - q * b,
                None => a.modulo(&b),
            }
        }
        // Callers keep away from poisoned expressions.
        Atom::TooBig => 0.into(),
    }
}

/// `floor(a / b)` when it is the same for all values.
fn quotient(symbols: &Symbols, a: &Expr, b: &Expr) -> Option<Expr> {
    let (lo, hi) = symbols.range(a);
    if let Some(c) = b.as_const().filter(|c| *c > 0) {
        let q = lo.div_euclid(c);
        return (q == hi.div_euclid(c)).then(|| q.into());
    }
    (lo >= 0 && symbols.range(&(b.clone() - a.clone())).0 > 0).then(|| 0.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinter_ir::graph::SymKind;

    #[test]
    fn ranges_decide() {
        let mut s = Symbols::default();
        let n: Expr = s.fresh("n", 1, 100, SymKind::Input).into();
        let is = |e: Expr, want: &Expr| assert_eq!(simplify(&s, &e), *want);
        is(n.max_of(&0.into()), &n);
        is(n.min_of(&200.into()), &n);
        is(n.max_of(&50.into()), &n.max_of(&50.into()));
        is((n.clone() - 1.into()).div(&100.into()), &0.into());
        is(n.modulo(&101.into()), &n);
        is(Expr::select_ge0(&n, &5.into(), &n), &5.into());
        is(n.max_of(&0.into()) * n.max_of(&1.into()) + 3.into(), &(n.clone() * n.clone() + 3.into()));
    }
}

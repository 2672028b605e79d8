//! What symbols hold for the rest of a run: loading one is less code than computing its value again.

use sinter_ir::program::{Program, Step};
use sinter_ir::{Expr, Sym, Symbols};
use std::collections::{BTreeMap, BTreeSet};

/// Symbols by the expressions that they surely are equal to.
pub struct Known<'p> {
    symbols: &'p Symbols,
    /// How many places of the program give a symbol a value while it runs; inputs have theirs before.
    setters: BTreeMap<Sym, u32>,
    holds: BTreeMap<Expr, Sym>,
    fixed: BTreeSet<Sym>,
}

impl<'p> Known<'p> {
    /// At the start of a run.
    pub fn new(program: &'p Program) -> Self {
        let mut setters = BTreeMap::new();
        count(program, &program.steps, &mut |s| *setters.entry(s).or_default() += 1);
        Self { symbols: &program.symbols, setters, holds: BTreeMap::new(), fixed: BTreeSet::new() }
    }
    /// Behind a step that every run passes once and that sets a symbol.
    pub fn set(&mut self, sym: Sym, value: &Expr) {
        let once = self.setters.get(&sym) == Some(&1);
        let stays = |s: &Sym| !self.setters.contains_key(s) || self.fixed.contains(s);
        if once && value.syms().iter().all(stays) {
            self.fixed.insert(sym);
            if value.as_const().is_none() {
                self.holds.entry(value.clone()).or_insert(sym);
            }
        }
    }
    /// A symbol with the value of an expression.
    pub fn get(&self, e: &Expr) -> Option<Sym> {
        self.holds.get(e).copied()
    }
    /// Whether an expression is never negative.
    pub fn is_natural(&self, e: &Expr) -> bool {
        self.symbols.range(e).0 >= 0
    }
}

fn count(p: &Program, steps: &[Step], f: &mut dyn FnMut(Sym)) {
    for step in steps {
        match step {
            Step::Call { kernel, .. } => {
                let defined = p.kernels.get(*kernel as usize).map(|k| k.defines());
                defined.into_iter().flatten().for_each(&mut *f);
            }
            Step::SetSym { sym, .. } | Step::ReadSym { sym, .. } => f(*sym),
            Step::If { then, els, .. } => [then, els].into_iter().for_each(|b| count(p, b, f)),
            Step::Loop { count: n, body, .. } => {
                f(*n);
                count(p, body, f);
            }
            Step::Copy { .. } | Step::Require { .. } => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_once_stays_known() {
        let (n, half, twice, other) = (Sym(0), Sym(1), Sym(2), Sym(3));
        let of = |s: Sym| Expr::from(s).ceil_div(&2.into());
        let set = |sym, value| Step::SetSym { sym, value };
        let steps = vec![set(half, of(n)), set(twice, of(half)), set(other, of(twice)), set(twice, 7.into())];
        let program = Program { steps, ..Program::default() };
        let mut known = Known::new(&program);
        assert_eq!(known.get(&of(n)), None);
        for (sym, value) in [(half, of(n)), (twice, of(half)), (other, of(twice))] {
            known.set(sym, &value);
        }
        assert_eq!(known.get(&of(n)), Some(half));
        // Set twice, and what was computed from it.
        assert_eq!((known.get(&of(half)), known.get(&of(twice))), (None, None));
    }
}

//! When run-time constraints can be checked: as soon as all their symbols have values.

use crate::plan::VStep;
use sinter_ir::{Sym, Symbols};
use std::collections::BTreeSet;

/// Symbols that have a value at a point of the program, and the constraints already checked there.
#[derive(Debug, Clone)]
pub struct Scope {
    defined: BTreeSet<Sym>,
    checked: Vec<bool>,
}

impl Scope {
    /// Nothing defined.
    pub fn new(symbols: &Symbols) -> Self {
        Self { defined: BTreeSet::new(), checked: vec![false; symbols.constraints.len()] }
    }
    /// Notes that symbols got (new) values and emits the constraints that this makes checkable.
    pub fn define(&mut self, symbols: &Symbols, syms: &[Sym], steps: &mut Vec<VStep>) {
        self.defined.extend(syms);
        for (i, c) in symbols.constraints.iter().enumerate() {
            let used: BTreeSet<Sym> = c.a.syms().into_iter().chain(c.b.syms()).collect();
            let new_value = syms.iter().any(|s| used.contains(s));
            if (new_value || !self.checked[i]) && used.is_subset(&self.defined) {
                self.checked[i] = true;
                steps.push(VStep::Require { a: c.a.clone(), b: c.b.clone(), why: c.why.clone() });
            }
        }
    }
}

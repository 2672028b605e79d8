//! When run-time constraints can be checked: as soon as all their symbols have values.

use crate::plan::VStep;
use sinter_ir::{Expr, Sym, Symbols, TensorType};
use std::collections::BTreeSet;

/// Symbols that have a value at a point of the program, and the constraints already checked there.
#[derive(Debug, Clone)]
pub struct Scope {
    defined: BTreeSet<Sym>,
    checked: Vec<bool>,
    sizes: BTreeSet<Expr>,
}

impl Scope {
    /// Nothing defined.
    pub fn new(symbols: &Symbols) -> Self {
        Self {
            defined: BTreeSet::new(),
            checked: vec![false; symbols.constraints.len()],
            sizes: BTreeSet::new(),
        }
    }
    /// Emits checks of the dims that could be negative: an input may be smaller than what a window needs.
    pub fn sizes(&mut self, symbols: &Symbols, ty: &TensorType, steps: &mut Vec<VStep>) {
        for d in &ty.dims {
            if d.as_const().is_none() && symbols.range(d).0 < 0 && self.sizes.insert(d.clone()) {
                let why = format!("dim {} is negative", symbols.show(d));
                steps.push(VStep::Require { a: d.max_of(&0.into()), b: d.clone(), why });
            }
        }
    }
    /// Notes that symbols got (new) values and emits the constraints that this makes checkable.
    pub fn define(&mut self, symbols: &Symbols, syms: &[Sym], steps: &mut Vec<VStep>) {
        self.defined.extend(syms);
        // Sizes in terms of new values have to be checked anew.
        self.sizes.retain(|e| e.syms().iter().all(|s| !syms.contains(s)));
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

//! Scopes and definitions of symbols.

use super::Verifier;
use crate::graph::{Graph, SymKind, Symbols};
use crate::{Expr, Sym};

/// Symbols that have a value at a point of the program.
#[derive(Clone)]
pub(super) struct Scope(Vec<bool>);

impl Scope {
    /// At the start of the main graph: dims of inputs.
    pub fn inputs(s: &Symbols) -> Self {
        Self(s.table.iter().map(|i| i.kind == SymKind::Input).collect())
    }
    pub fn has(&self, s: Sym) -> bool {
        self.0.get(s.0 as usize) == Some(&true)
    }
    pub fn add(&mut self, s: Sym) {
        if let Some(slot) = self.0.get_mut(s.0 as usize) {
            *slot = true;
        }
    }
}

impl Verifier<'_> {
    /// The symbol table itself, and whether the caller's tensors give every input symbol that is used.
    pub(super) fn table(&mut self, g: &Graph) {
        for (i, s) in self.symbols.table.iter().enumerate() {
            if s.min > s.max {
                self.problem(format!("symbol s{i} `{}` has the empty range {}..{}", s.name, s.min, s.max));
            }
        }
        let known = |e: &Expr| e.syms().iter().all(|s| self.symbols.info(*s).is_some());
        let unknown: Vec<String> = self
            .symbols
            .constraints
            .iter()
            .filter(|c| !known(&c.a) || !known(&c.b))
            .map(|c| c.why.clone())
            .collect();
        for why in unknown {
            self.problem(format!("a constraint uses an unknown symbol: {why}"));
        }
        let dims = || g.inputs.iter().filter_map(|v| g.values.get(v.0 as usize)).flat_map(|v| &v.ty.dims);
        let mut given = vec![false; self.symbols.table.len()];
        for s in dims().filter_map(Expr::as_sym) {
            if let Some(slot) = given.get_mut(s.0 as usize) {
                *slot = true;
            }
        }
        let mut missing: Vec<Sym> =
            dims().flat_map(Expr::syms).filter(|s| given.get(s.0 as usize) == Some(&false)).collect();
        missing.sort_unstable();
        missing.dedup();
        for s in missing {
            self.problem(format!(
                "no input has the symbol s{} as a dim of its own, so nothing gives its value",
                s.0
            ));
        }
    }
    /// A node defines a symbol.
    pub(super) fn define_symbol(&mut self, s: Sym, node: &str, scope: &mut Scope) {
        let Some(info) = self.symbols.info(s) else {
            return self.problem(format!("defines the unknown symbol s{}", s.0));
        };
        if info.kind != SymKind::Run {
            self.problem(format!("defines s{} `{}`, which the inputs give", s.0, info.name));
        }
        if let Some(slot) = self.definers.get_mut(s.0 as usize)
            && let Some(other) = slot.replace(node.to_owned())
        {
            self.problem(format!("defines s{}, which {other} defines already", s.0));
        }
        scope.add(s);
    }
    /// Reports symbols that have no value here.
    pub(super) fn visible<'e>(&mut self, exprs: impl Iterator<Item = &'e Expr>, scope: &Scope, what: &str) {
        let mut hidden: Vec<Sym> = exprs.flat_map(Expr::syms).filter(|s| !scope.has(*s)).collect();
        hidden.sort_unstable();
        hidden.dedup();
        for s in hidden {
            let name = self.symbols.info(s).map_or("unknown", |i| i.name.as_str()).to_owned();
            self.problem(format!("{what} uses the symbol s{} `{name}` before its definition", s.0));
        }
    }
}

//! Kernels that differ only in shapes become one kernel that takes them as parameters.
//!
//! Layers of one kind are lowered by the same code to the same statements: what differs are integers (sizes, strides,
//! bounds), symbolic integers and constants of at most 32 bits. Where code has no room there is one kernel for all of them.
//! Its numbers come from a table in the weights, its symbolic integers from symbols that are set before a call. Kernels
//! are compared as lowerings wrote them; what tidying shares depends on which numbers happen to be equal.

use super::Assembler;
use super::kernels::{fingerprint, same};
use super::lift::{Columns, Lift, placeholder};
use super::numbers::{dims, numbers};
use crate::plan::VStep;
use crate::tidy;
use bytes::Bytes;
use sinter_ir::graph::SymKind;
use sinter_ir::tile::{Kernel, Stmt};
use sinter_ir::{Expr, Result, Sym};
use std::collections::BTreeMap;

/// What becomes of a kernel, and what its calls pass.
struct Shared {
    kernel: u32,
    numbers: Option<Bytes>,
    symbols: Vec<(Sym, Expr)>,
    sizes: Vec<Expr>,
}

impl Assembler<'_> {
    /// Shares kernels among shapes and tidies them; calls follow. Returns the new table.
    pub(super) fn share(&mut self, kernels: Vec<Kernel>, steps: &mut Vec<VStep>) -> Result<Vec<Kernel>> {
        let mut out: Vec<Kernel> = Vec::new();
        let mut fate: BTreeMap<u32, Shared> = BTreeMap::new();
        for group in groups(&kernels) {
            let members: Vec<&Kernel> = group.iter().map(|&k| &kernels[k]).collect();
            let tidied: Vec<Kernel> = members.iter().map(|k| tidy::run((*k).clone())).collect();
            if let Some((one, calls)) = self.one_for_all(&members, &tidied, out.len() as u32) {
                for (&k, call) in group.iter().zip(calls) {
                    self.report.fired("assemble/shared-shapes");
                    for stat in self.report.kernels.iter_mut().filter(|s| s.kernel == kernels[k].name) {
                        stat.kernel.clone_from(&one.name);
                    }
                    fate.insert(k as u32, call);
                }
                out.push(one);
                continue;
            }
            for (&k, kernel) in group.iter().zip(tidied) {
                let call = Shared { kernel: out.len() as u32, numbers: None, symbols: vec![], sizes: vec![] };
                fate.insert(k as u32, call);
                out.push(kernel);
            }
        }
        let mut last = BTreeMap::new();
        self.follow_shapes(&kernels, &fate, steps, &mut last)?;
        self.compute_first(steps);
        Ok(out)
    }
    /// One kernel in place of all members of a group, where that is less code.
    fn one_for_all(
        &mut self,
        members: &[&Kernel],
        tidied: &[Kernel],
        kernel: u32,
    ) -> Option<(Kernel, Vec<Shared>)> {
        let first = *members.first().filter(|_| members.len() > 1)?;
        let columns = Columns::of(members);
        let mut one = first.clone();
        one.name.push_str("_etc");
        let mut differ = false;
        for (i, b) in one.bufs.iter_mut().enumerate() {
            let sizes: Vec<&Expr> = members.iter().map(|k| &k.bufs[i].bytes).collect();
            differ |= sizes.iter().any(|e| **e != b.bytes);
            let least = sizes.iter().map(|e| e.as_const()).collect::<Option<Vec<i64>>>();
            match least.and_then(|all| all.into_iter().min()) {
                // Addresses that are constants in all of them are inside the smallest.
                Some(least) => b.bytes = least.into(),
                None if sizes.iter().all(|e| e.syms() == b.bytes.syms() || self.is_given(e)) => {}
                None => return None,
            }
        }
        let (table, syms) = Lift::run(&mut one, &columns, &|e| self.symbols.range(e));
        let one = tidy::run(one);
        if count(&one.body) >= tidied.iter().map(|k| count(&k.body)).sum() {
            return None;
        }
        // In an order of their values: what one call sets is often what the next one wants.
        let mut order: Vec<usize> = (0..syms.len()).collect();
        order.sort_by_key(|&i| &syms[i]);
        let mut named: Vec<(Sym, &Vec<Expr>)> = syms.iter().map(|column| (Sym(0), column)).collect();
        for (rank, &i) in order.iter().enumerate() {
            named[i].0 = self.shape_symbol(rank, &syms[i]);
        }
        let syms = named;
        // Their places in the kernel were only counted.
        let mut one = one;
        dims(&mut one, &mut |e| *e = e.subst(&|s| Some(syms.get(placeholder(s)?)?.0.into())));
        let call = |(i, k): (usize, &&Kernel)| {
            let numbers = (!table.is_empty()).then(|| table.bytes(i));
            let own = k.bufs.iter().map(|b| b.bytes.clone());
            let sizes = own.chain(numbers.iter().map(|n| n.len().into())).collect();
            let symbols = syms.iter().map(|(s, c)| (*s, c[i].clone())).collect();
            Shared { kernel, numbers, symbols, sizes: if differ { sizes } else { vec![] } }
        };
        let calls = members.iter().enumerate().map(call).collect();
        Some((one, calls))
    }
    /// Whether an expression has its value from the start of a run.
    fn is_given(&self, e: &Expr) -> bool {
        e.syms().iter().all(|s| self.symbols.info(*s).is_some_and(|i| i.kind == SymKind::Input))
    }
    /// The symbol for the `i`-th integer that differs; all shared kernels use the same ones.
    fn shape_symbol(&mut self, i: usize, column: &[Expr]) -> Sym {
        let ranges = column.iter().map(|e| self.symbols.range(e));
        let (lo, hi) = ranges.fold((i64::MAX, i64::MIN), |a, b| (a.0.min(b.0), a.1.max(b.1)));
        let sym = match self.shape_symbols.get(i) {
            Some(&sym) => sym,
            None => {
                let sym = self.symbols.fresh(format!("shape {i}"), lo, hi, SymKind::Run);
                self.shape_symbols.push(sym);
                sym
            }
        };
        if let Some(info) = self.symbols.table.get_mut(sym.0 as usize) {
            (info.min, info.max) = (info.min.min(lo), info.max.max(hi));
        }
        sym
    }
    /// Computes what many calls pass once, at the start of a run.
    fn compute_first(&mut self, steps: &mut Vec<VStep>) {
        let mut uses: BTreeMap<Expr, u32> = BTreeMap::new();
        visit_shapes(steps, &self.shape_symbols, &mut |e| *uses.entry(e.clone()).or_default() += 1);
        let mut first = vec![];
        let mut known: BTreeMap<Expr, Expr> = BTreeMap::new();
        for (e, n) in uses {
            if n > 1 && e.as_const().is_none() && e.as_sym().is_none() && self.is_given(&e) {
                let (lo, hi) = self.symbols.range(&e);
                let sym = self.symbols.fresh(format!("size {}", first.len()), lo, hi, SymKind::Run);
                first.push(VStep::SetSym { sym, value: e.clone() });
                known.insert(e, sym.into());
            }
        }
        visit_shapes(steps, &self.shape_symbols, &mut |e| {
            if let Some(sym) = known.get(e) {
                e.clone_from(sym);
            }
        });
        steps.splice(0..0, first);
    }
    /// Lets calls pass what their kernels want; `last` is what the symbols surely hold.
    fn follow_shapes(
        &mut self,
        kernels: &[Kernel],
        fate: &BTreeMap<u32, Shared>,
        steps: &mut Vec<VStep>,
        last: &mut BTreeMap<Sym, Expr>,
    ) -> Result<()> {
        for mut step in std::mem::take(steps) {
            match &mut step {
                VStep::Call { kernel, args, sizes, label } => {
                    if kernels.get(*kernel as usize).is_some_and(|k| !k.defines().is_empty()) {
                        last.clear();
                    }
                    if let Some(call) = fate.get(kernel) {
                        *kernel = call.kernel;
                        let numbers = call.numbers.as_ref().map(|n| self.weight(n, label)).transpose()?;
                        args.extend(numbers);
                        sizes.clone_from(&call.sizes);
                        for (sym, value) in &call.symbols {
                            if last.insert(*sym, value.clone()).as_ref() != Some(value) {
                                steps.push(VStep::SetSym { sym: *sym, value: value.clone() });
                            }
                        }
                    }
                }
                VStep::If { then, els, .. } => {
                    for block in [then, els] {
                        self.follow_shapes(kernels, fate, block, &mut last.clone())?;
                    }
                    last.clear();
                }
                VStep::Loop { body, .. } => {
                    last.clear();
                    self.follow_shapes(kernels, fate, body, last)?;
                    last.clear();
                }
                VStep::SetSym { .. } | VStep::ReadSym { .. } => last.clear(),
                VStep::Copy { .. } | VStep::Require { .. } => {}
            }
            steps.push(step);
        }
        Ok(())
    }
}

/// Calls `f` for what the symbols of shared kernels are set to.
fn visit_shapes(steps: &mut [VStep], shapes: &[Sym], f: &mut dyn FnMut(&mut Expr)) {
    for step in steps {
        match step {
            VStep::SetSym { sym, value } if shapes.contains(sym) => f(value),
            VStep::If { then, els, .. } => {
                visit_shapes(then, shapes, f);
                visit_shapes(els, shapes, f);
            }
            VStep::Loop { body, .. } => visit_shapes(body, shapes, f),
            _ => {}
        }
    }
}

/// Kernels that are equal up to numbers and sizes, in the order of their first one. Kernels that define symbols stay
/// alone: theirs have no values yet when they are called.
fn groups(kernels: &[Kernel]) -> Vec<Vec<usize>> {
    let mut groups: Vec<(Kernel, Vec<usize>)> = Vec::new();
    let mut by_content: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (k, kernel) in kernels.iter().enumerate() {
        let mut skeleton = kernel.clone();
        let alone = !kernel.defines().is_empty();
        if !alone {
            numbers(&mut skeleton, &mut |_, v| *v = 0);
            dims(&mut skeleton, &mut |e| *e = 0.into());
            skeleton.bufs.iter_mut().for_each(|b| b.bytes = 0.into());
        }
        let bucket = by_content.entry(fingerprint(&skeleton)).or_default();
        match bucket.iter().find(|&&g| !alone && same(&groups[g].0, &skeleton)) {
            Some(&g) => groups[g].1.push(k),
            None => {
                bucket.push(groups.len());
                groups.push((skeleton, vec![k]));
            }
        }
    }
    groups.into_iter().map(|(_, members)| members).collect()
}

/// Statements with those inside.
fn count(body: &[Stmt]) -> usize {
    body.iter().map(|s| 1 + s.blocks().into_iter().map(|b| count(b)).sum::<usize>()).sum()
}

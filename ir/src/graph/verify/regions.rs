//! Nodes with regions: the regions themselves, and types across their borders.
//!
//! The shape rules check element types and ranks; dims that change across a border (results of the branch taken,
//! carried values of a loop) are checked here, through the expressions that say how.

use super::Verifier;
use super::symbols::Scope;
use crate::graph::{Graph, TensorType, ValueId};
use crate::op::{If, Loop};
use crate::{DType, Expr, Op, Sym};

/// Types of a list of values; `None` where one does not exist (reported elsewhere).
fn types<'a>(g: &'a Graph, list: &[ValueId]) -> Option<Vec<&'a TensorType>> {
    list.iter().map(|v| g.values.get(v.0 as usize).map(|x| &x.ty)).collect()
}

/// A branch: its graph, its name, and what the symbols of the `If` are after it.
type Side<'a> = (&'a Graph, &'static str, Vec<(Sym, Expr)>);

impl Verifier<'_> {
    pub(super) fn regions(&mut self, op: &Op, scope: &Scope) {
        match op {
            Op::Group(o) => {
                self.region(&o.body, "group", scope.clone());
            }
            Op::If(o) => self.branches(o, scope),
            Op::Loop(o) => self.repeat(o, scope),
            _ => {}
        }
    }
    /// Verifies a region; gives the scope at its end.
    fn region(&mut self, g: &Graph, name: &str, mut scope: Scope) -> Scope {
        self.place.push(name.to_owned());
        self.graph(g, &mut scope);
        self.place.pop();
        scope
    }
    fn branches(&mut self, o: &If, scope: &Scope) {
        let then = |d: &crate::op::if_::BranchSym| (d.sym, d.then_value.clone());
        let otherwise = |d: &crate::op::if_::BranchSym| (d.sym, d.else_value.clone());
        let sides: [Side; 2] = [
            (&o.then_body, "then", o.defs.iter().map(then).collect()),
            (&o.else_body, "else", o.defs.iter().map(otherwise).collect()),
        ];
        for (body, name, values) in sides {
            let inside = self.region(body, name, scope.clone());
            self.visible(values.iter().map(|v| &v.1), &inside, "the value of a symbol after the branch");
            let Some(results) = types(body, &body.outputs) else { continue };
            for (i, (have, want)) in results.into_iter().zip(&o.types).enumerate() {
                self.border(have, want, &values, &format!("result {i} of the {name} branch"));
            }
        }
    }
    fn repeat(&mut self, o: &Loop, scope: &Scope) {
        self.visible(o.shape_syms.iter().map(|c| &c.init), scope, "the first value of a carried symbol");
        let mut inside = scope.clone();
        o.shape_syms.iter().map(|c| c.sym).chain([o.count]).for_each(|s| inside.add(s));
        let end = self.region(&o.body, "body", inside);
        self.visible(o.shape_syms.iter().map(|c| &c.next), &end, "the next value of a carried symbol");
        let (Some(ins), Some(outs)) = (types(&o.body, &o.body.inputs), types(&o.body, &o.body.outputs))
        else {
            return;
        };
        if !ins.first().is_some_and(|t| t.dtype == DType::I64 && t.numel().is(1)) {
            self.problem("the body's first input must be one i64, the iteration");
        }
        if !outs.first().is_some_and(|t| t.dtype == DType::Bool && t.numel().is(1)) {
            self.problem("the body's first output must be one bool, the condition");
        }
        let next: Vec<(Sym, Expr)> = o.shape_syms.iter().map(|c| (c.sym, c.next.clone())).collect();
        for (i, (want, have)) in
            ins.into_iter().skip(1).zip(outs.into_iter().skip(1)).take(o.carried).enumerate()
        {
            self.border(have, want, &next, &format!("carried value {i}"));
        }
    }
    /// `have` inside a region is `want` outside once symbols have taken their values.
    fn border(&mut self, have: &TensorType, want: &TensorType, values: &[(Sym, Expr)], what: &str) {
        let value = |s: Sym| values.iter().find(|v| v.0 == s).map(|v| v.1.clone());
        let outside = TensorType::new(want.dtype, want.dims.iter().map(|d| d.subst(&value)).collect());
        if !self.same_type(have, &outside) {
            let (have, outside) = (self.symbols.show_type(have), self.symbols.show_type(&outside));
            self.problem(format!("{what} is {have} inside, {outside} outside"));
        }
    }
}

//! The rules: directional, named, listed in `RULES.md`, each tested against the evaluator.
//!
//! Variables: `?p` attributes of a movement op, `?c` a truth value, `?k` and `?l` constants, `?one` the
//! constant 1, others any value. An instance is used only when both sides have the same type.

use super::lang::{Term, Types};
use crate::canon::simplify::Class;
use egg::{Applier, EGraph, FromOp, Id, Pattern, PatternAst, Rewrite, Subst, Symbol, Var};
use sinter_ir::Op;
use sinter_ir::op::Transpose;

/// One rule, as text.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    /// Name in reports.
    pub name: &'static str,
    /// Effect on numbers.
    pub class: Class,
    /// Pattern found.
    pub from: &'static str,
    /// Its replacement.
    pub to: &'static str,
}

const fn rule(class: Class, name: &'static str, from: &'static str, to: &'static str) -> Text {
    Text { name, class, from, to }
}

use Class::{Approximating, Exact, Reassociating};

/// All rules that are plain patterns, without the families made for every function.
pub const TEXTS: &[Text] = &[
    rule(Exact, "add-neg", "(add ?x (neg ?y))", "(sub ?x ?y)"),
    rule(Exact, "neg-add", "(add (neg ?x) ?y)", "(sub ?y ?x)"),
    rule(Exact, "sub-neg", "(sub ?x (neg ?y))", "(add ?x ?y)"),
    rule(Exact, "mul-neg-neg", "(mul (neg ?x) (neg ?y))", "(mul ?x ?y)"),
    rule(Exact, "div-neg-neg", "(div (neg ?x) (neg ?y))", "(div ?x ?y)"),
    rule(Exact, "neg-sub", "(neg (sub ?x ?y))", "(sub ?y ?x)"),
    rule(Exact, "max-same", "(max ?x ?x)", "?x"),
    rule(Exact, "min-same", "(min ?x ?x)", "?x"),
    rule(Exact, "max-again", "(max (max ?x ?y) ?y)", "(max ?x ?y)"),
    rule(Exact, "min-again", "(min (min ?x ?y) ?y)", "(min ?x ?y)"),
    rule(Exact, "and-same", "(and ?c ?c)", "?c"),
    rule(Exact, "or-same", "(or ?c ?c)", "?c"),
    rule(Exact, "not-eq", "(not (eq ?x ?y))", "(ne ?x ?y)"),
    rule(Exact, "not-ne", "(not (ne ?x ?y))", "(eq ?x ?y)"),
    rule(Exact, "not-and-not", "(and (not ?c) (not ?d))", "(not (or ?c ?d))"),
    rule(Exact, "not-or-not", "(or (not ?c) (not ?d))", "(not (and ?c ?d))"),
    rule(Exact, "select-not", "(select (not ?c) ?x ?y)", "(select ?c ?y ?x)"),
    rule(Exact, "select-twice", "(select ?c (select ?c ?x ?y) ?z)", "(select ?c ?x ?z)"),
    rule(Reassociating, "mul-constants", "(mul (mul ?x ?k) ?l)", "(mul ?x (mul ?k ?l))"),
    rule(Reassociating, "add-constants", "(add (add ?x ?k) ?l)", "(add ?x (add ?k ?l))"),
    rule(Reassociating, "common-factor", "(add (mul ?x ?y) (mul ?z ?y))", "(mul (add ?x ?z) ?y)"),
    rule(Reassociating, "mul-recip", "(mul ?x (recip ?y))", "(div ?x ?y)"),
    rule(Approximating, "sigmoid-div", "(div ?one (add ?one (exp (neg ?x))))", "(sigmoid ?x)"),
    rule(Approximating, "sigmoid-div-swapped", "(div ?one (add (exp (neg ?x)) ?one))", "(sigmoid ?x)"),
    rule(Approximating, "sigmoid-recip", "(recip (add ?one (exp (neg ?x))))", "(sigmoid ?x)"),
    rule(Approximating, "sigmoid-recip-swapped", "(recip (add (exp (neg ?x)) ?one))", "(sigmoid ?x)"),
];

/// Functions of one operand with which movement commutes.
const UNARY: &[&str] = &[
    "neg",
    "abs",
    "ceil",
    "floor",
    "round",
    "trunc",
    "sqrt",
    "exp",
    "log",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "acosh",
    "atanh",
    "erf",
    "sigmoid",
    "recip",
    "sign",
    "not",
    "is_nan",
    "is_inf",
    "is_inf_pos",
    "is_inf_neg",
];
/// Functions of two operands with which movement commutes.
const BINARY: &[&str] = &[
    "add", "sub", "mul", "div", "rem", "mod", "pow", "min", "max", "and", "or", "xor", "shl", "shr", "eq",
    "ne", "lt", "le", "gt", "ge",
];

/// Replaces matches whose types agree and whose constant variables are constants.
#[derive(Debug)]
struct Checked {
    to: PatternAst<Term>,
}

fn var(name: &str) -> Option<Var> {
    name.parse().ok()
}

/// Whether the bindings keep to the conventions for variable names.
fn bound(egraph: &EGraph<Term, Types>, subst: &Subst) -> bool {
    let get = |name: &str| var(name).and_then(|v| subst.get(v)).map(|id| &egraph[*id].data);
    let constant = |name| get(name).is_none_or(|i| i.constant);
    constant("?k") && constant("?l") && get("?one").is_none_or(|i| i.splat == Some(1.0))
}

fn union_typed(egraph: &mut EGraph<Term, Types>, eclass: Id, new: Id) -> Vec<Id> {
    let (a, b) = (egraph[eclass].data.ty.clone(), egraph[new].data.ty.clone());
    let same = match (a, b) {
        (Some(a), Some(b)) => {
            let eq = |(x, y)| egraph.analysis.symbols.known_eq(x, y);
            a.dtype == b.dtype && a.rank() == b.rank() && a.dims.iter().zip(&b.dims).all(eq)
        }
        _ => false,
    };
    if same && egraph.union(eclass, new) { vec![new] } else { vec![] }
}

impl Applier<Term, Types> for Checked {
    fn apply_one(
        &self,
        egraph: &mut EGraph<Term, Types>,
        eclass: Id,
        subst: &Subst,
        _: Option<&PatternAst<Term>>,
        _: Symbol,
    ) -> Vec<Id> {
        if !bound(egraph, subst) {
            return vec![];
        }
        let new = egraph.add_instantiation(&self.to, subst);
        union_typed(egraph, eclass, new)
    }
}

/// `(transpose ?p (transpose ?q ?x))` by composing the permutations.
#[derive(Debug)]
struct Compose {
    p: Var,
    q: Var,
    x: Var,
}

impl Applier<Term, Types> for Compose {
    fn apply_one(
        &self,
        egraph: &mut EGraph<Term, Types>,
        eclass: Id,
        subst: &Subst,
        _: Option<&PatternAst<Term>>,
        _: Symbol,
    ) -> Vec<Id> {
        let perm = |v: Var| match egraph.analysis.attrs.get(egraph[subst[v]].data.attr? as usize)? {
            Op::Transpose(t) => Some(t.perm.clone()),
            _ => None,
        };
        let (Some(outer), Some(inner)) = (perm(self.p), perm(self.q)) else { return vec![] };
        if outer.len() != inner.len() {
            return vec![];
        }
        let perm: Vec<usize> = outer.iter().map(|&i| inner[i]).collect();
        if perm.iter().enumerate().all(|(i, &p)| i == p) {
            return union_typed(egraph, eclass, subst[self.x]);
        }
        let new = super::lang::attr_term(egraph, Transpose { perm }.into(), subst[self.x]);
        union_typed(egraph, eclass, new)
    }
}

/// `f(transpose ?p x, k)` with a small constant: the constant is transposed the other way at compile time.
#[derive(Debug)]
struct AgainstConstant {
    head: super::lang::Head,
    swapped: bool,
}

impl Applier<Term, Types> for AgainstConstant {
    fn apply_one(
        &self,
        egraph: &mut EGraph<Term, Types>,
        eclass: Id,
        subst: &Subst,
        _: Option<&PatternAst<Term>>,
        _: Symbol,
    ) -> Vec<Id> {
        let (Some(p), Some(x), Some(k)) = (var("?p"), var("?x"), var("?k")) else { return vec![] };
        let (p, x, k) = (subst[p], subst[x], subst[k]);
        let attr = egraph[p].data.attr.and_then(|a| egraph.analysis.attrs.get(a as usize));
        let (Some(Op::Transpose(t)), true, Some(ty)) =
            (attr, egraph[k].data.constant, egraph[k].data.ty.clone())
        else {
            return vec![];
        };
        let Some(lead) = t.perm.len().checked_sub(ty.rank()) else { return vec![] };
        let Some(dims) = ty.const_dims().filter(|d| d.iter().product::<usize>() <= 1 << 16) else {
            return vec![];
        };
        let mut back = vec![0; t.perm.len()];
        t.perm.iter().enumerate().for_each(|(i, &p)| back[p] = i);
        let full = std::iter::repeat_n(1usize, lead).chain(dims).map(Into::into).collect();
        let reshape = sinter_ir::op::Reshape { dims: full };
        let k = super::lang::attr_term(egraph, reshape.into(), k);
        let k = super::lang::attr_term(egraph, Transpose { perm: back }.into(), k);
        let args = if self.swapped { vec![k, x] } else { vec![x, k] };
        let inner = egraph.add(Term { head: self.head, args });
        let new = egraph.add(Term { head: super::lang::Head::Transpose, args: vec![p, inner] });
        union_typed(egraph, eclass, new)
    }
}

fn pattern(text: &str) -> Option<Pattern<Term>> {
    text.parse().ok()
}

fn texts() -> Vec<(String, String, String)> {
    let mut out: Vec<(String, String, String)> =
        TEXTS.iter().map(|t| (t.name.to_owned(), t.from.to_owned(), t.to.to_owned())).collect();
    for m in ["transpose", "reshape"] {
        for f in UNARY {
            out.push((
                format!("{m}-behind-unary"),
                format!("({f} ({m} ?p ?x))"),
                format!("({m} ?p ({f} ?x))"),
            ));
        }
        for f in BINARY {
            let from = format!("({f} ({m} ?p ?x) ({m} ?p ?y))");
            out.push((format!("{m}-behind-binary"), from, format!("({m} ?p ({f} ?x ?y))")));
        }
        let from = format!("(select ({m} ?p ?c) ({m} ?p ?x) ({m} ?p ?y))");
        out.push((format!("{m}-behind-select"), from, format!("({m} ?p (select ?c ?x ?y))")));
        out.push((
            format!("{m}-behind-cast"),
            format!("(cast ?a ({m} ?p ?x))"),
            format!("({m} ?p (cast ?a ?x))"),
        ));
    }
    out
}

/// A rewrite under a unique name, as egg wants it; the report cuts the number off again.
fn rewrite(
    name: &str,
    number: usize,
    from: &str,
    to: impl Applier<Term, Types> + Send + Sync + 'static,
) -> Option<Rewrite<Term, Types>> {
    Rewrite::new(format!("{name}#{number}"), pattern(from)?, to).ok()
}

/// All rewrites. A test checks that every text above parses.
pub fn rewrites() -> Vec<Rewrite<Term, Types>> {
    let checked = |(i, (name, from, to)): (usize, (String, String, String))| {
        rewrite(&name, i, &from, Checked { to: pattern(&to)?.ast })
    };
    let mut out: Vec<Rewrite<Term, Types>> = texts().into_iter().enumerate().filter_map(checked).collect();
    for f in BINARY {
        let Ok(Term { head, .. }) = Term::from_op(f, vec![Id::from(0); 2]) else { continue };
        let right = format!("({f} (transpose ?p ?x) ?k)");
        let left = format!("({f} ?k (transpose ?p ?x))");
        for (from, swapped) in [(right, false), (left, true)] {
            out.extend(rewrite(
                "transpose-behind-constant",
                out.len(),
                &from,
                AgainstConstant { head, swapped },
            ));
        }
    }
    if let (Some(p), Some(q), Some(x)) = (var("?p"), var("?q"), var("?x")) {
        out.extend(rewrite("transpose-twice", 0, "(transpose ?p (transpose ?q ?x))", Compose { p, q, x }));
    }
    out
}

/// Number of rewrites that [`rewrites`] must give.
pub fn rewrite_count() -> usize {
    texts().len() + 2 * BINARY.len() + 1
}

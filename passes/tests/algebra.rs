//! Every algebra rule: its left side, built as a graph on random values, is rewritten and keeps its meaning.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod support;

use egg::{ENodeOrVar, Pattern};
use sinter_ir::graph::Origin;
use sinter_ir::op::{Binary, Cast, Compare, Constant, Reshape, Select, Transpose, Unary};
use sinter_ir::{DType, Graph, Module, Op, Symbols, Tensor, TensorType, ValueId, eval};
use sinter_passes::canon::algebra::lang::{Head, Term};
use sinter_passes::canon::algebra::{self, rules};
use sinter_passes::report::PassReport;
use std::collections::BTreeMap;
use support::Rng;

/// A module under construction; `?c`, `?d` are bool inputs, `?k`, `?l`, `?one` constants, others f32 inputs.
#[derive(Default)]
struct Build {
    symbols: Symbols,
    graph: Graph,
    inputs: Vec<Tensor>,
    vars: BTreeMap<String, ValueId>,
}

impl Build {
    fn add(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        self.graph.add1(&mut self.symbols, op.into(), inputs, &Origin::new()).unwrap()
    }
    fn input(&mut self, tensor: Tensor) -> ValueId {
        let name = format!("x{}", self.inputs.len());
        let v = self.graph.add_input(TensorType::of(&tensor), Some(name.into()));
        self.inputs.push(tensor);
        v
    }
    fn var(&mut self, name: &str, rng: &mut Rng) -> ValueId {
        if let Some(&v) = self.vars.get(name) {
            return v;
        }
        let shape = vec![2, 3];
        let v = match name {
            "?one" => self.add(Constant { tensor: Tensor::f32s(vec![], &[1.0]).unwrap() }, &[]),
            "?k" | "?l" => {
                let tensor = rng.tensor(DType::F32, vec![3]);
                self.add(Constant { tensor }, &[])
            }
            "?c" | "?d" => {
                let bits: Vec<i64> = (0..6).map(|_| rng.below(2) as i64).collect();
                self.input(Tensor::from_i64(DType::Bool, shape, &bits).unwrap())
            }
            _ => {
                let t = rng.tensor(DType::F32, shape);
                self.input(t)
            }
        };
        self.vars.insert(name.to_owned(), v);
        v
    }
    fn term(&mut self, term: &Term, args: &[ValueId]) -> ValueId {
        match term.head {
            Head::Unary(kind) => self.add(Unary { kind }, args),
            Head::Binary(kind) => self.add(Binary { kind }, args),
            Head::Compare(kind) => self.add(Compare { kind }, args),
            Head::Select => self.add(Select {}, args),
            other => panic!("{other:?} in a plain rule"),
        }
    }
    fn pattern(&mut self, text: &str, rng: &mut Rng) {
        let p: Pattern<Term> = text.parse().unwrap();
        let mut values = Vec::new();
        for n in p.ast.as_ref() {
            values.push(match n {
                ENodeOrVar::Var(v) => self.var(&v.to_string(), rng),
                ENodeOrVar::ENode(t) => {
                    let args: Vec<ValueId> = t.args.iter().map(|a| values[usize::from(*a)]).collect();
                    self.term(t, &args)
                }
            });
        }
        self.graph.outputs = vec![*values.last().unwrap()];
    }
    /// Runs the pass; the module means the same before and after, and `rule` fired.
    fn check(self, rule: &str) -> Module {
        let before =
            Module { name: "test".into(), symbols: self.symbols, graph: self.graph, ..Module::default() };
        let (mut after, mut report) = (before.clone(), PassReport::default());
        algebra::run(&mut after, &mut report).unwrap();
        assert!(report.count(&format!("algebra/{rule}")) > 0, "{rule} did not fire: {:?}", report.rules);
        let want = eval::module(&before, &self.inputs).unwrap();
        support::assert_close(&want, &eval::module(&after, &self.inputs).unwrap(), rule);
        after
    }
}

#[test]
fn all_rules_parse() {
    assert_eq!(rules::rewrites().len(), rules::rewrite_count());
}

#[test]
fn every_plain_rule_fires_and_keeps_the_meaning() {
    for rule in rules::TEXTS {
        for seed in 0..8 {
            let mut b = Build::default();
            b.pattern(rule.from, &mut Rng::new(seed));
            b.check(rule.name);
        }
    }
}

fn count(m: &Module, name: &str) -> usize {
    m.graph.iter().filter(|(_, n)| n.op.name() == name).count()
}

/// `T'(f(T(x), T(y)) * k) -> f(x, y) * k'` for a permutation and its inverse.
#[test]
fn transposes_cancel_through_element_wise_ops() {
    use sinter_ir::op::binary::BinaryKind as B;
    use sinter_ir::op::unary::UnaryKind as U;
    let mut rng = Rng::new(5);
    let mut b = Build::default();
    let (x, y) = (rng.tensor(DType::F32, vec![2, 3, 4]), rng.tensor(DType::F32, vec![2, 3, 4]));
    let (x, y) = (b.input(x), b.input(y));
    let t = Transpose { perm: vec![1, 2, 0] };
    let (tx, ty) = (b.add(t.clone(), &[x]), b.add(t, &[y]));
    let s = b.add(Binary { kind: B::Add }, &[tx, ty]);
    let s = b.add(Unary { kind: U::Abs }, &[s]);
    let tensor = rng.tensor(DType::F32, vec![4, 2]);
    let k = b.add(Constant { tensor }, &[]);
    let s = b.add(Binary { kind: B::Mul }, &[k, s]);
    let s = b.add(Cast { to: DType::F64, saturate: true }, &[s]);
    let s = b.add(Transpose { perm: vec![2, 0, 1] }, &[s]);
    b.graph.outputs = vec![s];
    let after = b.check("transpose-twice");
    // Only the constant is still transposed; folding removes that.
    assert_eq!(count(&after, "Transpose"), 1);
}

#[test]
fn reshapes_move_behind_element_wise_ops() {
    use sinter_ir::op::binary::BinaryKind as B;
    let mut rng = Rng::new(6);
    let mut b = Build::default();
    let (x, y) = (rng.tensor(DType::F32, vec![2, 6]), rng.tensor(DType::F32, vec![2, 6]));
    let (x, y) = (b.input(x), b.input(y));
    let r = Reshape { dims: vec![3.into(), 4.into()] };
    let (rx, ry) = (b.add(r.clone(), &[x]), b.add(r, &[y]));
    let s = b.add(Binary { kind: B::Mul }, &[rx, ry]);
    b.graph.outputs = vec![s];
    assert_eq!(count(&b.check("reshape-behind-binary"), "Reshape"), 1);
}

/// Operands of different shapes that only reshape to the same one must not be combined directly.
#[test]
fn reshapes_of_different_shapes_stay() {
    use sinter_ir::op::binary::BinaryKind as B;
    let mut b = Build::default();
    let mut rng = Rng::new(7);
    let (x, y) = (rng.tensor(DType::F32, vec![2, 1]), rng.tensor(DType::F32, vec![1, 2]));
    let (x, y) = (b.input(x), b.input(y));
    let r = Reshape { dims: vec![2.into()] };
    let (rx, ry) = (b.add(r.clone(), &[x]), b.add(r, &[y]));
    let s = b.add(Binary { kind: B::Mul }, &[rx, ry]);
    b.graph.outputs = vec![s];
    let before = Module { name: "test".into(), symbols: b.symbols, graph: b.graph, ..Module::default() };
    let mut after = before.clone();
    algebra::run(&mut after, &mut PassReport::default()).unwrap();
    assert_eq!(count(&after, "Reshape"), 2);
}

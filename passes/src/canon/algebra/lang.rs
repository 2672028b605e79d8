//! The e-graph language: one head per element-wise function of the op table, movement ops with their
//! attributes as a first argument, and leaves for everything outside of the region.

use egg::{Analysis, DidMerge, EGraph, FromOp, FromOpError, Id, Language};
use sinter_ir::op::binary::BinaryKind;
use sinter_ir::op::compare::CompareKind;
use sinter_ir::op::unary::UnaryKind;
use sinter_ir::op::{Binary, Compare, Select, Unary};
use sinter_ir::{Op, Symbols, TensorType, ValueId};

/// What a term does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Head {
    /// Function of one operand.
    Unary(UnaryKind),
    /// Function of two operands.
    Binary(BinaryKind),
    /// Comparison.
    Compare(CompareKind),
    /// `(select cond a b)`.
    Select,
    /// `(transpose attr x)`.
    Transpose,
    /// `(reshape attr x)`.
    Reshape,
    /// `(cast attr x)`.
    Cast,
    /// Attributes: index into [`Types::attrs`].
    Attr(u32),
    /// A value from outside: index into [`Types::leaves`].
    Leaf(u32),
}

/// A term.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    /// What it does.
    pub head: Head,
    /// Arguments.
    pub args: Vec<Id>,
}

impl Language for Term {
    type Discriminant = Head;
    fn discriminant(&self) -> Head {
        self.head
    }
    fn matches(&self, other: &Self) -> bool {
        self.head == other.head && self.args.len() == other.args.len()
    }
    fn children(&self) -> &[Id] {
        &self.args
    }
    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.args
    }
}

impl FromOp for Term {
    type Error = FromOpError;
    /// Names are those of the text form: the snake-case kinds of the op table.
    fn from_op(op: &str, args: Vec<Id>) -> Result<Self, FromOpError> {
        fn kind<T: serde::de::DeserializeOwned>(name: &str) -> Option<T> {
            serde_json::from_value(serde_json::Value::from(name)).ok()
        }
        let head = match (op, args.len()) {
            ("select", 3) => Some(Head::Select),
            ("transpose", 2) => Some(Head::Transpose),
            ("reshape", 2) => Some(Head::Reshape),
            ("cast", 2) => Some(Head::Cast),
            (name, 1) => kind(name).map(Head::Unary),
            (name, 2) => kind(name).map(Head::Binary).or_else(|| kind(name).map(Head::Compare)),
            _ => None,
        };
        match head {
            Some(head) => Ok(Self { head, args }),
            None => Err(FromOpError::new(op, args)),
        }
    }
}

/// A value that a region takes from outside.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The value, in the new graph.
    pub value: ValueId,
    /// Its type.
    pub ty: TensorType,
    /// Whether it is a constant, and the number that all its elements are.
    pub constant: Option<Option<f64>>,
}

/// Analysis: types of all terms, by the op table's own shape rules.
#[derive(Debug, Default)]
pub struct Types {
    /// Scratch copy of the module's symbols.
    pub symbols: Symbols,
    /// Movement ops with attributes.
    pub attrs: Vec<Op>,
    /// Values from outside.
    pub leaves: Vec<Leaf>,
}

/// What is known of a class.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Info {
    /// Type; `None` for attributes and ill-typed terms, which no rule may use.
    pub ty: Option<TensorType>,
    /// Whether it is computed from constants alone.
    pub constant: bool,
    /// The number that all elements are, for leaves.
    pub splat: Option<f64>,
    /// Index into [`Types::attrs`].
    pub attr: Option<u32>,
}

impl Types {
    /// Index of attributes, added when they are new.
    pub fn attr(&mut self, op: Op) -> u32 {
        let at = self.attrs.iter().position(|a| *a == op).unwrap_or_else(|| {
            self.attrs.push(op);
            self.attrs.len() - 1
        });
        at as u32
    }
    /// Type of an op's only result; `None` when it is ill-typed or would need a run-time check.
    pub fn infer(&mut self, op: &Op, args: &[&TensorType]) -> Option<TensorType> {
        let known = self.symbols.constraints.len();
        let types = op.infer(&mut self.symbols, args).ok();
        let checks = self.symbols.constraints.len() > known;
        self.symbols.constraints.truncate(known);
        types.filter(|_| !checks)?.into_iter().next()
    }
}

/// The op of a term and which of its arguments are operands.
pub fn op_of(egraph: &EGraph<Term, Types>, term: &Term) -> Option<(Op, Vec<Id>)> {
    let attr = || {
        let index = egraph[*term.args.first()?].data.attr?;
        Some((egraph.analysis.attrs.get(index as usize)?.clone(), term.args[1..].to_vec()))
    };
    let all = |op: Op| Some((op, term.args.clone()));
    match term.head {
        Head::Unary(kind) => all(Unary { kind }.into()),
        Head::Binary(kind) => all(Binary { kind }.into()),
        Head::Compare(kind) => all(Compare { kind }.into()),
        Head::Select => all(Select {}.into()),
        Head::Transpose => attr().filter(|(op, _)| matches!(op, Op::Transpose(_))),
        Head::Reshape => attr().filter(|(op, _)| matches!(op, Op::Reshape(_))),
        Head::Cast => attr().filter(|(op, _)| matches!(op, Op::Cast(_))),
        Head::Attr(_) | Head::Leaf(_) => None,
    }
}

/// Adds `(op x)` for a movement op with attributes.
pub fn attr_term(egraph: &mut EGraph<Term, Types>, op: Op, x: Id) -> Id {
    let head = match op {
        Op::Transpose(_) => Head::Transpose,
        Op::Reshape(_) => Head::Reshape,
        _ => Head::Cast,
    };
    let index = egraph.analysis.attr(op);
    let attr = egraph.add(Term { head: Head::Attr(index), args: vec![] });
    egraph.add(Term { head, args: vec![attr, x] })
}

impl Analysis<Term> for Types {
    type Data = Info;
    fn make(egraph: &mut EGraph<Term, Self>, term: &Term, _: Id) -> Info {
        match term.head {
            Head::Attr(i) => return Info { attr: Some(i), ..Info::default() },
            Head::Leaf(i) => {
                let leaf = &egraph.analysis.leaves[i as usize];
                let splat = leaf.constant.flatten();
                return Info {
                    ty: Some(leaf.ty.clone()),
                    constant: leaf.constant.is_some(),
                    splat,
                    attr: None,
                };
            }
            _ => {}
        }
        let Some((op, args)) = op_of(egraph, term) else { return Info::default() };
        let constant = args.iter().all(|a| egraph[*a].data.constant);
        let Some(types) = args.iter().map(|a| egraph[*a].data.ty.clone()).collect::<Option<Vec<_>>>() else {
            return Info::default();
        };
        let ty = egraph.analysis.infer(&op, &types.iter().collect::<Vec<_>>());
        Info { ty, constant, ..Info::default() }
    }
    fn merge(&mut self, a: &mut Info, b: Info) -> DidMerge {
        let before = a.clone();
        a.constant |= b.constant;
        a.splat = a.splat.or(b.splat);
        // Equal terms have equal types; the dims may be written differently, the first form stays.
        a.ty = a.ty.take().or_else(|| b.ty.clone());
        DidMerge(*a != before, *a != b)
    }
}

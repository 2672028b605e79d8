//! Symbols with ranges and provenance, and the constraints between them.

use crate::expr::LIMIT;
use crate::{Diag, Expr, Op, Result, Sym, TensorType};
use serde::{Deserialize, Serialize};

/// Tensors that can have this many elements are refused.
pub const MAX_ELEMENTS: i64 = 1 << 40;

/// Where a symbol's value comes from at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SymKind {
    /// A dim of a graph input: given by the caller.
    Input,
    /// Defined by an op while running (count of NonZero, value read from a tensor, loop trip count).
    Run,
}

/// A symbol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SymbolInfo {
    /// Name in the user's model, or one made from the defining node.
    pub name: String,
    /// Smallest value.
    pub min: i64,
    /// Largest value: buffers are planned for it.
    pub max: i64,
    /// Who gives the value.
    pub kind: SymKind,
}

/// The symbols of a module; [`Sym`] indexes it.
pub type SymbolTable = Vec<SymbolInfo>;

/// `a == b` must hold at run time; checked before the first kernel that could depend on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraint {
    /// Left side.
    pub a: Expr,
    /// Right side.
    pub b: Expr,
    /// Why: op and values that need it.
    pub why: String,
}

/// Symbols and constraints of a module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symbols {
    /// All symbols.
    pub table: SymbolTable,
    /// All constraints, without duplicates.
    pub constraints: Vec<Constraint>,
}

impl Symbols {
    /// Adds a symbol.
    pub fn fresh(&mut self, name: impl Into<String>, min: i64, max: i64, kind: SymKind) -> Sym {
        let id = Sym(self.table.len() as u32);
        self.table.push(SymbolInfo { name: name.into(), min, max: max.max(min), kind });
        id
    }
    /// A symbol's info.
    pub fn info(&self, s: Sym) -> Option<&SymbolInfo> {
        self.table.get(s.0 as usize)
    }
    /// Interval of an expression.
    pub fn range(&self, e: &Expr) -> (i64, i64) {
        e.range(&|s| self.info(s).map_or((-LIMIT, LIMIT), |i| (i.min, i.max)))
    }
    /// Largest value of a dim, at least 0.
    pub fn max(&self, e: &Expr) -> i64 {
        self.range(e).1.max(0)
    }
    /// Whether `a == b` is known to hold for all values.
    pub fn known_eq(&self, a: &Expr, b: &Expr) -> bool {
        (a.clone() - b.clone()).is(0)
    }
    /// Demands `a == b`: an error when they can never be equal, a recorded constraint when not provable.
    /// Returns the simpler of the two.
    pub fn require_eq(&mut self, a: &Expr, b: &Expr, why: &str) -> Result<Expr> {
        if self.known_eq(a, b) {
            return Ok(if a.size() <= b.size() { a.clone() } else { b.clone() });
        }
        let (lo, hi) = self.range(&(a.clone() - b.clone()));
        if lo > 0 || hi < 0 {
            return Err(Diag::input(format!(
                "{why}: {} and {} can never be equal",
                self.show(a),
                self.show(b)
            )));
        }
        let c = Constraint { a: a.clone(), b: b.clone(), why: why.to_owned() };
        if !self.constraints.iter().any(|x| (x.a == c.a && x.b == c.b) || (x.a == c.b && x.b == c.a)) {
            self.constraints.push(c);
        }
        Ok(if b.size() < a.size() { b.clone() } else { a.clone() })
    }
    /// Result dim of numpy broadcasting two dims. Unknown pairs are taken as equal (recorded as a constraint).
    pub fn broadcast(&mut self, a: &Expr, b: &Expr, why: &str) -> Result<Expr> {
        match (a.as_const(), b.as_const()) {
            (Some(1), _) => Ok(b.clone()),
            (_, Some(1)) => Ok(a.clone()),
            _ => self.require_eq(a, b, why),
        }
    }
    /// Broadcasts whole shapes, aligned at the last dim.
    pub fn broadcast_dims(&mut self, a: &[Expr], b: &[Expr], why: &str) -> Result<Vec<Expr>> {
        let rank = a.len().max(b.len());
        let one = Expr::from(1);
        let at = |d: &[Expr], i: usize| (i + d.len()).checked_sub(rank).map_or(one.clone(), |j| d[j].clone());
        (0..rank).map(|i| self.broadcast(&at(a, i), &at(b, i), why)).collect()
    }
    /// Refuses negative, overflowing or unboundedly large types.
    pub fn check_types(&self, types: &[TensorType]) -> Result<()> {
        for ty in types {
            for d in &ty.dims {
                let (lo, hi) = self.range(d);
                if hi < 0 || (lo < 0 && d.as_const().is_some()) {
                    return Err(Diag::input(format!(
                        "dim {} of {} is negative",
                        self.show(d),
                        self.show_type(ty)
                    )));
                }
                if d.is_too_big() || hi >= LIMIT {
                    return Err(Diag::limit(format!("dim of {} has no usable bound", self.show_type(ty)))
                        .help("give the model's symbolic dims a range with --dim NAME=MIN..MAX"));
                }
            }
            if ty.rank() > 16 {
                return Err(Diag::limit(format!("rank {} is above 16", ty.rank())));
            }
            // Dims of an empty tensor count as well: strides and loops are made of them.
            let extent = ty.dims.iter().try_fold(1i64, |p, d| p.checked_mul(self.max(d).max(1)));
            if extent.is_none() || self.range(&ty.numel()).1 >= MAX_ELEMENTS {
                return Err(Diag::limit(format!("{} can have 2^40 elements or more", self.show_type(ty)))
                    .help("give the model's symbolic dims a smaller range with --dim NAME=MIN..MAX"));
            }
        }
        Ok(())
    }
    /// Refuses ops whose attributes reach beyond [`LIMIT`]: with them, arithmetic on concrete values could
    /// overflow. Plain values ([`Op::FromDims`]) may be anything.
    pub fn check_attributes(&self, op: &mut Op) -> Result<()> {
        if matches!(op, Op::FromDims(_)) {
            return Ok(());
        }
        let mut far = None;
        op.map_exprs(&mut |e| {
            let (lo, hi) = self.range(e);
            if e.is_too_big() || lo <= -LIMIT || hi >= LIMIT {
                far.get_or_insert_with(|| self.show(e));
            }
        });
        match far {
            Some(e) => Err(Diag::limit(format!("{}: `{e}` has no usable bound", op.name()))),
            None => Ok(()),
        }
    }
    /// An expression with the user's symbol names.
    pub fn show(&self, e: &Expr) -> String {
        let mut text = e.to_string();
        for s in e.syms().into_iter().rev() {
            if let Some(i) = self.info(s) {
                text = replace_word(&text, &format!("s{}", s.0), &i.name);
            }
        }
        text
    }
    /// A type with the user's symbol names.
    pub fn show_type(&self, t: &TensorType) -> String {
        let dims: Vec<String> = t.dims.iter().map(|d| self.show(d)).collect();
        format!("{}[{}]", t.dtype, dims.join(", "))
    }
}

fn replace_word(text: &str, word: &str, with: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(i) = rest.find(word) {
        let end = i + word.len();
        let whole = !rest[..i].ends_with(|c: char| c.is_alphanumeric())
            && !rest[end..].starts_with(|c: char| c.is_alphanumeric());
        out.push_str(&rest[..i]);
        out.push_str(if whole { with } else { word });
        rest = &rest[end..];
    }
    out + rest
}

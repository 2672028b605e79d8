//! Symbolic integers: dims, strides, slice bounds.
//!
//! An [`Expr`] is a polynomial over atoms (symbols, floor division, modulo, min, max, select), kept in a
//! normal form so that equal expressions compare equal in the common cases (`2*(n+1)-2 == 2*n`).
//! Arithmetic saturates; anything at or beyond [`LIMIT`] is refused by the shape verifier. Expressions
//! larger than [`MAX_SIZE`] become [`Atom::TooBig`], which the verifier refuses as well, so no input can
//! make expressions grow without bound.

use crate::{Diag, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Values at or beyond this are treated as overflow.
pub const LIMIT: i64 = 1 << 56;
/// Largest number of atoms and terms in one expression: detectors concatenate what they find of each of 90 kinds.
pub const MAX_SIZE: usize = 2048;
/// Deepest expression in a text.
const MAX_DEPTH: usize = 512;

/// A symbol: an index into the module's [`crate::SymbolTable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sym(pub u32);

/// The indivisible parts of an expression.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Atom {
    Sym(Sym),
    /// Floor division; division by zero evaluates to `None`.
    Div(Box<Expr>, Box<Expr>),
    /// `a - b * floor(a / b)`.
    Mod(Box<Expr>, Box<Expr>),
    Min(Box<Expr>, Box<Expr>),
    Max(Box<Expr>, Box<Expr>),
    /// `if c >= 0 { a } else { b }`.
    Sel(Box<Expr>, Box<Expr>, Box<Expr>),
    /// Poison: the expression grew beyond [`MAX_SIZE`].
    TooBig,
}

/// A symbolic integer in normal form: `constant + Σ coeff · Π atoms`, terms sorted, no zero coefficient.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Expr {
    terms: Vec<(Vec<Atom>, i64)>,
    constant: i64,
}

impl Default for Expr {
    fn default() -> Self {
        Self::from(0i64)
    }
}

impl From<i64> for Expr {
    fn from(constant: i64) -> Self {
        Self { terms: Vec::new(), constant }
    }
}

impl From<i32> for Expr {
    fn from(v: i32) -> Self {
        Self::from(i64::from(v))
    }
}

impl From<usize> for Expr {
    fn from(v: usize) -> Self {
        Self::from(i64::try_from(v).unwrap_or(i64::MAX))
    }
}

impl From<Atom> for Expr {
    fn from(a: Atom) -> Self {
        Self::atom(a)
    }
}

impl From<Sym> for Expr {
    fn from(s: Sym) -> Self {
        Self::atom(Atom::Sym(s))
    }
}

fn floor_div(a: i64, b: i64) -> Option<i64> {
    let q = a.checked_div(b)?;
    Some(if a % b != 0 && ((a < 0) != (b < 0)) { q - 1 } else { q })
}

/// The quotient where it is whole; none for division by zero and overflow.
fn exact(a: i64, b: i64) -> Option<i64> {
    (a.checked_rem(b)? == 0).then(|| a / b)
}

fn floor_mod(a: i64, b: i64) -> Option<i64> {
    Some(a.wrapping_sub(b.wrapping_mul(floor_div(a, b)?)))
}

impl Expr {
    fn atom(a: Atom) -> Self {
        Self { terms: vec![(vec![a], 1)], constant: 0 }
    }
    fn too_big() -> Self {
        Self::atom(Atom::TooBig)
    }
    fn capped(self) -> Self {
        if self.size() > MAX_SIZE { Self::too_big() } else { self }
    }
    /// The non-constant terms `(product of atoms, coefficient)`.
    pub fn terms(&self) -> &[(Vec<Atom>, i64)] {
        &self.terms
    }
    /// The additive constant.
    pub fn constant_term(&self) -> i64 {
        self.constant
    }
    /// The value when it is a known constant.
    pub fn as_const(&self) -> Option<i64> {
        self.terms.is_empty().then_some(self.constant)
    }
    /// The symbol when the expression is exactly one symbol.
    pub fn as_sym(&self) -> Option<Sym> {
        match (self.terms.as_slice(), self.constant) {
            ([(atoms, 1)], 0) => match atoms.as_slice() {
                [Atom::Sym(s)] => Some(*s),
                _ => None,
            },
            _ => None,
        }
    }
    /// Whether the expression is exactly this constant.
    pub fn is(&self, v: i64) -> bool {
        self.as_const() == Some(v)
    }
    /// Number of terms and atoms, nested ones included.
    pub fn size(&self) -> usize {
        1 + self.terms.iter().map(|(atoms, _)| 1 + atoms.iter().map(Atom::size).sum::<usize>()).sum::<usize>()
    }
    /// Whether the expression grew beyond the limit somewhere.
    pub fn is_too_big(&self) -> bool {
        let mut found = false;
        self.visit(&mut |a| found |= matches!(a, Atom::TooBig));
        found
    }
    fn visit(&self, f: &mut dyn FnMut(&Atom)) {
        for (atoms, _) in &self.terms {
            for a in atoms {
                f(a);
                a.children().into_iter().for_each(|e| e.visit(f));
            }
        }
    }
    /// All symbols used, sorted, each once.
    pub fn syms(&self) -> Vec<Sym> {
        let mut out = Vec::new();
        self.visit(&mut |a| {
            if let Atom::Sym(s) = a {
                out.push(*s);
            }
        });
        out.sort_unstable();
        out.dedup();
        out
    }

    fn from_terms(mut terms: Vec<(Vec<Atom>, i64)>, constant: i64) -> Self {
        terms.sort();
        let mut out: Vec<(Vec<Atom>, i64)> = Vec::with_capacity(terms.len());
        for (atoms, c) in terms {
            match out.last_mut() {
                Some((last, lc)) if *last == atoms => *lc = lc.saturating_add(c),
                _ => out.push((atoms, c)),
            }
        }
        out.retain(|(_, c)| *c != 0);
        Self { terms: out, constant }.capped()
    }

    /// Floor division. Exact where every coefficient is divisible.
    pub fn div(&self, d: &Expr) -> Expr {
        if let Some(c) = d.as_const() {
            if c == 1 {
                return self.clone();
            }
            if c > 1 {
                // floor((c*q + r) / c) = q + floor(r / c)
                let (mut q, mut r) = (Vec::new(), Vec::new());
                for (a, k) in &self.terms {
                    if k % c == 0 { q.push((a.clone(), k / c)) } else { r.push((a.clone(), *k)) }
                }
                let qc = self.constant.div_euclid(c);
                let rc = self.constant.rem_euclid(c);
                let quotient = Self::from_terms(q, qc);
                if r.is_empty() {
                    return quotient;
                }
                let rest = Self::from_terms(r, rc);
                return (quotient + Self::atom(Atom::Div(rest.into(), d.clone().into()))).capped();
            }
        }
        if self.is(0) {
            return 0.into();
        }
        if self == d {
            return 1.into();
        }
        if let Some(q) = self.exact_div(d) {
            return q;
        }
        Self::atom(Atom::Div(self.clone().into(), d.clone().into())).capped()
    }

    /// Exact quotient when `d` is a single product that divides every term (`6*a*b / (2*a) = 3*b`).
    pub fn exact_div(&self, d: &Expr) -> Option<Expr> {
        if let (Some(a), Some(b)) = (self.as_const(), d.as_const()) {
            return exact(a, b).map(Expr::from);
        }
        if self == d {
            return Some(1.into());
        }
        let (datoms, dcoef): (&[Atom], i64) = match (d.terms.as_slice(), d.constant) {
            ([(atoms, c)], 0) => (atoms, *c),
            ([], c) if c != 0 => (&[], c),
            _ => return None,
        };
        if self.constant != 0 && !datoms.is_empty() {
            return None;
        }
        let mut constant = exact(self.constant, dcoef)?;
        let mut out = Vec::with_capacity(self.terms.len());
        for (atoms, c) in &self.terms {
            let quotient = exact(*c, dcoef)?;
            let mut rest = atoms.clone();
            for a in datoms {
                let i = rest.iter().position(|x| x == a)?;
                rest.remove(i);
            }
            out.push((rest, quotient));
        }
        out.retain(|(atoms, c)| {
            if atoms.is_empty() {
                constant = constant.saturating_add(*c);
            }
            !atoms.is_empty()
        });
        Some(Self::from_terms(out, constant))
    }

    /// Ceiling division.
    pub fn ceil_div(&self, d: &Expr) -> Expr {
        (self.clone() + d.clone() - 1.into()).div(d)
    }
    /// Floor modulo.
    pub fn modulo(&self, d: &Expr) -> Expr {
        if let (Some(a), Some(b)) = (self.as_const(), d.as_const())
            && let Some(m) = floor_mod(a, b)
        {
            return m.into();
        }
        if self.exact_div(d).is_some() {
            return 0.into();
        }
        Self::atom(Atom::Mod(self.clone().into(), d.clone().into())).capped()
    }
    /// Smaller of two.
    pub fn min_of(&self, o: &Expr) -> Expr {
        match (self.clone() - o.clone()).as_const() {
            Some(d) if d <= 0 => self.clone(),
            Some(_) => o.clone(),
            None => Self::atom(Atom::Min(self.clone().into(), o.clone().into())).capped(),
        }
    }
    /// Larger of two.
    pub fn max_of(&self, o: &Expr) -> Expr {
        match (self.clone() - o.clone()).as_const() {
            Some(d) if d >= 0 => self.clone(),
            Some(_) => o.clone(),
            None => Self::atom(Atom::Max(self.clone().into(), o.clone().into())).capped(),
        }
    }
    /// `if cond >= 0 { a } else { b }`.
    pub fn select_ge0(cond: &Expr, a: &Expr, b: &Expr) -> Expr {
        match cond.as_const() {
            Some(c) if c >= 0 => a.clone(),
            Some(_) => b.clone(),
            None if a == b => a.clone(),
            None => Self::atom(Atom::Sel(cond.clone().into(), a.clone().into(), b.clone().into())).capped(),
        }
    }

    /// The value under an assignment of symbols; `None` if a symbol is missing, on division by zero or overflow.
    pub fn eval(&self, env: &dyn Fn(Sym) -> Option<i64>) -> Option<i64> {
        let mut sum = self.constant;
        for (atoms, c) in &self.terms {
            let mut p = *c;
            for a in atoms {
                p = p.checked_mul(a.eval(env)?)?;
            }
            sum = sum.checked_add(p)?;
        }
        Some(sum)
    }

    /// Replaces symbols; symbols for which `f` gives `None` stay.
    pub fn subst(&self, f: &dyn Fn(Sym) -> Option<Expr>) -> Expr {
        let mut sum = Expr::from(self.constant);
        for (atoms, c) in &self.terms {
            let mut p = Expr::from(*c);
            for a in atoms {
                p = p * a.subst(f);
            }
            sum = sum + p;
        }
        sum
    }

    /// Interval `[lo, hi]` by interval arithmetic, given each symbol's own interval. Saturates at ±[`LIMIT`].
    pub fn range(&self, of: &dyn Fn(Sym) -> (i64, i64)) -> (i64, i64) {
        let mut lo = i128::from(self.constant);
        let mut hi = lo;
        for (atoms, c) in &self.terms {
            let mut r = (i128::from(*c), i128::from(*c));
            for a in atoms {
                let (l, h) = a.range(of);
                r = mul_range(r, (l.into(), h.into()));
            }
            lo += r.0;
            hi += multiplied_again(atoms, *c, of).map_or(r.1, |h| h.min(r.1));
        }
        (clamp(lo), clamp(hi))
    }
}

fn clamp(v: i128) -> i64 {
    v.clamp(-i128::from(LIMIT), i128::from(LIMIT)) as i64
}

/// Upper end of a product that holds a quotient and all of its divisor, `d * floor(n / d) <= n`, where nothing in it is
/// below zero: as large as a reshaped value with one dim left open.
fn multiplied_again(atoms: &[Atom], c: i64, of: &dyn Fn(Sym) -> (i64, i64)) -> Option<i128> {
    for (i, a) in atoms.iter().enumerate() {
        let Atom::Div(n, d) = a else { continue };
        let ([(factors, k)], 0) = (d.terms.as_slice(), d.constant) else { continue };
        if c <= 0 || *k <= 0 || c % k != 0 {
            continue;
        }
        let mut rest: Vec<&Atom> =
            atoms.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, a)| a).collect();
        let mut all = true;
        for f in factors {
            match rest.iter().position(|r| *r == f) {
                Some(at) => drop(rest.remove(at)),
                None => all = false,
            }
        }
        let (n, d) = (n.range(of), d.range(of));
        let others: Vec<(i64, i64)> = rest.iter().map(|a| a.range(of)).collect();
        if !all || n.0 < 0 || d.0 < 0 || others.iter().any(|r| r.0 < 0) {
            continue;
        }
        let whole = (0, i128::from(c / k));
        let parts = others.into_iter().chain([n]).map(|r| (0, i128::from(r.1)));
        return Some(parts.fold(whole, mul_range).1);
    }
    None
}

fn mul_range(a: (i128, i128), b: (i128, i128)) -> (i128, i128) {
    let l = i128::from(LIMIT);
    let c = [a.0 * b.0, a.0 * b.1, a.1 * b.0, a.1 * b.1].map(|v| v.clamp(-l, l));
    (c.into_iter().min().unwrap_or(-l), c.into_iter().max().unwrap_or(l))
}

impl Atom {
    fn children(&self) -> Vec<&Expr> {
        match self {
            Atom::Sym(_) | Atom::TooBig => vec![],
            Atom::Div(a, b) | Atom::Mod(a, b) | Atom::Min(a, b) | Atom::Max(a, b) => vec![a, b],
            Atom::Sel(a, b, c) => vec![a, b, c],
        }
    }
    fn size(&self) -> usize {
        1 + self.children().into_iter().map(Expr::size).sum::<usize>()
    }
    fn eval(&self, env: &dyn Fn(Sym) -> Option<i64>) -> Option<i64> {
        match self {
            Atom::Sym(s) => env(*s),
            Atom::TooBig => None,
            Atom::Div(a, b) => floor_div(a.eval(env)?, b.eval(env)?),
            Atom::Mod(a, b) => floor_mod(a.eval(env)?, b.eval(env)?),
            Atom::Min(a, b) => Some(a.eval(env)?.min(b.eval(env)?)),
            Atom::Max(a, b) => Some(a.eval(env)?.max(b.eval(env)?)),
            Atom::Sel(c, a, b) => {
                if c.eval(env)? >= 0 {
                    a.eval(env)
                } else {
                    b.eval(env)
                }
            }
        }
    }
    fn subst(&self, f: &dyn Fn(Sym) -> Option<Expr>) -> Expr {
        match self {
            Atom::Sym(s) => f(*s).unwrap_or_else(|| (*s).into()),
            Atom::TooBig => Expr::too_big(),
            Atom::Div(a, b) => a.subst(f).div(&b.subst(f)),
            Atom::Mod(a, b) => a.subst(f).modulo(&b.subst(f)),
            Atom::Min(a, b) => a.subst(f).min_of(&b.subst(f)),
            Atom::Max(a, b) => a.subst(f).max_of(&b.subst(f)),
            Atom::Sel(c, a, b) => Expr::select_ge0(&c.subst(f), &a.subst(f), &b.subst(f)),
        }
    }
    fn range(&self, of: &dyn Fn(Sym) -> (i64, i64)) -> (i64, i64) {
        match self {
            Atom::Sym(s) => of(*s),
            Atom::TooBig => (-LIMIT, LIMIT),
            Atom::Div(a, b) => {
                let ((al, ah), (bl, bh)) = (a.range(of), b.range(of));
                if bl <= 0 && bh >= 0 {
                    return if bl >= 0 && bh > 0 {
                        // A zero divisor has no value: the quotient is bounded by that of a divisor of one.
                        (al.min(0), ah.max(0))
                    } else {
                        (-LIMIT, LIMIT)
                    };
                }
                let c = [(al, bl), (al, bh), (ah, bl), (ah, bh)].map(|(x, y)| floor_div(x, y).unwrap_or(0));
                (c.into_iter().min().unwrap_or(-LIMIT), c.into_iter().max().unwrap_or(LIMIT))
            }
            Atom::Mod(_, b) => {
                let (bl, bh) = b.range(of);
                if bl > 0 { (0, bh - 1) } else { (-bl.abs().max(bh.abs()), bl.abs().max(bh.abs())) }
            }
            Atom::Min(a, b) => {
                let ((al, ah), (bl, bh)) = (a.range(of), b.range(of));
                (al.min(bl), ah.min(bh))
            }
            Atom::Max(a, b) => {
                let ((al, ah), (bl, bh)) = (a.range(of), b.range(of));
                (al.max(bl), ah.max(bh))
            }
            Atom::Sel(c, a, b) => {
                let ((cl, ch), (al, ah), (bl, bh)) = (c.range(of), a.range(of), b.range(of));
                if cl >= 0 {
                    (al, ah)
                } else if ch < 0 {
                    (bl, bh)
                } else {
                    (al.min(bl), ah.max(bh))
                }
            }
        }
    }
}

impl std::ops::Add for Expr {
    type Output = Expr;
    fn add(self, o: Expr) -> Expr {
        let constant = self.constant.saturating_add(o.constant);
        let mut terms = self.terms;
        terms.extend(o.terms);
        Expr::from_terms(terms, constant)
    }
}

impl std::ops::Neg for Expr {
    type Output = Expr;
    fn neg(self) -> Expr {
        self * Expr::from(-1)
    }
}

impl std::ops::Sub for Expr {
    type Output = Expr;
    fn sub(self, o: Expr) -> Expr {
        self + -o
    }
}

impl std::ops::Mul for Expr {
    type Output = Expr;
    fn mul(self, o: Expr) -> Expr {
        if self.terms.len().saturating_mul(o.terms.len()) > MAX_SIZE {
            return Expr::too_big();
        }
        let mut terms = Vec::new();
        for (a, c) in &self.terms {
            for (b, d) in &o.terms {
                let mut atoms = [a.as_slice(), b.as_slice()].concat();
                atoms.sort();
                terms.push((atoms, c.saturating_mul(*d)));
            }
            terms.push((a.clone(), c.saturating_mul(o.constant)));
        }
        for (b, d) in &o.terms {
            terms.push((b.clone(), d.saturating_mul(self.constant)));
        }
        Expr::from_terms(terms, self.constant.saturating_mul(o.constant))
    }
}

/// Product of dims.
pub fn product<'a>(dims: impl IntoIterator<Item = &'a Expr>) -> Expr {
    dims.into_iter().fold(Expr::from(1), |p, d| p * d.clone())
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Sym(s) => write!(f, "s{}", s.0),
            Atom::TooBig => write!(f, "toobig()"),
            Atom::Div(a, b) => write!(f, "div({a}, {b})"),
            Atom::Mod(a, b) => write!(f, "mod({a}, {b})"),
            Atom::Min(a, b) => write!(f, "min({a}, {b})"),
            Atom::Max(a, b) => write!(f, "max({a}, {b})"),
            Atom::Sel(c, a, b) => write!(f, "sel({c}, {a}, {b})"),
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (atoms, c) in &self.terms {
            let sign = if *c < 0 { "-" } else { "+" };
            match (first, *c < 0) {
                (true, true) => write!(f, "-")?,
                (true, false) => {}
                _ => write!(f, " {sign} ")?,
            }
            first = false;
            if c.unsigned_abs() != 1 {
                write!(f, "{}*", c.unsigned_abs())?;
            }
            for (i, a) in atoms.iter().enumerate() {
                if i > 0 {
                    write!(f, "*")?;
                }
                write!(f, "{a}")?;
            }
        }
        match (first, self.constant) {
            (true, c) => write!(f, "{c}"),
            (false, 0) => Ok(()),
            (false, c) if c < 0 => write!(f, " - {}", c.unsigned_abs()),
            (false, c) => write!(f, " + {c}"),
        }
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::str::FromStr for Expr {
    type Err = Diag;
    fn from_str(s: &str) -> Result<Self> {
        let mut p = Parser { s: s.as_bytes(), i: 0, depth: 0 };
        let e = p.sum()?;
        p.ws();
        if p.i == p.s.len() { Ok(e) } else { Err(p.err("trailing text")) }
    }
}

struct Parser<'a> {
    s: &'a [u8],
    i: usize,
    depth: usize,
}

impl Parser<'_> {
    fn err(&self, what: &str) -> Diag {
        Diag::input(format!(
            "bad expression `{}`: {what} at byte {}",
            String::from_utf8_lossy(self.s),
            self.i
        ))
    }
    fn ws(&mut self) {
        while self.s.get(self.i).is_some_and(u8::is_ascii_whitespace) {
            self.i += 1;
        }
    }
    fn eat(&mut self, c: u8) -> bool {
        self.ws();
        let hit = self.s.get(self.i) == Some(&c);
        self.i += usize::from(hit);
        hit
    }
    fn sum(&mut self) -> Result<Expr> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.err("nested too deeply"));
        }
        let mut e = if self.eat(b'-') { -self.product()? } else { self.product()? };
        loop {
            if self.eat(b'+') {
                e = e + self.product()?;
            } else if self.eat(b'-') {
                e = e - self.product()?;
            } else {
                self.depth -= 1;
                return Ok(e);
            }
        }
    }
    fn product(&mut self) -> Result<Expr> {
        let mut e = self.atom()?;
        while self.eat(b'*') {
            e = e * self.atom()?;
        }
        Ok(e)
    }
    fn word(&mut self) -> &str {
        let start = self.i;
        while self.s.get(self.i).is_some_and(u8::is_ascii_alphanumeric) {
            self.i += 1;
        }
        std::str::from_utf8(&self.s[start..self.i]).unwrap_or("")
    }
    fn atom(&mut self) -> Result<Expr> {
        if self.eat(b'(') {
            let e = self.sum()?;
            return if self.eat(b')') { Ok(e) } else { Err(self.err("missing `)`")) };
        }
        self.ws();
        let word = self.word().to_owned();
        if let Ok(v) = word.parse::<i64>() {
            return Ok(v.into());
        }
        if let Some(n) = word.strip_prefix('s').and_then(|n| n.parse::<u32>().ok()) {
            return Ok(Sym(n).into());
        }
        if !self.eat(b'(') {
            return Err(self.err("expected a number, symbol or function"));
        }
        let mut args = Vec::new();
        while !self.eat(b')') {
            args.push(self.sum()?);
            self.eat(b',');
        }
        match (word.as_str(), args.as_slice()) {
            ("div", [a, b]) => Ok(a.div(b)),
            ("mod", [a, b]) => Ok(a.modulo(b)),
            ("min", [a, b]) => Ok(a.min_of(b)),
            ("max", [a, b]) => Ok(a.max_of(b)),
            ("sel", [c, a, b]) => Ok(Expr::select_ge0(c, a, b)),
            ("toobig", []) => Ok(Expr::too_big()),
            _ => Err(self.err("unknown function or wrong number of arguments")),
        }
    }
}

impl Serialize for Expr {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.as_const() {
            Some(c) => s.serialize_i64(c),
            None => s.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Expr {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Int(i64),
            Text(String),
        }
        match Form::deserialize(d)? {
            Form::Int(v) => Ok(v.into()),
            Form::Text(t) => t.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn normal_form_and_text_round_trip() {
        let n: Expr = Sym(0).into();
        assert_eq!((n.clone() + 1.into()) * 2.into() - 2.into(), n.clone() * 2.into());
        let e = (n.clone() * 4.into() + 7.into()).div(&4.into());
        assert_eq!(e, n.clone() + 1.into());
        for t in ["div(s0 + 3, 2)", "-3*s0*s1 + max(s0, 5) - 1", "sel(s0 - 4, s1, mod(s0, 3))"] {
            let e: Expr = t.parse().unwrap();
            assert_eq!(e.to_string().parse::<Expr>().unwrap(), e);
        }
        let (lo, hi) = "div(s0 - 1, 2)".parse::<Expr>().unwrap().range(&|_| (1, 9));
        assert_eq!((lo, hi), (0, 4));
    }

    #[test]
    fn a_quotient_times_its_divisor_is_at_most_the_dividend() {
        let parse = |t: &str| t.parse::<Expr>().unwrap();
        let e =
            parse("div(4*s0*s1, 16*div(2*s0, 4)*div(2*s1, 4))") * parse("64*div(2*s0, 4)*div(2*s1, 4)*s2");
        assert_eq!(e.range(&|_| (0, 100)), (0, 16 * 100 * 100 * 100));
        // Not where something may be below zero.
        assert!(e.range(&|_| (-1, 100)).1 > 16 * 100 * 100 * 100);
    }
}

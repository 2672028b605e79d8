//! Symbolic contents of small tensors: how shape arithmetic in the model becomes expressions.
//!
//! Elements are exact fractions `num / den` of symbolic integers, so that patterns such as
//! `Shape -> Cast to float -> Div 2 -> Ceil -> Cast to int` stay exact.

use sinter_ir::eval::EvalCx;
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::compare::CompareKind;
use sinter_ir::op::reduce::ReduceKind;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{Expr, Op, Symbols, Tensor};

/// Largest tensor whose contents are tracked.
pub const MAX_TRACKED: usize = 256;

/// A fraction of a symbolic integer; `den > 0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fraction {
    num: Expr,
    den: i64,
}

/// Elements, row-major.
pub type Contents = Vec<Fraction>;

impl Fraction {
    /// A symbolic integer.
    pub fn whole(num: Expr) -> Self {
        Self { num, den: 1 }
    }
    /// The integer, when it is one.
    pub fn as_whole(&self) -> Option<Expr> {
        match self.den {
            1 => Some(self.num.clone()),
            d => self.num.exact_div(&d.into()),
        }
    }
    /// The number, when it does not hang on symbols.
    pub fn as_number(&self) -> Option<f64> {
        Some(self.num.as_const()? as f64 / self.den as f64)
    }
    fn of_float(v: f64) -> Option<Self> {
        // Fractions with small power-of-two or small integer denominators cover what exporters write.
        for den in [1i64, 2, 4, 8, 16, 32, 64, 3, 5, 6, 7, 10, 100] {
            let n = v * den as f64;
            if n == n.trunc() && n.abs() < 1e15 {
                return Some(Self { num: (n as i64).into(), den });
            }
        }
        None
    }
    fn add(&self, o: &Self) -> Option<Self> {
        let den = self.den.checked_mul(o.den)?;
        Self { num: self.num.clone() * o.den.into() + o.num.clone() * self.den.into(), den }.reduced()
    }
    fn neg(&self) -> Self {
        Self { num: -self.num.clone(), den: self.den }
    }
    fn mul(&self, o: &Self) -> Option<Self> {
        Self { num: self.num.clone() * o.num.clone(), den: self.den.checked_mul(o.den)? }.reduced()
    }
    fn reduced(self) -> Option<Self> {
        match self.num.exact_div(&self.den.into()) {
            Some(num) => Some(Self::whole(num)),
            None => (self.den < 1 << 20).then_some(self),
        }
    }
    fn floor(&self) -> Self {
        Self::whole(self.num.div(&self.den.into()))
    }
    fn ceil(&self) -> Self {
        Self::whole(self.num.ceil_div(&self.den.into()))
    }
}

/// Contents of a constant, when small enough and numeric.
pub fn of_constant(t: &Tensor) -> Option<Contents> {
    if t.len() > MAX_TRACKED {
        return None;
    }
    if t.dtype().is_int() || t.dtype() == sinter_ir::DType::Bool {
        return Some(t.to_i64().ok()?.into_iter().map(|v| Fraction::whole(v.into())).collect());
    }
    if !t.dtype().is_float() {
        return None;
    }
    t.to_f64().ok()?.into_iter().map(Fraction::of_float).collect()
}

/// Contents of an op's single result from those of its operands. `shapes` are the operands' constant shapes and
/// `out` the result's; none when the op or a value is not tractable.
pub fn infer(
    symbols: &Symbols,
    op: &Op,
    operands: &[Option<Contents>],
    shapes: &[Option<Vec<usize>>],
    out: &[usize],
    float: bool,
) -> Option<Contents> {
    if out.iter().product::<usize>() > MAX_TRACKED {
        return None;
    }
    match op {
        Op::FromDims(f) => Some(f.values.iter().cloned().map(Fraction::whole).collect()),
        Op::Identity(_) | Op::Reshape(_) => operands[0].clone(),
        Op::Gather(_) | Op::Slice(_) | Op::Concat(_) | Op::Broadcast(_) | Op::Transpose(_) => {
            moved(op, operands, shapes)
        }
        Op::Unary(u) => operands[0].as_ref()?.iter().map(|f| unary(symbols, u.kind, f)).collect(),
        Op::Cast(c) if c.to.is_float() => operands[0].clone(),
        Op::Cast(c) if c.to.is_int() => operands[0].as_ref()?.iter().map(|f| truncate(symbols, f)).collect(),
        Op::Cast(_) => None,
        Op::Binary(b) => zip(operands, shapes, out, |x, y| binary(symbols, b.kind, x, y, float)),
        Op::Compare(c) => zip(operands, shapes, out, |x, y| compare(symbols, c.kind, x, y)),
        Op::Select(_) => select(operands, shapes, out),
        Op::Reduce(r) if r.axes.len() == shapes[0].as_ref()?.len() => {
            let x = operands[0].as_ref()?;
            let start = Fraction::whole(i64::from(r.kind == ReduceKind::Prod).into());
            let f = match r.kind {
                ReduceKind::Prod => x.iter().try_fold(start, |a, b| a.mul(b)),
                ReduceKind::Sum => x.iter().try_fold(start, |a, b| a.add(b)),
                ReduceKind::Max => fold_extreme(symbols, x, B::Max),
                ReduceKind::Min => fold_extreme(symbols, x, B::Min),
                ReduceKind::Mean => None,
            };
            Some(vec![f?])
        }
        _ => None,
    }
}

fn fold_extreme(symbols: &Symbols, x: &Contents, kind: B) -> Option<Fraction> {
    let (first, rest) = x.split_first()?;
    rest.iter().try_fold(first.clone(), |a, b| binary(symbols, kind, &a, b, false))
}

/// Movement ops: run on element numbers to learn where each result element comes from.
fn moved(op: &Op, operands: &[Option<Contents>], shapes: &[Option<Vec<usize>>]) -> Option<Contents> {
    let gather = matches!(op, Op::Gather(_));
    let mut pool: Contents = Vec::new();
    let mut args = Vec::new();
    for (i, (c, s)) in operands.iter().zip(shapes).enumerate() {
        let (c, s) = (c.as_ref()?, s.as_ref()?);
        let ids: Vec<i64> = if gather && i == 1 {
            c.iter().map(|f| f.as_whole()?.as_const()).collect::<Option<_>>()?
        } else {
            let start = pool.len() as i64;
            pool.extend(c.iter().cloned());
            (start..pool.len() as i64).collect()
        };
        args.push(Tensor::i64s(&ids).reshaped(s.clone()).ok()?);
    }
    let out = op.eval(&mut EvalCx::default(), &args).ok()?;
    let ids = out.first()?.to_i64().ok()?;
    ids.into_iter().map(|i| pool.get(usize::try_from(i).ok()?).cloned()).collect()
}

fn zip(
    operands: &[Option<Contents>],
    shapes: &[Option<Vec<usize>>],
    out: &[usize],
    f: impl Fn(&Fraction, &Fraction) -> Option<Fraction>,
) -> Option<Contents> {
    let [Some(a), Some(b)] = operands else { return None };
    let [Some(sa), Some(sb)] = shapes else { return None };
    let at = |s: &[usize]| sinter_ir::numeric::broadcast_offsets(s, out);
    at(sa).into_iter().zip(at(sb)).map(|(i, j)| f(a.get(i)?, b.get(j)?)).collect()
}

fn select(operands: &[Option<Contents>], shapes: &[Option<Vec<usize>>], out: &[usize]) -> Option<Contents> {
    let [Some(c), Some(a), Some(b)] = operands else { return None };
    let [Some(sc), Some(sa), Some(sb)] = shapes else { return None };
    let at = |s: &[usize]| sinter_ir::numeric::broadcast_offsets(s, out);
    at(sc)
        .into_iter()
        .zip(at(sa).into_iter().zip(at(sb)))
        .map(|(k, (i, j))| match c.get(k)?.as_whole()?.as_const()? {
            0 => b.get(j).cloned(),
            _ => a.get(i).cloned(),
        })
        .collect()
}

fn unary(symbols: &Symbols, kind: U, f: &Fraction) -> Option<Fraction> {
    match kind {
        U::Neg => Some(f.neg()),
        U::Floor => Some(f.floor()),
        U::Ceil => Some(f.ceil()),
        U::Trunc => truncate(symbols, f),
        U::Round => f.as_whole().map(Fraction::whole),
        U::Abs if symbols.range(&f.num).0 >= 0 => Some(f.clone()),
        U::Not => {
            let v = f.as_whole()?.as_const()?;
            (0..=1).contains(&v).then(|| Fraction::whole((1 - v).into()))
        }
        U::Sqrt => {
            let v = f.as_whole()?.as_const()?;
            let r = (v as f64).sqrt();
            (r == r.trunc()).then(|| Fraction::whole((r as i64).into()))
        }
        _ => None,
    }
}

fn truncate(symbols: &Symbols, f: &Fraction) -> Option<Fraction> {
    match symbols.range(&f.num) {
        _ if f.den == 1 => Some(f.clone()),
        (lo, _) if lo >= 0 => Some(f.floor()),
        (_, hi) if hi <= 0 => Some(f.ceil()),
        _ => None,
    }
}

fn binary(symbols: &Symbols, kind: B, a: &Fraction, b: &Fraction, float: bool) -> Option<Fraction> {
    let flags = || Some((a.as_whole()?.as_const()?, b.as_whole()?.as_const()?));
    let flag = |v: bool| Some(Fraction::whole(i64::from(v).into()));
    match kind {
        B::Add => a.add(b),
        B::Sub => a.add(&b.neg()),
        B::Mul => a.mul(b),
        B::Div if float => {
            // Division by a constant fraction p/q is multiplication by q/p.
            let p = b.num.as_const().filter(|&p| p > 0);
            match p {
                Some(p) => a.mul(&Fraction { num: b.den.into(), den: p }),
                None => {
                    (a.den == 1 && b.den == 1).then(|| a.num.exact_div(&b.num).map(Fraction::whole)).flatten()
                }
            }
        }
        B::Div => {
            let (x, y) = (a.as_whole()?, b.as_whole()?);
            // Truncating and floor division agree for non-negative operands.
            if symbols.range(&x).0 >= 0 && symbols.range(&y).0 >= 0 {
                return Some(Fraction::whole(x.div(&y)));
            }
            y.as_const().filter(|&c| c > 0)?;
            let below = -(-x.clone()).div(&y);
            Some(Fraction::whole(Expr::select_ge0(&x, &x.div(&y), &below)))
        }
        B::Mod | B::Rem => {
            let (x, y) = (a.as_whole()?, b.as_whole()?);
            let plain = symbols.range(&y).0 > 0 && (kind == B::Mod || symbols.range(&x).0 >= 0);
            plain.then(|| Fraction::whole(x.modulo(&y)))
        }
        B::Min | B::Max => {
            let scale = |f: &Fraction, by: i64| f.num.clone() * by.into();
            let (x, y) = (scale(a, b.den), scale(b, a.den));
            let (lo, hi) = symbols.range(&(x.clone() - y.clone()));
            let take_a = if kind == B::Min { hi <= 0 } else { lo >= 0 };
            let take_b = if kind == B::Min { lo >= 0 } else { hi <= 0 };
            if take_a {
                return Some(a.clone());
            }
            if take_b {
                return Some(b.clone());
            }
            let num = if kind == B::Min { x.min_of(&y) } else { x.max_of(&y) };
            Fraction { num, den: a.den.checked_mul(b.den)? }.reduced()
        }
        B::Pow => {
            let (x, y) = (a.as_whole()?.as_const()?, b.as_whole()?.as_const()?);
            x.checked_pow(u32::try_from(y).ok()?).map(|v| Fraction::whole(v.into()))
        }
        B::And => flags().and_then(|(x, y)| flag(x != 0 && y != 0)),
        B::Or => flags().and_then(|(x, y)| flag(x != 0 || y != 0)),
        B::Xor => flags().and_then(|(x, y)| flag((x != 0) != (y != 0))),
        B::Shl | B::Shr => None,
    }
}

fn compare(symbols: &Symbols, kind: CompareKind, a: &Fraction, b: &Fraction) -> Option<Fraction> {
    let d = a.num.clone() * b.den.into() - b.num.clone() * a.den.into();
    let (lo, hi) = symbols.range(&d);
    let decided = match kind {
        CompareKind::Eq | CompareKind::Ne => {
            let eq = if d.is(0) {
                true
            } else if lo > 0 || hi < 0 {
                false
            } else {
                return None;
            };
            eq == (kind == CompareKind::Eq)
        }
        CompareKind::Lt if hi < 0 => true,
        CompareKind::Lt if lo >= 0 => false,
        CompareKind::Le if hi <= 0 => true,
        CompareKind::Le if lo > 0 => false,
        CompareKind::Gt if lo > 0 => true,
        CompareKind::Gt if hi <= 0 => false,
        CompareKind::Ge if lo >= 0 => true,
        CompareKind::Ge if hi < 0 => false,
        _ => return None,
    };
    Some(Fraction::whole(i64::from(decided).into()))
}

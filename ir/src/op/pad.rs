//! `Pad`: padding, or cropping where negative.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{Diag, Expr, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Fill of Pad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum PadMode {
    Constant,
    Reflect,
    Edge,
    Wrap,
}

/// padding, or cropping where negative.
///
/// Inputs: `[x, value]`; value is a scalar of the same dtype, used by `Constant` only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pad {
    /// What fills the new elements.
    pub mode: PadMode,
    /// Elements added in front, per axis; may be negative.
    pub before: Vec<Expr>,
    /// Elements added behind, per axis; may be negative.
    pub after: Vec<Expr>,
}

impl OpSpec for Pad {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x, value] = args(x)?;
        if self.before.len() != x.rank()
            || self.after.len() != x.rank()
            || value.dtype != x.dtype
            || !value.numel().is(1)
        {
            return Err(Diag::input(format!(
                "Pad of {x} with value {value}: wrong number of pads or value type"
            )));
        }
        let dims: Vec<Expr> = x
            .dims
            .iter()
            .zip(self.before.iter().zip(&self.after))
            .map(|(d, (b, a))| d.clone() + b.clone() + a.clone())
            .collect();
        for (i, d) in dims.iter().enumerate() {
            let grows = s.range(&self.before[i]).1 > 0 || s.range(&self.after[i]).1 > 0;
            if grows && self.mode != PadMode::Constant && s.range(&x.dims[i]).1 == 0 {
                return Err(Diag::input(format!(
                    "Pad {:?} of the empty axis {i} of {}",
                    self.mode,
                    s.show_type(x)
                )));
            }
            let _ = d;
        }
        Ok(vec![TensorType::new(x.dtype, dims)])
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x, value] = args(x)?;
        let mut shape = Vec::with_capacity(x.rank());
        let mut maps = Vec::with_capacity(x.rank());
        for (i, &n) in x.shape().iter().enumerate() {
            let (b, a) = (cx.expr(&self.before[i])?, cx.expr(&self.after[i])?);
            let len = usize::try_from(n as i64 + b + a)
                .map_err(|_| Diag::input(format!("Pad makes axis {i} negative")))?;
            crate::tensor::storage_bytes(x.dtype(), &[len])?;
            shape.push(len);
            maps.push(
                (0..len as i64).map(|o| source(self.mode, o - b, n as i64)).collect::<Vec<Option<usize>>>(),
            );
        }
        crate::tensor::storage_bytes(x.dtype(), &shape)?;
        let own = crate::numeric::strides(x.shape());
        let mut picks = Vec::with_capacity(shape.iter().product());
        walk(&maps, &own, Some(0), &mut picks);
        Ok(vec![Tensor::pick_many(&[x, value], shape, &picks)?])
    }
    fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        self.before.iter_mut().for_each(&mut *f);
        self.after.iter_mut().for_each(&mut *f);
    }
}

/// The operand index that a padded position shows, or none for the fill value.
fn source(mode: PadMode, i: i64, n: i64) -> Option<usize> {
    if n == 0 {
        return None;
    }
    let j = match mode {
        _ if (0..n).contains(&i) => i,
        PadMode::Constant => return None,
        PadMode::Edge => i.clamp(0, n - 1),
        PadMode::Wrap => i.rem_euclid(n),
        PadMode::Reflect if n == 1 => 0,
        PadMode::Reflect => {
            let m = i.rem_euclid(2 * (n - 1));
            if m < n { m } else { 2 * (n - 1) - m }
        }
    };
    usize::try_from(j).ok()
}

fn walk(maps: &[Vec<Option<usize>>], strides: &[usize], at: Option<usize>, out: &mut Vec<(usize, usize)>) {
    match maps.split_first() {
        None => out.push(at.map_or((1, 0), |o| (0, o))),
        Some((map, rest)) => {
            for i in map {
                let next = at.zip(*i).map(|(o, i)| o + i * strides[0]);
                walk(rest, &strides[1..], next, out);
            }
        }
    }
}

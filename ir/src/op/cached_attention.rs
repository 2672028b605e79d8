//! `CachedAttention`: queries over the caches that [`super::Append`] fills.

use super::append::{place, slots};
use super::{OpSpec, args, json_float};
use crate::eval::EvalCx;
use crate::{DType, Diag, Expr, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// softmax attention of the newest positions over themselves and everything before them.
///
/// Inputs: queries `[n, heads, size]` in f32 at the positions `past .. past + n`, and caches of keys and values with
/// `kv_heads` heads, a divisor of `heads`: neighbouring query heads share one. Keys are in groups of `block` positions as
/// [`super::Append`] describes, values (`[kv_heads, slots, width]`) are not; both in f32, f16 or bf16. Position `p` is in
/// slot `p`, in a `ring` in slot `p` modulo their number, which is the same for keys and values then. A query at `p` sees
/// the positions from `p - window + 1`, or from 0, to `p`.
/// Scores are products times `scale`; with a `softcap` c they become `c tanh(score / c)`. The result is
/// `[n, heads, width]` in f32.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CachedAttention {
    /// Positions before the first query.
    pub past: Expr,
    /// Positions of keys that are transposed together.
    pub block: i64,
    /// Factor of scores.
    #[serde(with = "json_float")]
    pub scale: f32,
    /// Scores are bent to stay below this.
    #[serde(with = "json_float")]
    pub softcap: Option<f32>,
    /// Positions that are seen, the own one included.
    pub window: Option<i64>,
    /// Later positions took the place of earlier ones.
    pub ring: bool,
    /// Queries, keys, values and the exponentials of scores may be rounded to bf16 where that is faster.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub narrow: bool,
}

impl OpSpec for CachedAttention {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [q, k, v] = args(x)?;
        let types: Vec<String> = x.iter().map(|t| s.show_type(t)).collect();
        let why = format!("CachedAttention of {} in blocks of {}", types.join(", "), self.block);
        let bad = || Diag::input(why.clone());
        let ([n, heads, size], [kv, _, width]) = (q.dims.as_slice(), v.dims.as_slice()) else {
            return Err(bad());
        };
        let keys = slots(k, self.block).ok_or_else(bad)?;
        let cached = |t: &TensorType| matches!(t.dtype, DType::F32 | DType::F16 | DType::BF16);
        let shared = heads.as_const().zip(kv.as_const()).is_some_and(|(h, k)| k > 0 && h > 0 && h % k == 0);
        if q.dtype != DType::F32 || !cached(k) || !cached(v) || !shared || self.window.is_some_and(|w| w < 1)
        {
            return Err(bad());
        }
        s.require_eq(&k.dims[0], kv, &why)?;
        s.require_eq(&k.dims[2], size, &why)?;
        if self.ring {
            s.require_eq(&keys, &v.dims[1], &why)?;
        }
        Ok(vec![TensorType::new(DType::F32, vec![n.clone(), heads.clone(), width.clone()])])
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [q, k, v] = args(x)?;
        let past = cx.dim(&self.past)?;
        let bad = || Diag::input(format!("queries {:?} over {:?}, {:?}", q.shape(), k.shape(), v.shape()));
        let block = usize::try_from(self.block).map_err(|_| bad())?;
        let (&[n, heads, size], &[kv, rows, width]) = (q.shape(), v.shape()) else { return Err(bad()) };
        let slots = k.shape().get(1).map_or(0, |n| n * block);
        let first =
            |p: usize| self.window.map_or(0, |w| (p + 1).saturating_sub(usize::try_from(w).unwrap_or(0)));
        let end = n.saturating_sub(1) + past + 1;
        let needed = if self.ring { end - first(past) } else { end };
        if kv == 0
            || heads % kv != 0
            || k.len() != kv * slots * size
            || (n > 0 && needed > slots)
            || slots == 0
        {
            return Err(bad());
        }
        let (query, key, value) = (q.to_f64()?, k.to_f64()?, v.to_f64()?);
        let mut out = Vec::with_capacity(n * heads * width);
        for i in 0..n * heads {
            let (p, head) = (past + i / heads, i % heads / (heads / kv));
            let score = |j: usize| {
                let at = |e| key[place([slots, size, block], [head, j % slots, e])];
                let dot: f64 = (0..size).map(|e| query[i * size + e] * at(e)).sum();
                let score = dot * f64::from(self.scale);
                self.softcap.map_or(score, |c| f64::from(c) * (score / f64::from(c)).tanh())
            };
            let scores: Vec<f64> = (first(p)..=p).map(score).collect();
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let parts: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
            let sum: f64 = parts.iter().sum();
            let row = |j: usize| (head * rows + j % rows) * width;
            out.extend((0..width).map(|e| {
                let all = parts.iter().zip(first(p)..).map(|(w, j)| w * value[row(j) + e]);
                all.sum::<f64>() / sum
            }));
        }
        Ok(vec![Tensor::from_f64(DType::F32, vec![n, heads, width], &out)?])
    }
    fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        f(&mut self.past);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn operands(n: usize) -> [Tensor; 3] {
        let t = |shape: &[usize], v: &[f32]| Tensor::f32s(shape.to_vec(), v).unwrap();
        // Keys of 0 see everything alike; values tell which positions were seen.
        [t(&[n, 2, 1], &vec![1.0; 2 * n]), t(&[1, 2, 1, 2], &[0.0; 4]), t(&[1, 4, 1], &[1., 2., 4., 8.])]
    }

    fn run(op: &CachedAttention, n: usize) -> Vec<f32> {
        op.eval(&mut EvalCx::default(), &operands(n)).unwrap()[0].to_f32().unwrap()
    }

    #[test]
    fn positions_see_what_came_before_within_the_window() {
        let op = CachedAttention {
            past: 1.into(),
            block: 2,
            scale: 1.0,
            softcap: None,
            window: None,
            ring: false,
            narrow: false,
        };
        assert_eq!(run(&op, 2), [1.5, 1.5, 7.0 / 3.0, 7.0 / 3.0]);
        let near = CachedAttention { window: Some(2), ..op.clone() };
        assert_eq!(run(&near, 2), [1.5, 1.5, 3.0, 3.0]);
        // Position 5 is in slot 1, position 4 in slot 0.
        let ring = CachedAttention { past: 5.into(), ring: true, ..near };
        assert_eq!(run(&ring, 1), [1.5, 1.5]);
        let line = CachedAttention { ring: false, ..ring };
        assert!(line.eval(&mut EvalCx::default(), &operands(1)).is_err());
    }

    #[test]
    fn heads_must_share_evenly() {
        let mut s = Symbols::default();
        let ty = |d: &[i64]| TensorType::new(DType::F32, d.iter().map(|&d| d.into()).collect());
        let op = CachedAttention {
            past: 0.into(),
            block: 2,
            scale: 1.0,
            softcap: Some(3.0),
            window: None,
            ring: false,
            narrow: false,
        };
        let mut infer = |q: &[i64], k: &[i64], v: &[i64]| op.infer(&mut s, &[&ty(q), &ty(k), &ty(v)]);
        assert_eq!(infer(&[5, 6, 4], &[3, 4, 4, 2], &[3, 8, 7]).unwrap(), [ty(&[5, 6, 7])]);
        assert!(infer(&[5, 5, 4], &[3, 4, 4, 2], &[3, 8, 7]).is_err());
        assert!(infer(&[5, 6, 4], &[3, 4, 4, 2], &[3, 6, 7]).is_ok());
        assert!(infer(&[5, 6, 4], &[3, 8, 4], &[3, 8, 7]).is_err());
        assert!(infer(&[5, 6, 3], &[3, 4, 4, 2], &[3, 8, 7]).is_err());
    }
}

//! `CachedAttention`: queries over the caches that [`super::Append`] fills.

use super::append::{place, slots};
use super::pages::{Page, Pages, SPAN};
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
/// With `pages`, two more operands follow: keys and values in codes, as [`super::AppendPages`] makes them. The caches of floats
/// then have sinks and a ring behind them, and `ring` says that the pages are one; see [`Pages`] for what is read where.
///
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
    /// What is in codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<Pages>,
}

/// Elements of caches of floats or of codes.
struct Cache<'a> {
    floats: Vec<f64>,
    /// Slots and elements of a position, and positions that are transposed together.
    shape: [usize; 3],
    ring: bool,
    /// Codes: their layout, the matrix of a page, the positions of a head.
    pages: Option<(&'a Pages, Page, usize, &'a [u8])>,
}

impl Cache<'_> {
    /// An element of a position as a query at `p` sees it.
    fn at(&self, p: usize, [head, position, element]: [usize; 3]) -> Option<f64> {
        let [slots, size, block] = self.shape;
        let slot = match &self.pages {
            Some((pages, page, positions, bytes)) => {
                if position as i64 >= pages.sinks && (position as i64) < pages.end(p as i64) {
                    let (i, place) = (position / SPAN as usize, position % SPAN as usize);
                    let (span, count) = (SPAN as usize, (positions / SPAN as usize).max(1));
                    let from = head * positions * (page.bytes() / span) + i % count * page.bytes();
                    let bytes = bytes.get(from..from + page.bytes())?;
                    let (row, column) = if block == 1 { (place, element) } else { (element, place) };
                    return page.decode(bytes, row, column);
                }
                pages.slot(position, slots)
            }
            None if self.ring => position % slots,
            None => position,
        };
        self.floats.get(place([slots, size, block], [head, slot, element])).copied()
    }
}

impl CachedAttention {
    /// Checks the operands that pages are.
    fn check_pages(
        &self,
        s: &mut Symbols,
        [k, v]: [&TensorType; 2],
        x: &[&TensorType],
        why: &str,
    ) -> Result<()> {
        let bad = || Diag::input(why.to_owned());
        let Some(pages) = &self.pages else { return if x.is_empty() { Ok(()) } else { Err(bad()) } };
        pages.check()?;
        let depth =
            |t: &TensorType| t.dims[2].as_const().and_then(|d| usize::try_from(d).ok()).ok_or_else(bad);
        let bytes = [pages.keys(depth(k)?).bytes(), pages.values(depth(v)?).bytes()];
        if x.len() != 2 || self.block == 1 {
            return Err(bad());
        }
        for (t, bytes) in x.iter().zip(bytes) {
            if t.dtype != DType::U8 || t.rank() != 3 || !t.dims[2].is(bytes as i64 / SPAN) {
                return Err(bad());
            }
            s.require_eq(&t.dims[0], &v.dims[0], why)?;
        }
        Ok(())
    }
}

impl OpSpec for CachedAttention {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let (x, codes) = x.split_at(x.len().min(3));
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
        if self.ring || self.pages.is_some() {
            s.require_eq(&keys, &v.dims[1], &why)?;
        }
        self.check_pages(s, [k, v], codes, &why)?;
        Ok(vec![TensorType::new(DType::F32, vec![n.clone(), heads.clone(), width.clone()])])
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let (x, codes) = x.split_at(x.len().min(3));
        let [q, k, v] = args(x)?;
        let past = cx.dim(&self.past)?;
        let bad = || Diag::input(format!("queries {:?} over {:?}, {:?}", q.shape(), k.shape(), v.shape()));
        let block = usize::try_from(self.block).map_err(|_| bad())?;
        let (&[n, heads, size], &[kv, rows, width]) = (q.shape(), v.shape()) else { return Err(bad()) };
        let slots = k.shape().get(1).map_or(0, |n| n * block);
        let first =
            |p: usize| self.window.map_or(0, |w| (p + 1).saturating_sub(usize::try_from(w).unwrap_or(0)));
        let end = n.saturating_sub(1) + past + 1;
        let needed = match &self.pages {
            // The sinks, and the ring from the first query's oldest float on.
            Some(g) => end.saturating_sub(first(past).max(g.end(past as i64) as usize)) + g.sinks as usize,
            None if self.ring => end - first(past),
            None => end,
        };
        if kv == 0
            || heads % kv != 0
            || k.len() != kv * slots * size
            || (n > 0 && needed > slots)
            || slots == 0
        {
            return Err(bad());
        }
        let pages = |i: usize, page: &dyn Fn(&Pages) -> Page| match (&self.pages, codes.get(i)) {
            (Some(g), Some(t)) => Ok(Some((g, page(g), t.shape().get(1).copied().unwrap_or(0), t.bytes()))),
            (None, None) => Ok(None),
            _ => Err(bad()),
        };
        let (ring, query) = (self.ring, q.to_f64()?);
        let shape = [slots, size, block];
        let key = Cache { floats: k.to_f64()?, shape, ring, pages: pages(0, &|g| g.keys(size))? };
        let shape = [rows, width, 1];
        let value = Cache { floats: v.to_f64()?, shape, ring, pages: pages(1, &|g| g.values(width))? };
        let mut out = Vec::with_capacity(n * heads * width);
        for i in 0..n * heads {
            let (p, head) = (past + i / heads, i % heads / (heads / kv));
            let mut scores = vec![];
            for j in first(p)..=p {
                let mut dot = 0.0;
                for e in 0..size {
                    dot += query[i * size + e] * key.at(p, [head, j, e]).ok_or_else(bad)?;
                }
                let score = dot * f64::from(self.scale);
                scores.push(self.softcap.map_or(score, |c| f64::from(c) * (score / f64::from(c)).tanh()));
            }
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let parts: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
            let sum: f64 = parts.iter().sum();
            for e in 0..width {
                let mut all = 0.0;
                for (w, j) in parts.iter().zip(first(p)..) {
                    all += w * value.at(p, [head, j, e]).ok_or_else(bad)?;
                }
                out.push(all / sum);
            }
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
            pages: None,
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

    /// Codes are seen from the sinks on up to the span before the query's, floats before and behind.
    #[test]
    fn pages_are_seen_between_sinks_and_the_newest() {
        let pages = Pages { bits: 8, group: 64, sinks: 64, recent: 0 };
        let floats = |v: f32| Tensor::f32s(vec![1, 128, 1], &[v; 128]).unwrap();
        let page = pages.values(1);
        let mut values = vec![0; page.bytes() * 2];
        page.encode(&mut values[page.bytes()..], &|_, _| 3.0);
        let u8s =
            |bytes: Vec<u8>| Tensor::from_bytes(DType::U8, vec![1, 128, bytes.len() / 128], bytes).unwrap();
        let keys = u8s(vec![0; pages.keys(1).bytes() * 2]);
        let k = Tensor::f32s(vec![1, 8, 1, 16], &[0.0; 128]).unwrap();
        let x = [Tensor::f32s(vec![1, 1, 1], &[1.0]).unwrap(), k, floats(0.0), keys, u8s(values)];
        let at = |past: i64| {
            let op = CachedAttention {
                past: past.into(),
                block: 16,
                scale: 1.0,
                softcap: None,
                window: None,
                ring: false,
                narrow: false,
                pages: Some(pages),
            };
            op.eval(&mut EvalCx::default(), &x).unwrap()[0].to_f32().unwrap()[0]
        };
        assert_eq!(at(127), 0.0);
        assert!((at(128) - 64.0 * 3.0 / 129.0).abs() < 1e-3);
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
            pages: None,
        };
        let mut infer = |q: &[i64], k: &[i64], v: &[i64]| op.infer(&mut s, &[&ty(q), &ty(k), &ty(v)]);
        assert_eq!(infer(&[5, 6, 4], &[3, 4, 4, 2], &[3, 8, 7]).unwrap(), [ty(&[5, 6, 7])]);
        assert!(infer(&[5, 5, 4], &[3, 4, 4, 2], &[3, 8, 7]).is_err());
        assert!(infer(&[5, 6, 4], &[3, 4, 4, 2], &[3, 6, 7]).is_ok());
        assert!(infer(&[5, 6, 4], &[3, 8, 4], &[3, 8, 7]).is_err());
        assert!(infer(&[5, 6, 3], &[3, 4, 4, 2], &[3, 8, 7]).is_err());
    }
}

//! `AppendPages`: positions that are no longer among the newest become codes of few bits, in place where those are a state.

use super::append::{place, slots};
use super::pages::{Pages, SPAN};
use super::{OpSpec, args};
use crate::eval::EvalCx;
use crate::{DType, Diag, Expr, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// pages of codes, with those added that the newest positions of a cache leave behind.
///
/// Inputs: `[pages: u8[heads, positions, bytes], cache]`, where `64 * bytes` are those of a page: a head has room for
/// `floor(positions / 64)` pages, one behind the other. The cache is what [`super::Append`] fills, with `block` and the
/// sinks of `pages` as there and a ring behind them, and holds the positions up to `past + tokens` already, of which
/// `tokens` are new. With a `block` of 1 it holds values, else keys. Page `i` of a sequence has the positions from `64 i`
/// on; it is entry `i` of its head, in a `ring` entry `i` modulo their number. The pages between [`Pages::made`] of
/// `past` and of `past + tokens` are written, others stay; there is room for all of them at once. The result takes the memory of the pages where nothing else
/// needs it: of a [state](crate::graph::State) always.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppendPages {
    /// Positions before the new ones.
    pub past: Expr,
    /// New positions.
    pub tokens: Expr,
    /// How positions become codes.
    pub pages: Pages,
    /// Positions of the cache that are transposed together.
    pub block: i64,
    /// Later pages take the place of earlier ones.
    pub ring: bool,
}

impl OpSpec for AppendPages {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [pages, cache] = args(x)?;
        let why = format!(
            "AppendPages of {} to {} in blocks of {}",
            s.show_type(cache),
            s.show_type(pages),
            self.block
        );
        let bad = || Diag::input(why.clone());
        self.pages.check()?;
        slots(cache, self.block).ok_or_else(bad)?;
        let [heads, positions, bytes] = pages.dims.as_slice() else { return Err(bad()) };
        let depth = cache.dims.get(2).and_then(Expr::as_const).and_then(|d| usize::try_from(d).ok());
        let page = depth.map(|d| if self.block == 1 { self.pages.values(d) } else { self.pages.keys(d) });
        let floats = matches!(cache.dtype, DType::F32 | DType::F16 | DType::BF16);
        if pages.dtype != DType::U8 || !floats || !page.is_some_and(|p| bytes.is(p.bytes() as i64 / SPAN)) {
            return Err(bad());
        }
        s.require_eq(&cache.dims[0], heads, &why)?;
        // All but the newest ones, which are never in codes.
        let most = match self.ring {
            true => self.tokens.clone() + (SPAN - 1).into(),
            false => self.past.clone() + self.tokens.clone() - (1 + self.pages.recent).into(),
        };
        if s.range(&(positions.clone() - most.clone())).0 < 0 {
            s.require_eq(positions, &positions.max_of(&most), &why)?;
        }
        Ok(vec![(*pages).clone()])
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [pages, cache] = args(x)?;
        let made = |cx: &mut EvalCx, n: Expr| cx.dim(&self.pages.made(&n));
        let (first, end) = (made(cx, self.past.clone())?, made(cx, self.past.clone() + self.tokens.clone())?);
        let bad = || Diag::input(format!("pages {:?} of a cache {:?}", pages.shape(), cache.shape()));
        let block = usize::try_from(self.block).map_err(|_| bad())?;
        let (&[heads, positions, bytes], &[kept, blocks, depth, ..]) = (pages.shape(), cache.shape()) else {
            return Err(bad());
        };
        let (slots, span) = (blocks * block, SPAN as usize);
        let page = if block == 1 { self.pages.values(depth) } else { self.pages.keys(depth) };
        let count = positions / span;
        let fits = if self.ring { end.saturating_sub(first) <= count } else { end <= count };
        let ring = slots.checked_sub(self.pages.sinks as usize);
        if kept != heads
            || bytes * span != page.bytes()
            || cache.len() != heads * slots * depth
            || end > first && !(fits && ring.is_some_and(|r| r >= span))
        {
            return Err(bad());
        }
        let (values, mut out) = (cache.to_f32()?, pages.bytes().to_vec());
        for head in 0..heads {
            for i in first..end {
                let at = |position: usize, element: usize| {
                    let slot = self.pages.slot(i * span + position, slots);
                    values[place([slots, depth, block], [head, slot, element])]
                };
                let from = head * positions * bytes + i % count * page.bytes();
                let Some(to) = out.get_mut(from..from + page.bytes()) else { return Err(bad()) };
                match block {
                    1 => page.encode(to, &|r, c| at(r, c)),
                    _ => page.encode(to, &|r, c| at(c, r)),
                }
            }
        }
        Ok(vec![Tensor::from_bytes(DType::U8, pages.shape().to_vec(), out)?])
    }
    fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        f(&mut self.past);
        f(&mut self.tokens);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn op(past: i64, tokens: i64, ring: bool) -> AppendPages {
        let pages = Pages { bits: 8, group: 64, sinks: 64, recent: 0 };
        AppendPages { past: past.into(), tokens: tokens.into(), pages, block: 1, ring }
    }

    /// A cache of 64 sinks and a ring of 128 positions with one channel.
    fn cache() -> Tensor {
        Tensor::f32s(vec![1, 192, 1], &(0..192).map(|i| i as f32 / 4.0).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn only_pages_that_were_left_behind_are_written() {
        let bytes = op(0, 0, false).pages.values(1).bytes();
        let run = |op: AppendPages, count: usize| {
            let shape = vec![1, count * 64, bytes / 64];
            let pages = Tensor::from_bytes(DType::U8, shape, vec![7; count * bytes]).unwrap();
            op.eval(&mut EvalCx::default(), &[pages, cache()]).map(|y| y[0].bytes().to_vec())
        };
        // The last query was at 128: it sees the page of 64..128 in codes, and nothing else.
        let y = run(op(100, 29, false), 3).unwrap();
        assert!(y[..bytes].iter().chain(&y[2 * bytes..]).all(|b| *b == 7));
        let page = op(0, 0, false).pages.values(1);
        let first = page.decode(&y[bytes..2 * bytes], 0, 0).unwrap();
        assert!((first - 16.0).abs() < 0.1, "{first}");
        assert_eq!(run(op(100, 28, false), 3).unwrap(), vec![7; 3 * bytes]);
        // Positions 192..256 took the slots of 64..128, and their page is the first of three again.
        let y = run(op(256, 1, true), 3).unwrap();
        let first = page.decode(&y[..bytes], 0, 0).unwrap();
        assert!((first - 16.0).abs() < 0.1, "{first}");
        assert!(run(op(256, 1, false), 3).is_err());
    }

    #[test]
    fn pages_have_the_size_of_their_codes() {
        let mut s = Symbols::default();
        let ty = |dtype, d: &[i64]| TensorType::new(dtype, d.iter().map(|&d| d.into()).collect());
        let bytes = op(0, 0, false).pages.values(40).bytes() as i64 / 64;
        let mut infer = |op: &AppendPages, pages: &[i64], cache: &[i64]| {
            op.infer(&mut s, &[&ty(DType::U8, pages), &ty(DType::F16, cache)])
        };
        assert!(infer(&op(0, 10, false), &[3, 256, bytes], &[3, 192, 40]).is_ok());
        assert!(infer(&op(0, 10, false), &[3, 256, bytes], &[3, 192, 20]).is_err());
        assert!(infer(&op(0, 10, false), &[2, 256, bytes], &[3, 192, 40]).is_err());
        assert!(infer(&op(1000, 200, false), &[3, 256, bytes], &[3, 192, 40]).is_err());
        // A run may complete the page of 63 earlier positions.
        assert!(infer(&op(1000, 193, true), &[3, 256, bytes], &[3, 192, 40]).is_ok());
        assert!(infer(&op(1000, 194, true), &[3, 256, bytes], &[3, 192, 40]).is_err());
    }
}

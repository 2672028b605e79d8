//! HQQ: the zero of every block is moved until few weights are far off, without data.
//!
//! Half-quadratic splitting: errors that are small are forgiven (`shrink`, for a norm with p = 0.7), and the zero goes to
//! where the others are least. It is a number of any size and stored as what is added to the block, in f16. The best of
//! all steps by mean error counts, nearest codes with a whole zero among them.

use super::grid::{Grid, Rows, Sheet, stored};
use super::{Codes, Scheme};
use half::f16;
use sinter_ir::{Result, Tensor};

const NORM: f32 = 0.7;
const BETA: f32 = 10.0;
const KAPPA: f32 = 1.01;
const STEPS: usize = 20;

/// Codes of a matrix `[n, k]` of f32, f16 or bf16.
pub fn quantise(w: &Tensor, s: &Scheme) -> Result<Codes> {
    let rows = Rows::new(w)?;
    let mut sheet = Sheet::new(rows.k, s).with_minima();
    let (mut values, mut codes) = (vec![0f32; rows.k], vec![0f32; rows.k]);
    for i in 0..rows.n {
        rows.read(i, &mut values);
        let mut grids = vec![];
        for (part, codes) in values.chunks(sheet.block).zip(codes.chunks_mut(sheet.block)) {
            let g = best(part, s);
            codes.iter_mut().zip(part).for_each(|(c, w)| *c = g.code(*w));
            grids.push(g);
        }
        sheet.row(&grids, &codes, &values);
    }
    sheet.finish()
}

/// The grid with a scale and the zero `z` in units of codes, as it is stored.
fn at(scale: f32, z: f32, top: f32) -> Grid {
    let minimum = f16::from_f32((-z * scale).clamp(-65504.0, 65504.0)).to_f32();
    Grid { scale, zero: 0.0, minimum, low: 0.0, top, float: false }
}

fn best(block: &[f32], s: &Scheme) -> Grid {
    let top = ((1u32 << s.bits) - 1) as f32;
    let nearest = Grid::of(block, &Scheme { asymmetric: true, search: false, ..*s }, 1.0);
    let finite = || block.iter().copied().filter(|w| w.is_finite());
    let (lo, hi) = finite().fold((f32::MAX, f32::MIN), |(lo, hi), w| (lo.min(w), hi.max(w)));
    let whole = at(nearest.scale, nearest.zero, top);
    if lo >= hi {
        return whole;
    }
    let far = |g: &Grid| finite().map(|w| f64::from((w - g.value(g.code(w))).abs())).sum::<f64>();
    let scale = stored((hi - lo) / top);
    let mut z = -lo / scale;
    let mut kept = (far(&whole), whole);
    let (mut beta, mut last) = (BETA, f64::MAX);
    for _ in 0..STEPS {
        let g = at(scale, z, top);
        let error = far(&g);
        if error < kept.0 {
            kept = (error, g);
        }
        if error >= last {
            break;
        }
        last = error;
        let (mut sum, mut n) = (0f32, 0f32);
        for w in finite() {
            let code = (w / scale + z).round_ties_even().clamp(0.0, top);
            let d = w - (code - z) * scale;
            let forgiven = (d.abs() - d.abs().powf(NORM - 1.0) / beta).max(0.0).copysign(d);
            sum += code - (w - forgiven) / scale;
            n += 1.0;
        }
        z = sum / n;
        beta *= KAPPA;
    }
    kept.1
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{rtn, samples};
    use super::*;

    fn far(w: &Tensor, c: &Codes) -> f64 {
        let off = |(a, b): (f32, f32)| f64::from((a - b).abs());
        w.to_f32().unwrap().into_iter().zip(c.values().unwrap()).map(off).sum()
    }

    #[test]
    fn never_further_off_than_nearest_codes() {
        let w = samples::weights(32, 256);
        for (bits, group) in [(4, 64), (3, 64), (2, 16), (4, 0)] {
            let s = Scheme { bits, group, asymmetric: true, ..Scheme::default() };
            let (a, b) = (far(&w, &quantise(&w, &s).unwrap()), far(&w, &rtn::quantise(&w, &s).unwrap()));
            // Minima are rounded to f16, whole zeros are not.
            assert!(a <= 1.001 * b, "{s}: {a} {b}");
        }
        let s = Scheme { bits: 3, group: 64, asymmetric: true, ..Scheme::default() };
        assert!(far(&w, &quantise(&w, &s).unwrap()) < 0.98 * far(&w, &rtn::quantise(&w, &s).unwrap()));
    }

    #[test]
    fn moving_all_weights_moves_the_minimum_and_no_code() {
        let s = Scheme { bits: 4, group: 0, asymmetric: true, ..Scheme::default() };
        // Multiples of 1/64: everything stays exact.
        let v: Vec<f32> = (0..32).map(|i| ((i * i * 7) % 61) as f32 / 64.0 - 0.5).collect();
        let moved: Vec<f32> = v.iter().map(|v| v + 2.0).collect();
        let of = |v: &[f32]| quantise(&Tensor::f32s(vec![1, 32], v).unwrap(), &s).unwrap();
        let (a, b) = (of(&v), of(&moved));
        assert_eq!(a.codes, b.codes);
        assert_eq!(a.scale, b.scale);
        let minimum = |c: &Codes| c.minimum.as_ref().unwrap().to_f32().unwrap()[0];
        assert!((minimum(&b) - minimum(&a) - 2.0).abs() < 2e-3);
    }

    #[test]
    fn equal_weights_and_what_is_no_number() {
        let s = Scheme { bits: 4, group: 4, asymmetric: true, ..Scheme::default() };
        let w = Tensor::f32s(vec![1, 8], &[0.0, 0.0, 0.0, 0.0, 0.5, f32::NAN, f32::INFINITY, 0.5]).unwrap();
        let got = quantise(&w, &s).unwrap().values().unwrap();
        assert_eq!(got[..4], [0.0; 4]);
        assert!(got.iter().all(|v| v.is_finite()) && (got[4] - 0.5).abs() < 1e-3, "{got:?}");
    }
}

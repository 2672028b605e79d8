//! Round to nearest: every block of weights by itself, without data.
//!
//! Symmetric codes of less than 8 bits use their whole range: the weight that is largest in size becomes the lowest code,
//! whatever its sign, so that scales may be negative. Codes of 8 bits stay in -127..=127. Asymmetric blocks hold 0
//! exactly. Scales are rounded to f16 first, codes follow from what is stored.

use super::grid::{Grid, Rows, Sheet};
use super::{Codes, Scheme};
use sinter_ir::{Diag, Result, Tensor};

/// Weights that are read at a time, where they can be read in parts.
const PIECE: usize = 1 << 20;

/// Codes of a matrix `[n, k]` of f32, f16 or bf16, which need not be in memory.
pub fn quantise(w: &Tensor, s: &Scheme) -> Result<Codes> {
    let &[n, k] = w.shape() else { return Err(Diag::bug("only matrices become codes")) };
    let mut sheet = Sheet::new(k, s).with_room(n);
    let step = (PIECE / k.max(1)).max(1);
    for from in (0..n).step_by(step) {
        match w.rows(from, n.min(from + step))? {
            Some(part) => add(&mut sheet, &part, s)?,
            // All of it at once.
            None => {
                add(&mut sheet, &w.load()?, s)?;
                break;
            }
        }
    }
    sheet.finish()
}

fn add(sheet: &mut Sheet, w: &Tensor, s: &Scheme) -> Result<()> {
    let rows = Rows::new(w)?;
    let (mut values, mut codes) = (vec![0f32; rows.k], vec![0f32; rows.k]);
    for i in 0..rows.n {
        rows.read(i, &mut values);
        let mut grids = vec![];
        for (part, codes) in values.chunks(sheet.block).zip(codes.chunks_mut(sheet.block)) {
            let g = Grid::best(part, s);
            codes.iter_mut().zip(part).for_each(|(c, w)| *c = g.code(*w));
            grids.push(g);
        }
        sheet.row(&grids, &codes, &values);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use sinter_ir::DType;
    use sinter_ir::tensor::Source;
    use std::sync::Arc;

    /// Numbers that look like weights.
    fn weights(n: usize, k: usize) -> Tensor {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        };
        let v: Vec<f32> = (0..n * k).map(|_| next() + next() + next() * next()).collect();
        Tensor::f32s(vec![n, k], &v).unwrap()
    }

    fn scheme(bits: u32, group: usize, asymmetric: bool, search: bool) -> Scheme {
        Scheme { bits, group, asymmetric, search, ..Scheme::default() }
    }

    #[test]
    fn a_block_by_hand() {
        // The largest in size becomes code 0: the scale is 0.875 / -8 ... exact in f16.
        let w = Tensor::f32s(vec![1, 4], &[0.875, -0.4375, 0.0, 0.21875]).unwrap();
        let c = quantise(&w, &scheme(4, 0, false, false)).unwrap();
        assert_eq!(c.scale.to_f32().unwrap(), [-0.109375]);
        assert_eq!(c.codes.to_i64().unwrap(), [0, 12, 8, 6]);
        assert_eq!(c.values().unwrap(), w.to_f32().unwrap());
        assert_eq!(c.error.noise, 0.0);
        let w = Tensor::f32s(vec![1, 3], &[1.5, -0.375, 0.75]).unwrap();
        let c = quantise(&w, &scheme(4, 0, true, false)).unwrap();
        assert_eq!(c.zero.as_ref().unwrap().to_i64().unwrap(), [3]);
        assert_eq!(c.values().unwrap(), w.to_f32().unwrap());
    }

    #[test]
    fn no_weight_is_off_by_more_than_half_a_step() {
        let w = weights(7, 50);
        for s in [
            scheme(4, 32, false, false),
            scheme(4, 16, true, false),
            scheme(8, 0, false, false),
            scheme(8, 32, true, false),
        ] {
            let c = quantise(&w, &s).unwrap();
            let (scale, blocks) = (c.scale.to_f32().unwrap(), c.scale.shape()[1]);
            let got = c.values().unwrap();
            let mut noise = 0.0;
            for (i, (g, w)) in got.iter().zip(w.to_f32().unwrap()).enumerate() {
                let step = scale[i / 50 * blocks + i % 50 / c.block].abs();
                // The end of a symmetric range that has one code less is clipped by up to a step.
                let most = if s.bits == 4 && !s.asymmetric { 1.01 } else { 0.51 };
                assert!((g - w).abs() <= most * step, "{s}: {g} for {w}, step {step}");
                noise += f64::from(g - w).powi(2);
            }
            assert!((noise - c.error.noise).abs() <= 1e-6 * noise, "{s}");
        }
    }

    #[test]
    fn searching_small_groups_and_more_bits_are_never_worse() {
        let w = weights(16, 256);
        let db = |s: Scheme| quantise(&w, &s).unwrap().error.decibels();
        let plain = db(scheme(4, 128, false, false));
        assert!(db(scheme(4, 128, false, true)) >= plain);
        assert!(db(scheme(4, 32, false, false)) > plain);
        assert!(db(scheme(8, 128, false, false)) > plain + 20.0);
        assert!(db(scheme(4, 32, true, true)) >= db(scheme(4, 32, true, false)));
    }

    /// A matrix of which rows can be read, but never all of them.
    #[derive(Debug)]
    struct Parts(Tensor);

    impl Source for Parts {
        fn read(&self) -> Result<Bytes> {
            Err(Diag::bug("all at once"))
        }
        fn rows(&self, from: usize, to: usize) -> Option<Result<Bytes>> {
            Some(self.0.rows(from, to).map(|t| t.unwrap().shared_bytes()))
        }
    }

    #[test]
    fn weights_in_parts_have_the_same_codes() {
        let (n, k) = (5, PIECE / 2);
        let w = weights(n, k);
        let late = Tensor::deferred(DType::F32, vec![n, k], Arc::new(Parts(w.clone()))).unwrap();
        let s = scheme(4, 32, true, false);
        let (got, want) = (quantise(&late, &s).unwrap(), quantise(&w, &s).unwrap());
        assert_eq!((got.codes, got.scale, got.zero), (want.codes, want.scale, want.zero));
        assert!(late.load().is_err() && late.rows(3, 6).is_err());
    }

    #[test]
    fn odd_sizes_halves_and_what_is_no_number() {
        let w = weights(3, 5);
        let c = quantise(&w, &scheme(4, 32, false, false)).unwrap();
        assert_eq!((c.codes.shape(), c.scale.shape(), c.block), (&[3, 5][..], &[3, 1][..], 5));
        let half = Tensor::from_f32(DType::BF16, vec![3, 5], &w.to_f32().unwrap()).unwrap();
        let c = quantise(&half, &scheme(8, 32, false, false)).unwrap();
        assert!(c.error.decibels() > 35.0);
        let odd = Tensor::f32s(vec![2, 2], &[f32::NAN, f32::INFINITY, 0.0, 0.0]).unwrap();
        let got = quantise(&odd, &scheme(4, 0, false, false)).unwrap().values().unwrap();
        assert!(got.iter().all(|v| v.is_finite()) && got[2..] == [0.0, 0.0], "{got:?}");
        assert!(
            quantise(&Tensor::zeros(DType::F32, vec![0, 4]).unwrap(), &scheme(4, 32, true, true)).is_ok()
        );
    }
}

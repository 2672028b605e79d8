//! Numbers of 4 bits with an exponent (E2M1 of the OCP microscaling formats): 0, 1/2, 1, 3/2, 2, 3, 4, 6 and their negatives,
//! under a power of two that 32 neighbours share.
//!
//! Codes are a sign and an index; they stand for twice the number, which is whole, and scales are half of the power.
//! The power is that of the standard, by which the largest weight of a block may exceed 6 and saturate, or the next one
//! where that is nearer to the block.

use super::grid::Grid;

/// What the codes stand for.
pub const TABLE: [f32; 16] =
    [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 0.0, -1.0, -2.0, -3.0, -4.0, -6.0, -8.0, -12.0];
/// Exponent of the smallest scale: f16 has no smaller normal numbers.
const LEAST: i32 = -14;
/// Exponent of the largest scale.
const MOST: i32 = 12;

/// The code that is nearest to a number of scale 1; of two equally near ones the smaller.
pub fn code(v: f32) -> f32 {
    let size = v.abs();
    let middles = TABLE.windows(2).take(7).map(|w| (w[0] + w[1]) / 2.0);
    let index = middles.filter(|m| size > *m).count();
    if v < 0.0 && index > 0 { (index + 8) as f32 } else { index as f32 }
}

/// The grid of a block.
pub fn grid(block: &[f32]) -> Grid {
    let largest = block.iter().filter(|w| w.is_finite()).fold(0f32, |m, w| m.max(w.abs()));
    // The largest number is 12 of the scale: 1.5 times 2 to the third.
    let exponent = if largest > 0.0 { (largest.log2().floor() as i32) - 3 } else { LEAST };
    let of = |e: i32| {
        let scale = 2f32.powi(e.clamp(LEAST, MOST));
        Grid { scale, zero: 0.0, minimum: 0.0, low: 0.0, top: 15.0, float: true }
    };
    let (standard, next) = (of(exponent), of(exponent + 1));
    if next.noise(block) < standard.noise(block) { next } else { standard }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::gptq::{Factor, LAZY};
    use super::super::stats::Statistics;
    use super::super::{Scheme, rtn, samples};
    use super::*;
    use sinter_ir::Tensor;

    fn scheme() -> Scheme {
        Scheme { bits: 4, group: 32, float: true, ..Scheme::default() }
    }

    #[test]
    fn a_block_by_hand() {
        let mut block = vec![0.1, -0.2, 0.35, 0.5, -0.75, 1.3, 2.9, -3.1];
        block.resize(32, 0.0);
        let c = rtn::quantise(&Tensor::f32s(vec![1, 32], &block).unwrap(), &scheme()).unwrap();
        assert_eq!(c.codes.to_i64().unwrap()[..8], [0, 9, 1, 2, 11, 5, 7, 15]);
        assert_eq!(c.scale.to_f32().unwrap(), [0.25]);
        assert_eq!(c.values().unwrap()[..8], [0.0, -0.25, 0.25, 0.5, -0.75, 1.5, 3.0, -3.0]);
        // Saturating is dear where everything is large: the next power is taken.
        assert_eq!((grid(&[7.9; 32]).scale, grid(&[6.1; 32]).scale), (1.0, 0.5));
    }

    #[test]
    fn its_own_numbers_are_kept() {
        for e in [LEAST, -3, 0, 5] {
            let block: Vec<f32> = TABLE.iter().map(|v| v * 2f32.powi(e)).collect();
            let g = grid(&block);
            assert!(block.iter().all(|w| g.value(g.code(*w)) == *w), "{e}");
        }
        let g = grid(&[0.0; 32]);
        assert_eq!(g.value(g.code(0.0)), 0.0);
        assert_eq!(code(f32::NAN), 0.0);
    }

    #[test]
    fn weights_like_normal_ones_lose_little_and_less_with_gptq() {
        let (w, k) = (samples::weights(16, 128), 128);
        let nearest = rtn::quantise(&w, &scheme()).unwrap();
        assert!(nearest.error.decibels() > 17.0, "{}", nearest.error.decibels());
        let stats = Statistics::of_rows(k, &samples::inputs(1, 400, k)).unwrap();
        let learned = Factor::new(&stats, true).unwrap().quantise(&w, 0..16, &scheme(), LAZY).unwrap();
        let plain = w.to_f32().unwrap();
        let noise = |c: &super::super::Codes| stats.difference(&plain, &c.values().unwrap()).noise;
        assert!(noise(&learned) < 0.8 * noise(&nearest));
    }
}

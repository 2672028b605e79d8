//! What layouts cost, in cycles of a core with vectors of eight floats: rough, but in proportion.

use super::perm::{Layout, is_free};
use sinter_ir::expr::product;
use sinter_ir::op::{Conv, Pool};
use sinter_ir::{Expr, Symbols, TensorType};

/// Multiply-adds of one lane per cycle: two units.
const UNITS: f64 = 2.0;
/// Lanes of a vector.
const LANES: f64 = 8.0;
/// Bytes per cycle from or to the second-level cache.
const BYTES: f64 = 16.0;
/// Time of products over channels-first data, in that of products over channels-last data with vectors as full: the
/// image is walked in steps of whole planes.
const PLANES: f64 = 1.25;
/// The same for windows of several taps, which copy a panel for every row of the image.
const PANELS: f64 = 6.0;
/// The same for windows of single channels, whose rows begin and end with masks for every tap.
const MASKS: f64 = 6.0;
/// Most channels of a result for which windows are read in place.
const FEW: f64 = 4.0;

/// Sizes to count with.
#[derive(Debug)]
pub(crate) struct Sizes {
    values: Vec<i64>,
}

impl Sizes {
    /// Of a module: every symbol at a typical value, between the ends of its range on a scale of ratios.
    pub fn new(symbols: &Symbols) -> Self {
        let typical = |min: i64, max: i64| {
            let (lo, hi) = (min.max(1), max.max(min).max(1));
            ((lo as f64 * hi as f64).sqrt() as i64).clamp(lo, hi)
        };
        Self { values: symbols.table.iter().map(|s| typical(s.min, s.max)).collect() }
    }
    /// A dim.
    pub fn of(&self, e: &Expr) -> f64 {
        e.eval(&|s| self.values.get(s.0 as usize).copied()).unwrap_or(1).max(1) as f64
    }
    fn all(&self, dims: &[Expr]) -> f64 {
        dims.iter().map(|d| self.of(d)).product()
    }
    /// Bytes of a value.
    pub fn bytes(&self, ty: &TensorType) -> u64 {
        (self.of(&product(&ty.dims)) * ty.dtype.bits() as f64 / 8.0) as u64
    }
}

/// Cycles to bring a value into another layout: what is read, written, and exchanged.
pub(super) fn conversion(sizes: &Sizes, ty: &TensorType, layout: &Layout) -> u64 {
    if is_free(ty, layout) {
        return 0;
    }
    let elements = sizes.of(&product(&ty.dims));
    elements as u64 + copy(sizes, ty) + 1
}

/// Cycles to copy a value.
pub(super) fn copy(sizes: &Sizes, ty: &TensorType) -> u64 {
    (2.0 * sizes.bytes(ty) as f64 / BYTES) as u64
}

/// How full vectors of `LANES` elements are along an axis.
fn filled(n: f64) -> f64 {
    n / ((n / LANES).ceil() * LANES)
}

/// Cycles that a convolution of channels-first data gains by channels last; negative: it loses them.
pub(super) fn conv(sizes: &Sizes, op: &Conv, x: &TensorType, w: &TensorType, y: &TensorType) -> i64 {
    let (images, channels) = (sizes.of(&y.dims[0]), sizes.of(&y.dims[1]));
    let points = sizes.all(&y.dims[2..]);
    let row = y.dims.last().map_or(1.0, |d| sizes.of(d));
    let (depth, taps) = (sizes.all(&w.dims[1..]), sizes.all(&w.dims[2..]));
    let work = images * points * channels * depth;
    let groups = op.group as f64;
    let dense = op.strides.iter().all(|&s| s == 1);
    // Strided elements are loaded one by one.
    let element = if dense { 1.0 / LANES } else { 1.0 };
    let (first, last) = if w.dims[1].is(1) && op.group > 1 {
        let per_lane = if dense { MASKS / (LANES * filled(row)) } else { 1.0 };
        (work * per_lane, work / (LANES * filled(channels)))
    } else {
        let in_place = taps == 1.0 && dense && x.dims[2..] == y.dims[2..];
        // Panels of neighbouring points, or of channels.
        let gather = if in_place { 0.0 } else { images * groups * points * depth * element };
        let speed = UNITS * LANES;
        let few = channels <= FEW && groups == 1.0 && op.strides.last() == Some(&1);
        let slower = if taps == 1.0 || few { PLANES } else { PANELS };
        (work * slower / (speed * filled(points)) + gather, work / (speed * filled(channels / groups)))
    };
    // Neighbouring channels are what dot products of bytes take.
    let first = if op.zero.is_some() { first * 4.0 } else { first };
    (first - last) as i64
}

/// The same for a pooling.
pub(super) fn pool(sizes: &Sizes, op: &Pool, y: &TensorType) -> i64 {
    let taps = sizes.all(&op.kernel);
    let row = y.dims.last().map_or(1.0, |d| sizes.of(d));
    let work = sizes.of(&product(&y.dims)) * taps;
    let dense = op.strides.iter().all(|&s| s == 1);
    let first = if dense { 1.0 / (LANES * filled(row)) } else { 1.0 };
    (work * first - work / (LANES * filled(sizes.of(&y.dims[1])))) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinter_ir::DType;

    fn ty(dims: &[i64]) -> TensorType {
        TensorType::new(DType::F32, dims.iter().map(|&d| d.into()).collect())
    }

    fn gain(stride: usize, group: usize, x: &[i64], w: &[i64], y: &[i64]) -> i64 {
        let none = vec![Expr::from(0); 2];
        let op = Conv {
            strides: vec![stride; 2],
            dilations: vec![1; 2],
            pads_before: none.clone(),
            pads_after: none,
            group,
            channels_last: false,
            zero: None,
            largest: None,
            wide: false,
        };
        conv(&Sizes::new(&Symbols::default()), &op, &ty(x), &ty(w), &ty(y))
    }

    #[test]
    fn strides_and_narrow_images_gain_and_few_channels_lose() {
        assert!(gain(2, 32, &[1, 32, 57, 57], &[32, 1, 3, 3], &[1, 32, 28, 28]) > 0);
        assert!(gain(1, 1, &[1, 256, 9, 9], &[256, 256, 3, 3], &[1, 256, 7, 7]) > 0);
        assert!(gain(1, 1, &[1, 32, 66, 66], &[1, 32, 3, 3], &[1, 1, 64, 64]) < 0);
    }

    #[test]
    fn typical_sizes_lie_between_the_ends() {
        let mut s = Symbols::default();
        let n = s.fresh("n", 1, 4096, sinter_ir::graph::SymKind::Input);
        let sizes = Sizes::new(&s);
        assert_eq!(sizes.of(&n.into()), 64.0);
        let t = TensorType::new(DType::F32, vec![n.into(), 8.into(), 2.into(), 1.into()]);
        assert_eq!(sizes.bytes(&t), 64 * 8 * 2 * 4);
        assert!(conversion(&sizes, &t, &Layout::Axes(vec![0, 2, 3, 1])) > 64 * 16);
        assert_eq!(conversion(&sizes, &ty(&[1, 8, 1, 1]), &Layout::Axes(vec![0, 2, 3, 1])), 0);
    }
}

//! Sums of products of bf16 as 64-bit Arm forms them: rounded to odd, without subnormal numbers, all NaNs one.

/// Everything that is no number.
const NAN: u32 = 0x7fc0_0000;
/// 2^128: what is as large or larger is infinite.
const LIMIT: f64 = f64::from_bits((1023 + 128) << 52);

fn flushed(v: f32) -> f32 {
    if v.is_subnormal() { 0f32.copysign(v) } else { v }
}

/// The half of a word as a number.
fn part(word: u64, high: bool) -> f32 {
    flushed(f32::from_bits(if high { word & 0xffff_0000 } else { word << 16 } as u32))
}

/// `x + y`, rounded to the neighbour whose last bit is 1 where it is not exact.
fn add(x: f32, y: f32) -> f32 {
    let (x, y) = (f64::from(x), f64::from(y));
    let sum = x + y;
    if sum.is_nan() {
        return f32::from_bits(NAN);
    }
    if sum.abs() >= LIMIT {
        return f32::INFINITY.copysign(sum as f32);
    }
    // What the sum of doubles lost, exactly: where it lost something its last bit must be 1, too.
    let near = sum - x;
    let lost = (x - (sum - near)) + (y - near);
    let even = sum.to_bits().is_multiple_of(2);
    let sum = match (lost != 0.0 && even, (lost > 0.0) == (sum > 0.0)) {
        (false, _) => sum,
        (true, true) => f64::from_bits(sum.to_bits() + 1),
        (true, false) => f64::from_bits(sum.to_bits() - 1),
    };
    if sum != 0.0 && sum.abs() < f64::from(f32::MIN_POSITIVE) {
        return 0f32.copysign(sum as f32);
    }
    let near = sum as f32;
    if f64::from(near) == sum {
        return near;
    }
    let cut = if f64::from(near).abs() > sum.abs() { near.to_bits() - 1 } else { near.to_bits() };
    f32::from_bits(cut | 1)
}

/// `acc + (a0 * b0 + a1 * b1)` for words of two bf16: products are exact.
pub(super) fn dot(a: u64, b: u64, acc: u64) -> u64 {
    let product = |high| flushed(part(a, high) * part(b, high));
    let both = add(product(false), product(true));
    u64::from(add(flushed(f32::from_bits(acc as u32)), both).to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_exact_becomes_odd() {
        let ulp = f32::EPSILON;
        // A third of the last place, below and above, and what doubles cannot hold.
        assert_eq!(add(1.0, ulp / 3.0), 1.0 + ulp);
        assert_eq!(add(1.0 + ulp, ulp / 3.0), 1.0 + ulp);
        assert_eq!(add(1.0, -ulp / 3.0), 1.0 - ulp / 2.0);
        assert_eq!(add(-1.0, 1e-30), -(1.0 - ulp / 2.0));
        assert_eq!(add(1.0, 1e-30), 1.0 + ulp);
        assert_eq!(add(3.0, 4.0), 7.0);
        assert_eq!(add(1.0, -1.0).to_bits(), 0);
        assert_eq!(add(-0.0, -0.0).to_bits(), 1 << 31);
    }

    #[test]
    fn ends_of_the_range() {
        let (most, least) = (f32::MAX, f32::MIN_POSITIVE);
        assert_eq!(add(most, 1e30), most);
        assert_eq!(add(most, most), f32::INFINITY);
        assert_eq!(add(least * 1.5, -least).to_bits(), 0);
        assert_eq!(add(-least * 1.5, least).to_bits(), 1 << 31);
        assert_eq!(add(f32::INFINITY, f32::NEG_INFINITY).to_bits(), NAN);
        assert_eq!(dot(0x3f80_4000, 0x4040_3f80, u64::from(1f32.to_bits())), u64::from(6f32.to_bits()));
    }
}

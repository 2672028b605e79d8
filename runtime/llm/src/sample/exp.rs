//! The exponential function from additions and multiplications alone: libraries differ in the last bit, and one bit can
//! choose another token.

/// e^x for x <= 0 (larger ones count as 0), with an error below 2^-50 of the result; NaN gives 0.
pub fn exp(x: f64) -> f64 {
    const LOG2_E: f64 = std::f64::consts::LOG2_E;
    // ln 2 in two parts, the first with zeros at its end: its products with small integers are exact.
    const LN2_HIGH: f64 = 0.693_147_180_369_123_8;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    let x = if x > 0.0 { 0.0 } else { x };
    // Smaller results are no normal numbers and never matter.
    if x.is_nan() || x < -708.0 {
        return 0.0;
    }
    let k = (x * LOG2_E - 0.5) as i64;
    let r = (x - k as f64 * LN2_HIGH) - k as f64 * LN2_LOW;
    // The series up to r^14 / 14!; |r| <= 0.35 or so.
    let mut sum = 1.0;
    for n in (1..=14).rev() {
        sum = 1.0 + sum * r / f64::from(n);
    }
    sum * f64::from_bits(((k + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_to_the_library() {
        for i in 0..200_000 {
            let x = -f64::from(i) * 0.003_5;
            let (got, want) = (exp(x), x.exp());
            assert!((got - want).abs() <= want * 1e-15, "{x}: {got} {want}");
        }
        assert_eq!((exp(0.0), exp(3.0), exp(f64::NEG_INFINITY), exp(f64::NAN)), (1.0, 1.0, 0.0, 0.0));
    }
}

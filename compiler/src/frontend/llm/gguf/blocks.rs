//! Block types of GGUF tensors and what they stand for. A row is a sequence of blocks; elements of a block share scales.

use half::f16;

/// How the elements of a tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, non_camel_case_types)]
pub enum BlockType {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    IQ4_NL,
    TQ1_0,
    TQ2_0,
    MXFP4,
}

use BlockType::*;

/// Types with their numbers in files, elements and bytes of a block.
const TYPES: &[(BlockType, u32, usize, usize)] = &[
    (F32, 0, 1, 4),
    (F16, 1, 1, 2),
    (Q4_0, 2, 32, 18),
    (Q4_1, 3, 32, 20),
    (Q5_0, 6, 32, 22),
    (Q5_1, 7, 32, 24),
    (Q8_0, 8, 32, 34),
    (Q2_K, 10, 256, 84),
    (Q3_K, 11, 256, 110),
    (Q4_K, 12, 256, 144),
    (Q5_K, 13, 256, 176),
    (Q6_K, 14, 256, 210),
    (IQ4_NL, 20, 32, 18),
    (BF16, 30, 1, 2),
    (TQ1_0, 34, 256, 54),
    (TQ2_0, 35, 256, 66),
    (MXFP4, 39, 32, 17),
];

/// Values of the codes of IQ4_NL.
const NONLINEAR: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/// Twice the values of the codes of MXFP4.
const FP4: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

impl BlockType {
    /// By its number in files.
    pub fn numbered(n: u32) -> Option<Self> {
        TYPES.iter().find(|t| t.1 == n).map(|t| t.0)
    }
    fn row(self) -> (usize, usize) {
        TYPES.iter().find(|t| t.0 == self).map_or((1, 1), |t| (t.2, t.3))
    }
    /// Elements of a block.
    pub fn elements(self) -> usize {
        self.row().0
    }
    /// Bytes of a block.
    pub fn bytes(self) -> usize {
        self.row().1
    }
    /// The values of whole blocks; a rest that is no block counts as nothing.
    pub fn values(self, data: &[u8]) -> Vec<f32> {
        let (n, size) = self.row();
        let mut out = vec![0f32; data.len() / size * n];
        for (block, y) in data.chunks_exact(size).zip(out.chunks_exact_mut(n)) {
            self.block(block, y);
        }
        out
    }
    /// One block, which has as many bytes and elements as its type says.
    fn block(self, b: &[u8], y: &mut [f32]) {
        match self {
            F32 => y[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            F16 => y[0] = half(b, 0),
            BF16 => y[0] = f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16),
            Q4_0 => nibbles(&b[2..], y, half(b, 0), |q| f32::from(q) - 8.0),
            Q4_1 => {
                let (d, m) = (half(b, 0), half(b, 2));
                nibbles(&b[4..], y, 1.0, |q| d * f32::from(q) + m);
            }
            Q5_0 => five_bits(&b[2..], y, half(b, 0), -16.0 * half(b, 0)),
            Q5_1 => five_bits(&b[4..], y, half(b, 0), half(b, 2)),
            Q8_0 => {
                let d = half(b, 0);
                y.iter_mut().zip(&b[2..]).for_each(|(y, q)| *y = d * f32::from(*q as i8));
            }
            Q2_K => q2_k(b, y),
            Q3_K => q3_k(b, y),
            Q4_K => q4_k(b, y),
            Q5_K => q5_k(b, y),
            Q6_K => q6_k(b, y),
            IQ4_NL => nibbles(&b[2..], y, half(b, 0), |q| f32::from(NONLINEAR[usize::from(q)])),
            TQ1_0 => tq1_0(b, y),
            TQ2_0 => {
                let d = half(b, 64);
                for (j, y) in y.iter_mut().enumerate() {
                    let q = b[j / 128 * 32 + j % 32] >> (2 * (j % 128 / 32)) & 3;
                    *y = d * (f32::from(q) - 1.0);
                }
            }
            // A power of two, halved because the table is doubled. Exponents 0 and 1 give subnormal numbers.
            MXFP4 => {
                let e = u32::from(b[0]);
                let d = f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (e - 1) << 23 });
                nibbles(&b[1..], y, d, |q| f32::from(FP4[usize::from(q)]));
            }
        }
    }
}

fn half(b: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([b[at], b[at + 1]]).to_f32()
}

/// The first half of the elements in the low nibbles, the second in the high ones.
fn nibbles(qs: &[u8], y: &mut [f32], d: f32, value: impl Fn(u8) -> f32) {
    let (low, high) = y.split_at_mut(16);
    for ((q, l), h) in qs.iter().zip(low).zip(high) {
        *l = d * value(q & 15);
        *h = d * value(q >> 4);
    }
}

/// Four bytes of fifth bits, then nibbles.
fn five_bits(b: &[u8], y: &mut [f32], d: f32, m: f32) {
    let bits = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    for j in 0..32 {
        let q = b[4 + j % 16] >> (4 * (j / 16)) & 15 | ((bits >> j & 1) as u8) << 4;
        y[j] = d * f32::from(q) + m;
    }
}

fn q2_k(b: &[u8], y: &mut [f32]) {
    let (scales, qs, d, dmin) = (&b[..16], &b[16..80], half(b, 80), half(b, 82));
    for (j, y) in y.iter_mut().enumerate() {
        let q = qs[j / 128 * 32 + j % 32] >> (2 * (j % 128 / 32)) & 3;
        let s = scales[j / 16];
        *y = d * f32::from(s & 15) * f32::from(q) - dmin * f32::from(s >> 4);
    }
}

fn q3_k(b: &[u8], y: &mut [f32]) {
    let (high, qs, s, d) = (&b[..32], &b[32..96], &b[96..108], half(b, 108));
    let scale = |i: usize| {
        let low = s[i % 8] >> (4 * (i / 8)) & 15;
        let top = s[8 + i % 4] >> (2 * (i / 4)) & 3;
        f32::from(low | top << 4) - 32.0
    };
    for (j, y) in y.iter_mut().enumerate() {
        let q = qs[j / 128 * 32 + j % 32] >> (2 * (j % 128 / 32)) & 3;
        let absent = high[j % 32] >> (j / 32) & 1 == 0;
        *y = d * scale(j / 16) * (f32::from(q) - if absent { 4.0 } else { 0.0 });
    }
}

/// Scale and minimum of a sub-block of 32, packed in 6 bits each.
fn scale_min(s: &[u8], j: usize) -> (f32, f32) {
    let (scale, min) = match j < 4 {
        true => (s[j] & 63, s[j + 4] & 63),
        false => (s[j + 4] & 15 | s[j - 4] >> 6 << 4, s[j + 4] >> 4 | s[j] >> 6 << 4),
    };
    (f32::from(scale), f32::from(min))
}

fn q4_k(b: &[u8], y: &mut [f32]) {
    let (d, dmin, scales, qs) = (half(b, 0), half(b, 2), &b[4..16], &b[16..]);
    for (j, y) in y.iter_mut().enumerate() {
        let (scale, min) = scale_min(scales, j / 32);
        let q = qs[j / 64 * 32 + j % 32] >> (4 * (j / 32 % 2)) & 15;
        *y = d * scale * f32::from(q) - dmin * min;
    }
}

fn q5_k(b: &[u8], y: &mut [f32]) {
    let (d, dmin, scales, high, qs) = (half(b, 0), half(b, 2), &b[4..16], &b[16..48], &b[48..]);
    for (j, y) in y.iter_mut().enumerate() {
        let (scale, min) = scale_min(scales, j / 32);
        let q = qs[j / 64 * 32 + j % 32] >> (4 * (j / 32 % 2)) & 15 | (high[j % 32] >> (j / 32) & 1) << 4;
        *y = d * scale * f32::from(q) - dmin * min;
    }
}

fn q6_k(b: &[u8], y: &mut [f32]) {
    let (low, high, scales, d) = (&b[..128], &b[128..192], &b[192..208], half(b, 208));
    for (j, y) in y.iter_mut().enumerate() {
        let (side, quarter, l) = (j / 128, j % 128 / 32, j % 32);
        let q = low[side * 64 + quarter % 2 * 32 + l] >> (4 * (quarter / 2)) & 15
            | (high[side * 32 + l] >> (2 * quarter) & 3) << 4;
        *y = d * f32::from(scales[j / 16] as i8) * (f32::from(q) - 32.0);
    }
}

/// Digits of base 3, five in a byte (four in the last ones), as the fraction `byte / 256`: multiplying by 3 moves the
/// next digit in front of the point.
fn tq1_0(b: &[u8], y: &mut [f32]) {
    const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
    let d = half(b, 52);
    let digit = |byte: u8, n: usize| {
        let q = byte.wrapping_mul(POWERS[n]);
        f32::from(((u16::from(q) * 3) >> 8) as u8) - 1.0
    };
    for (j, y) in y.iter_mut().enumerate() {
        *y = d * match j {
            0..160 => digit(b[j % 32], j / 32),
            160..240 => digit(b[32 + (j - 160) % 16], (j - 160) / 16),
            _ => digit(b[48 + (j - 240) % 4], (j - 240) / 4),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap_or(0)).collect()
    }

    #[test]
    fn blocks_of_a_ramp() {
        let ramp = |n: usize| n as f32 - 16.0;
        let q4 = Q4_0.values(&bytes("0040809191a2a2b3b3c4c4d5d5e6e6f7f7f8"));
        assert!(q4.iter().enumerate().all(|(i, v)| (v - ramp(i)).abs() <= 2.0), "{q4:?}");
        assert_eq!((q4[0], q4[16], q4[31]), (-16.0, 0.0, 14.0));
        let q8 = bytes("083081899199a1a9b1b9c0c8d0d8e0e8f0f8000810182028303840474f575f676f77");
        let q8 = Q8_0.values(&q8);
        assert!(q8.iter().enumerate().all(|(i, v)| (v - ramp(i)).abs() <= 0.07), "{q8:?}");
    }

    #[test]
    fn six_bit_scales_unpack() {
        let packed = bytes("818283c44546c7c81122c3ef");
        let got: Vec<(f32, f32)> = (0..8).map(|j| scale_min(&packed, j)).collect();
        let want = [(1, 5), (2, 6), (3, 7), (4, 8), (33, 17), (34, 18), (35, 60), (63, 62)];
        assert_eq!(got, want.map(|(s, m)| (s as f32, m as f32)));
    }

    #[test]
    fn every_type_has_its_number_and_all_bytes_count() {
        for &(t, n, elements, size) in TYPES {
            assert_eq!(BlockType::numbered(n), Some(t));
            let base = vec![0x35u8; size];
            let values = t.values(&base);
            assert_eq!(values.len(), elements);
            for i in 0..size {
                let mut other = base.clone();
                other[i] ^= 0x5a;
                assert_ne!(t.values(&other), values, "byte {i} of {t:?} does not matter");
            }
        }
        assert_eq!(BlockType::numbered(999), None);
    }

    #[test]
    fn small_floats_and_ternary_digits() {
        let fp4 = MXFP4.values(&[&[127u8][..], &[0x10, 0xf7], &[0; 14]].concat());
        assert_eq!((fp4[0], fp4[16], fp4[1], fp4[17]), (0.0, 0.5, 6.0, -6.0));
        assert_eq!(MXFP4.values(&[&[1u8][..], &[1; 16]].concat())[0], f32::from_bits(1 << 22));
        // 2 1 0 2 1 in base 3 is 196 of 243; as a fraction of 256 and rounded up: 207.
        let mut b = vec![0u8; 54];
        b[0] = 207;
        b[52..54].copy_from_slice(&f16::from_f32(2.0).to_le_bytes());
        let t = TQ1_0.values(&b);
        assert_eq!([t[0], t[32], t[64], t[96], t[128]], [2.0, 0.0, -2.0, 2.0, 0.0]);
    }
}

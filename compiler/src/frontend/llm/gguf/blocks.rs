//! Block types of GGUF tensors and what they stand for. A row is a sequence of blocks; elements of a block share scales.

use super::codes;
use crate::frontend::llm::codes::{Format, Part};
use half::{bf16, f16};

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
        let (pairs, words) = (data.as_chunks::<2>().0, data.as_chunks::<4>().0);
        match self {
            F32 => words.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            F16 => pairs.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            BF16 => pairs.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
            _ => codes::values(self, data),
        }
    }
    /// How a matrix of this type is made of codes; `None`: it is not.
    pub fn format(self, dims: &[usize]) -> Option<Format> {
        codes::format(self).map(|f| Format { dims: dims.to_vec(), ..f })
    }
    /// A part of a matrix in codes, from its blocks.
    pub fn part(self, data: &[u8], part: Part) -> Vec<u8> {
        codes::part(self, data, part)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use sinter_ir::Tensor;

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
    fn parts_stand_for_the_values() {
        for &(t, _, elements, size) in TYPES {
            let Some(f) = t.format(&[3, 2 * elements]) else { continue };
            let mut data: Vec<u8> = (0..6 * size).map(|i| (i * i * 31 + i * 7 + 3) as u8).collect();
            // Exponents of halves that are neither infinite nor too small.
            data.iter_mut().for_each(|b| *b &= 0xbf);
            let part = |p: Part| {
                let (dtype, dims) = f.part(p);
                Tensor::from_bytes(dtype, dims, t.part(&data, p))
            };
            let got = f.floats(part).unwrap().to_f32().unwrap();
            assert_eq!(got, t.values(&data), "{t:?}");
            assert!(got.iter().any(|v| *v != got[0]), "{t:?}");
        }
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

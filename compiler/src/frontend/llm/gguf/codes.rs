//! Blocks of GGUF files taken apart: codes, and the scales and minima of their parts. A weight is
//! `scale * (code - middle) + minimum`, or `scale * table[code]`; in f32 that is what the format's definition gives.

use super::blocks::BlockType;
use super::blocks::BlockType::*;
use crate::frontend::llm::codes::{Format, Part, packed};
use half::f16;
use sinter_ir::DType;
use sinter_ir::op::quantized_matmul::Offset;

/// Values of the codes of IQ4_NL.
const NONLINEAR: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/// Twice the values of the codes of MXFP4.
const FP4: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// What a block holds, for rows of any length; `None`: no codes but numbers.
pub fn format(kind: BlockType) -> Option<Format> {
    let (codes, block, middle, minimum) = match kind {
        F32 | F16 | BF16 => return None,
        Q4_0 => (DType::U4, 32, 8, false),
        Q4_1 => (DType::U4, 32, 0, true),
        Q5_0 => (DType::U8, 32, 16, false),
        Q5_1 => (DType::U8, 32, 0, true),
        Q8_0 => (DType::I8, 32, 0, false),
        Q2_K => (DType::U2, 16, 0, true),
        Q3_K => (DType::U4, 16, 4, false),
        Q4_K => (DType::U4, 32, 0, true),
        Q5_K => (DType::U8, 32, 0, true),
        Q6_K => (DType::U8, 16, 32, false),
        IQ4_NL | MXFP4 => (DType::U4, 32, 0, false),
        TQ1_0 | TQ2_0 => (DType::U2, 256, 1, false),
    };
    let table = match kind {
        IQ4_NL => NONLINEAR.map(f32::from).to_vec(),
        MXFP4 => FP4.map(f32::from).to_vec(),
        _ => vec![],
    };
    // Products of two scales, and powers of two, are more than f16 holds.
    let scale = match kind {
        Q2_K | Q3_K | Q4_K | Q5_K | Q6_K | MXFP4 => DType::F32,
        _ => DType::F16,
    };
    let offset = minimum.then_some((Offset::Minimum, scale));
    Some(Format { dims: vec![], codes, block, middle, table, scale, offset, order: false })
}

/// A part of whole blocks as its type stores it.
pub fn part(kind: BlockType, data: &[u8], part: Part) -> Vec<u8> {
    let Some(f) = format(kind) else { return vec![] };
    let blocks = data.chunks_exact(kind.bytes());
    let mut out = Vec::new();
    if part == Part::Codes {
        out.reserve(data.len() / kind.bytes() * kind.elements() * f.codes.bits() / 8);
        let mut codes = vec![0u8; kind.elements()];
        for b in blocks {
            self::codes(kind, b, &mut codes);
            out.extend(packed(&codes, f.codes));
        }
        return out;
    }
    for b in blocks {
        for i in 0..kind.elements() / f.block {
            let (scale, minimum) = scale_min(kind, b, i);
            let v = if part == Part::Scale { scale } else { minimum };
            match f.scale {
                DType::F16 => out.extend(f16::from_f32(v).to_le_bytes()),
                _ => out.extend(v.to_le_bytes()),
            }
        }
    }
    out
}

/// The values of whole blocks.
pub fn values(kind: BlockType, data: &[u8]) -> Vec<f32> {
    let Some(f) = format(kind) else { return vec![] };
    let mut out = vec![0f32; data.len() / kind.bytes() * kind.elements()];
    let mut codes = vec![0u8; kind.elements()];
    for (b, y) in data.chunks_exact(kind.bytes()).zip(out.chunks_exact_mut(kind.elements())) {
        self::codes(kind, b, &mut codes);
        for (i, (y, codes)) in y.chunks_mut(f.block).zip(codes.chunks(f.block)).enumerate() {
            let (scale, minimum) = scale_min(kind, b, i);
            for (y, &code) in y.iter_mut().zip(codes) {
                let v = match (f.table.get(usize::from(code)), f.codes) {
                    (Some(v), _) => *v,
                    (None, DType::I8) => f32::from(code as i8),
                    (None, _) => f32::from(code) - f.middle as f32,
                };
                *y = scale * v + minimum;
            }
        }
    }
    out
}

fn half(b: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([b[at], b[at + 1]]).to_f32()
}

/// Scale and minimum of part `i` of a block; 0 where there are no minima.
fn scale_min(kind: BlockType, b: &[u8], i: usize) -> (f32, f32) {
    match kind {
        F32 | F16 | BF16 => (1.0, 0.0),
        Q4_0 | Q5_0 | Q8_0 | IQ4_NL => (half(b, 0), 0.0),
        Q4_1 | Q5_1 => (half(b, 0), half(b, 2)),
        Q2_K => (half(b, 80) * f32::from(b[i] & 15), -half(b, 82) * f32::from(b[i] >> 4)),
        Q3_K => {
            let s = &b[96..108];
            let low = s[i % 8] >> (4 * (i / 8)) & 15;
            let top = s[8 + i % 4] >> (2 * (i / 4)) & 3;
            (half(b, 108) * (f32::from(low | top << 4) - 32.0), 0.0)
        }
        Q4_K | Q5_K => {
            let (scale, min) = six_bits(&b[4..16], i);
            (half(b, 0) * scale, -half(b, 2) * min)
        }
        Q6_K => (half(b, 208) * f32::from(b[192 + i] as i8), 0.0),
        TQ1_0 => (half(b, 52), 0.0),
        TQ2_0 => (half(b, 64), 0.0),
        // A power of two, halved because the table is doubled. Exponents 0 and 1 give subnormal numbers.
        MXFP4 => {
            let e = u32::from(b[0]);
            (f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (e - 1) << 23 }), 0.0)
        }
    }
}

/// Scale and minimum of a part of 32, packed in 6 bits each.
fn six_bits(s: &[u8], j: usize) -> (f32, f32) {
    let (scale, min) = match j < 4 {
        true => (s[j] & 63, s[j + 4] & 63),
        false => (s[j + 4] & 15 | s[j - 4] >> 6 << 4, s[j + 4] >> 4 | s[j] >> 6 << 4),
    };
    (f32::from(scale), f32::from(min))
}

/// The codes of a block, which has as many bytes and elements as its type says.
fn codes(kind: BlockType, b: &[u8], y: &mut [u8]) {
    let mut each = |f: &dyn Fn(usize) -> u8| y.iter_mut().enumerate().for_each(|(j, y)| *y = f(j));
    // The first half of the elements in the low nibbles, the second in the high ones.
    let nibble = |at: usize, j: usize| b[at + j % 16] >> (4 * (j / 16)) & 15;
    let pairs = |at: usize, j: usize| b[at + j / 128 * 32 + j % 32] >> (2 * (j % 128 / 32)) & 3;
    match kind {
        F32 | F16 | BF16 => {}
        Q4_0 | IQ4_NL => each(&|j| nibble(2, j)),
        Q4_1 => each(&|j| nibble(4, j)),
        MXFP4 => each(&|j| nibble(1, j)),
        Q5_0 => each(&|j| nibble(6, j) | (b[2 + j / 8] >> (j % 8) & 1) << 4),
        Q5_1 => each(&|j| nibble(8, j) | (b[4 + j / 8] >> (j % 8) & 1) << 4),
        Q8_0 => y.copy_from_slice(&b[2..]),
        Q2_K => each(&|j| pairs(16, j)),
        // With the third bit codes count from 4.
        Q3_K => each(&|j| pairs(32, j) | (b[j % 32] >> (j / 32) & 1) << 2),
        Q4_K => each(&|j| b[16 + j / 64 * 32 + j % 32] >> (4 * (j / 32 % 2)) & 15),
        Q5_K => each(&|j| {
            let low = b[48 + j / 64 * 32 + j % 32] >> (4 * (j / 32 % 2)) & 15;
            low | (b[16 + j % 32] >> (j / 32) & 1) << 4
        }),
        Q6_K => each(&|j| {
            let (side, quarter, l) = (j / 128, j % 128 / 32, j % 32);
            let low = b[side * 64 + quarter % 2 * 32 + l] >> (4 * (quarter / 2)) & 15;
            low | (b[128 + side * 32 + l] >> (2 * quarter) & 3) << 4
        }),
        // Digits of base 3, five in a byte (four in the last ones), as the fraction `byte / 256`: multiplying by 3 moves
        // the next digit in front of the point.
        TQ1_0 => {
            const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
            let digit = |byte: u8, n: usize| ((u16::from(byte.wrapping_mul(POWERS[n])) * 3) >> 8) as u8;
            each(&|j| match j {
                0..160 => digit(b[j % 32], j / 32),
                160..240 => digit(b[32 + (j - 160) % 16], (j - 160) / 16),
                _ => digit(b[48 + (j - 240) % 4], (j - 240) / 4),
            });
        }
        TQ2_0 => each(&|j| pairs(0, j)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_bit_scales_unpack() {
        let packed = [0x81, 0x82, 0x83, 0xc4, 0x45, 0x46, 0xc7, 0xc8, 0x11, 0x22, 0xc3, 0xef];
        let got: Vec<(f32, f32)> = (0..8).map(|j| six_bits(&packed, j)).collect();
        let want = [(1, 5), (2, 6), (3, 7), (4, 8), (33, 17), (34, 18), (35, 60), (63, 62)];
        assert_eq!(got, want.map(|(s, m)| (s as f32, m as f32)));
    }
}

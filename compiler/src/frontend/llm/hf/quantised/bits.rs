//! Codes in words of 32 bits, and the order of terms.

use crate::frontend::llm::codes::packed;
use sinter_ir::{DType, Diag, Result, Tensor};

/// Rows of codes that are made together: columns of words are read a cache line at a time.
const ROWS: usize = 64;

/// The elements of a tensor of 32 bits.
pub fn words(t: &Tensor) -> Vec<u32> {
    t.bytes().as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect()
}

/// Number `i` of a stream of numbers without gaps, of which word `w` is `word(w)`, the first in the low bits.
pub fn dense(i: usize, bits: usize, word: impl Fn(usize) -> u32) -> u8 {
    let (w, shift) = (i * bits / 32, i * bits % 32);
    let mut v = word(w) >> shift;
    if shift + bits > 32 {
        v |= word(w + 1) << (32 - shift);
    }
    (v & ((1 << bits) - 1)) as u8
}

/// Type of codes of so many bits.
pub fn code_type(bits: usize) -> DType {
    match bits {
        2 => DType::U2,
        0..=4 => DType::U4,
        _ => DType::U8,
    }
}

/// `[n, k]` of what `code(row, term)` gives; term `i` goes to place `places[i]`, where they are given.
pub fn matrix(
    dtype: DType,
    [n, k]: [usize; 2],
    places: Option<&[usize]>,
    code: impl Fn(usize, usize) -> u8,
) -> Result<Tensor> {
    // Rows of whole bytes can be packed one after the other.
    let rows = if (k * dtype.bits()).is_multiple_of(8) { ROWS.min(n) } else { n };
    let mut out = Vec::with_capacity(dtype.bytes_for(n * k).unwrap_or(0));
    let mut chunk = vec![0u8; rows * k];
    for first in (0..n).step_by(rows.max(1)) {
        let here = rows.min(n - first);
        for i in 0..k {
            let to = places.map_or(Some(i), |p| p.get(i).copied()).filter(|to| *to < k);
            let to = to.ok_or_else(|| Diag::bug("a term without a place"))?;
            for (row, c) in chunk.iter_mut().skip(to).step_by(k).take(here).enumerate() {
                *c = code(first + row, i);
            }
        }
        out.extend(packed(chunk.get(..here * k).unwrap_or_default(), dtype));
    }
    Tensor::from_bytes(dtype, vec![n, k], out)
}

/// For every place the term that is there, where terms are sorted by the group that `of` gives; `None`: in order already.
/// Groups have `block` terms, the last one the rest.
pub fn order(of: &Tensor, block: usize) -> Result<Option<Vec<usize>>> {
    let groups = of.to_i64()?;
    let k = groups.len();
    let mut terms: Vec<usize> = (0..k).collect();
    terms.sort_by_key(|&i| groups.get(i).copied());
    let wanted = |place: usize| i64::try_from(place / block.max(1)).ok();
    if terms.iter().enumerate().any(|(place, &i)| groups.get(i).copied() != wanted(place)) {
        return Err(Diag::unsupported(format!("g_idx: groups of other sizes than {block}")));
    }
    Ok(terms.iter().enumerate().any(|(place, &i)| place != i).then_some(terms))
}

/// The inverse: the place of every term.
pub fn places(order: &[usize]) -> Vec<usize> {
    let mut out = vec![0; order.len()];
    for (place, &term) in order.iter().enumerate() {
        if let Some(p) = out.get_mut(term) {
            *p = place;
        }
    }
    out
}

/// The order as a part of a matrix.
pub fn order_part(order: &[usize]) -> Tensor {
    Tensor::i64s(&order.iter().map(|&i| i as i64).collect::<Vec<_>>())
}

/// The transposed matrix of elements of whole bytes.
pub fn turned(t: &Tensor) -> Result<Tensor> {
    crate::frontend::llm::weights::transposed(t)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_without_gaps() {
        let four = |i| dense(i, 4, |_| 0x7654_3210);
        assert_eq!((0..8).map(four).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 7]);
        // Three bits: number 10 and 21 lie in two words each.
        let values: Vec<u8> = (0..32).map(|i| (i * 5 + 3) as u8 % 8).collect();
        let mut words = [0u32; 3];
        for (i, v) in values.iter().enumerate() {
            for bit in 0..3 {
                let at = 3 * i + bit;
                words[at / 32] |= u32::from(v >> bit & 1) << (at % 32);
            }
        }
        assert_eq!((0..32).map(|i| dense(i, 3, |w| words[w])).collect::<Vec<_>>(), values);
    }

    #[test]
    fn terms_are_sorted_by_their_groups() {
        let of = |g: &[i64], block| order(&Tensor::i64s(g), block);
        assert_eq!(of(&[0, 0, 1, 1, 2], 2).unwrap(), None);
        let sorted = of(&[1, 0, 2, 1, 0], 2).unwrap().unwrap();
        assert_eq!(sorted, [1, 4, 0, 3, 2]);
        assert_eq!(places(&sorted), [2, 0, 4, 3, 1]);
        assert!(of(&[0, 0, 0, 1], 2).is_err() && of(&[-1, 0], 1).is_err() && of(&[7], 1).is_err());
    }

    #[test]
    fn odd_rows_are_packed_as_one() {
        let t = matrix(DType::U4, [3, 3], Some(&[2, 0, 1]), |n, k| (n * 3 + k) as u8).unwrap();
        assert_eq!(t.to_i64().unwrap(), [1, 2, 0, 4, 5, 3, 7, 8, 6]);
        let wide = matrix(DType::U2, [130, 4], None, |n, k| (n + k) as u8 % 4).unwrap();
        let want: Vec<i64> = (0..520).map(|i| (i / 4 + i % 4) % 4).collect();
        assert_eq!(wide.to_i64().unwrap(), want);
    }
}

//! AWQ, version "gemm": words of eight codes of 4 bits along the outputs in an order of their own,
//! `qweight[in, out / 8]` and `qzeros[groups, out / 8]`, with `scales[groups, out]`.

use super::bits::{self, words};
use super::{Method, SCALES, block, expect, matrix_dims, stored, unknown};
use crate::frontend::llm::codes::{Format, Part};
use crate::frontend::llm::config::Config;
use crate::frontend::llm::hf::Shards;
use sinter_ir::op::quantized_matmul::Offset;
use sinter_ir::{DType, Result, Tensor};

/// Where in a word the code of each of eight outputs is, in nibbles.
const NIBBLES: [u32; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

/// What the configuration says.
#[derive(Debug)]
pub struct Awq {
    group: Option<i64>,
}

impl Awq {
    pub fn new(c: &Config) -> Result<Self> {
        let version = c.text("version", "gemm")?.to_lowercase();
        if version != "gemm" {
            return Err(unknown(format!("awq of the version `{version}`")));
        }
        let bits = c.size(&["bits", "w_bit"])?;
        if bits != 4 {
            return Err(unknown(format!("awq with {bits} bits")));
        }
        if !c.flag("zero_point", true)? {
            return Err(unknown("awq without zero points"));
        }
        let group = ["group_size", "q_group_size"].iter().find_map(|k| c.get(k)?.as_i64());
        Ok(Self { group })
    }
}

/// The code of output `j` in row `i` of words, eight outputs each.
fn code(words: &[u32], [i, j]: [usize; 2], n: usize) -> u8 {
    let word = words.get(i * (n / 8) + j / 8).copied().unwrap_or(0);
    (word >> (4 * NIBBLES[j % 8]) & 15) as u8
}

impl Method for Awq {
    fn format(&self, t: &Shards, stem: &str) -> Result<Option<Format>> {
        if !t.has(&format!("{stem}.qweight")) {
            return Ok(None);
        }
        let [k, eighths] = matrix_dims(t, stem, "qweight", DType::I32)?;
        let n = eighths * 8;
        let scales = stored(t, stem, "scales")?;
        let groups = scales.shape().first().copied().unwrap_or(0);
        expect(t, stem, "scales", SCALES, &[groups, n])?;
        expect(t, stem, "qzeros", &[DType::I32], &[groups, eighths])?;
        Ok(Some(Format {
            dims: vec![n, k],
            codes: DType::U4,
            block: block(k, groups, self.group)?,
            middle: 0,
            table: vec![],
            scale: scales.dtype(),
            offset: Some((Offset::Zero, DType::U4)),
            order: false,
        }))
    }

    fn part(&self, t: &Shards, stem: &str, f: &Format, part: Part) -> Result<Tensor> {
        let n = f.dims.first().copied().unwrap_or(0);
        let of = |kind: &str, columns: usize| {
            let w = words(&stored(t, stem, kind)?);
            bits::matrix(DType::U4, [n, columns], None, |j, i| code(&w, [i, j], n))
        };
        match part {
            Part::Codes => of("qweight", f.terms()),
            Part::Offset => of("qzeros", f.blocks()),
            Part::Scale => bits::turned(&stored(t, stem, "scales")?),
            Part::Order => Ok(bits::order_part(&(0..f.terms()).collect::<Vec<_>>())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_of_a_word() {
        let got: Vec<u8> = (0..8).map(|j| code(&[0, 0x7531_6420], [1, j], 8)).collect();
        assert_eq!(got, [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}

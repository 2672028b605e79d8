//! GPTQ: words of codes along the inputs, `qweight[in * bits / 32, out]`, with a group of scales and zero points per row
//! of `scales[groups, out]` and `qzeros[groups, out * bits / 32]`; `g_idx[in]` says which group an input belongs to.

use super::bits::{self, code_type, dense, words};
use super::{Method, SCALES, block, expect, matrix_dims, stored, unknown};
use crate::frontend::llm::codes::{Format, Part};
use crate::frontend::llm::config::Config;
use crate::frontend::llm::hf::Shards;
use crate::frontend::llm::weights::Weights;
use sinter_ir::op::quantized_matmul::Offset;
use sinter_ir::{DType, Diag, Result, Tensor};

/// What the configuration says.
#[derive(Debug)]
pub struct Gptq {
    bits: i64,
    group: Option<i64>,
    /// All zero points are in the middle.
    symmetric: bool,
    /// What is added to stored zero points: the first version of the format holds them less 1.
    less: u8,
}

impl Gptq {
    pub fn new(c: &Config) -> Result<Self> {
        let less = match c.text("checkpoint_format", "gptq")?.as_str() {
            "gptq" => 1,
            "gptq_v2" => 0,
            other => return Err(unknown(format!("gptq in the format `{other}`"))),
        };
        let group = c.get("group_size").and_then(serde_json::Value::as_i64);
        Ok(Self { bits: c.size(&["bits"])?, group, symmetric: c.flag("sym", false)?, less })
    }
    /// Bits of a code: files say that only for all matrices together, but there may be exceptions.
    fn bits(&self, t: &Shards, stem: &str, rows: usize) -> Result<usize> {
        let inputs = t.dims(&format!("{stem}.g_idx")).and_then(|d| d.first().copied());
        let said = usize::try_from(self.bits).unwrap_or(0);
        let bits = inputs.filter(|k| *k > 0).map_or(said, |k| rows * 32 / k);
        match bits {
            2 | 3 | 4 | 8 => Ok(bits),
            other => Err(unknown(format!("gptq with {other} bits"))),
        }
    }
    fn order(&self, t: &Shards, stem: &str, f: &Format) -> Result<Option<Vec<usize>>> {
        if !t.has(&format!("{stem}.g_idx")) {
            return Ok(None);
        }
        let of = expect(t, stem, "g_idx", &[DType::I32, DType::I64], &[f.terms()])?;
        bits::order(&of, f.block)
    }
}

impl Method for Gptq {
    fn format(&self, t: &Shards, stem: &str) -> Result<Option<Format>> {
        if !t.has(&format!("{stem}.qweight")) {
            return Ok(None);
        }
        let [rows, n] = matrix_dims(t, stem, "qweight", DType::I32)?;
        let bits = self.bits(t, stem, rows)?;
        let k = rows * 32 / bits;
        if rows * 32 % bits != 0 || n * bits % 32 != 0 {
            return Err(Diag::input(format!("tensor {stem}.qweight has {rows} rows of {bits} bits")));
        }
        let scales = stored(t, stem, "scales")?;
        let groups = scales.shape().first().copied().unwrap_or(0);
        expect(t, stem, "scales", SCALES, &[groups, n])?;
        expect(t, stem, "qzeros", &[DType::I32], &[groups, n * bits / 32])?;
        let (middle, offset) = match self.symmetric {
            true => (1 << (bits - 1), None),
            false => (0, Some((Offset::Zero, if bits == 8 { DType::U8 } else { DType::U4 }))),
        };
        let block = block(k, groups, self.group)?;
        let (codes, scale) = (code_type(bits), scales.dtype());
        let mut f =
            Format { dims: vec![n, k], codes, block, middle, table: vec![], scale, offset, order: false };
        f.order = self.order(t, stem, &f)?.is_some();
        Ok(Some(f))
    }

    fn part(&self, t: &Shards, stem: &str, f: &Format, part: Part) -> Result<Tensor> {
        let (n, k, groups) = (f.dims.first().copied().unwrap_or(0), f.terms(), f.blocks());
        let packed = stored(t, stem, "qweight")?;
        let bits = packed.len() / n.max(1) * 32 / k.max(1);
        let order = if f.order { self.order(t, stem, f)? } else { None };
        let zeros = || -> Result<Vec<u8>> {
            let z = words(&stored(t, stem, "qzeros")?);
            let (row, mask) = (n * bits / 32, ((1u32 << bits) - 1) as u8);
            let one = |i: usize| {
                let z = dense(i % n, bits, |w| z.get(i / n * row + w).copied().unwrap_or(0));
                z.wrapping_add(self.less) & mask
            };
            Ok((0..groups * n).map(one).collect())
        };
        match part {
            Part::Codes => {
                let places = order.as_deref().map(bits::places);
                let w = words(&packed);
                let code = |j: usize, i: usize| dense(i, bits, |r| w.get(r * n + j).copied().unwrap_or(0));
                bits::matrix(f.codes, [n, k], places.as_deref(), code)
            }
            Part::Scale => {
                let middle = f.middle as u8;
                if f.offset.is_none() && zeros()?.iter().any(|z| *z != middle) {
                    let what = format!("tensor {stem}.qzeros differs from {middle}, but `sym` is true");
                    return Err(Diag::input(what).help("sym: false in quantization_config uses zero points"));
                }
                bits::turned(&stored(t, stem, "scales")?)
            }
            Part::Offset => {
                let z = zeros()?;
                let dtype = f.part(Part::Offset).0;
                bits::matrix(dtype, [n, groups], None, |j, g| z.get(g * n + j).copied().unwrap_or(0))
            }
            Part::Order => Ok(bits::order_part(&order.unwrap_or_else(|| (0..k).collect()))),
        }
    }
}

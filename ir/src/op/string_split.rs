//! `StringSplit`: parts of strings between delimiters.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Diag, Result, Sym, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Parts of strings between delimiters.
///
/// Inputs: `[x: str]`. Results: `[parts: str [.., count], counts: i64]`; rows with fewer parts end in empty strings.
/// Without a delimiter, runs of ASCII white space separate and those at the ends separate nothing; the rest that `max`
/// leaves keeps its inner and trailing white space (Python's `str.split`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StringSplit {
    /// What separates; empty: white space.
    pub delimiter: String,
    /// Most delimiters that separate.
    pub max: Option<u64>,
    /// Defined as the largest number of parts.
    pub count: Sym,
}

/// ASCII white space: space, tab, line feed, vertical tab, form feed, carriage return.
pub fn is_space(byte: u8) -> bool {
    byte == b' ' || (9..=13).contains(&byte)
}

impl StringSplit {
    /// Parts of one string, as ranges of bytes.
    fn parts(&self, text: &str) -> Vec<String> {
        let most = self.max.map_or(usize::MAX, |m| usize::try_from(m).unwrap_or(usize::MAX));
        if !self.delimiter.is_empty() {
            return text.splitn(most.saturating_add(1), &self.delimiter).map(str::to_owned).collect();
        }
        let space = |c: char| u8::try_from(c).is_ok_and(is_space);
        let mut rest = text.trim_start_matches(space);
        let mut out = Vec::new();
        while !rest.is_empty() {
            if out.len() == most {
                out.push(rest.to_owned());
                break;
            }
            let end = rest.find(space).unwrap_or(rest.len());
            out.push(rest[..end].to_owned());
            rest = rest[end..].trim_start_matches(space);
        }
        out
    }
}

impl OpSpec for StringSplit {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x] = args(x)?;
        if x.dtype != DType::Str {
            return Err(Diag::input(format!("StringSplit does not take {}", s.show_type(x))));
        }
        let parts = [x.dims.as_slice(), &[self.count.into()]].concat();
        Ok(vec![TensorType::new(DType::Str, parts), TensorType::new(DType::I64, x.dims.clone())])
    }
    fn eval(&self, cx: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x] = args(x)?;
        let rows: Vec<Vec<String>> = x.strings().iter().map(|s| self.parts(s)).collect();
        let count = rows.iter().map(Vec::len).max().unwrap_or(0);
        cx.define(self.count, count as i64)?;
        let counts: Vec<i64> = rows.iter().map(|r| r.len() as i64).collect();
        let shape = [x.shape(), &[count]].concat();
        let padded = rows.into_iter().flat_map(|mut r| {
            r.resize(count, String::new());
            r
        });
        let parts = Tensor::from_strings(shape, padded.collect())?;
        Ok(vec![parts, Tensor::from_i64(DType::I64, x.shape().to_vec(), &counts)?])
    }
    fn defines(&self) -> Vec<Sym> {
        vec![self.count]
    }
}

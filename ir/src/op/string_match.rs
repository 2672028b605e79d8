//! `StringMatch`: whether an automaton accepts strings.

use super::OpSpec;
use super::args;
use crate::eval::EvalCx;
use crate::{DType, Diag, Result, Symbols, Tensor, TensorType};
use serde::{Deserialize, Serialize};

/// Whether an automaton accepts strings, byte by byte from state 0.
///
/// Inputs: `[x: str]`. Result: bool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StringMatch {
    /// Class of every byte, 256 entries.
    pub classes: Vec<u8>,
    /// Next state by state and class, row-major.
    pub next: Vec<u16>,
    /// Whether a text may end in a state.
    pub accepts: Vec<bool>,
}

impl StringMatch {
    /// Number of byte classes.
    pub fn width(&self) -> usize {
        self.classes.iter().max().map_or(0, |&c| c as usize + 1)
    }
    fn accepts_text(&self, text: &[u8]) -> bool {
        let step = |state: usize, byte: &u8| {
            let class = self.classes.get(*byte as usize).copied().unwrap_or(0) as usize;
            self.next.get(state * self.width() + class).map_or(0, |&s| s as usize)
        };
        let end = text.iter().fold(0, step);
        self.accepts.get(end).copied().unwrap_or(false)
    }
}

impl OpSpec for StringMatch {
    fn infer(&self, s: &mut Symbols, x: &[&TensorType]) -> Result<Vec<TensorType>> {
        let [x] = args(x)?;
        if x.dtype != DType::Str {
            return Err(Diag::input(format!("StringMatch does not take {}", s.show_type(x))));
        }
        let states = self.accepts.len();
        let whole = self.classes.len() == 256
            && states > 0
            && self.next.len() == states * self.width()
            && self.next.iter().all(|&n| (n as usize) < states);
        if !whole {
            return Err(Diag::input("StringMatch: the automaton's tables do not fit together"));
        }
        Ok(vec![TensorType::new(DType::Bool, x.dims.clone())])
    }
    fn eval(&self, _: &mut EvalCx, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let [x] = args(x)?;
        let v: Vec<i64> = x.strings().iter().map(|s| i64::from(self.accepts_text(s.as_bytes()))).collect();
        Ok(vec![Tensor::from_i64(DType::Bool, x.shape().to_vec(), &v)?])
    }
}

//! Tensors as nested JSON arrays.

use serde_json::Value;
use sinter_ir::{DType, Diag, Result, Tensor};

/// Deepest nesting read: the largest rank of the IR.
const MAX_RANK: usize = 16;

/// Reads nested arrays (or one number or string) as a tensor of `dtype`; rows must have equal lengths.
pub fn read(text: &[u8], dtype: DType) -> Result<Tensor> {
    let value: Value = serde_json::from_slice(text).map_err(|e| Diag::input(format!("bad JSON: {e}")))?;
    let mut shape = Vec::new();
    let mut level = &value;
    while let Value::Array(a) = level {
        shape.push(a.len());
        if shape.len() > MAX_RANK {
            return Err(Diag::input(format!("JSON nested deeper than {MAX_RANK}")));
        }
        match a.first() {
            Some(first) => level = first,
            None => break,
        }
    }
    let mut numbers: Vec<&Value> = Vec::new();
    flatten(&value, &shape, &mut numbers)?;
    if dtype == DType::Str {
        let text = |v: &&Value| match v {
            Value::String(s) => Ok(s.clone()),
            v => Err(Diag::input(format!("`{v}` is not a string"))),
        };
        Tensor::from_strings(shape, numbers.iter().map(text).collect::<Result<_>>()?)
    } else if dtype.is_int() || dtype == DType::Bool {
        let ints = numbers.iter().map(|v| as_int(v)).collect::<Result<Vec<i64>>>()?;
        Tensor::from_i64(dtype, shape, &ints)
    } else {
        let floats = numbers.iter().map(|v| as_float(v)).collect::<Result<Vec<f64>>>()?;
        Tensor::from_f64(dtype, shape, &floats)
    }
}

fn as_int(v: &Value) -> Result<i64> {
    v.as_i64()
        .or_else(|| v.as_bool().map(i64::from))
        .ok_or_else(|| Diag::input(format!("`{v}` is not an integer")))
}

fn as_float(v: &Value) -> Result<f64> {
    v.as_f64()
        .or(match v.as_str() {
            Some("nan") => Some(f64::NAN),
            Some("inf") => Some(f64::INFINITY),
            Some("-inf") => Some(f64::NEG_INFINITY),
            _ => None,
        })
        .ok_or_else(|| Diag::input(format!("`{v}` is not a number")))
}

fn flatten<'a>(v: &'a Value, shape: &[usize], out: &mut Vec<&'a Value>) -> Result<()> {
    match (v, shape) {
        (Value::Array(a), [n, rest @ ..]) if a.len() == *n => {
            a.iter().try_for_each(|x| flatten(x, rest, out))
        }
        (Value::Array(_), _) | (_, [_, ..]) => Err(Diag::input("JSON rows have different lengths")),
        _ => {
            out.push(v);
            Ok(())
        }
    }
}

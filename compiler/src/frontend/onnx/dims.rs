//! Default ranges of input dims that neither the model nor the user fixes.
//!
//! Memory is planned at the upper end, so defaults are modest: a leading batch-like dim gets 1, token-like inputs
//! (integers) get up to 1024 per dim, float inputs share a budget of three million elements. Every choice is in
//! the manifest and can be changed with `--dim`.

use super::ImportOptions;
use super::proto::{TensorShapeProto, tensor_shape_proto::dimension::Value};
use sinter_ir::DType;

/// Elements that a float input may reach by default.
const FLOAT_BUDGET: f64 = 3.0 * 1024.0 * 1024.0;
/// Largest default of one dim of a float input.
const FLOAT_MAX: i64 = 1 << 18;
/// Largest default of one dim of an integer input, and of one dim among several open ones.
const TOKEN_MAX: i64 = 1024;

/// Whether a dim_param is a name rather than a placeholder.
pub fn is_name(p: &str) -> bool {
    !p.is_empty() && p != "?" && p.parse::<i64>().is_err()
}

/// Whether the first dim is the number of independent samples, judged by its name.
fn is_batch(param: Option<&str>, rank: usize) -> bool {
    let long = ["seq", "len", "time", "frame", "sample", "token", "past", "height", "width"];
    match param {
        _ if rank < 2 => false,
        Some(p) => {
            let p = p.to_ascii_lowercase();
            !long.iter().any(|w| p.contains(w))
        }
        None => true,
    }
}

/// `(min, max)` per dim.
pub fn ranges(
    name: &str,
    dtype: DType,
    shape: &TensorShapeProto,
    options: &ImportOptions,
) -> Vec<(i64, i64)> {
    let rank = shape.dim.len();
    let param = |i: usize| match &shape.dim[i].value {
        Some(Value::DimParam(p)) if is_name(p) => Some(p.as_str()),
        _ => None,
    };
    let mut out: Vec<Option<(i64, i64)>> = (0..rank)
        .map(|i| {
            let asked = options.dims.get(&format!("{name}.{i}")).or_else(|| options.dims.get(param(i)?));
            match (&shape.dim[i].value, asked) {
                (Some(Value::DimValue(v)), _) if *v > 0 => Some((*v, *v)),
                (_, Some(r)) => Some(*r),
                _ if i == 0 && is_batch(param(0), rank) => Some((1, 1)),
                _ => None,
            }
        })
        .collect();
    let open = out.iter().filter(|d| d.is_none()).count();
    let fixed: f64 = out.iter().flatten().map(|r| r.1.max(1) as f64).product();
    let share = (FLOAT_BUDGET / fixed).max(1.0).powf(1.0 / open.max(1) as f64) as i64;
    let most = match (dtype.is_float(), open) {
        (true, 1) if rank <= 2 => share.clamp(1, FLOAT_MAX),
        (true, _) => share.clamp(1, TOKEN_MAX),
        (false, _) => TOKEN_MAX,
    };
    out.iter_mut().for_each(|d| {
        d.get_or_insert((0, most));
    });
    out.into_iter().flatten().collect()
}

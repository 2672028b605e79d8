//! `TensorProto` to [`Tensor`]: every element type, raw, typed and external storage.

use super::external::Store;
use super::proto::TensorProto;
use bytes::Bytes;
use sinter_ir::{DType, Diag, Result, Tensor};

/// ONNX element type codes.
pub fn dtype(code: i32) -> Result<DType> {
    Ok(match code {
        1 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        4 => DType::U16,
        5 => DType::I16,
        6 => DType::I32,
        7 => DType::I64,
        8 => DType::Str,
        9 => DType::Bool,
        10 => DType::F16,
        11 => DType::F64,
        12 => DType::U32,
        13 => DType::U64,
        14 => DType::C64,
        15 => DType::C128,
        16 => DType::BF16,
        17 => DType::F8E4M3FN,
        18 => DType::F8E4M3FNUZ,
        19 => DType::F8E5M2,
        20 => DType::F8E5M2FNUZ,
        21 => DType::U4,
        22 => DType::I4,
        23 => DType::F4E2M1,
        24 => DType::F8E8M0,
        25 => DType::U2,
        26 => DType::I2,
        0 => return Err(Diag::input("element type is undefined")),
        c => return Err(Diag::unsupported(format!("element type code {c}"))),
    })
}

/// Whether the data lies in another file.
pub fn is_external(t: &TensorProto) -> bool {
    t.data_location == 1
}

/// Element type and dims.
pub fn header(t: &TensorProto) -> Result<(DType, Vec<usize>)> {
    let shape = t
        .dims
        .iter()
        .map(|&d| usize::try_from(d).map_err(|_| Diag::input(format!("tensor `{}`: dim {d}", t.name))))
        .collect::<Result<Vec<_>>>()?;
    Ok((dtype(t.data_type).map_err(|d| named(t, d))?, shape))
}

/// Says which tensor an error is about.
fn named(t: &TensorProto, d: Diag) -> Diag {
    Diag { message: format!("tensor `{}`: {}", t.name, d.message), ..d }
}

/// Reads a tensor whose data lies in the message or in `store`.
pub fn read(t: &TensorProto, store: &mut Store) -> Result<Tensor> {
    if is_external(t) { store.read(t).map_err(|d| named(t, d)) } else { read_inline(t) }
}

/// Reads a tensor whose data lies in the message; raw data is shared, not copied.
pub fn read_inline(t: &TensorProto) -> Result<Tensor> {
    let (dtype, shape) = header(t)?;
    let named = |d| named(t, d);
    if dtype == DType::Str {
        let text = |s: &Vec<u8>| {
            String::from_utf8(s.clone())
                .map_err(|_| Diag::input(format!("tensor `{}`: a string is not UTF-8", t.name)))
        };
        return Tensor::from_strings(shape, t.string_data.iter().map(text).collect::<Result<_>>()?)
            .map_err(named);
    }
    let empty_typed = t.int32_data.is_empty()
        && t.int64_data.is_empty()
        && t.float_data.is_empty()
        && t.double_data.is_empty()
        && t.uint64_data.is_empty();
    if !t.raw_data.is_empty() || empty_typed {
        return Tensor::from_bytes(dtype, shape, t.raw_data.clone()).map_err(named);
    }
    let width = dtype.bits();
    let bytes: Vec<u8> = match dtype {
        DType::F32 | DType::C64 => t.float_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::F64 | DType::C128 => t.double_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::I64 => t.int64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::U64 | DType::U32 => {
            t.uint64_data.iter().flat_map(|v| v.to_le_bytes().into_iter().take(width / 8)).collect()
        }
        // The rest is in int32_data, sub-byte types packed already.
        _ => t.int32_data.iter().flat_map(|v| v.to_le_bytes().into_iter().take(width.div_ceil(8))).collect(),
    };
    Tensor::from_bytes(dtype, shape, bytes).map_err(named)
}

/// Decodes a serialised `TensorProto` (the ONNX test data format).
pub fn from_pb(bytes: &[u8]) -> Result<Tensor> {
    let t = <TensorProto as prost::Message>::decode(Bytes::copy_from_slice(bytes))
        .map_err(|e| Diag::input(format!("not a TensorProto: {e}")))?;
    read(&t, &mut Store::default())
}

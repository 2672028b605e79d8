//! NumPy `.npy` files, versions 1 to 3 (numpy.lib.format).

use sinter_ir::{DType, Diag, Result, Tensor};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Longest header that is read.
const MAX_HEADER: usize = 1 << 16;

const KINDS: &[(&str, DType)] = &[
    ("|b1", DType::Bool),
    ("|u1", DType::U8),
    ("|i1", DType::I8),
    ("<u2", DType::U16),
    ("<i2", DType::I16),
    ("<u4", DType::U32),
    ("<i4", DType::I32),
    ("<u8", DType::U64),
    ("<i8", DType::I64),
    ("<f2", DType::F16),
    ("<f4", DType::F32),
    ("<f8", DType::F64),
    ("<c8", DType::C64),
    ("<c16", DType::C128),
];

/// Reads an array; Fortran order and big-endian arrays are refused.
pub fn read(bytes: &[u8]) -> Result<Tensor> {
    let bad = |what: &str| Diag::input(format!("not a usable .npy file: {what}"));
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| bad("no NUMPY magic"))?;
    let (len, start) = match rest {
        [1, _, a, b, ..] => (u16::from_le_bytes([*a, *b]) as usize, 10),
        [2 | 3, _, a, b, c, d, ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, 12),
        _ => return Err(bad("unknown version")),
    };
    if len > MAX_HEADER {
        return Err(bad("header longer than 64 KiB"));
    }
    let header = bytes.get(start..start + len).ok_or_else(|| bad("truncated header"))?;
    let header = std::str::from_utf8(header).map_err(|_| bad("header is not text"))?;
    let field = |key: &str| {
        let at = header.find(&format!("'{key}'"))?;
        Some(header[at..].split_once(':')?.1.trim_start())
    };
    let descr = field("descr").and_then(|f| f.strip_prefix('\'')).and_then(|f| f.split_once('\''));
    let descr = descr.ok_or_else(|| bad("no descr"))?.0;
    if !field("fortran_order").is_some_and(|f| f.starts_with("False")) {
        return Err(bad("fortran_order must be False").help("save it with numpy.ascontiguousarray"));
    }
    let shape = field("shape").and_then(|f| f.strip_prefix('(')).and_then(|f| f.split_once(')'));
    let shape = shape.ok_or_else(|| bad("no shape"))?.0;
    let shape = shape
        .split(',')
        .map(str::trim)
        .filter(|s| !s.is_empty())
        .map(|s| s.parse::<usize>().map_err(|_| bad("bad shape")))
        .collect::<Result<Vec<_>>>()?;
    let data = &bytes[start + len..];
    if let Some((unit, width)) = text_width(descr) {
        return texts(unit, width, shape, data).ok_or_else(|| bad("the strings do not fit the header"));
    }
    let dtype = KINDS.iter().find(|(k, _)| *k == descr).map(|k| k.1);
    let dtype = dtype.ok_or_else(|| bad(&format!("element type `{descr}` is not supported")))?;
    Tensor::from_bytes(dtype, shape, data.to_vec())
}

/// Bytes per character and characters per string of a text type: `<U7` (UTF-32) or `|S7` (bytes).
fn text_width(descr: &str) -> Option<(usize, usize)> {
    let (unit, digits) = match (descr.strip_prefix("<U"), descr.strip_prefix("|S")) {
        (Some(d), _) => (4, d),
        (_, Some(d)) => (1, d),
        _ => return None,
    };
    Some((unit, digits.parse().ok()?))
}

/// Strings of a fixed width, filled up with zeros.
fn texts(unit: usize, width: usize, shape: Vec<usize>, data: &[u8]) -> Option<Tensor> {
    let n = sinter_ir::tensor::numel(&shape).ok()?;
    let row = unit.checked_mul(width)?;
    if row.checked_mul(n)? != data.len() || n > data.len().max(1 << 16) {
        return None;
    }
    let one = |i: usize| -> Option<String> {
        let bytes = data.get(i * row..(i + 1) * row)?;
        if unit == 1 {
            return Some(String::from_utf8(bytes.to_vec()).ok()?.trim_end_matches('\0').to_owned());
        }
        let (chars, _) = bytes.as_chunks::<4>();
        let text: Option<String> = chars.iter().map(|c| char::from_u32(u32::from_le_bytes(*c))).collect();
        Some(text?.trim_end_matches('\0').to_owned())
    };
    Tensor::from_strings(shape, (0..n).map(one).collect::<Option<_>>()?).ok()
}

/// Writes an array, version 1. Types without a NumPy equivalent are written as their raw bytes (`|u1`).
pub fn write(t: &Tensor) -> Vec<u8> {
    let known = KINDS.iter().find(|(_, d)| *d == t.dtype());
    let width = t.strings().iter().map(|s| s.chars().count()).max().unwrap_or(0).max(1);
    let (descr, shape) = match known {
        Some((k, _)) => ((*k).to_owned(), t.shape().to_vec()),
        None if t.dtype() == DType::Str => (format!("<U{width}"), t.shape().to_vec()),
        None => ("|u1".to_owned(), vec![t.bytes().len()]),
    };
    let dims: Vec<String> = shape.iter().map(|d| format!("{d},")).collect();
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", dims.join(" "));
    let pad = 64 - (10 + header.len() + 1) % 64;
    header.extend(std::iter::repeat_n(' ', pad % 64));
    header.push('\n');
    let mut out = MAGIC.to_vec();
    out.extend([1, 0]);
    out.extend((header.len() as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(t.bytes());
    for s in t.strings() {
        let chars = s.chars().map(u32::from).chain(std::iter::repeat(0)).take(width);
        out.extend(chars.flat_map(u32::to_le_bytes));
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusals() {
        for t in [Tensor::i64s(&[1, -2, 3]), Tensor::i64(7), Tensor::f32s(vec![2, 1], &[0.5, -1.0]).unwrap()]
        {
            assert_eq!(read(&write(&t)).unwrap(), t);
        }
        let texts = Tensor::from_strings(vec![2, 1], vec!["".into(), "Zoë".into()]).unwrap();
        assert_eq!(read(&write(&texts)).unwrap(), texts);
        let mut bytes = write(&Tensor::i64s(&[1, 2]));
        bytes.pop();
        assert!(read(&bytes).is_err());
        assert!(read(b"\x93NUMPY\x01\x00\xff\xff").is_err());
    }
}

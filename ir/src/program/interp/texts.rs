//! Strings as the views that kernels see: addresses of the interpreter's own memory.

use crate::tile::interp::{self as kernel, Space};
use crate::{DType, Diag, Result, Tensor};

/// Inputs as bytes, those of strings as views into `texts`, which will be the space with this number.
pub(super) fn views(inputs: &[Tensor], space: usize) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut texts = Vec::new();
    let mut one = |t: &Tensor| {
        let mut out = Vec::new();
        for s in t.strings() {
            out.extend((kernel::base(space) + texts.len() as u64).to_le_bytes());
            out.extend((s.len() as u64).to_le_bytes());
            texts.extend(s.as_bytes());
        }
        out
    };
    (inputs.iter().map(&mut one).collect(), texts)
}

/// An input's memory.
pub(super) fn bytes<'a>(t: &'a Tensor, views: &'a [u8]) -> &'a [u8] {
    if t.dtype() == DType::Str { views } else { t.bytes() }
}

/// The strings that an output's views point to.
pub(super) fn read(views: &[u8], spaces: &[Space]) -> Result<Vec<String>> {
    let (views, _) = views.as_chunks::<16>();
    let one = |v: &[u8; 16]| {
        let (data, size) = v.split_at(8);
        let word = |b: &[u8]| b.try_into().map(u64::from_le_bytes).unwrap_or_default();
        let (data, size) = (word(data), word(size));
        let text = kernel::bytes_at(spaces, data, size);
        let text =
            text.ok_or_else(|| Diag::bug(format!("a text of {size} bytes at {data:#x}, where nothing is")))?;
        Ok(String::from_utf8_lossy(text).into_owned())
    };
    views.iter().map(one).collect()
}

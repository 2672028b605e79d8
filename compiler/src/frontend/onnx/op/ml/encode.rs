//! Categories as numbers.

use crate::frontend::onnx::node::NodeCx;
use crate::frontend::onnx::op::text;
use crate::frontend::onnx::scope::Item;
use sinter_ir::op::compare::CompareKind as C;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::{DType, Diag, Result, Tensor};

type Out = Result<Vec<Item>>;

/// For every element a new last axis with a 1 at its category.
pub fn one_hot(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let rank = cx.rank(x);
    let (x, names) = if cx.dtype(x) == DType::Str {
        let (words, at) = text::dictionary(&text::strings(cx, "cats_strings"));
        // Places in the list are compared, so that words need not be sorted there.
        (text::find(cx, x, words)?, at.into_iter().map(|p| p as i64).collect())
    } else {
        (cx.cast(x, DType::I64)?, cx.int_list("cats_int64s").unwrap_or_default())
    };
    if names.is_empty() {
        return Err(Diag::input(format!("no categories for operand 0, {}", cx.ty(x))));
    }
    let names = cx.constant(Tensor::i64s(&names))?;
    let column = cx.unsqueeze(x, &[rank])?;
    let hit = cx.compare(C::Eq, column, names)?;
    let y = cx.cast(hit, DType::F32)?;
    if !cx.flag("zeros", true) {
        let known = cx.reduce(R::Max, y, &[rank], false)?;
        let all: Vec<usize> = (0..rank).collect();
        let known = cx.reduce(R::Min, known, &all, false)?;
        cx.expect_value(known, 1)?;
    }
    cx.one(y)
}

/// Strings to numbers, or back.
pub fn categories(cx: &mut NodeCx) -> Out {
    let x = cx.input(0)?;
    let (ints, words) = (cx.int_list("cats_int64s").unwrap_or_default(), text::strings(cx, "cats_strings"));
    if ints.len() != words.len() || words.is_empty() {
        return Err(Diag::input(format!("{} strings for {} numbers", words.len(), ints.len())));
    }
    let words = Tensor::from_strings(vec![words.len()], words)?;
    let numbers = Tensor::i64s(&ints);
    if cx.dtype(x) == DType::Str {
        let default = Tensor::i64s(&[cx.int("default_int64", -1)]);
        return text::mapped(cx, x, words, (numbers, default));
    }
    let default = Tensor::from_strings(vec![1], vec![cx.text("default_string", "_Unused")])?;
    text::mapped(cx, x, numbers, (words, default))
}

//! Categories as numbers.

use crate::frontend::onnx::node::NodeCx;
use crate::frontend::onnx::op::text;
use crate::frontend::onnx::scope::Item;
use sinter_ir::op::Gather;
use sinter_ir::op::compare::CompareKind as C;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::{DType, Diag, Result, Tensor, ValueId};

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
    let strings = cx.dtype(x) == DType::Str;
    let (place, values, default) = if strings {
        let default = Tensor::i64s(&[cx.int("default_int64", -1)]);
        (word_place(cx, x, &words)?, Tensor::i64s(&ints), default)
    } else {
        let default = Tensor::from_strings(vec![1], vec![cx.text("default_string", "_Unused")])?;
        let n = words.len();
        (text::nearest(cx, x, Tensor::i64s(&ints))?, Tensor::from_strings(vec![n], words)?, default)
    };
    // Place 0 is the default.
    let one = cx.scalar(DType::I64, 1.0)?;
    let place = cx.sum(place, one)?;
    let (default, values) = (cx.constant(default)?, cx.constant(values)?);
    let list = cx.concat(&[default, values], 0)?;
    let y = cx.emit(Gather { axis: 0 }, &[list, place])?;
    cx.one(y)
}

/// First place of each string in a list, -1 where it is not there.
fn word_place(cx: &mut NodeCx, x: ValueId, list: &[String]) -> Result<ValueId> {
    let (words, at) = text::dictionary(list);
    let first = |w: usize| at.iter().position(|p| *p == w).unwrap_or_default() as i64;
    let order: Vec<i64> = std::iter::once(-1).chain((0..words.len()).map(first)).collect();
    let found = text::find(cx, x, words)?;
    let one = cx.scalar(DType::I64, 1.0)?;
    let found = cx.sum(found, one)?;
    let order = cx.constant(Tensor::i64s(&order))?;
    cx.emit(Gather { axis: 0 }, &[order, found])
}

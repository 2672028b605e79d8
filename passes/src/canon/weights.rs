//! Products of float data with constant weights that were quantised: the weights keep their codes.

use crate::rebuild::Rebuild;
use sinter_ir::op::quantized_matmul::{Activations, Offset};
use sinter_ir::op::{Constant, Dequantize, QuantizedMatMul};
use sinter_ir::{DType, Node, Op, Result, Tensor, ValueId};

/// Constant weights `[n, k]` in codes.
struct Weights {
    codes: Tensor,
    scale: Tensor,
    zero: Tensor,
    block: usize,
}

/// `MatMul(x, Dequantize(w)) -> QuantizedMatMul(x, w)`, and the same of transposed weights, where blocks run along the
/// terms of the sums and are made of whole words of codes.
pub(super) fn product(rb: &mut Rebuild, node: &Node, inputs: &[ValueId]) -> Result<Option<ValueId>> {
    let &[x, w] = inputs else { return Ok(None) };
    let Some(w) = (rb.graph.ty(x).dtype == DType::F32).then(|| find(rb, w)).flatten().transpose()? else {
        return Ok(None);
    };
    let none = w.zero.bytes().iter().all(|&b| b == 0);
    let offset = if none { Offset::None } else { Offset::Zero };
    let op = QuantizedMatMul {
        block: w.block,
        activations: Activations::Float,
        offset,
        middle: 0,
        table: vec![],
        nibbles: None,
    };
    let mut operands = vec![x];
    for tensor in [Some(w.codes), Some(w.scale), (!none).then_some(w.zero)].into_iter().flatten() {
        operands.push(rb.add1(Constant { tensor }, &[], &node.origin)?);
    }
    rb.report.fired("integers/weights");
    rb.add1(op, &operands, &node.origin).map(Some)
}

/// The codes behind an operand `[k, n]`.
fn find(rb: &Rebuild, v: ValueId) -> Option<Result<Weights>> {
    let producer = |v: ValueId| rb.graph.value(v).def.map(|(id, _)| rb.graph.node(id));
    let mut node = producer(v)?;
    // Whether codes are stored with a row for each column of the operand.
    let mut rows = false;
    if let Op::Transpose(t) = &node.op
        && t.perm == [1, 0]
    {
        rows = true;
        node = producer(node.inputs[0])?;
    }
    let Op::Dequantize(d) = &node.op else { return None };
    let tensor = |i: usize| node.inputs.get(i).and_then(|&v| rb.graph.as_const(v));
    weights(d, [tensor(0)?, tensor(1)?, tensor(2)?], rows)
}

fn weights(d: &Dequantize, [codes, scale, zero]: [&Tensor; 3], rows: bool) -> Option<Result<Weights>> {
    let small = codes.dtype().is_int() && codes.dtype().bits() <= 8;
    let &[a, b] = codes.shape() else { return None };
    let (n, k) = if rows { (a, b) } else { (b, a) };
    let terms = if rows { 1 } else { 0 };
    if !small || d.to != DType::F32 || n * k == 0 || !matches!(scale.dtype(), DType::F16 | DType::F32) {
        return None;
    }
    // One scale for all, one for each column of the product, or blocks along its terms.
    let (block, at): (usize, Box<dyn Fn(usize, usize) -> usize>) = match scale.rank() {
        _ if scale.len() == 1 => (k, Box::new(|_, _| 0)),
        1 if d.block == 0 && d.axis != terms => (k, Box::new(|j, _| j)),
        2 if d.block > 0 && d.axis == terms => {
            let blocks = k.div_ceil(d.block);
            let place = move |j: usize, t: usize| if rows { j * blocks + t } else { t * n + j };
            (d.block.min(k), Box::new(place))
        }
        _ => return None,
    };
    let word = if codes.dtype().bits() <= 4 { 8 } else { 4 };
    if !k.is_multiple_of(word) || block < k && !block.is_multiple_of(word) {
        return None;
    }
    let blocks = k.div_ceil(block);
    let grid: Vec<usize> = (0..n * blocks).map(|i| at(i / blocks, i % blocks)).collect();
    let turned = || {
        if rows {
            return Ok(codes.clone());
        }
        let order: Vec<usize> = (0..n * k).map(|i| i % k * n + i / k).collect();
        codes.pick(vec![n, k], &order)
    };
    let all = || {
        Ok(Weights {
            codes: turned()?,
            scale: scale.pick(vec![n, blocks], &grid)?,
            zero: zero.pick(vec![n, blocks], &grid)?,
            block,
        })
    };
    Some(all())
}

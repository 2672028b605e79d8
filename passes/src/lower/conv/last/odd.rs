//! Convolutions of bf16 with an odd number of channels, by words of two neighbours in memory.
//!
//! The channels under neighbouring taps of the innermost axis are one run in memory. Where rows and strides are whole
//! words, so that runs of all points begin in the same half of one, words take the place of points: the run, begun and
//! ended with a weight of 0 where it is cut, is a window over points of one channel.

use super::super::Layer;
use bytes::Bytes;
use sinter_ir::op::Conv;
use sinter_ir::{DType, Result, Tensor, TensorType};

/// Such a convolution in words.
pub struct Words {
    pub op: Conv,
    pub x: TensorType,
    pub weights: Tensor,
}

/// Whether a convolution is one, by what its data and its weights look like.
pub fn fits(op: &Conv, x: &TensorType, w: &[usize]) -> bool {
    let (Some(size), Some(&channels)) = (x.dims.iter().nth_back(1).and_then(|d| d.as_const()), w.get(1))
    else {
        return false;
    };
    let even = |n: i64| n * channels as i64 % 2 == 0;
    let last = |v: &[usize]| v.last().copied().unwrap_or(0);
    let known = op.pads_before.last().is_some_and(|p| p.as_const().is_some());
    known
        && op.channels_last
        && op.group == 1
        && last(&op.dilations) == 1
        && even(size)
        && even(last(&op.strides) as i64)
}

impl Words {
    /// Of a layer that [`fits`], and its weights in bf16.
    pub fn of(layer: &Layer, w: &Tensor) -> Result<Self> {
        let (mut op, mut x) = (layer.op.clone(), layer.xt.clone());
        let [o, c] = [w.shape()[0], w.shape()[1]];
        let taps = w.shape().last().copied().unwrap_or(1);
        let outer: usize = w.shape()[2..w.rank() - 1].iter().product();
        let pad = op.pads_before.last().and_then(|p| p.as_const()).unwrap_or(0) * c as i64;
        let lead = pad.rem_euclid(2) as usize;
        let words = (lead + taps * c).div_ceil(2);
        let at = |o: usize, t: usize, run: usize| {
            let (tap, channel) = (run.checked_sub(lead)? / c, run.checked_sub(lead)? % c);
            let place = ((o * c + channel) * outer + t) * taps + tap;
            (tap < taps).then(|| w.bytes().get(2 * place..2 * place + 2)).flatten()
        };
        let mut bytes = Vec::with_capacity(4 * o * outer * words);
        for (o, t) in (0..o).flat_map(|o| (0..outer).map(move |t| (o, t))) {
            for run in 0..2 * words {
                bytes.extend_from_slice(at(o, t, run).unwrap_or(&[0, 0]));
            }
        }
        let mut shape = w.shape().to_vec();
        shape[1] = 1;
        if let Some(last) = shape.last_mut() {
            *last = words;
        }
        let rank = x.rank();
        x.dims[rank - 2] = (x.dims[rank - 2].clone() * (c as i64).into()).div(&2.into());
        x.dims[rank - 1] = 1.into();
        if let (Some(stride), Some(before)) = (op.strides.last_mut(), op.pads_before.last_mut()) {
            *stride = *stride * c / 2;
            *before = ((pad + lead as i64) / 2).into();
        }
        let weights = Tensor::from_bytes(DType::U32, shape, Bytes::from(bytes))?;
        Ok(Self { op, x, weights })
    }
}

//! Channels of what depthwise convolutions read, brought to one size.
//!
//! A depthwise convolution multiplies every channel by weights of its own, so `conv(x, w) = conv(x / s, w * s)` for any
//! number `s` per channel. Dividing by the largest magnitude of a channel gives every channel all bytes, instead of as many
//! as its share of the largest one. The division is part of the kernel that makes `x`. Weights have a scale per channel
//! anyway. This is what cross-layer equalisation is after, without asking what stands between the layers.

use super::plan::{Bytes, Layer, Plan};
use sinter_ir::{Graph, Op, ValueId};

/// Smallest part of the largest channel that another one is taken for: data that was not seen may have more.
const LEAST: f32 = 1.0 / 64.0;

/// Whether a layer multiplies every channel by weights of its own.
pub fn is_depthwise(g: &Graph, layer: &Layer) -> bool {
    let shape = g.constant(layer.w).map(|t| t.shape().to_vec()).unwrap_or_default();
    match &g.node(layer.node).op {
        Op::Conv(c) => !c.channels_last && shape.len() > 2 && shape[1] == 1 && shape[0] == c.group,
        _ => false,
    }
}

/// Values that nothing but depthwise layers read as bytes, with their channels along axis 1.
pub fn candidates(g: &Graph, plan: &Plan) -> Vec<(ValueId, usize)> {
    let reads = |v: ValueId| plan.reads.iter().filter(move |(n, i)| g.node(*n).inputs.get(*i) == Some(&v));
    let depthwise = |n| plan.layers.iter().any(|l| l.node == n && is_depthwise(g, l));
    let candidate = |(v, b): (&ValueId, &Bytes)| {
        let channels = g.ty(*v).dims.get(1)?.as_const().and_then(|c| usize::try_from(c).ok())?;
        let alone = *b == Bytes::Rounded && !plan.parts.contains_key(v);
        (alone && channels > 1 && reads(*v).all(|(n, _)| depthwise(*n))).then_some((*v, channels))
    };
    plan.bytes.iter().filter_map(candidate).collect()
}

/// What channels with these largest magnitudes are divided by.
pub fn scales(largest: &[f32]) -> Vec<f32> {
    let most = largest.iter().copied().fold(0.0, f32::max);
    if !most.is_normal() {
        return vec![1.0; largest.len()];
    }
    largest.iter().map(|m| (m / most).max(LEAST)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_brought_to_the_size_of_the_largest() {
        assert_eq!(scales(&[4.0, 1.0, 0.0, 2.0]), [1.0, 0.25, LEAST, 0.5]);
        assert_eq!(scales(&[0.0, 0.0]), [1.0, 1.0]);
    }
}

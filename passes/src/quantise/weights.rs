//! Weights of layers as signed bytes, a scale for every output channel.

use crate::compress::Error;
use sinter_ir::{DType, Result, Tensor};

/// Weights in bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// Bytes between -127 and 127.
    pub codes: Tensor,
    /// Per output channel.
    pub scale: Vec<f32>,
    /// What rounding changed.
    pub error: Error,
}

/// Rounds weights whose output channels are along `axis`. The largest of every channel becomes 127.
pub fn quantise(w: &Tensor, axis: usize) -> Result<Weights> {
    let values = w.to_f32()?;
    let channels = w.shape().get(axis).copied().unwrap_or(1).max(1);
    let inner: usize = w.shape().iter().skip(axis + 1).product::<usize>().max(1);
    let mut largest = vec![0f32; channels];
    for (i, v) in values.iter().enumerate() {
        let m = &mut largest[i / inner % channels];
        *m = m.max(v.abs());
    }
    let step = |m: &f32| if (m / 127.0).is_normal() { m / 127.0 } else { 1.0 };
    let scale: Vec<f32> = largest.iter().map(step).collect();
    let mut error = Error::default();
    let code = |(i, v): (usize, &f32)| {
        let s = scale[i / inner % channels];
        let q = (v / s).round_ties_even().clamp(-127.0, 127.0);
        error.count(*v, q * s);
        q as i64
    };
    let codes: Vec<i64> = values.iter().enumerate().map(code).collect();
    Ok(Weights { codes: Tensor::from_i64(DType::I8, w.shape().to_vec(), &codes)?, scale, error })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_has_its_own_scale() {
        let t = Tensor::f32s(vec![2, 3], &[1.27, -0.635, 0.004, 0.0, 0.0, 0.0]).unwrap();
        let rows = quantise(&t, 0).unwrap();
        assert_eq!(rows.codes.to_i64().unwrap(), [127, -64, 0, 0, 0, 0]);
        assert_eq!(rows.scale[1], 1.0);
        assert!((rows.scale[0] - 0.01).abs() < 1e-8);
        let columns = quantise(&t, 1).unwrap();
        assert_eq!(columns.codes.to_i64().unwrap(), [127, -127, 127, 0, 0, 0]);
        assert!(columns.error.noise < 1e-12 && rows.error.noise > 1e-6);
    }
}

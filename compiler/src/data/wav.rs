//! Sound files as float samples.

use super::InputSpec;
use sinter_ir::{DType, Diag, Result, Tensor};

/// Reads a WAV file (8 to 32 bit integers or floats), mixes it to mono in [-1, 1] and gives it the input's
/// shape: the longest dim takes the samples, all others must allow 1. A fixed length is zero-padded or cut.
pub fn read(bytes: &[u8], spec: &InputSpec) -> Result<Tensor> {
    let bad = |e: hound::Error| Diag::input(format!("cannot read the WAV file: {e}"));
    let mut reader = hound::WavReader::new(std::io::Cursor::new(bytes)).map_err(bad)?;
    let format = reader.spec();
    let samples: Vec<f32> = match format.sample_format {
        hound::SampleFormat::Float => reader.samples::<f32>().collect::<Result<_, _>>().map_err(bad)?,
        hound::SampleFormat::Int => {
            let scale = 1.0 / (1i64 << (format.bits_per_sample.clamp(1, 32) - 1)) as f32;
            let ints: Vec<i32> = reader.samples::<i32>().collect::<Result<_, _>>().map_err(bad)?;
            ints.into_iter().map(|v| v as f32 * scale).collect()
        }
    };
    let channels = usize::from(format.channels.max(1));
    let mono: Vec<f64> =
        samples.chunks_exact(channels).map(|c| f64::from(c.iter().sum::<f32>() / channels as f32)).collect();
    let axis = spec.sole_wide_axis().ok_or_else(|| {
        Diag::input(format!("input `{}` {} is not a run of samples", spec.name, spec.show()))
            .help("convert the sound to .npy in the input's shape")
    })?;
    if !matches!(spec.dtype, DType::F32 | DType::F16 | DType::F64) {
        return Err(Diag::input(format!(
            "input `{}` is {}: sound needs a float input",
            spec.name, spec.dtype
        )));
    }
    let (min, max) = spec.dims[axis];
    let n = mono.len().clamp(min, max);
    let mut shape = vec![1; spec.dims.len()];
    shape[axis] = n;
    let mut mono = mono;
    mono.resize(n, 0.0);
    Tensor::from_f64(spec.dtype, shape, &mono)
}

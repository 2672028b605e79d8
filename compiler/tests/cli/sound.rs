//! WAV files as inputs.

use super::{abs_model, common, ok, output, refused, scratch};
use hound::{SampleFormat, WavSpec, WavWriter};
use sinter::data::npy;
use sinter_ir::Tensor;
use std::path::Path;

/// Interleaved 16-bit samples at 16 kHz.
fn write(file: &Path, channels: u16, samples: &[i16]) {
    let spec =
        WavSpec { channels, sample_rate: 16000, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut w = WavWriter::create(file, spec).unwrap();
    samples.iter().for_each(|&s| w.write_sample(s).unwrap());
    w.finalize().unwrap();
}

#[test]
fn samples() {
    let dir = scratch("wav");
    write(&dir.join("mono.wav"), 1, &[0, 16384, 32767, -32768]);
    write(&dir.join("stereo.wav"), 2, &[100, 300, 8192, 8192, 0, 0]);
    let run = |model: &str, file: &str| output(&ok(&dir, &["run", model, file, "--json"]), "y");
    let open = abs_model(&dir, &[1, -1]);
    let (shape, v) = run(open, "mono.wav");
    assert_eq!((shape, v), (vec![1, 4], vec![0.0, 0.5, 32767.0 / 32768.0, 1.0]));
    let (shape, v) = run(open, "stereo.wav");
    assert_eq!((shape, v), (vec![1, 3], vec![200.0 / 32768.0, 0.25, 0.0]));
    // A fixed length is filled with silence, or cut.
    let long = abs_model(&dir, &[1, 16]);
    let (shape, v) = run(long, "mono.wav");
    assert_eq!((shape, v[3], v[4..].iter().sum::<f64>()), (vec![1, 16], 1.0, 0.0));
    let picture = abs_model(&dir, &[1, 3, 16, 16]);
    refused(&dir, &["run", picture, "mono.wav"], &["mono.wav", "not a run of samples"]);
    std::fs::write(dir.join("broken.wav"), "RIFFxxxxWAVE").unwrap();
    refused(&dir, &["run", open, "broken.wav"], &["broken.wav", "cannot read the WAV file"]);
}

/// A real front end of speech models: a second of two tones lights up two bands and no others.
#[test]
fn a_spectrogram_of_tones() {
    let Some(shared) = common::shared() else { return common::skip("real models not found") };
    let dir = scratch("spectrogram");
    let tone = |i: i32, hertz: f64| (f64::from(i) / 16000.0 * hertz * std::f64::consts::TAU).sin();
    let samples: Vec<i16> =
        (0..16000).map(|i| ((tone(i, 440.0) + tone(i, 3000.0)) * 8000.0) as i16).collect();
    write(&dir.join("tones.wav"), 1, &samples);
    let floats: Vec<f32> = samples.iter().map(|&s| f32::from(s) / 32768.0).collect();
    let array = Tensor::f32s(vec![1, 16000], &floats).unwrap();
    std::fs::write(dir.join("tones.npy"), npy::write(&array)).unwrap();
    let model = shared.join("models/oww-melspectrogram/model.onnx");
    let run = |file: &str| {
        let model = model.to_str().unwrap();
        output(&ok(&dir, &["run", model, file, "--json", "--dim", "samples=16000"]), "output")
    };
    let (shape, v) = run("tones.wav");
    assert_eq!(shape, [1, 1, 97, 32]);
    assert_eq!(run("tones.npy").1, v);
    let band = |b: usize| (10..90).map(|t| v[t * 32 + b]).sum::<f64>() / 80.0;
    let all: Vec<f64> = (0..32).map(band).collect();
    let peaks: Vec<usize> =
        (1..31).filter(|&b| all[b] > all[b - 1] && all[b] >= all[b + 1] && all[b] > all[15] + 10.0).collect();
    assert_eq!(peaks.len(), 2, "{all:?}");
}

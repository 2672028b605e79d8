//! Real models on the runtime's thread pool: the same bits on any number of threads.

use crate::{Model, scratch};
use sinter::driver::{self, Request};
use sinter::frontend::onnx::ImportOptions;
use sinter::session::Session;
use sinter_ir::Tensor;
use sinter_runtime::Image;

fn check(name: &str) {
    let Some(model) = Model::find(name) else { return };
    let request = Request {
        model: model.file.clone(),
        import: ImportOptions::default(),
        targets: vec!["native".into()],
        ..Request::default()
    };
    let mut done = driver::compile(&request, &|_| {}).unwrap();
    let b = done.bundles.remove(0);
    let n = b.manifest.name.clone();
    let file = scratch(&format!("threads-{name}")).join("weights");
    std::fs::write(&file, &b.files[&format!("{n}.weights")]).unwrap();
    let mut sessions: Vec<Session> = (1..=3)
        .map(|threads| {
            let archive = &b.files[&format!("lib{n}.a")];
            Session::new(b.manifest.clone(), archive, Image::map(&file).unwrap(), threads).unwrap()
        })
        .collect();
    let first = sessions[0].run(&model.inputs).unwrap();
    // Several rounds: what a run leaves in the arena must not reach the next one.
    for round in 0..3 {
        for (i, s) in sessions.iter_mut().enumerate() {
            let got = s.run(&model.inputs).unwrap();
            let bytes = |t: &[Tensor]| t.iter().map(|t| t.bytes().to_vec()).collect::<Vec<_>>();
            assert!(bytes(&got) == bytes(&first), "{name}: round {round} on {} threads differs", i + 1);
        }
    }
}

#[test]
fn quantised_images() {
    check("efficientnet-lite0-qdq");
}

#[test]
fn speech_with_state() {
    check("silero-vad");
}

#[test]
fn audio_convolutions() {
    check("basic-pitch");
}

#[test]
fn text() {
    check("magika-v3.3");
}

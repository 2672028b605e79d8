//! Tensor data in files beside the model: where they may lie, and what may be wrong with them.

use crate::build::{F32, encode, external, graph, model, node, value};
use crate::folder;
use sinter::frontend::onnx::{self, ImportOptions};
use sinter_ir::{Fault, Tensor};
use std::os::unix::fs::symlink;
use std::path::Path;

/// `y = x + w` with `w` at the given place.
fn added(entries: &[(&str, &str)]) -> Vec<u8> {
    let nodes = vec![node("Add", &["x", "w"], &["y"], vec![])];
    let held = vec![external("w", &[4], entries)];
    encode(&model(graph(vec![value("x", F32, &[4])], vec![value("y", F32, &[4])], held, nodes)))
}

fn bytes(v: &[f32]) -> Vec<u8> {
    v.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Imports and runs: `w` itself comes out.
fn read(path: &Path) -> Result<Vec<f32>, String> {
    let text = |d: Vec<sinter_ir::Diag>| {
        assert!(d.iter().all(|d| d.fault == Fault::Input), "{d:?}");
        d.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let skip = ImportOptions { skip_weights: true, ..ImportOptions::default() };
    let unread = onnx::survey(path, &skip).problems;
    let imported = onnx::import(path, &ImportOptions::default());
    // `check` says the same as `compile`.
    assert_eq!(unread.is_empty(), imported.is_ok());
    let module = imported.map_err(text)?.module;
    let zero = Tensor::f32s(vec![4], &[0.0; 4]).unwrap();
    Ok(sinter_ir::eval::module(&module, &[zero]).unwrap()[0].to_f32().unwrap())
}

fn fails(name: &str, entries: &[(&str, &str)], why: &str) {
    let dir = folder(name);
    std::fs::write(dir.join("w.bin"), bytes(&[0.0; 8])).unwrap();
    std::fs::write(dir.parent().unwrap().join("outside.bin"), bytes(&[9.0; 8])).unwrap();
    std::fs::write(dir.join("m.onnx"), added(entries)).unwrap();
    let e = read(&dir.join("m.onnx")).unwrap_err();
    assert!(e.contains(why), "{entries:?}: {e}");
    assert!(e.contains("`w`"), "the tensor is named: {e}");
}

#[test]
fn offset_and_length_select_the_bytes() {
    let dir = folder("slice");
    std::fs::write(dir.join("w.bin"), bytes(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])).unwrap();
    let path = dir.join("m.onnx");
    std::fs::write(&path, added(&[("location", "w.bin"), ("offset", "8"), ("length", "16")])).unwrap();
    assert_eq!(read(&path).unwrap(), [2.0, 3.0, 4.0, 5.0]);
    let files = onnx::import(&path, &ImportOptions::default()).unwrap().files;
    assert_eq!(files.len(), 2, "the weights file belongs to the model: {files:?}");
}

#[test]
fn subfolders_are_inside() {
    let dir = folder("sub");
    std::fs::create_dir(dir.join("data")).unwrap();
    std::fs::write(dir.join("data/w.bin"), bytes(&[1.0; 4])).unwrap();
    std::fs::write(dir.join("m.onnx"), added(&[("location", "./data/w.bin")])).unwrap();
    assert_eq!(read(&dir.join("m.onnx")).unwrap(), [1.0; 4]);
}

#[test]
fn names_that_leave_the_folder_are_refused() {
    let outside = folder("absolute").join("w.bin");
    std::fs::write(&outside, bytes(&[9.0; 4])).unwrap();
    fails("up", &[("location", "../outside.bin")], "must not leave");
    fails("updown", &[("location", "data/../../outside.bin")], "must not leave");
    fails("abs", &[("location", outside.to_str().unwrap())], "must not leave");
    fails("none", &[("location", "")], "must not leave");
    fails("unnamed", &[("offset", "0")], "without a location");
    fails("itself", &[("location", ".")], "not a regular file");
    fails("device", &[("location", "/dev/zero")], "must not leave");
}

#[test]
fn links_out_of_the_folder_are_refused() {
    for (name, target) in [("link", "../secret.bin"), ("chain", "hop.bin")] {
        let dir = folder(name);
        std::fs::write(dir.parent().unwrap().join("secret.bin"), bytes(&[9.0; 4])).unwrap();
        symlink("../secret.bin", dir.join("hop.bin")).unwrap();
        symlink(target, dir.join("w.bin")).unwrap();
        std::fs::write(dir.join("m.onnx"), added(&[("location", "w.bin")])).unwrap();
        let e = read(&dir.join("m.onnx")).unwrap_err();
        assert!(e.contains("link out of the model's folder"), "{e}");
    }
    // A folder that is a link leads out just the same.
    let dir = folder("dirlink");
    let other = folder("dirlink-target");
    std::fs::write(other.join("w.bin"), bytes(&[9.0; 4])).unwrap();
    symlink(&other, dir.join("data")).unwrap();
    std::fs::write(dir.join("m.onnx"), added(&[("location", "data/w.bin")])).unwrap();
    assert!(read(&dir.join("m.onnx")).unwrap_err().contains("link out of"));
}

/// The cache of Hugging Face: `snapshots/REVISION/*` are links to `blobs/*`, for the model as for its weights.
#[test]
fn blob_stores_work() {
    let dir = folder("hub");
    for sub in ["blobs", "snapshots/abc/onnx", "elsewhere"] {
        std::fs::create_dir_all(dir.join(sub)).unwrap();
    }
    std::fs::write(dir.join("blobs/1111"), added(&[("location", "model.onnx_data")])).unwrap();
    std::fs::write(dir.join("blobs/2222"), bytes(&[7.0; 4])).unwrap();
    let snapshot = dir.join("snapshots/abc/onnx");
    symlink("../../../blobs/1111", snapshot.join("model.onnx")).unwrap();
    symlink("../../../blobs/2222", snapshot.join("model.onnx_data")).unwrap();
    assert_eq!(read(&snapshot.join("model.onnx")).unwrap(), [7.0; 4]);
    // The same links to somewhere else than the model's own store lead out.
    std::fs::write(dir.join("elsewhere/3333"), bytes(&[9.0; 4])).unwrap();
    std::fs::remove_file(snapshot.join("model.onnx_data")).unwrap();
    symlink("../../../elsewhere/3333", snapshot.join("model.onnx_data")).unwrap();
    assert!(read(&snapshot.join("model.onnx")).unwrap_err().contains("link out of"));
}

#[test]
fn wrong_ranges_are_refused() {
    let at = |rest: &[(&'static str, &'static str)]| [&[("location", "w.bin")], rest].concat();
    fails("past", &at(&[("offset", "20")]), "no 16 bytes at 20");
    fails("far", &at(&[("offset", "18446744073709551615")]), "bytes at 18446744073709551615");
    fails("short", &at(&[("length", "12")]), "needs 16");
    fails("long", &at(&[("length", "20")]), "needs 16");
    fails("negative", &at(&[("offset", "-4")]), "bad offset `-4`");
    fails("words", &at(&[("length", "many")]), "bad length `many`");
    fails("missing", &[("location", "none.bin")], "cannot find");
}

#[test]
fn a_model_without_a_place_has_no_files_beside_it() {
    let e = onnx::import_bytes(added(&[("location", "w.bin")]).into(), None, "m", &ImportOptions::default());
    assert!(e.unwrap_err()[0].message.contains("not a file"));
}

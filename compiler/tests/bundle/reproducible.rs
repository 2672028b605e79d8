//! The same model, flags and version give the same bytes, wherever and however often they are compiled.

use crate::{Model, has, run, scratch, sinter};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// All files below a folder.
pub fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut out = BTreeMap::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(d) = open.pop() {
        for e in std::fs::read_dir(d).unwrap() {
            let path = e.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                out.insert(path.strip_prefix(dir).unwrap().to_path_buf(), bytes);
            }
        }
    }
    out
}

pub fn assert_same(model: &str, what: &str, a: &BTreeMap<PathBuf, Vec<u8>>, b: &BTreeMap<PathBuf, Vec<u8>>) {
    let names: Vec<_> = a.keys().collect();
    assert_eq!(names, b.keys().collect::<Vec<_>>(), "{model}: {what}");
    let different: Vec<_> = names.into_iter().filter(|n| a[*n] != b[*n]).collect();
    assert!(different.is_empty(), "{model}: {what}: {different:?} differ");
}

/// Where and how one compilation happens.
struct Place {
    what: &'static str,
    folder: &'static str,
    threads: &'static str,
    one_cpu: bool,
    absolute: bool,
}

/// Targets, and files that their bundle has.
const ARCHIVE: (&str, &[&str]) =
    ("x86-64-v2,x86-64-v3", &["manifest.json", "report.json", "report.html", "rust/src/lib.rs"]);
const BROWSER: (&str, &[&str]) =
    ("browser-wasm", &["manifest.json", "report.json", "package.json", "speech.js", "speech.wasm"]);

const PLACES: [Place; 4] = [
    Place { what: "first", folder: "a", threads: "1", one_cpu: true, absolute: true },
    Place { what: "again", folder: "a", threads: "1", one_cpu: false, absolute: true },
    Place { what: "another folder", folder: "b/deep er", threads: "1", one_cpu: false, absolute: false },
    Place { what: "more threads", folder: "b/deep er", threads: "7", one_cpu: false, absolute: false },
];

fn compile(model: &Model, root: &Path, i: usize, targets: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let (p, taskset) = (&PLACES[i], has("taskset"));
    let (folder, even) = (root.join(p.folder), i.is_multiple_of(2));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(&model.file, folder.join("speech.onnx")).unwrap();
    let out = format!("out{i}");
    let mut c = if p.one_cpu && taskset {
        let mut c = Command::new("taskset");
        c.args(["-c", "0"]).arg(env!("CARGO_BIN_EXE_sinter"));
        c
    } else {
        sinter()
    };
    let (file, out) = if p.absolute {
        (folder.join("speech.onnx"), folder.join(out))
    } else {
        ("speech.onnx".into(), out.into())
    };
    run(c
        .arg("compile")
        .arg(file)
        .args(["--target", targets, "-o"])
        .arg(&out)
        .current_dir(&folder)
        .env("RAYON_NUM_THREADS", p.threads)
        .env("HOME", &folder)
        .env("TZ", if even { "UTC" } else { "Asia/Kathmandu" })
        .env("LC_ALL", if even { "C" } else { "de_DE.UTF-8" }));
    files(&folder.join(out))
}

fn check(name: &str, (targets, files): (&str, &[&str])) {
    let Some(model) = Model::find(name) else { return };
    let root = scratch(&format!("same-{name}-{targets}"));
    let all: Vec<_> = (0..PLACES.len()).map(|i| compile(&model, &root, i, targets)).collect();
    for must in files {
        assert!(all[0].contains_key(&Path::new(targets).join(must)), "{name}: no {must}");
    }
    for (p, other) in PLACES.iter().zip(&all).skip(1) {
        assert_same(name, p.what, &all[0], other);
    }
    // Nothing in a bundle tells where it was made.
    let place = root.to_str().unwrap();
    for (file, bytes) in &all[0] {
        let found = bytes.windows(place.len()).any(|w| w == place.as_bytes());
        assert!(!found, "{name}: {} names the folder it was made in", file.display());
    }
}

#[test]
fn quantised_images() {
    check("efficientnet-lite0-qdq", ARCHIVE);
}

#[test]
fn text() {
    check("magika-v3.3", ARCHIVE);
}

#[test]
fn branches_and_symbolic_dims() {
    check("silero-vad", ARCHIVE);
}

#[test]
fn language_model() {
    check("stories260k-dynamo18", ARCHIVE);
}

#[test]
fn for_browsers() {
    check("magika-v3.3", BROWSER);
}

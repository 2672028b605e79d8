//! The command line when results cannot be written: a full disk, a read-only folder, a closed pipe. Each is an
//! error that names the cause, nothing partial stays, and an existing bundle survives. Also the exit codes.

#![cfg(unix)]
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

#[path = "importer/build.rs"]
#[allow(dead_code)]
mod build;
mod common;

use build::{F32, encode, f32s, graph, model, node, value};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A user who owns nothing here.
const NOBODY: u32 = 65_534;

/// An empty folder of this test, with a small model in it.
fn folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("sinter-output-{}", std::process::id())).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let nodes = vec![node("MatMul", &["x", "w"], &["t"], vec![]), node("Relu", &["t"], &["y"], vec![])];
    let (x, y) = (value("x", F32, &[1, 64]), value("y", F32, &[1, 64]));
    let weights = vec![f32s("w", &[64, 64], &[0.5; 64 * 64])];
    std::fs::write(dir.join("net.onnx"), encode(&model(graph(vec![x], vec![y], weights, nodes)))).unwrap();
    dir
}

fn sinter(dir: &Path, arguments: &[&str]) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_sinter"));
    c.current_dir(dir).args(arguments).stdin(Stdio::null());
    c
}

const COMPILE: &[&str] = &["compile", "net.onnx", "--target", "x86-64-v2", "-o", "out"];

fn text(o: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr))
}

/// The run failed with a code and said why.
fn refused(o: &Output, code: i32, why: &str) {
    let text = text(o);
    assert_eq!(o.status.code(), Some(code), "{text}");
    assert!(text.contains(why), "`{why}` is not in: {text}");
    assert!(!text.contains("panicked"), "{text}");
}

/// Every file below a folder with its contents.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut out = BTreeMap::new();
    for e in std::fs::read_dir(dir).into_iter().flatten() {
        let path = e.unwrap().path();
        if path.is_dir() {
            out.extend(files(&path));
            // Empty folders count as well.
            out.insert(path, vec![]);
        } else {
            out.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    out
}

/// The command under a limit on the size of files, which acts like a disk that becomes full in the middle.
fn limited(dir: &Path, blocks: usize, arguments: &[&str]) -> Output {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut c = Command::new("sh");
    c.current_dir(dir).arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_sinter")).args(arguments);
    c.output().unwrap()
}

#[test]
fn a_disk_that_becomes_full_leaves_nothing() {
    let dir = folder("full");
    let before = files(&dir);
    // The header fits, the weights do not.
    let o = limited(&dir, 16, COMPILE);
    refused(&o, 5, "error in the output: cannot write");
    assert!(text(&o).contains("File too large"), "{}", text(&o));
    assert_eq!(files(&dir), before, "partial output stays");
}

#[test]
fn a_good_bundle_survives_a_full_disk() {
    let dir = folder("survives");
    assert!(sinter(&dir, COMPILE).status().unwrap().success());
    let good = files(&dir);
    assert!(good.keys().any(|p| p.ends_with("out/x86-64-v2/manifest.json")));
    refused(&limited(&dir, 16, COMPILE), 5, "cannot write");
    assert_eq!(files(&dir), good, "the old bundle is changed");
    // And a good run replaces it whole.
    assert!(sinter(&dir, COMPILE).status().unwrap().success());
    assert_eq!(files(&dir).keys().collect::<Vec<_>>(), good.keys().collect::<Vec<_>>());
}

#[test]
fn a_file_system_without_space() {
    let dir = folder("tmpfs");
    let mount = dir.join("small");
    std::fs::create_dir(&mount).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=24k", "none"]).arg(&mount).output();
    if !mounted.is_ok_and(|o| o.status.success()) {
        return common::skip("mounting a small file system is not allowed here");
    }
    let o =
        sinter(&dir, &["compile", "net.onnx", "--target", "x86-64-v2", "-o", "small/out"]).output().unwrap();
    let left = files(&mount);
    let unmounted = Command::new("umount").arg(&mount).status().unwrap();
    assert!(unmounted.success());
    refused(&o, 5, "No space left on device");
    assert!(left.is_empty(), "partial output stays: {:?}", left.keys());
}

#[test]
fn a_read_only_folder() {
    let dir = folder("read-only");
    std::fs::create_dir(dir.join("locked")).unwrap();
    std::fs::set_permissions(dir.join("locked"), PermissionsExt::from_mode(0o555)).unwrap();
    let mut c = sinter(&dir, &["compile", "net.onnx", "--target", "x86-64-v2", "-o", "locked/out"]);
    if whoami() == 0 {
        // Nothing is read-only to root.
        let own = dir.join("sinter");
        std::fs::copy(env!("CARGO_BIN_EXE_sinter"), &own).unwrap();
        let arguments: Vec<_> = c.get_args().map(ToOwned::to_owned).collect();
        c = Command::new(own);
        c.current_dir(&dir).args(arguments).uid(NOBODY).gid(NOBODY);
    }
    let o = c.output().unwrap();
    std::fs::set_permissions(dir.join("locked"), PermissionsExt::from_mode(0o755)).unwrap();
    refused(&o, 5, "cannot create");
    assert!(text(&o).contains("Permission denied"), "{}", text(&o));
    assert!(files(&dir.join("locked")).is_empty());
}

fn whoami() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").map_or(NOBODY, |m| m.uid())
}

#[test]
fn things_in_the_way_are_kept() {
    let dir = folder("in-the-way");
    std::fs::create_dir_all(dir.join("out/x86-64-v2")).unwrap();
    std::fs::write(dir.join("out/x86-64-v2/thesis.txt"), "years of work").unwrap();
    let before = files(&dir);
    refused(&sinter(&dir, COMPILE).output().unwrap(), 5, "is not a bundle");
    assert_eq!(files(&dir), before);
    // A file where the folder should be.
    let o =
        sinter(&dir, &["compile", "net.onnx", "--target", "x86-64-v2", "-o", "net.onnx"]).output().unwrap();
    refused(&o, 5, "cannot create");
    assert_eq!(files(&dir), before);
}

#[test]
fn standard_output_that_nobody_takes() {
    let dir = folder("stdout");
    for command in [&["targets"][..], &["inspect", "net.onnx"], &["check", "net.onnx"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let o = sinter(&dir, command).stdout(full).stderr(Stdio::piped()).output().unwrap();
        refused(&o, 5, "cannot write to standard output: No space left on device");
    }
    // The same for messages: there is nobody to tell.
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let status = sinter(&dir, &["compile", "none.onnx", "-o", "out"]).stderr(full).status().unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn exit_codes_tell_whose_fault_it_is() {
    let dir = folder("codes");
    let write = |name: &str, op: &str, dims: &[i64]| {
        let g = graph(
            vec![value("x", F32, dims)],
            vec![value("y", F32, dims)],
            vec![],
            vec![node(op, &["x"], &["y"], vec![])],
        );
        std::fs::write(dir.join(name), encode(&model(g))).unwrap();
    };
    write("unknown.onnx", "Frobnicate", &[4]);
    write("huge.onnx", "Relu", &[1 << 50]);
    std::fs::write(dir.join("text.onnx"), "this is no model").unwrap();
    let code = |arguments: &[&str]| {
        let o = sinter(&dir, arguments).output().unwrap();
        assert!(!text(&o).contains("panicked"), "{}", text(&o));
        o.status.code().unwrap()
    };
    let help = sinter(&dir, &["--help"]).output().unwrap();
    assert!(text(&help).contains("5 results could not be written"), "{}", text(&help));
    assert_eq!(code(COMPILE), 0);
    assert_eq!(code(&["compile", "none.onnx", "-o", "out"]), 1);
    assert_eq!(code(&["compile", "text.onnx", "-o", "out"]), 1);
    assert_eq!(code(&["compile", "net.onnx", "--target", "z80", "-o", "out"]), 1);
    assert_eq!(code(&["compile", "net.onnx", "--dim", "nonsense", "-o", "out"]), 1);
    assert_eq!(code(&["compile", "net.onnx"]), 2);
    assert_eq!(code(&["frobnicate"]), 2);
    assert_eq!(code(&["compile", "unknown.onnx", "-o", "out"]), 3);
    assert_eq!(code(&["check", "unknown.onnx"]), 3);
    assert_eq!(code(&["compile", "huge.onnx", "-o", "out"]), 4);
    assert_eq!(code(&["compile", "net.onnx", "-o", "net.onnx/out"]), 5);
}

//! Bundles as a device build sees them: linked into C, C++ and Rust programs, bit for bit the same each time, within
//! the stated bounds of memory.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod foreign;
mod levels;
mod limits;
mod link;
mod objects;
mod packages;
mod reproducible;
mod runtime_size;
mod startup;
mod texts;
mod threads;
mod tuned;
mod workers;

use sinter_ir::Tensor;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A model with stored inputs and outputs.
struct Model {
    name: String,
    file: PathBuf,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

impl Model {
    /// One of the models beside the checkout or in testdata; says so when it is missing.
    fn find(name: &str) -> Option<Self> {
        let here = common::root().join("testdata/models");
        let dirs = [Some(here), common::shared().map(|s| s.join("models"))];
        let dir = dirs.into_iter().flatten().find(|d| d.join(name).join("model.onnx").is_file());
        let Some(dir) = dir else {
            common::skip(&format!("model {name} not found"));
            return None;
        };
        let case = common::cases(&dir).into_iter().find(|c| c.name == name)?;
        let (inputs, outputs) = common::data(&case).unwrap().into_iter().next()?;
        Some(Self { name: case.name, file: case.model, inputs, outputs })
    }
}

/// An empty folder for one test.
fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bundle").join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Runs a command that must succeed; gives its standard output.
fn run(c: &mut Command) -> String {
    let out = c.output().unwrap_or_else(|e| panic!("{c:?}: {e}"));
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{c:?}: {}\n{text}{}", out.status, String::from_utf8_lossy(&out.stderr));
    text
}

fn sinter() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sinter"))
}

/// Whether a program is installed; says so when it is not.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
    if !found {
        common::skip(&format!("{program} is not installed"));
    }
    found
}

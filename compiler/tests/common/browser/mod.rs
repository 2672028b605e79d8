//! Bundles for browsers, run by their own ES modules in Node.js or in Chromium: one process per test thread, fed through
//! pipes.

#[path = "../../../../backends/tests/node/mod.rs"]
mod process;

use super::{Sizes, program_for};
use process::Node;
use serde_json::{Value, json};
use sinter_ir::program::Program;
use sinter_ir::target::TargetDesc;
use sinter_ir::{DType, Module, Tensor};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What runs the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Node.js.
    Node,
    /// A page in headless Chromium.
    Chromium,
}

impl Engine {
    /// Answers `{module, capacity, inputs}` and the inputs' bytes with `{outputs}` and their bytes, or `{error}`.
    fn start(self) -> std::io::Result<Node> {
        let script = |name: &str| format!("{}/tests/common/browser/{name}", env!("CARGO_MANIFEST_DIR"));
        match self {
            Self::Node => Node::start(&[&script("node.mjs")]),
            Self::Chromium => Node::start(&[&script("chromium.mjs"), env!("CARGO_TARGET_TMPDIR")]),
        }
    }
    fn running(self) -> &'static std::thread::LocalKey<RefCell<Option<Node>>> {
        match self {
            Self::Node => &NODE,
            Self::Chromium => &CHROMIUM,
        }
    }
    /// Ends the process of this thread, which a test that is the last to need it does.
    pub fn end(self) {
        if let Some(node) = self.running().take() {
            assert!(node.end().unwrap().success(), "{self:?} ended badly");
        }
    }
}

/// Whether Chromium is there, and Node.js to talk to it; says loudly when not.
pub fn chromium() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        let version = std::process::Command::new("chromium").arg("--version").output();
        let found = version.is_ok_and(|o| o.status.success());
        if !found {
            super::skip("no Chromium: nothing is run in a real browser");
        }
        found && there()
    })
}

/// Whether Node.js is there; says loudly when not.
pub fn there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        let found = process::installed();
        if !found {
            super::skip("no Node.js: bundles for browsers are not run");
        }
        found
    })
}

/// One load and run; the error of the pipe when the process is gone.
fn ask(node: &mut Node, head: &Value, inputs: &[Tensor]) -> std::io::Result<(Value, Vec<Vec<u8>>)> {
    node.send(head.to_string().as_bytes())?;
    for t in inputs.iter().filter(|t| t.dtype() != DType::Str) {
        node.send(t.bytes())?;
    }
    let answer: Value = serde_json::from_slice(&node.receive()?)?;
    let outputs = answer["outputs"].as_array().map_or(&[][..], Vec::as_slice);
    let with_bytes = outputs.iter().filter(|o| o["strings"].is_null());
    let bytes: std::io::Result<Vec<_>> = with_bytes.map(|_| node.receive()).collect();
    Ok((answer, bytes?))
}

thread_local! {
    static NODE: RefCell<Option<Node>> = const { RefCell::new(None) };
    static CHROMIUM: RefCell<Option<Node>> = const { RefCell::new(None) };
}

/// A bundle's files in a folder that goes away.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn write(program: &Program, target: &TargetDesc) -> Result<(Folder, Sizes), String> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let dir = Folder(place.join(format!("browser-{}-{number}", std::process::id())));
    let problems = sinter_backends::wasm::legalise(program);
    if !problems.is_empty() {
        return Err(format!("{problems:?}"));
    }
    let e = sinter_backends::wasm::emit(program, target).map_err(|d| d.to_string())?;
    std::fs::create_dir_all(&dir.0).unwrap();
    for (path, text) in sinter::web::files(program, &e.layout) {
        std::fs::write(dir.0.join(path), text).unwrap();
    }
    std::fs::write(dir.0.join(format!("{}.wasm", program.name)), &e.module).unwrap();
    std::fs::write(dir.0.join(format!("{}.weights", program.name)), &e.weights).unwrap();
    let code = e.code.values().sum();
    Ok((dir, Sizes { code, arena: program.arena_bytes, live: program.live_bytes }))
}

/// Compiles a module for browsers and runs it in Node.js, with states of a capacity where it has any.
pub fn run(module: Module, capacity: i64, inputs: &[Tensor]) -> Result<(Vec<Tensor>, Sizes), String> {
    run_in(Engine::Node, module, capacity, inputs)
}

/// The same in either engine.
pub fn run_in(
    engine: Engine,
    module: Module,
    capacity: i64,
    inputs: &[Tensor],
) -> Result<(Vec<Tensor>, Sizes), String> {
    let target = sinter_backends::target("browser-wasm").unwrap();
    let program = program_for(target, module)?;
    let (dir, sizes) = write(&program, target)?;
    let ports: Vec<Value> = program
        .inputs
        .iter()
        .zip(inputs)
        .map(|(p, t)| {
            let strings = (t.dtype() == DType::Str).then(|| t.strings().to_vec());
            json!({"name": p.name, "dtype": t.dtype(), "shape": t.shape(), "strings": strings})
        })
        .collect();
    let module = format!("file://{}/{}.js", dir.0.display(), program.name);
    let head = json!({"module": module, "capacity": capacity, "inputs": ports});
    let (answer, bytes) = engine.running().with_borrow_mut(|node| {
        let running = match node {
            Some(n) => n,
            None => node.insert(engine.start().unwrap()),
        };
        let answer = ask(running, &head, inputs);
        if answer.is_err() {
            *node = None;
        }
        answer.map_err(|e| format!("{engine:?}: {e}"))
    })?;
    if let Some(e) = answer["error"].as_str() {
        return Err(e.to_owned());
    }
    let mut bytes = bytes.into_iter();
    let outputs = answer["outputs"].as_array().map_or(&[][..], Vec::as_slice);
    let tensors = program.outputs.iter().zip(outputs).map(|(p, o)| {
        let shape: Vec<usize> = serde_json::from_value(o["dims"].clone()).unwrap();
        match serde_json::from_value::<Option<Vec<String>>>(o["strings"].clone()).unwrap() {
            Some(strings) => Tensor::from_strings(shape, strings),
            None => Tensor::from_bytes(p.dtype, shape, bytes.next().unwrap_or_default()),
        }
    });
    let tensors: Result<Vec<Tensor>, _> = tensors.collect();
    Ok((tensors.map_err(|d| d.to_string())?, sizes))
}

//! Runs WebAssembly modules in Node.js, one process per test thread, fed through pipes.

#[path = "../node/mod.rs"]
mod process;

use crate::host::Outcome;
use process::Node;
use sinter_backends::{target, wasm};
use sinter_ir::program::Program;
use std::cell::RefCell;
use std::io::Result;
use std::sync::OnceLock;

/// Answers `L module weights` with the module's number and `R number inputs dims` with code, outputs and dims. All
/// numbers are 32 bits, bytes have their number in front.
const SCRIPT: &str = r#"
const fs = require("fs");
function exactly(n) {
    const out = Buffer.alloc(n);
    for (let at = 0; at < n; ) {
        const got = fs.readSync(0, out, at, n - at);
        if (got === 0) process.exit(0);
        at += got;
    }
    return out;
}
const number = () => exactly(4).readInt32LE(0);
const bytes = () => exactly(number());
function write(buffer) {
    for (let at = 0; at < buffer.length; ) at += fs.writeSync(1, buffer, at);
}
function reply(parts) {
    const all = [];
    for (const p of parts) {
        const n = Buffer.alloc(4);
        n.writeInt32LE(typeof p === "number" ? p : p.length, 0);
        all.push(n);
        if (typeof p !== "number") all.push(p);
    }
    write(Buffer.concat(all));
}
const loaded = [];
for (;;) {
    const what = exactly(1).toString();
    if (what === "L") {
        const module = new WebAssembly.Module(bytes());
        const weights = bytes();
        // Only the module knows how much it needs.
        let memory, instance;
        for (let pages = 1; ; pages++) {
            memory = new WebAssembly.Memory({ initial: pages });
            try {
                instance = new WebAssembly.Instance(module, { env: { memory } });
                break;
            } catch (e) {
                if (pages > 999) throw e;
            }
        }
        const x = instance.exports;
        new Uint8Array(memory.buffer).set(weights, x.weights.value);
        if (x.init() !== 0) throw new Error("init");
        loaded.push({ x, memory });
        reply([loaded.length - 1]);
    } else {
        const { x, memory } = loaded[number()];
        const u8 = new Uint8Array(memory.buffer);
        for (let i = 0, n = number(); i < n; i++) u8.set(bytes(), x["input_" + i].value);
        const dims = bytes();
        u8.set(dims, x.dims.value);
        const sizes = bytes();
        const code = x.run();
        const parts = [code];
        for (let i = 0; i * 4 < sizes.length; i++) {
            const at = x["output_" + i].value;
            parts.push(Buffer.from(u8.slice(at, at + sizes.readInt32LE(4 * i))));
        }
        parts.push(Buffer.from(u8.slice(x.dims.value, x.dims.value + dims.length)));
        reply(parts);
    }
}
"#;

/// Whether Node.js is there; says loudly when not.
pub fn there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        let found = process::installed();
        if !found {
            eprintln!("SKIP: no Node.js: WebAssembly is emitted but not run");
        }
        found
    })
}

thread_local! {
    static NODE: RefCell<Option<Node>> = const { RefCell::new(None) };
}

fn start() -> Node {
    Node::start(&["-e", SCRIPT]).expect("Node.js starts")
}

/// A module in the thread's process.
pub struct Module {
    number: i32,
    sizes: Vec<u8>,
}

/// What a run gave: code, bytes of the outputs at their largest size, all dims of outputs.
pub type Ran = (i32, Vec<Vec<u8>>, Vec<i64>);

impl Module {
    /// Emits and loads a program.
    pub fn load(p: &Program) -> Self {
        let e = wasm::emit(p, target("browser-wasm").expect("a target")).expect("emits");
        let sizes = p.outputs.iter().flat_map(|o| (o.max_bytes as u32).to_le_bytes()).collect();
        let load = |node: &mut Node| -> Result<i32> {
            node.write(b"L")?;
            node.send(&e.module)?;
            node.send(&e.weights)?;
            node.number()
        };
        let number = NODE.with_borrow_mut(|node| load(node.get_or_insert_with(start)));
        Self { number: number.expect("Node.js loads"), sizes }
    }
    /// Runs it; `dims` are those of the inputs, `more` the number of those of the outputs.
    pub fn run(&self, inputs: &[&[u8]], dims: &[i64], more: usize) -> Ran {
        let all: Vec<u8> =
            dims.iter().copied().chain((0..more).map(|_| 0)).flat_map(i64::to_le_bytes).collect();
        let run = |node: &mut Node| -> Result<Ran> {
            node.write(b"R")?;
            for n in [self.number, inputs.len() as i32] {
                node.write(&n.to_le_bytes())?;
            }
            inputs.iter().chain(&[&all[..], &self.sizes]).try_for_each(|bytes| node.send(bytes))?;
            let code = node.number()?;
            let outputs = (0..self.sizes.len() / 4).map(|_| node.receive()).collect::<Result<_>>()?;
            let words = node.receive()?;
            let words = words.chunks_exact(8).skip(dims.len());
            Ok((code, outputs, words.map(|w| i64::from_le_bytes(w.try_into().unwrap())).collect()))
        };
        NODE.with_borrow_mut(|node| run(node.get_or_insert_with(start))).expect("Node.js answers")
    }
    /// As [`Module::run`], in the form of the kernels' tests: a first output whose dims are the symbols.
    pub fn outcome(&self, inputs: &[&[u8]], dims: &[i64], more: usize, syms: usize) -> Outcome {
        match self.run(inputs, dims, more) {
            (0, bufs, dims) => Outcome { code: 0, bufs: bufs[1..].to_vec(), syms: dims[..syms].to_vec() },
            (code, ..) => Outcome { code, bufs: vec![], syms: vec![] },
        }
    }
}

//! Runs a kernel as a program of one call, here or in an emulator, and in the interpreter, on the same bytes.

use crate::r#gen::{BYTES, SYMS};
use crate::{emulated, node, source};
use sinter_backends::{Emitted, c, emit, legalise, wasm};
use sinter_ir::graph::{SymKind, Symbols};
use sinter_ir::program::{Loc, Port, Program, Step};
use sinter_ir::target::TargetDesc;
use sinter_ir::tile::interp::{Options, Space, View, run_in};
use sinter_ir::tile::{Access, Kernel};
use sinter_ir::{DType, Expr};
use sinter_runtime::remote::{Elements, Remote, Request};
use sinter_runtime::{Aligned, Bundle, Error, Image, Outputs};

/// What a run leaves behind: the kernel's code, written buffers, symbols.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub code: i32,
    pub bufs: Vec<Vec<u8>>,
    pub syms: Vec<i64>,
}

/// Instead of a kernel's code: the emulator gave up, which says nothing about the kernel.
pub const EMULATOR_ABORTED: i32 = i32::MIN;

/// Inputs of one run: bytes per buffer and symbol values.
#[derive(Debug, Clone)]
pub struct Case {
    pub bufs: Vec<Vec<u8>>,
    pub syms: Vec<i64>,
}

fn bytes_port(name: &str, n: usize) -> Port {
    Port { name: name.into(), dtype: DType::U8, dims: vec![n.into()], max_bytes: n as u64 }
}

/// A program that binds all symbols from the dims of a first, empty input, calls one of the kernels on its buffers
/// and gives all symbols back as dims of an empty output. The last input tells which kernel: one byte each. Read buffers
/// are inputs, written ones outputs, which live in the arena and are copied in and out: what a kernel leaves alone must
/// stay.
fn program(kernels: &[Kernel], syms: usize) -> Program {
    let mut p = Program { name: "k".into(), ..Program::default() };
    p.symbols = Symbols::default();
    let syms: Vec<Expr> = (0..syms)
        .map(|i| p.symbols.fresh(format!("s{i}"), i64::MIN / 2, i64::MAX / 2, SymKind::Input).into())
        .collect();
    let shape =
        |dims: &[Expr]| Port { name: "dims".into(), dtype: DType::U8, dims: dims.to_vec(), max_bytes: 0 };
    p.inputs.push(shape(&syms));
    p.outputs.push(shape(&syms));
    let mut at = (8 * syms.len() as u64).next_multiple_of(64);
    let (mut before, mut after, mut args) = (vec![], vec![], vec![]);
    for b in &kernels[0].bufs {
        if b.access == Access::Read {
            args.push(Loc::Input(p.inputs.len() as u32));
            p.inputs.push(bytes_port(&b.name, BYTES));
            continue;
        }
        let (input, output, arena) =
            (Loc::Input(p.inputs.len() as u32), Loc::Output(p.outputs.len() as u32), Loc::Arena(at));
        p.inputs.push(bytes_port(&b.name, BYTES));
        p.outputs.push(bytes_port(&b.name, BYTES));
        at = (at + BYTES as u64).next_multiple_of(64);
        args.push(arena);
        before.push(Step::Copy { dst: arena, src: input, bytes: BYTES.into() });
        after.push(Step::Copy { dst: output, src: arena, bytes: BYTES.into() });
    }
    before.push(Step::Copy {
        dst: Loc::Arena(at),
        src: Loc::Input(p.inputs.len() as u32),
        bytes: kernels.len().into(),
    });
    p.inputs.push(bytes_port("which", kernels.len()));
    p.steps = before;
    for i in 0..kernels.len() {
        let call = Step::Call { kernel: i as u32, args: args.clone(), sizes: vec![], label: "test".into() };
        p.steps.push(Step::If { cond: Loc::Arena(at + i as u64), then: vec![call], els: vec![] });
    }
    p.steps.extend(after);
    p.arena_bytes = (at + kernels.len() as u64).next_multiple_of(64);
    p.kernels = kernels.to_vec();
    p
}

/// Kernels compiled for a target, in this process or in that of an emulator or Node.js. They are compiled together:
/// the functions around them cost as much as a kernel.
pub struct Native {
    engine: Engine,
    program: Program,
}

enum Engine {
    Here(Box<Bundle>),
    Emulated(Box<Emulated>),
    Node(node::Module),
}

/// A bundle in an emulator, and what is needed to start that anew.
struct Emulated {
    remote: Remote,
    target: TargetDesc,
    bundle: Emitted,
    threads: usize,
}

impl Emulated {
    fn load(target: TargetDesc, bundle: Emitted, threads: usize) -> Self {
        Self { remote: start(&target, &bundle, threads), target, bundle, threads }
    }
    fn run(
        &mut self,
        inputs: &[&[u8]],
        dims: &[i64],
        sizes: &[usize],
        rank: usize,
    ) -> Result<Outputs, Error> {
        let inputs: Vec<Elements> = inputs.iter().map(|b| Elements::Bytes(b)).collect();
        let texts = vec![false; sizes.len()];
        let request =
            Request { inputs: &inputs, dims, output_bytes: sizes, output_texts: &texts, output_dims: rank };
        self.remote.run(&request, None).map(|answer| answer.outputs)
    }
    fn restart(&mut self) {
        self.remote = start(&self.target, &self.bundle, self.threads);
    }
}

fn start(target: &TargetDesc, bundle: &Emitted, threads: usize) -> Remote {
    let mut remote = emulated::start(&target.triple, &target.features).expect("starts");
    remote.load("k", &bundle.archive, &bundle.weights, threads).expect("loads");
    remote
}

impl Native {
    /// Compiles kernels that have the same buffers.
    pub fn new(kernels: &[Kernel], target: &TargetDesc, threads: usize) -> Self {
        let program = program(kernels, SYMS);
        if c::is(target) {
            let bundle = source::load(&program, target, threads);
            return Self { engine: Engine::Here(Box::new(bundle)), program };
        }
        assert!(legalise(&program, target).is_empty(), "{:?}", legalise(&program, target));
        if wasm::is(target) {
            return Self { engine: Engine::Node(node::Module::load(&program)), program };
        }
        let e = emit(&program, target).expect("emits");
        let engine = if target.triple.starts_with(std::env::consts::ARCH) {
            let weights = Image::Heap(Aligned::copy_of(&e.weights).expect("memory"));
            Engine::Here(Box::new(Bundle::load("k", &e.archive, weights, threads).expect("loads")))
        } else {
            Engine::Emulated(Box::new(Emulated::load(target.clone(), e, threads)))
        };
        Self { engine, program }
    }
    /// Runs one of them.
    pub fn run(&mut self, which: usize, case: &Case) -> Outcome {
        let ports = &self.program;
        let mut on = vec![0u8; ports.kernels.len()];
        on[which] = 1;
        let mut inputs: Vec<&[u8]> = vec![&[]];
        inputs.extend(case.bufs.iter().map(Vec::as_slice));
        inputs.push(&on);
        let mut dims = case.syms.clone();
        dims.extend(inputs[1..].iter().map(|b| b.len() as i64));
        let sizes: Vec<usize> = ports.outputs.iter().map(|o| o.max_bytes as usize).collect();
        let rank = ports.outputs.iter().map(|o| o.dims.len()).sum();
        let out = match &mut self.engine {
            // SAFETY: every input has the bytes that its dims state, sizes are the program's own.
            Engine::Here(bundle) => unsafe { bundle.run(&inputs, &dims, &sizes, rank) },
            Engine::Emulated(there) => match there.run(&inputs, &dims, &sizes, rank) {
                Err(Error::Call(why)) if emulated::gave_up(&there.target.features, &why) => {
                    println!("SKIP: {} on {}: {why}", ports.kernels[which].name, there.target.name);
                    there.restart();
                    return Outcome { code: EMULATOR_ABORTED, bufs: vec![], syms: vec![] };
                }
                other => other,
            },
            Engine::Node(module) => return module.outcome(&inputs, &dims, rank, case.syms.len()),
        };
        match out {
            Ok(out) => {
                Outcome { code: 0, bufs: out.bytes[1..].to_vec(), syms: out.dims[..case.syms.len()].to_vec() }
            }
            Err(Error::Code(code)) => Outcome { code, bufs: vec![], syms: vec![] },
            Err(e) => panic!("{e}"),
        }
    }
}

/// Runs in the interpreter.
pub fn interpret(k: &Kernel, case: &Case, fused: bool) -> Outcome {
    let mut bufs = case.bufs.clone();
    let mut syms = case.syms.clone();
    let views: Vec<View> =
        bufs.iter().enumerate().map(|(i, b)| View { space: i, offset: 0, len: b.len() }).collect();
    let mut spaces: Vec<Space> = bufs.iter_mut().map(|b| Space::Write(b)).collect();
    let options = Options { fused, ..Options::default() };
    let code = run_in(k, &mut spaces, &views, &mut syms, 0..i64::MAX, options).expect("the kernel is sound");
    if code != 0 {
        return Outcome { code, bufs: vec![], syms: vec![] };
    }
    let written = k.bufs.iter().zip(bufs).filter(|(b, _)| b.access != Access::Read).map(|(_, bytes)| bytes);
    Outcome { code, bufs: written.collect(), syms }
}

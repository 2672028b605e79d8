//! Golden tests of kernels: `testdata/filetests/tile/*.txt`.
//!
//! A file starts with `#` lines that say what it shows, then comes a kernel, a line `-----`, and runs of it:
//! `run` with values of symbols, a line `name: dtype [elements]` per buffer (without elements it starts as zeros),
//! `=>` with the kernel's code, and what written buffers hold then. `BLESS=1` rewrites what is behind `=>`. The
//! interpreter and the machine code of every target that runs here must both give exactly this.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use sinter_ir::graph::{SymKind, Symbols};
use sinter_ir::program::{BufferLife, Loc, Port, Program, Step, interp, verify};
use sinter_ir::target::TargetDesc;
use sinter_ir::tile::{Access, Kernel};
use sinter_ir::{DType, Tensor};
use sinter_passes::math;
use std::collections::BTreeMap;
use std::path::Path;

const SEPARATOR: &str = "-----\n";

/// One run as it is written.
#[derive(Default)]
struct Run {
    /// `run` line.
    head: String,
    syms: Vec<i64>,
    /// Element type and contents by buffer name.
    bufs: BTreeMap<String, (DType, Tensor)>,
    /// Lines between head and `=>`.
    given: String,
}

fn tensor(dtype: DType, list: &str) -> Tensor {
    let words: Vec<&str> =
        list.trim_matches(['[', ']']).split(',').map(str::trim).filter(|w| !w.is_empty()).collect();
    if dtype.is_float() {
        let v: Vec<f64> = words.iter().map(|w| w.parse().unwrap()).collect();
        return Tensor::from_f64(dtype, vec![v.len()], &v).unwrap();
    }
    let v: Vec<i64> = words.iter().map(|w| w.parse().unwrap()).collect();
    Tensor::from_i64(dtype, vec![v.len()], &v).unwrap()
}

fn show(t: &Tensor) -> String {
    let words: Vec<String> = match t.dtype() {
        DType::F32 => t.to_f32().unwrap().iter().map(ToString::to_string).collect(),
        d if d.is_float() => t.to_f64().unwrap().iter().map(ToString::to_string).collect(),
        _ => t.to_i64().unwrap().iter().map(ToString::to_string).collect(),
    };
    format!("{} [{}]", t.dtype(), words.join(", "))
}

fn runs(text: &str) -> Vec<Run> {
    let mut runs: Vec<Run> = vec![];
    let mut golden = false;
    for line in text.lines() {
        if let Some(syms) = line.strip_prefix("run") {
            let syms = syms.split_whitespace().enumerate().map(|(i, w)| {
                w.strip_prefix(&format!("s{i}=")).unwrap_or_else(|| panic!("{line}")).parse().unwrap()
            });
            runs.push(Run { head: line.into(), syms: syms.collect(), ..Run::default() });
            golden = false;
        } else if line.starts_with("=>") {
            golden = true;
        } else if !golden {
            let run = runs.last_mut().unwrap();
            run.given += &format!("{line}\n");
            let (name, rest) = line.split_once(": ").unwrap();
            let (dtype, list) = rest.split_once(' ').unwrap_or((rest, "[]"));
            let dtype: DType = dtype.parse().unwrap();
            run.bufs.insert(name.into(), (dtype, tensor(dtype, list)));
        }
    }
    runs
}

/// A program that sets the symbols, copies written buffers into the arena, calls the kernel and copies them out.
fn program(k: &Kernel, run: &Run) -> (Program, Vec<Tensor>) {
    let mut p = Program {
        name: "k".into(),
        kernels: vec![k.clone()],
        symbols: Symbols::default(),
        ..Program::default()
    };
    let (mut before, mut after, mut args, mut inputs) = (vec![], vec![], vec![], vec![]);
    for (i, v) in run.syms.iter().enumerate() {
        let sym = p.symbols.fresh(format!("s{i}"), -1000, 1000, SymKind::Run);
        before.push(Step::SetSym { sym, value: (*v).into() });
    }
    let mut at = (8 * run.syms.len() as u64).next_multiple_of(64);
    for b in &k.bufs {
        let bytes = b.bytes.eval(&|s| run.syms.get(s.0 as usize).copied()).unwrap();
        let (dtype, given) =
            run.bufs.get(&b.name).unwrap_or_else(|| panic!("nothing about buffer {}", b.name));
        let count = bytes as usize * 8 / dtype.bits();
        let t = if given.is_empty() { Tensor::zeros(*dtype, vec![count]).unwrap() } else { given.clone() };
        assert_eq!(t.bytes().len() as i64, bytes, "buffer {}", b.name);
        let port =
            Port { name: b.name.clone(), dtype: *dtype, dims: vec![count.into()], max_bytes: bytes as u64 };
        let input = Loc::Input(p.inputs.len() as u32);
        p.inputs.push(port.clone());
        inputs.push(t);
        if b.access == Access::Read {
            args.push(input);
            continue;
        }
        // Room for the largest value of the symbols, which the verifier wants to see.
        let room = (p.symbols.max(&b.bytes).max(1) as u64).next_multiple_of(64);
        args.push(Loc::Arena(at));
        before.push(Step::Copy { dst: Loc::Arena(at), src: input, bytes: bytes.into() });
        after.push(Step::Copy {
            dst: Loc::Output(p.outputs.len() as u32),
            src: Loc::Arena(at),
            bytes: bytes.into(),
        });
        p.outputs.push(port);
        p.timeline.push(BufferLife { name: b.name.clone(), offset: at, bytes: room, first: 0, last: 1000 });
        at += room;
    }
    p.arena_bytes = at;
    p.steps = before;
    p.steps.push(Step::Call { kernel: 0, args, sizes: vec![], label: k.name.clone() });
    p.steps.extend(after);
    (p, inputs)
}

/// What stands behind `=>`.
fn golden(p: &Program, code: i32, outputs: &[Tensor]) -> String {
    let lines = p.outputs.iter().zip(outputs).map(|(o, t)| format!("{}: {}\n", o.name, show(t)));
    format!("=> {code}\n") + &lines.collect::<String>()
}

fn check(path: &Path) {
    let what = path.display();
    let text = std::fs::read_to_string(path).unwrap();
    let (head, tests) = text.split_once(SEPARATOR).unwrap_or_else(|| panic!("{what}: no separator"));
    let comments: String = head.split_inclusive('\n').take_while(|l| l.starts_with('#')).collect();
    assert!(!comments.is_empty(), "{what}: no comment");
    let kernel: Kernel = head[comments.len()..].parse().unwrap_or_else(|d| panic!("{what}: {d}"));
    let native = sinter::driver::native().unwrap();
    let mut new = comments + &kernel.dump_text() + SEPARATOR;
    for run in runs(tests) {
        let (p, inputs) = program(&kernel, &run);
        assert_eq!(verify::verify(&p), vec![], "{what}: {}", run.head);
        let outcome = interp::run(&p, &inputs, interp::Options { fill: 0x5a, ..interp::Options::default() });
        let outcome = outcome.unwrap_or_else(|d| panic!("{what}: {}: {d}", run.head));
        let want = golden(&p, outcome.code, &outcome.outputs);
        new += &format!("{}\n{}{want}", run.head, run.given);
        // Lowering makes pairs of bf16, and small matrices, only for targets that multiply them.
        let (pairs, matrices) = (new.contains("dot2"), ["mat4", "mat8"].iter().any(|m| new.contains(m)));
        let runs_here = |t: &&TargetDesc| {
            let carries =
                (!pairs || t.has("avx512bf16") || !t.has("avx2")) && (!matrices || t.matrix_products());
            t.triple == native.triple && t.features.iter().all(|f| native.has(f)) && carries
        };
        for target in sinter_backends::targets().iter().chain([native]).filter(runs_here) {
            let here = format!("{what}: {} on {}", run.head, target.name);
            let kernel = math::expand(kernel.clone(), math::Primitives::of(target));
            let expanded = Program { kernels: vec![kernel], ..p.clone() };
            match common::run_on(target, &expanded, &inputs) {
                Ok((got, _)) => assert_eq!(golden(&p, 0, &got), want, "{here}"),
                Err(e) => {
                    let text = sinter_abi::error_text(outcome.code);
                    assert!(outcome.code != 0 && e.contains(text), "{here}: {e}, interpreted: {want}");
                }
            }
        }
    }
    if std::env::var("BLESS").is_ok() {
        std::fs::write(path, &new).unwrap();
    } else {
        assert_eq!(new, text, "{what}: run with BLESS=1 to accept");
    }
}

#[test]
fn kernels_give_what_their_files_say() {
    let folder = common::root().join("testdata/filetests/tile");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 16, "only {} files", files.len());
    files.iter().for_each(|f| check(f));
}

//! Language models with random weights against what transformers computes: logits of every token, and the tokens that
//! are most likely one after the other, with the prompt in one piece, in chunks, and token by token.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;
#[path = "language/kv_cache.rs"]
mod kv_cache;

use common::{open, program};
use sinter::frontend::llm;
use sinter::frontend::llm::cache::KvCache;
use sinter::frontend::llm::hf::safetensors::SafeTensors;
use sinter::frontend::onnx::ImportOptions;
use sinter_ir::op::quantized_matmul::Activations;
use sinter_ir::{DType, Module, Tensor, eval};
use std::path::{Path, PathBuf};

/// Relative to the largest logit.
const TOLERANCE: f32 = 2e-4;

fn models() -> Option<PathBuf> {
    let dir = common::shared()?.join("models");
    dir.is_dir().then_some(dir)
}

/// What transformers computed.
struct Expected {
    ids: Vec<i32>,
    logits: Vec<f32>,
    /// Behind the prompt.
    greedy: Vec<i32>,
}

impl Expected {
    fn read(dir: &Path) -> Self {
        let t = SafeTensors::parse(std::fs::read(dir.join("expected.safetensors")).unwrap().into()).unwrap();
        let ids = |name: &str| {
            let v = t.load(name).unwrap().unwrap().to_i64().unwrap();
            v.into_iter().map(|i| i as i32).collect::<Vec<_>>()
        };
        let logits = t.load("logits").unwrap().unwrap().to_f32().unwrap();
        let (prompt, all) = (ids("input_ids"), ids("greedy_ids"));
        let greedy = all.strip_prefix(prompt.as_slice()).unwrap().to_vec();
        Self { ids: prompt, logits, greedy }
    }
}

/// What runs a model, from one state to the next.
trait Runner {
    fn begin(&mut self);
    /// Logits of some tokens that come after `past` others.
    fn run(&mut self, ids: &[i32], past: usize) -> Vec<f32>;
}

fn inputs(ids: &[i32], past: usize) -> [Tensor; 2] {
    let bytes: Vec<u8> = ids.iter().flat_map(|i| i.to_le_bytes()).collect();
    [Tensor::from_bytes(DType::I32, vec![ids.len()], bytes).unwrap(), Tensor::i64s(&[past as i64])]
}

struct Evaluator {
    module: Module,
    capacity: i64,
    states: Vec<Tensor>,
}

impl Runner for Evaluator {
    fn begin(&mut self) {
        let of = |s: &sinter_ir::State| {
            let ty = self.module.graph.ty(self.module.graph.inputs[s.input as usize]);
            let dims = ty.dims.iter().map(|d| d.eval(&|_| Some(self.capacity)).unwrap() as usize).collect();
            Tensor::zeros(ty.dtype, dims).unwrap()
        };
        self.states = self.module.states.iter().map(of).collect();
    }
    fn run(&mut self, ids: &[i32], past: usize) -> Vec<f32> {
        let all: Vec<Tensor> = inputs(ids, past).into_iter().chain(self.states.drain(..)).collect();
        let mut out = eval::module(&self.module, &all).unwrap();
        self.states = out.split_off(1);
        out[0].to_f32().unwrap()
    }
}

struct Native {
    session: sinter::session::Session,
    states: sinter_runtime::States,
}

impl Runner for Native {
    fn begin(&mut self) {
        self.states.bytes_mut().fill(0);
    }
    fn run(&mut self, ids: &[i32], past: usize) -> Vec<f32> {
        self.session.run_on(&mut self.states, &inputs(ids, past)).unwrap()[0].to_f32().unwrap()
    }
}

fn import(dir: &Path, all_logits: bool) -> Module {
    // What is stored was computed with caches in f32.
    let options =
        ImportOptions { all_logits, kv_cache: Some(KvCache::Floats(DType::F32)), ..ImportOptions::default() };
    let m = llm::import(dir, &options).unwrap_or_else(|d| panic!("{}: {d:?}", dir.display())).module;
    assert_eq!(m.verify(), [], "{}", dir.display());
    m
}

fn native(m: Module, capacity: i64) -> Native {
    let (session, _) = open(sinter::driver::native().unwrap(), &program(m).unwrap()).unwrap();
    on(session, capacity)
}

fn on(mut session: sinter::session::Session, capacity: i64) -> Native {
    let states = session.states(capacity).unwrap();
    Native { session, states }
}

/// Ways to cut a prompt.
fn cuts(n: usize) -> [Vec<usize>; 3] {
    let chunks = vec![5; n / 5].into_iter().chain((n > n / 5 * 5).then_some(n % 5)).collect();
    [vec![n], chunks, vec![1; n]]
}

fn compare(what: &str, got: &[f32], want: &[f32]) {
    let largest = want.iter().fold(0f32, |m, v| m.max(v.abs()));
    let worst = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0f32, f32::max);
    assert_eq!(got.len(), want.len(), "{what}");
    assert!(worst <= TOLERANCE * largest, "{what}: off by {worst}, the largest logit is {largest}");
}

fn best(row: &[f32]) -> i32 {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a))).unwrap() as i32
}

/// Logits of all prompt tokens under every cut.
fn check_logits(what: &str, r: &mut dyn Runner, e: &Expected) {
    for cut in cuts(e.ids.len()) {
        r.begin();
        let (mut at, mut got) = (0, Vec::new());
        for n in &cut {
            got.extend(r.run(&e.ids[at..at + n], at));
            at += n;
        }
        compare(&format!("{what} in {} pieces", cut.len()), &got, &e.logits);
    }
}

/// The most likely tokens behind a prompt, which comes in pieces.
fn greedy(r: &mut dyn Runner, prompt: &[i32], cut: &[usize], n: usize) -> Vec<i32> {
    r.begin();
    let (mut past, mut logits) = (0, Vec::new());
    for n in cut {
        logits = r.run(&prompt[past..past + n], past);
        past += n;
    }
    let mut got = Vec::new();
    while got.len() < n {
        got.push(best(&logits));
        if got.len() < n {
            logits = r.run(&got[got.len() - 1..], past);
            past += 1;
        }
    }
    got
}

/// Everything that is checked of a model with stored results.
fn check(dir: &Path) {
    let e = Expected::read(dir);
    let what = dir.file_name().unwrap().to_string_lossy().into_owned();
    let capacity = (e.ids.len() + e.greedy.len()) as i64;
    let mut evaluator = Evaluator { module: import(dir, true), capacity, states: vec![] };
    check_logits(&format!("{what}, evaluated"), &mut evaluator, &e);
    check_logits(&format!("{what}, native"), &mut native(import(dir, true), capacity + 3), &e);
    let mut last = native(import(dir, false), capacity);
    for cut in cuts(e.ids.len()) {
        let got = greedy(&mut last, &e.ids, &cut, e.greedy.len());
        assert_eq!(got, e.greedy, "{what}, native, in {} pieces", cut.len());
    }
}

fn tiny(name: &str) {
    let Some(dir) = models() else { return common::skip("there is no folder of shared models") };
    check(&dir.join("tiny-random").join(name));
}

#[test]
fn tiny_llama() {
    tiny("llama");
}

#[test]
fn tiny_qwen2() {
    tiny("qwen2");
}

#[test]
fn tiny_gpt2() {
    tiny("gpt2");
}

#[test]
fn tiny_mixtral() {
    tiny("mixtral-moe");
}

#[test]
fn tiny_mamba() {
    tiny("mamba");
}

/// The trained model of 260 thousand weights continues the way it is known to.
#[test]
fn stories_continue() {
    let Some(dir) = models() else { return common::skip("there is no folder of shared models") };
    let dir = dir.join("stories260k-hf");
    let vocabulary: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.join("tokenizer.json")).unwrap()).unwrap();
    let mut pieces = std::collections::BTreeMap::new();
    for (piece, id) in vocabulary["model"]["vocab"].as_object().unwrap() {
        pieces.insert(id.as_i64().unwrap(), piece.replace('\u{2581}', " "));
    }
    let known =
        "Once upon a time, there was a little girl named Lily. She loved to play outside in the park.";
    let told = |place: &str, mut model: Native| {
        let ids = greedy(&mut model, &[1], &[1], 40);
        let text: String = ids.iter().map(|i| pieces[&i64::from(*i)].as_str()).collect();
        assert!(text.trim_start().starts_with(known), "{place}: {text}");
    };
    told("here", native(import(&dir, false), 64));
    for name in ["aarch64", "aarch64-v8.6", "riscv64-rv64gc", "riscv64-rv64gcv"] {
        let target = sinter_backends::target(name).unwrap();
        if let Err(why) = common::emulator::start(&target.triple, &target.features) {
            common::skip(&format!("{name}: {why}"));
            continue;
        }
        let program = common::program_for(target, import(&dir, false)).unwrap();
        told(name, on(common::emulated(target, &program).unwrap(), 64));
    }
}

/// A trained model from a quantised GGUF file answers: from its codes, with activations in bytes and as floats.
#[test]
fn smollm2_knows_the_capital() {
    let Some(dir) = models() else { return common::skip("there is no folder of shared models") };
    let file = dir.join("smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf");
    for stored in [Activations::Blocks, Activations::Float] {
        let dims = [("capacity".to_owned(), (1, 64))].into();
        let options = ImportOptions { dims, stored: Some(stored), ..ImportOptions::default() };
        let imported = llm::import(&file, &options).unwrap();
        let products = |op: &sinter_ir::Op| matches!(op, sinter_ir::Op::QuantizedMatMul(_));
        assert_eq!(imported.module.graph.iter().filter(|(_, n)| products(&n.op)).count(), 30 * 7 + 1);
        let language = imported.language.unwrap();
        assert_eq!((language.info.architecture.as_str(), language.info.context), ("llama", 8192));
        let tokenizer = sinter_llm::Tokenizer::from_json(&language.assets["tokenizer.json"]).unwrap();
        let prompt = tokenizer.encode("The capital of France is", true).unwrap();
        let prompt: Vec<i32> = prompt.into_iter().map(|t| t as i32).collect();
        let mut model = native(imported.module, 64);
        let ids = greedy(&mut model, &prompt, &[2, 3], 2);
        let ids: Vec<u32> = ids.into_iter().map(|t| t as u32).collect();
        assert_eq!(tokenizer.decode(&ids, true), b" Paris.", "{stored:?}");
    }
}

/// File of the table of architectures.
const TABLE: &str = "LANGUAGE_MODELS.md";

/// The table of architectures; `checked` says what is known of one.
fn table(checked: &dyn Fn(&str) -> String) -> String {
    let mut text = "# Architectures of language models\n\n\
        Written by `BLESS=1 TINY_LLMS=FOLDER cargo test -p sinter --test language` after \
        `python testdata/scripts/make_tiny_llms.py FOLDER`.\n\
        Checked: a small model with random weights gives the logits of transformers within 2e-4 of the largest, evaluated and as\n\
        machine code, with the prompt in one piece, in chunks and token by token, and the same tokens when it goes on.\n\n\
        | `model_type` | models | status |\n|---|---|---|\n"
        .to_owned();
    for a in llm::arch::ARCHITECTURES {
        text += &format!("| {} | {} | {} |\n", a.model_type, a.models, checked(a.model_type));
    }
    text
}

/// Configurations that are unlike those of an architecture's first models: see testdata/scripts/make_tiny_llms.py.
#[test]
fn odd_configurations_agree_with_transformers() {
    let Some(dir) = std::env::var_os("TINY_LLMS").map(|d| PathBuf::from(d).join("odd")) else {
        return common::skip("TINY_LLMS names no folder of models to compare with transformers");
    };
    let mut all: Vec<PathBuf> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    let one = |dir: &PathBuf| {
        let done = common::no_panic(|| {
            check(dir);
            Ok(())
        });
        done.err().map(|e| format!("{}: {e}", dir.display()))
    };
    let failed: Vec<String> = all.iter().filter_map(one).collect();
    assert!(
        !all.is_empty() && failed.is_empty(),
        "{} of {}:\n{}",
        failed.len(),
        all.len(),
        failed.join("\n")
    );
}

/// All architectures of which there is a model: see testdata/scripts/make_tiny_llms.py.
#[test]
fn architectures_agree_with_transformers() {
    let path = common::root().join("compiler").join(TABLE);
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    for a in llm::arch::ARCHITECTURES {
        assert!(
            written.contains(&format!("| {} | {} | ", a.model_type, a.models)),
            "{TABLE} lacks {}",
            a.model_type
        );
    }
    let Some(dir) = std::env::var_os("TINY_LLMS").map(PathBuf::from) else {
        return common::skip("TINY_LLMS names no folder of models to compare with transformers");
    };
    let mut results = std::collections::BTreeMap::new();
    for a in llm::arch::ARCHITECTURES {
        let dir = dir.join(a.model_type);
        if dir.is_dir() {
            let r = common::no_panic(|| {
                check(&dir);
                Ok(())
            });
            results.insert(a.model_type, r);
        }
    }
    let status = |t: &str| match results.get(t) {
        Some(Ok(())) => "checked".to_owned(),
        Some(Err(_)) => "differs".to_owned(),
        None => "not checked".to_owned(),
    };
    let now = table(&status);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let failed: Vec<String> =
        results.iter().filter_map(|(t, r)| r.as_ref().err().map(|e| format!("{t}: {e}"))).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(now == written || std::env::var_os("BLESS").is_some(), "{TABLE} is out of date:\n{now}");
}

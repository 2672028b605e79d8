//! A language model small enough to be known by heart, as a bundle on disk.
//!
//! Its cache holds a row of whole numbers for every token. The logits are the sum of all rows and eight times the last
//! one: every token matters, the order of the last two as well, and sums are exact.

use crate::common;
use sinter::manifest::Manifest;
use sinter_ir::op::binary::{Binary, BinaryKind};
use sinter_ir::op::reduce::{Reduce, ReduceKind};
use sinter_ir::op::{Broadcast, Constant, Gather, ReadSyms, Slice, WriteSlice};
use sinter_ir::{DType, Expr, Graph, Module, Op, State, SymKind, Symbols, Tensor, TensorType, ValueId};
use sinter_llm::LanguageModel;
use sinter_llm::gguf::{TokenKind, Vocabulary};
use std::path::{Path, PathBuf};

/// Tokens: letters, a space, a line's end, two marks.
pub const VOCAB: usize = 30;
/// The token that ends texts.
pub const END: u32 = 29;
/// Largest cache, and most tokens at once.
pub const ROOM: usize = 200;
pub const CHUNK: usize = 16;

/// The number in a token's row. `twist` makes another model.
fn weight(token: usize, column: usize, twist: usize) -> f32 {
    let mixed = (token * 31 + column * 17 + token * column * (7 + twist)) % 23;
    // Texts end now and then.
    mixed as f32 - if column as u32 == END { 6.0 } else { 0.0 }
}

/// Logits behind these tokens.
pub fn logits(tokens: &[u32], twist: usize) -> Vec<f32> {
    let row = |t: &u32, c: usize| weight(*t as usize, c, twist);
    let last = tokens.last().unwrap();
    (0..VOCAB).map(|c| tokens.iter().map(|t| row(t, c)).sum::<f32>() + 8.0 * row(last, c)).collect()
}

/// What it says greedily, without the end, at most `n` tokens; and whether it came to the end.
pub fn answer(prompt: &[u32], n: usize) -> (Vec<u32>, bool) {
    let mut all = prompt.to_vec();
    for _ in 0..n {
        let l = logits(&all, 0);
        let best = (0..VOCAB).fold(0, |b, i| if l[i] > l[b] { i } else { b }) as u32;
        if best == END {
            return (all.split_off(prompt.len()), true);
        }
        all.push(best);
    }
    (all.split_off(prompt.len()), false)
}

/// The token of a character.
pub fn token(c: char) -> u32 {
    match c {
        ' ' => 26,
        '\n' => 27,
        c => c as u32 - 'a' as u32,
    }
}

pub fn tokens(text: &str) -> Vec<u32> {
    text.chars().map(token).collect()
}

pub fn text(tokens: &[u32]) -> String {
    tokens
        .iter()
        .map(|t| {
            [" ", "\n", ""]
                .get((*t as usize).wrapping_sub(26))
                .map_or_else(|| char::from(b'a' + *t as u8).to_string(), |s| (*s).to_owned())
        })
        .collect()
}

fn vocabulary() -> Vocabulary {
    let mut tokens: Vec<String> = (b'a'..=b'z').map(|c| char::from(c).to_string()).collect();
    tokens.extend(["Ġ", "Ċ", "<turn>", "<end>"].map(str::to_owned));
    let mut kinds = vec![TokenKind::Normal; VOCAB];
    kinds[28] = TokenKind::Control;
    kinds[29] = TokenKind::Control;
    Vocabulary { model: "gpt2".into(), tokens, kinds, eos: Some(END), ..Vocabulary::default() }
}

fn module(twist: usize) -> Module {
    let mut symbols = Symbols::default();
    let n: Expr = symbols.fresh("tokens", 1, CHUNK as i64, SymKind::Input).into();
    let capacity: Expr = symbols.fresh("capacity", 1, ROOM as i64, SymKind::Input).into();
    let past = symbols.fresh("past", 0, ROOM as i64, SymKind::Run);
    let width: Expr = (VOCAB as i64).into();
    let mut g = Graph::default();
    let input = |g: &mut Graph, name: &str, dtype, dims: Vec<Expr>| {
        g.add_input(TensorType::new(dtype, dims), Some(name.into()))
    };
    let ids = input(&mut g, "tokens", DType::I32, vec![n.clone()]);
    let at = input(&mut g, "position", DType::I64, vec![1.into()]);
    let cache = input(&mut g, "cache", DType::F32, vec![capacity, width.clone()]);
    // Reading symbols has no result.
    let mut add = |op: Op, inputs: &[ValueId]| {
        g.add(&mut symbols, op, inputs, &vec![]).unwrap().first().copied().unwrap_or(ids)
    };
    let constant =
        |dims: Vec<usize>, v: &[f32]| Op::from(Constant { tensor: Tensor::f32s(dims, v).unwrap() });
    let table: Vec<f32> = (0..VOCAB * VOCAB).map(|i| weight(i / VOCAB, i % VOCAB, twist)).collect();
    let table = add(constant(vec![VOCAB, VOCAB], &table), &[]);
    add(ReadSyms { syms: vec![past] }.into(), &[at]);
    let rows = add(Gather { axis: 0 }.into(), &[table, ids]);
    let kept = add(WriteSlice { axis: 0, at: past.into() }.into(), &[cache, rows]);
    let window = |from: Expr, size: Expr| Slice {
        starts: vec![from, 0.into()],
        sizes: vec![size, width.clone()],
        steps: vec![1.into(); 2],
    };
    let seen = add(window(0.into(), n.clone() + past.into()).into(), &[kept]);
    let sum = add(Reduce { kind: ReduceKind::Sum, axes: vec![0], keepdims: true }.into(), &[seen]);
    let last = add(window(n - 1.into(), 1.into()).into(), &[rows]);
    let eight = add(constant(vec![1, 1], &[8.0]), &[]);
    let eight = add(Broadcast { dims: vec![1.into(), width.clone()] }.into(), &[eight]);
    let last = add(Binary { kind: BinaryKind::Mul }.into(), &[last, eight]);
    let logits = add(Binary { kind: BinaryKind::Add }.into(), &[sum, last]);
    g.set_name(logits, "logits".into());
    g.outputs = vec![logits, kept];
    Module {
        name: "toy".into(),
        symbols,
        graph: g,
        states: vec![State { input: 2, output: 1 }],
        ..Module::default()
    }
}

/// How chats are written: a mark in front of every message.
const TEMPLATE: &str = "{% for m in messages %}<turn>{{ m.role[0] }} {{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}<turn>a {% endif %}";

/// The tokens of a chat by that template.
pub fn chat(turns: &[(char, &str)]) -> Vec<u32> {
    let mut out = vec![];
    for (role, content) in turns {
        out.extend([28, token(*role), token(' ')]);
        out.extend(tokens(content));
        if *role == 'a' && !content.is_empty() {
            out.push(END);
        }
    }
    out
}

/// Writes the bundle's folder.
pub fn bundle(dir: &Path, twist: usize) -> PathBuf {
    let target = sinter::driver::native().unwrap();
    let program = common::program(module(twist)).unwrap();
    let emitted = sinter_backends::emit(&program, target).unwrap();
    let v = vocabulary();
    let mut info =
        LanguageModel { architecture: "toy".into(), vocab: VOCAB, rewinds: true, ..LanguageModel::default() };
    v.describe(&mut info);
    let mut manifest = Manifest::new(&program, target, 0);
    manifest.language_model = Some(info);
    let dir = dir.join(format!("toy{twist}"));
    std::fs::create_dir_all(&dir).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.join(name), bytes).unwrap();
    write("libtoy.a", &emitted.archive);
    write("toy.weights", &emitted.weights);
    write("toy.h", emitted.header.as_bytes());
    write("manifest.json", &serde_json::to_vec(&manifest).unwrap());
    write("tokenizer.json", &v.tokenizer_json().unwrap());
    write("chat_template.jinja", TEMPLATE.as_bytes());
    dir
}

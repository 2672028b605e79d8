//! The module: kernels, the functions around them, and what they share.

use super::body::Body;
use super::layout::{self, Layout, TEXTS};
use super::scalar::memory;
use super::{expr, kernel, program, threads};
use sinter_abi::{ABI_VERSION, CODES, Code, WEIGHTS_MAGIC, header};
use sinter_ir::program::Program;
use sinter_ir::{Diag, Result};
use std::collections::BTreeMap;
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataSection, EntityType, ExportKind, ExportSection, Function,
    FunctionSection, GlobalSection, GlobalType, ImportSection, Instruction as I, MemoryType, Module, NameMap,
    NameSection, TypeSection, ValType,
};

/// Functions that kernels call, first in the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Helper {
    /// `fn(i64, i64) -> i64`.
    FloorDiv = 0,
    /// `fn(i64, i64) -> i64`.
    FloorMod = 1,
    /// `fn(address: i32, v128, bytes: i32)`: stores so many of the vector's bytes, all 16 of more, none of less than 1.
    StoreSome = 2,
}

const HELPERS: u32 = 3;
/// The global that says whether `init` succeeded.
pub const READY: u32 = 0;

/// The function of a kernel.
pub fn kernel_function(k: u32) -> u32 {
    HELPERS + k
}

/// The function that takes a thread's share of a kernel, behind `run`, `init` and `error_text`.
pub fn task_function(p: &Program) -> u32 {
    kernel_function(p.kernels.len() as u32) + 3
}

/// The vector goes out in pieces of 8, 4, 2 and 1 bytes; what is left moves to its front.
fn store_some() -> Function {
    let mut f = Body::new(&[ValType::I32, ValType::V128, ValType::I32]);
    let (at, v, n) = (0, 1, 2);
    f.ops([I::LocalGet(n), I::I32Const(16), I::I32GeS, I::If(BlockType::Empty)]);
    f.ops([I::LocalGet(at), I::LocalGet(v), I::V128Store(memory(0)), I::Return, I::End]);
    f.ops([I::LocalGet(n), I::I32Const(0), I::I32LeS, I::If(BlockType::Empty), I::Return, I::End]);
    for size in [8u8, 4, 2, 1] {
        f.ops([I::LocalGet(n), I::I32Const(size.into()), I::I32And, I::If(BlockType::Empty)]);
        f.ops([I::LocalGet(at), I::LocalGet(v)]);
        let (memarg, lane) = (memory(0), 0);
        f.op(match size {
            8 => I::V128Store64Lane { memarg, lane },
            4 => I::V128Store32Lane { memarg, lane },
            2 => I::V128Store16Lane { memarg, lane },
            _ => I::V128Store8Lane { memarg, lane },
        });
        if size > 1 {
            f.ops([I::LocalGet(at), I::I32Const(size.into()), I::I32Add, I::LocalSet(at)]);
            let mut front = [0u8; 16];
            front.iter_mut().enumerate().for_each(|(i, b)| *b = (i as u8 + size) % 16);
            f.ops([I::LocalGet(v), I::LocalGet(v), I::I8x16Shuffle(front), I::LocalSet(v)]);
        }
        f.op(I::End);
    }
    f.finish()
}

/// `init() -> code`: the weights are in place; are they those of this module?
fn init(at: &Layout, weights: &[u8]) -> Result<Function> {
    let word = |from: usize| {
        let bytes = weights.get(from..from + 8).and_then(|b| b.try_into().ok());
        bytes.map(i64::from_le_bytes).ok_or_else(|| Diag::bug("weights without a header"))
    };
    let mut f = Body::new(&[]);
    let wants = [
        (header::MAGIC, i64::from_le_bytes(WEIGHTS_MAGIC)),
        (header::TOTAL, word(header::TOTAL)?),
        (header::HASH, word(header::HASH)?),
    ];
    for (offset, want) in wants {
        f.ops([I::I32Const(0), I::I64Load(memory(u64::from(at.weights) + offset as u64))]);
        f.ops([I::I64Const(want), I::I64Ne, I::If(BlockType::Empty)]);
        f.ops([I::I32Const(Code::BadWeights as i32), I::Return, I::End]);
    }
    f.ops([I::I32Const(1), I::GlobalSet(READY), I::I32Const(0)]);
    Ok(f.finish())
}

/// `error_text(code) -> address` of a NUL-terminated text.
fn error_text(offsets: &[u32]) -> Function {
    let mut f = Body::new(&[ValType::I32]);
    f.i32(offsets.last().copied().unwrap_or(0).cast_signed());
    for ((code, _), at) in CODES.iter().zip(offsets) {
        let other = f.keep(ValType::I32);
        f.ops([I::I32Const(at.cast_signed()), I::LocalGet(other)]);
        f.ops([I::LocalGet(0), I::I32Const(*code as i32), I::I32Eq, I::Select]);
    }
    f.finish()
}

/// One function of the module.
struct Entry {
    label: String,
    params: Vec<ValType>,
    result: Option<ValType>,
    body: Function,
    public: bool,
}

fn functions(p: &Program, at: &Layout, weights: &[u8]) -> Result<Vec<Entry>> {
    use ValType::{I32, I64, V128};
    let entry = |label: &str, params: &[ValType], result, body, public| Entry {
        label: label.to_owned(),
        params: params.to_vec(),
        result,
        body,
        public,
    };
    let mut all = vec![
        entry("floor_div", &[I64; 2], Some(I64), expr::floor(true), false),
        entry("floor_mod", &[I64; 2], Some(I64), expr::floor(false), false),
        entry("store_some", &[I32, V128, I32], None, store_some(), false),
    ];
    for k in &p.kernels {
        all.push(entry(&k.name, &kernel::params(k), Some(I32), kernel::build(k, at.arena), false));
    }
    let (_, offsets) = layout::texts();
    all.push(entry("run", &program::params(p), Some(I32), program::build(p, at)?, true));
    all.push(entry("init", &[], Some(I32), init(at, weights)?, true));
    all.push(entry("error_text", &[I32], Some(I32), error_text(&offsets), true));
    if let Some(pool) = at.pool {
        all.push(entry("task", &[], None, threads::task(p, pool), false));
        all.push(entry("work", &[I32], None, threads::work(pool, task_function(p)), true));
    }
    if !p.states.is_empty() {
        all.push(entry("state_bytes", &[I64], Some(I64), program::state_bytes(p, at), true));
    }
    Ok(all)
}

/// Numbers that hosts need, exported as constants.
fn constants(at: &Layout) -> Vec<(String, u32)> {
    let mut all = vec![
        ("abi_version".to_owned(), ABI_VERSION),
        ("weights".to_owned(), at.weights),
        ("weights_bytes".to_owned(), at.weights_bytes),
        ("dims".to_owned(), at.dims),
        ("end".to_owned(), at.end),
    ];
    for (kind, places) in [("input", &at.inputs), ("output", &at.outputs)] {
        all.extend(places.iter().enumerate().map(|(i, &a)| (format!("{kind}_{i}"), a)));
    }
    all.extend(at.pool.map(|a| ("pool".to_owned(), a)));
    all
}

/// The module's bytes, and code bytes per function.
pub fn assemble(p: &Program, at: &Layout, weights: &[u8]) -> Result<(Vec<u8>, BTreeMap<String, u64>)> {
    let all = functions(p, at, weights)?;
    let mut types: Vec<(Vec<ValType>, Option<ValType>)> = vec![];
    let (mut funcs, mut code, mut exports, mut names) =
        (FunctionSection::new(), CodeSection::new(), ExportSection::new(), NameMap::new());
    let mut sizes = BTreeMap::new();
    for (i, e) in all.into_iter().enumerate() {
        let ty = (e.params, e.result);
        let n = types.iter().position(|t| *t == ty).unwrap_or_else(|| {
            types.push(ty);
            types.len() - 1
        });
        funcs.function(n as u32);
        *sizes.entry(e.label.clone()).or_default() += e.body.byte_len() as u64;
        code.function(&e.body);
        names.append(i as u32, &e.label);
        if e.public {
            exports.export(&e.label, ExportKind::Func, i as u32);
        }
    }
    let mut signatures = TypeSection::new();
    for (params, result) in types {
        signatures.ty().function(params, result);
    }
    let mut imports = ImportSection::new();
    let pages = u64::from(at.end).div_ceil(1 << 16);
    // Shared memory has an end: whoever makes it may choose a nearer one.
    let shared = at.pool.is_some();
    let maximum = shared.then_some(1 << 16);
    let memory = MemoryType { minimum: pages, maximum, memory64: false, shared, page_size_log2: None };
    imports.import("env", "memory", EntityType::Memory(memory));
    let mut globals = GlobalSection::new();
    let ty = |mutable| GlobalType { val_type: ValType::I32, mutable, shared: false };
    globals.global(ty(true), &ConstExpr::i32_const(0));
    for (i, (name, value)) in constants(at).into_iter().enumerate() {
        globals.global(ty(false), &ConstExpr::i32_const(value.cast_signed()));
        exports.export(&name, ExportKind::Global, i as u32 + 1);
    }
    let mut data = DataSection::new();
    data.active(0, &ConstExpr::i32_const(TEXTS.cast_signed()), layout::texts().0);
    let mut name_section = NameSection::new();
    name_section.functions(&names);
    let mut module = Module::new();
    module.section(&signatures).section(&imports).section(&funcs).section(&globals).section(&exports);
    module.section(&code).section(&data).section(&name_section);
    Ok((module.finish(), sizes))
}

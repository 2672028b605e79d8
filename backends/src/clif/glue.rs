//! Everything of a bundle that is neither a kernel nor `run`.

use super::cpu;
use super::isa::{host_convention, host_or_own};
use super::kernel::signature;
use super::layout::{Layout, Name, PUBLIC};
use crate::Level;
use cranelift_codegen::Context;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{
    AbiParam, BlockArg, ExtFuncData, ExternalName, FuncRef, Function, InstBuilder, MemFlagsData, Signature,
    StackSlotData, StackSlotKind, Type, Value,
};
use cranelift_codegen::isa::{CallConv, TargetIsa};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use sinter_abi::{ABI_VERSION, ALIGNMENT, CODES, Code, WEIGHTS_MAGIC, context, header};
use sinter_ir::program::Program;
use sinter_ir::{Diag, Result};

/// Offsets in what `Dispatch` hands to `Task` through the host's threads.
pub mod task {
    /// Kernel address.
    pub const KERNEL: i32 = 0;
    /// Buffer addresses.
    pub const BUFS: i32 = 8;
    /// Symbol array.
    pub const SYMS: i32 = 16;
    /// i32: first error.
    pub const STATUS: i32 = 24;
    /// Bytes.
    pub const BYTES: u32 = 32;
}

/// Offsets in what `run` hands to `Dispatch`: less code per call than arguments that are always the same.
pub mod frame {
    /// The bundle's context.
    pub const CTX: i32 = 0;
    /// Symbol array.
    pub const SYMS: i32 = 8;
    /// Buffer addresses, as many as the kernel has.
    pub const BUFS: i32 = 16;
}

/// Declares another function of the bundle for use in one being built.
pub fn import(b: &mut FunctionBuilder, name: Name, sig: Signature) -> FuncRef {
    let user = b.func.declare_imported_user_function(name.user());
    let signature = b.import_signature(sig);
    b.import_function(ExtFuncData {
        name: ExternalName::user(user),
        signature,
        colocated: true,
        patchable: false,
    })
}

/// A signature.
pub fn sig(isa: &dyn TargetIsa, params: &[Type], result: Option<Type>) -> Signature {
    host_sig(isa.default_call_conv(), params, result)
}

/// A signature of a function that the host calls, or that is the host's.
fn host_sig(conv: CallConv, params: &[Type], result: Option<Type>) -> Signature {
    let mut s = Signature::new(conv);
    s.params.extend(params.iter().copied().map(AbiParam::new));
    s.returns.extend(result.map(AbiParam::new));
    s
}

fn define(
    layout: &mut Layout,
    isa: &dyn TargetIsa,
    name: Name,
    label: &str,
    sig: Signature,
    f: impl FnOnce(&mut FunctionBuilder, &[Value]),
) -> Result<()> {
    let mut ctx = Context::new();
    ctx.func = Function::with_name_signature(name.func(), sig);
    let mut fctx = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut ctx.func, &mut fctx);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let params = b.block_params(entry).to_vec();
    f(&mut b, &params);
    b.seal_all_blocks();
    b.finalize(isa.frontend_config());
    layout.add(name, label, &mut ctx, isa)
}

/// Adds all glue functions.
pub fn add_all(
    layout: &mut Layout,
    levels: &[Level],
    lacking: &[String],
    weights: &[u8],
    isa: &dyn TargetIsa,
) -> Result<()> {
    let Some(Level { program: p, target }) = levels.first() else {
        return Err(Diag::bug("code for no level"));
    };
    let host = host_or_own(target, isa);
    for (i, level) in levels.iter().enumerate() {
        layout.add_raw(Name::Cpu(i as u32), "cpu", &cpu::check(level.target, lacking));
    }
    let (texts, offsets) = texts();
    layout.add_raw(Name::Texts, "error texts", &texts);
    task(layout, host, isa)?;
    dispatch(layout, host, isa)?;
    init(layout, p, levels.len() as u32, weights, isa)?;
    if levels.len() > 1 {
        run(layout, levels.len() as u32, isa)?;
    }
    sizes(layout, p, isa)?;
    if !p.states.is_empty() {
        state_bytes(layout, p, isa)?;
    }
    define(layout, isa, Name::AbiVersion, "abi_version", sig(isa, &[], Some(I32)), |b, _| {
        let v = b.ins().iconst(I32, i64::from(ABI_VERSION));
        b.ins().return_(&[v]);
    })?;
    define(layout, isa, Name::ErrorText, "error_text", sig(isa, &[I32], Some(I64)), |b, x| {
        let f = import(b, Name::Texts, sig(isa, &[], None));
        let base = b.ins().func_addr(I64, f);
        let unknown = *offsets.last().unwrap_or(&0);
        let mut at = b.ins().iconst(I64, unknown);
        for ((code, _), offset) in CODES.iter().zip(&offsets) {
            let hit = b.ins().icmp_imm_s(IntCC::Equal, x[0], i64::from(*code as i32));
            let o = b.ins().iconst(I64, *offset);
            at = b.ins().select(hit, o, at);
        }
        let r = b.ins().iadd(base, at);
        b.ins().return_(&[r]);
    })?;
    match host_convention(target) {
        Some(host) => exports(layout, host, isa),
        None => Ok(()),
    }
}

/// What the host calls instead of the public functions, in its own way: keeps what System V does not keep.
fn exports(layout: &mut Layout, host: CallConv, isa: &dyn TargetIsa) -> Result<()> {
    for (i, (name, label)) in PUBLIC.iter().enumerate() {
        if !layout.has(*name) {
            continue;
        }
        let (params, result): (&[Type], _) = match name {
            Name::Run => (&[I64; 4], Some(I32)),
            Name::Init => (&[I64; 3], Some(I32)),
            Name::Sizes => (&[I64], None),
            Name::StateBytes => (&[I64], Some(I64)),
            Name::ErrorText => (&[I32], Some(I64)),
            Name::AbiVersion => (&[], Some(I32)),
            other => return Err(Diag::bug(format!("{other:?} is not public"))),
        };
        define(layout, isa, Name::Export(i as u32), label, host_sig(host, params, result), |b, x| {
            let f = import(b, *name, sig(isa, params, result));
            let call = b.ins().call(f, x);
            let results = b.inst_results(call).to_vec();
            b.ins().return_(&results);
        })?;
    }
    Ok(())
}

/// All texts, NUL-terminated, and where each begins; the last is for unknown codes.
fn texts() -> (Vec<u8>, Vec<i64>) {
    let (mut bytes, mut offsets) = (vec![], vec![]);
    for text in CODES.iter().map(|c| c.1).chain(["unknown error"]) {
        offsets.push(bytes.len() as i64);
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
    }
    (bytes, offsets)
}

/// `task(arg, begin, end)`: runs the kernel and keeps an error.
fn task(layout: &mut Layout, host: CallConv, isa: &dyn TargetIsa) -> Result<()> {
    define(layout, isa, Name::Task, "task", host_sig(host, &[I64; 3], None), |b, x| {
        let flags = MemFlagsData::trusted();
        let field = |b: &mut FunctionBuilder, at| b.ins().load(I64, flags, x[0], at);
        let (kernel, bufs, syms) = (field(b, task::KERNEL), field(b, task::BUFS), field(b, task::SYMS));
        let s = b.import_signature(signature(isa.default_call_conv()));
        let call = b.ins().call_indirect(s, kernel, &[bufs, syms, x[1], x[2]]);
        let status = b.inst_results(call)[0];
        let (bad, done) = (b.create_block(), b.create_block());
        b.ins().brif(status, bad, &[], done, &[]);
        b.switch_to_block(bad);
        b.ins().store(flags, status, x[0], task::STATUS);
        b.ins().jump(done, &[]);
        b.switch_to_block(done);
        b.ins().return_(&[]);
    })
}

/// `dispatch(frame, kernel, n) -> status`: over the host's threads when there are any.
fn dispatch(layout: &mut Layout, host: CallConv, isa: &dyn TargetIsa) -> Result<()> {
    define(layout, isa, Name::Dispatch, "dispatch", sig(isa, &[I64; 3], Some(I32)), |b, x| {
        let flags = MemFlagsData::trusted();
        let [frame, kernel, n] = *x else { return };
        let ctx = b.ins().load(I64, flags, frame, frame::CTX);
        let syms = b.ins().load(I64, flags, frame, frame::SYMS);
        let bufs = b.ins().iadd_imm_s(frame, i64::from(frame::BUFS));
        let hook = b.ins().load(I64, flags, ctx, context::PARALLEL_FOR);
        let (threads, alone) = (b.create_block(), b.create_block());
        let many = b.ins().icmp_imm_s(IntCC::SignedGreaterThan, n, 1);
        let zero = b.ins().iconst(I64, 0);
        let hook_if = b.ins().select(many, hook, zero);
        b.ins().brif(hook_if, threads, &[], alone, &[]);

        b.switch_to_block(alone);
        let s = b.import_signature(signature(isa.default_call_conv()));
        let call = b.ins().call_indirect(s, kernel, &[bufs, syms, zero, n]);
        let status = b.inst_results(call)[0];
        b.ins().return_(&[status]);

        b.switch_to_block(threads);
        let slot = b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, task::BYTES, 3));
        let arg = b.ins().stack_addr(I64, slot, 0);
        b.ins().store(flags, kernel, arg, task::KERNEL);
        b.ins().store(flags, bufs, arg, task::BUFS);
        b.ins().store(flags, syms, arg, task::SYMS);
        let ok = b.ins().iconst(I32, 0);
        b.ins().store(flags, ok, arg, task::STATUS);
        let f = import(b, Name::Task, host_sig(host, &[I64; 3], None));
        let f = b.ins().func_addr(I64, f);
        let pool = b.ins().load(I64, flags, ctx, context::POOL);
        let s = b.import_signature(host_sig(host, &[I64; 4], None));
        b.ins().call_indirect(s, hook, &[pool, n, f, arg]);
        let status = b.ins().load(I32, flags, arg, task::STATUS);
        b.ins().return_(&[status]);
    })
}

/// `init(ctx, weights, arena) -> code`. Keeps the threading fields that the host may have set.
/// The first level that the processor is able to run is the one that `run` will use.
fn init(layout: &mut Layout, p: &Program, levels: u32, weights: &[u8], isa: &dyn TargetIsa) -> Result<()> {
    let word = |at: usize| {
        let bytes = weights.get(at..at + 8).and_then(|b| b.try_into().ok());
        bytes.map(i64::from_le_bytes).ok_or_else(|| Diag::bug("weights without a header"))
    };
    let (total, hash) = (word(header::TOTAL)?, word(header::HASH)?);
    let needs_arena = p.arena_bytes > 0;
    define(layout, isa, Name::Init, "init", sig(isa, &[I64; 3], Some(I32)), |b, x| {
        let flags = MemFlagsData::new().with_notrap();
        let [ctx, w, arena] = *x else { return };
        let exit = b.create_block();
        b.append_block_param(exit, I32);
        let fail_if = |b: &mut FunctionBuilder, cond: Value, code: Code| {
            let next = b.create_block();
            let c = b.ins().iconst(I32, i64::from(code as i32));
            b.ins().brif(cond, exit, &[BlockArg::from(c)], next, &[]);
            b.switch_to_block(next);
        };
        for (v, needed) in [(ctx, true), (w, true), (arena, needs_arena)] {
            if needed {
                let null = b.ins().icmp_imm_s(IntCC::Equal, v, 0);
                fail_if(b, null, Code::BadPointer);
            }
        }
        for v in [w, arena] {
            let low = b.ins().band_imm_u(v, ALIGNMENT as i64 - 1);
            let off = b.ins().icmp_imm_s(IntCC::NotEqual, low, 0);
            fail_if(b, off, Code::BadPointer);
        }
        let wants = [
            (header::MAGIC, i64::from_le_bytes(WEIGHTS_MAGIC)),
            (header::TOTAL, total),
            (header::HASH, hash),
        ];
        for (at, want) in wants {
            let v = b.ins().load(I64, flags, w, at as i32);
            let want = b.ins().iconst(I64, want);
            let differs = b.ins().icmp(IntCC::NotEqual, v, want);
            fail_if(b, differs, Code::BadWeights);
        }
        let chosen = b.create_block();
        let ready = b.append_block_param(chosen, I64);
        for level in 0..levels {
            let f = import(b, Name::Cpu(level), sig(isa, &[], Some(I32)));
            let call = b.ins().call(f, &[]);
            let able = b.inst_results(call)[0];
            let word = b.ins().iconst(I64, context::ready(level) as i64);
            let next = b.create_block();
            b.ins().brif(able, chosen, &[BlockArg::from(word)], next, &[]);
            b.switch_to_block(next);
        }
        let none = b.ins().iconst(I32, i64::from(Code::MissingIsa as i32));
        b.ins().jump(exit, &[BlockArg::from(none)]);
        b.switch_to_block(chosen);
        b.ins().store(flags, w, ctx, context::WEIGHTS);
        b.ins().store(flags, arena, ctx, context::ARENA);
        b.ins().store(flags, ready, ctx, context::STATE);
        let ok = b.ins().iconst(I32, 0);
        b.ins().jump(exit, &[BlockArg::from(ok)]);
        b.switch_to_block(exit);
        let code = b.block_params(exit)[0];
        b.ins().return_(&[code]);
    })
}

/// `run` of a bundle for several levels: calls that of the level that init chose.
fn run(layout: &mut Layout, levels: u32, isa: &dyn TargetIsa) -> Result<()> {
    define(layout, isa, Name::Run, "run", sig(isa, &[I64; 4], Some(I32)), |b, x| {
        let state = b.ins().load(I64, MemFlagsData::trusted(), x[0], context::STATE);
        for level in 0..levels {
            let word = b.ins().iconst(I64, context::ready(level) as i64);
            let chosen = b.ins().icmp(IntCC::Equal, state, word);
            let (this, next) = (b.create_block(), b.create_block());
            b.ins().brif(chosen, this, &[], next, &[]);
            b.switch_to_block(this);
            let f = import(b, Name::LevelRun(level), sig(isa, &[I64; 4], Some(I32)));
            let call = b.ins().call(f, x);
            let status = b.inst_results(call)[0];
            b.ins().return_(&[status]);
            b.switch_to_block(next);
        }
        let fresh = b.ins().iconst(I32, i64::from(Code::NotInitialised as i32));
        b.ins().return_(&[fresh]);
    })
}

/// `sizes(uint64_t out[4])`: arena bytes, weights file bytes, inputs, outputs.
fn sizes(layout: &mut Layout, p: &Program, isa: &dyn TargetIsa) -> Result<()> {
    let file = sinter_abi::WEIGHTS_HEADER_BYTES as u64 + p.weights_bytes();
    let values = [p.arena_bytes, file, p.inputs.len() as u64, p.outputs.len() as u64];
    define(layout, isa, Name::Sizes, "sizes", sig(isa, &[I64], None), |b, x| {
        for (i, v) in values.into_iter().enumerate() {
            let v = b.ins().iconst(I64, v as i64);
            b.ins().store(MemFlagsData::new().with_notrap(), v, x[0], 8 * i as i32);
        }
        b.ins().return_(&[]);
    })
}

/// `state_bytes(int64_t capacity) -> uint64_t`: 0 for a capacity outside its range.
fn state_bytes(layout: &mut Layout, p: &Program, isa: &dyn TargetIsa) -> Result<()> {
    let (_, total) = p.state_offsets();
    define(layout, isa, Name::StateBytes, "state_bytes", sig(isa, &[I64], Some(I64)), |b, x| {
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, 8, 3);
        let slot = b.create_sized_stack_slot(slot);
        b.ins().stack_store(I64, x[0], slot, 0);
        let at = b.ins().stack_addr(I64, slot, 0);
        // A symbol array of which only this symbol exists.
        let sym = p.capacity();
        let syms = b.ins().iadd_imm_s(at, -8 * sym.map_or(0, |s| i64::from(s.0)));
        let mut bytes = super::expr::emit(b, syms, &total);
        if let Some(info) = sym.and_then(|s| p.symbols.info(s)) {
            let off = b.ins().iadd_imm_s(x[0], info.min.wrapping_neg());
            let span = b.ins().iconst(I64, info.max.wrapping_sub(info.min));
            let bad = b.ins().icmp(IntCC::UnsignedGreaterThan, off, span);
            let none = b.ins().iconst(I64, 0);
            bytes = b.ins().select(bad, none, bytes);
        }
        b.ins().return_(&[bytes]);
    })
}

/// Machine code of `uint64_t ticks(void)`: lfence; rdtsc; shl rdx, 32; or rax, rdx; ret. The fence keeps what was
/// before it out of what is measured.
pub const TICKS: &[u8] = &[0x0f, 0xae, 0xe8, 0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0, 0xc3];

//! `run(ctx, inputs, outputs, dims) -> code`: the program's steps as straight code.
//!
//! `dims` holds all dims of all inputs, then all dims of all outputs; the latter are written here. A null `dims`
//! means that every input dim has its only possible value.

use super::expr;
use super::glue::{frame, import, sig};
use super::known::Known;
use super::layout::Name;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I32, I64};
use cranelift_codegen::ir::{
    Block, BlockArg, Function, InstBuilder, MemFlagsData, StackSlot, StackSlotData, StackSlotKind, Value,
};
use cranelift_codegen::isa::TargetIsa;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use sinter_abi::{ALIGNMENT, Code, WEIGHTS_HEADER_BYTES, context};
use sinter_ir::program::{Loc, Program, Step};
use sinter_ir::tile::Stmt;
use sinter_ir::{DType, Diag, Expr, Result, Sym};

struct Run<'a, 'f> {
    b: FunctionBuilder<'f>,
    p: &'a Program,
    isa: &'a dyn TargetIsa,
    level: u32,
    ctx: Value,
    weights: Value,
    arena: Value,
    inputs: Value,
    outputs: Value,
    dims: Value,
    /// The caller's block, and where each state begins in it.
    states: Option<Value>,
    state_offsets: Vec<Expr>,
    /// What [`frame`] says, and behind it the addresses of a call's buffers.
    frame: StackSlot,
    known: Known<'a>,
    /// Addresses that the call before took: often an operand of the next.
    recent: Vec<(Loc, Value)>,
    /// Branches and loops around the step.
    depth: u32,
    exit: Block,
    /// Where the next stopwatch is noted down, in code for measuring.
    site: Option<i32>,
}

/// Builds `run` of a level by its number; `measure`: with a stopwatch around every site, see [`crate::sites`].
pub fn build(func: &mut Function, p: &Program, level: u32, isa: &dyn TargetIsa, measure: bool) -> Result<()> {
    *func = Function::with_name_signature(Name::LevelRun(level).func(), sig(isa, &[I64; 4], Some(I32)));
    let mut fctx = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(func, &mut fctx);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let [ctx, inputs, outputs, dims] = *b.block_params(entry) else { return Err(Diag::bug("run signature")) };
    let exit = b.create_block();
    b.append_block_param(exit, I32);
    let flags = MemFlagsData::trusted();
    let state = b.ins().load(I64, flags, ctx, context::STATE);
    let ready = b.ins().iconst(I64, context::ready(level) as i64);
    let fresh = b.ins().icmp(IntCC::NotEqual, state, ready);
    let weights = b.ins().load(I64, flags, ctx, context::WEIGHTS);
    let arena = b.ins().load(I64, flags, ctx, context::ARENA);
    let most = p.kernels.iter().map(|k| k.bufs.len()).max().unwrap_or(0).max(1) as u32;
    let bytes = frame::BUFS as u32 + 8 * most;
    let frame = b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 3));
    b.ins().stack_store(I64, ctx, frame, frame::CTX);
    b.ins().stack_store(I64, arena, frame, frame::SYMS);
    let (state_offsets, _) = p.state_offsets();
    let states = None;
    let site = measure.then_some(0);
    let mut r = Run {
        b,
        p,
        isa,
        level,
        ctx,
        weights,
        arena,
        inputs,
        outputs,
        dims,
        states,
        state_offsets,
        frame,
        known: Known::new(p),
        recent: vec![],
        depth: 0,
        exit,
        site,
    };
    r.fail_if(fresh, Code::NotInitialised);
    r.states();
    r.prologue()?;
    r.steps(&p.steps)?;
    r.epilogue();
    let ok = r.b.ins().iconst(I32, 0);
    r.b.ins().jump(r.exit, &[BlockArg::from(ok)]);
    r.b.switch_to_block(r.exit);
    let code = r.b.block_params(r.exit)[0];
    r.b.ins().return_(&[code]);
    r.b.seal_all_blocks();
    r.b.finalize(isa.frontend_config());
    Ok(())
}

impl Run<'_, '_> {
    fn fail_if(&mut self, cond: Value, code: Code) {
        let next = self.b.create_block();
        let c = self.b.ins().iconst(I32, i64::from(code as i32));
        self.b.ins().brif(cond, self.exit, &[BlockArg::from(c)], next, &[]);
        self.b.switch_to_block(next);
    }
    /// The symbol array is the first thing in the arena.
    fn syms(&self) -> Value {
        self.arena
    }
    fn expr(&mut self, e: &Expr) -> Value {
        let syms = self.syms();
        expr::emit_known(&mut self.b, syms, e, &self.known)
    }
    fn set_sym(&mut self, s: Sym, v: Value, code: Code) {
        if let Some(info) = self.p.symbols.info(s) {
            let (min, max) = (info.min, info.max);
            let off = self.b.ins().iadd_imm_s(v, min.wrapping_neg());
            let span = self.b.ins().iconst(I64, max.wrapping_sub(min));
            let bad = self.b.ins().icmp(IntCC::UnsignedGreaterThan, off, span);
            self.fail_if(bad, code);
        }
        let syms = self.syms();
        self.b.ins().store(MemFlagsData::trusted(), v, syms, 8 * s.0 as i32);
    }
    /// Takes the states and their capacity from the context.
    fn states(&mut self) {
        if self.p.states.is_empty() {
            return;
        }
        let flags = MemFlagsData::trusted();
        let block = self.b.ins().load(I64, flags, self.ctx, context::STATES);
        let null = self.b.ins().icmp_imm_s(IntCC::Equal, block, 0);
        self.fail_if(null, Code::BadPointer);
        let low = self.b.ins().band_imm_u(block, ALIGNMENT as i64 - 1);
        let off = self.b.ins().icmp_imm_s(IntCC::NotEqual, low, 0);
        self.fail_if(off, Code::BadPointer);
        self.states = Some(block);
        if let Some(s) = self.p.capacity() {
            let v = self.b.ins().load(I64, flags, self.ctx, context::CAPACITY);
            self.set_sym(s, v, Code::BadDim);
        }
    }
    /// Binds and checks input dims, then the constraints among them.
    fn prologue(&mut self) -> Result<()> {
        let open = self.p.inputs.iter().flat_map(|i| &i.dims).any(|d| d.as_const().is_none());
        let (given, bound) = (self.b.create_block(), self.b.create_block());
        let null = self.b.ins().icmp_imm_s(IntCC::Equal, self.dims, 0);
        if open {
            self.fail_if(null, Code::BadDim);
            self.b.ins().jump(given, &[]);
        } else {
            self.b.ins().brif(null, bound, &[], given, &[]);
        }
        self.b.switch_to_block(given);
        let flags = MemFlagsData::trusted();
        let mut seen: Vec<Sym> = vec![];
        let all: Vec<Expr> = self.p.inputs.iter().flat_map(|i| i.dims.iter().cloned()).collect();
        for (i, d) in all.iter().enumerate() {
            if let Some(s) = d.as_sym().filter(|s| !seen.contains(s)) {
                let v = self.b.ins().load(I64, flags, self.dims, 8 * i as i32);
                self.set_sym(s, v, Code::BadDim);
                seen.push(s);
            }
        }
        for (i, d) in all.iter().enumerate() {
            let v = self.b.ins().load(I64, flags, self.dims, 8 * i as i32);
            let want = self.expr(d);
            let bad = self.b.ins().icmp(IntCC::NotEqual, v, want);
            self.fail_if(bad, Code::BadDim);
        }
        self.b.ins().jump(bound, &[]);
        self.b.switch_to_block(bound);
        Ok(())
    }
    /// Writes the dims of the outputs.
    fn epilogue(&mut self) {
        let (given, done) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(self.dims, given, &[], done, &[]);
        self.b.switch_to_block(given);
        let before: usize = self.p.inputs.iter().map(|i| i.dims.len()).sum();
        let all: Vec<Expr> = self.p.outputs.iter().flat_map(|o| o.dims.iter().cloned()).collect();
        for (i, d) in all.iter().enumerate() {
            let v = self.expr(d);
            self.b.ins().store(MemFlagsData::trusted(), v, self.dims, 8 * (before + i) as i32);
        }
        self.b.ins().jump(done, &[]);
        self.b.switch_to_block(done);
    }
    fn address(&mut self, loc: Loc) -> Value {
        let flags = MemFlagsData::trusted();
        match loc {
            Loc::Arena(o) => self.b.ins().iadd_imm_s(self.arena, o as i64),
            Loc::Weights(o) => {
                self.b.ins().iadd_imm_s(self.weights, (WEIGHTS_HEADER_BYTES as u64 + o) as i64)
            }
            Loc::Input(i) => self.b.ins().load(I64, flags, self.inputs, 8 * i as i32),
            Loc::Output(i) => self.b.ins().load(I64, flags, self.outputs, 8 * i as i32),
            Loc::State(i) => {
                let offset = self.state_offsets.get(i as usize).cloned().unwrap_or_default();
                let offset = self.expr(&offset);
                // Programs with a state location have states: the block is known.
                self.states.map_or(offset, |block| self.b.ins().iadd(block, offset))
            }
        }
    }
    fn steps(&mut self, steps: &[Step]) -> Result<()> {
        steps.iter().try_for_each(|s| self.step(s))
    }
    /// The steps of a branch or loop.
    fn inner(&mut self, steps: &[Step]) -> Result<()> {
        self.recent.clear();
        self.depth += 1;
        self.steps(steps)?;
        self.depth -= 1;
        self.recent.clear();
        Ok(())
    }
    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Call { kernel, args, .. } => {
                let status = self.timed(|r| r.call(*kernel, args))?;
                self.called(*kernel, status);
            }
            Step::Copy { dst, src, bytes } => self.timed(|r| {
                r.copy(*dst, *src, bytes);
                Ok(())
            })?,
            Step::SetSym { sym, value } => {
                let v = self.expr(value);
                let (lo, hi) = self.p.symbols.range(value);
                match self.p.symbols.info(*sym) {
                    Some(info) if info.min <= lo && hi <= info.max => self.set_sym_unchecked(*sym, v),
                    _ => self.set_sym(*sym, v, Code::BadRunTimeValue),
                }
                if self.depth == 0 {
                    self.known.set(*sym, value);
                }
            }
            Step::ReadSym { sym, from, index, dtype } => {
                let base = self.address(*from);
                let flags = MemFlagsData::trusted();
                let v = match dtype {
                    DType::I64 => self.b.ins().load(I64, flags, base, 8 * *index as i32),
                    DType::I32 => {
                        let v = self.b.ins().load(I32, flags, base, 4 * *index as i32);
                        self.b.ins().sextend(I64, v)
                    }
                    other => return Err(Diag::bug(format!("ReadSym of {other}"))),
                };
                self.set_sym(*sym, v, Code::BadRunTimeValue);
            }
            Step::Require { a, b, .. } => {
                let (x, y) = (self.expr(a), self.expr(b));
                let bad = self.b.ins().icmp(IntCC::NotEqual, x, y);
                self.fail_if(bad, Code::BadConstraint);
            }
            Step::If { cond, then, els } => {
                let at = self.address(*cond);
                let c = self.b.ins().load(I8, MemFlagsData::trusted(), at, 0);
                let (yes, no, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
                self.b.ins().brif(c, yes, &[], no, &[]);
                for (block, body) in [(yes, then), (no, els)] {
                    self.b.switch_to_block(block);
                    self.inner(body)?;
                    self.b.ins().jump(after, &[]);
                }
                self.b.switch_to_block(after);
            }
            Step::Loop { trip, cond, iter, count, body } => self.repeat(*trip, *cond, *iter, *count, body)?,
        }
        Ok(())
    }
    /// Notes down how long something takes and that it happened.
    fn timed<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let Some(site) = self.site else { return f(self) };
        self.site = Some(site + 1);
        let begin = self.ticks();
        let result = f(self)?;
        let end = self.ticks();
        let flags = MemFlagsData::trusted();
        let table = self.b.ins().load(I64, flags, self.ctx, context::PROFILE);
        let spent = self.b.ins().isub(end, begin);
        for (word, more) in [(0, Some(spent)), (1, None)] {
            let at = 16 * site + 8 * word;
            let old = self.b.ins().load(I64, flags, table, at);
            let new = match more {
                Some(v) => self.b.ins().iadd(old, v),
                None => self.b.ins().iadd_imm_s(old, 1),
            };
            self.b.ins().store(flags, new, table, at);
        }
        Ok(result)
    }
    fn ticks(&mut self) -> Value {
        let f = import(&mut self.b, Name::Ticks, sig(self.isa, &[], Some(I64)));
        let call = self.b.ins().call(f, &[]);
        self.b.inst_results(call)[0]
    }
    /// Calls a kernel and gives its status.
    fn call(&mut self, kernel: u32, args: &[Loc]) -> Result<Value> {
        let k = self.p.kernels.get(kernel as usize).ok_or_else(|| Diag::bug("call of an unknown kernel"))?;
        let recent = std::mem::take(&mut self.recent);
        for (i, loc) in args.iter().enumerate() {
            let v = match recent.iter().find(|(l, _)| l == loc) {
                Some((_, v)) => *v,
                None => self.address(*loc),
            };
            self.recent.push((*loc, v));
            self.b.ins().stack_store(I64, v, self.frame, frame::BUFS + 8 * i as i32);
        }
        let f = import(
            &mut self.b,
            Name::Kernel(self.level, kernel),
            super::kernel::signature(self.isa.default_call_conv()),
        );
        let call = match &k.parallel {
            None => {
                let bufs = self.b.ins().stack_addr(I64, self.frame, frame::BUFS);
                let syms = self.syms();
                let (zero, one) = (self.b.ins().iconst(I64, 0), self.b.ins().iconst(I64, 1));
                self.b.ins().call(f, &[bufs, syms, zero, one])
            }
            Some(n) => {
                let n = self.expr(n);
                let f = self.b.ins().func_addr(I64, f);
                let frame = self.b.ins().stack_addr(I64, self.frame, 0);
                let d = import(&mut self.b, Name::Dispatch, sig(self.isa, &[I64; 3], Some(I32)));
                self.b.ins().call(d, &[frame, f, n])
            }
        };
        Ok(self.b.inst_results(call)[0])
    }
    /// What follows a call: leaves with its error, checks what it defined.
    fn called(&mut self, kernel: u32, status: Value) {
        let fails = self.p.kernels.get(kernel as usize).is_some_and(|k| can_fail(&k.body));
        if fails {
            let next = self.b.create_block();
            self.b.ins().brif(status, self.exit, &[BlockArg::from(status)], next, &[]);
            self.b.switch_to_block(next);
        }
        // A kernel may have defined symbols: check their ranges.
        let defined = self.p.kernels.get(kernel as usize).map(|k| k.defines());
        for s in defined.into_iter().flatten() {
            let syms = self.syms();
            let v = self.b.ins().load(I64, MemFlagsData::trusted(), syms, 8 * s.0 as i32);
            self.set_sym(s, v, Code::BadRunTimeValue);
        }
    }
    /// Eight bytes at a time, then the rest.
    fn copy(&mut self, dst: Loc, src: Loc, bytes: &Expr) {
        let (d, s) = (self.address(dst), self.address(src));
        let n = self.expr(bytes);
        let mut from = self.b.ins().iconst(I64, 0);
        for (ty, width) in [(I64, 8), (I8, 1)] {
            let left = self.b.ins().isub(n, from);
            let whole = self.b.ins().band_imm_s(left, -width);
            let end = self.b.ins().iadd(from, whole);
            let (head, body, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
            let i = self.b.append_block_param(head, I64);
            self.b.ins().jump(head, &[BlockArg::from(from)]);
            self.b.switch_to_block(head);
            let more = self.b.ins().icmp(IntCC::SignedLessThan, i, end);
            self.b.ins().brif(more, body, &[], after, &[]);
            self.b.switch_to_block(body);
            let flags = MemFlagsData::new().with_notrap();
            let (ps, pd) = (self.b.ins().iadd(s, i), self.b.ins().iadd(d, i));
            let v = self.b.ins().load(ty, flags, ps, 0);
            self.b.ins().store(flags, v, pd, 0);
            let next = self.b.ins().iadd_imm_s(i, width);
            self.b.ins().jump(head, &[BlockArg::from(next)]);
            self.b.switch_to_block(after);
            from = end;
        }
    }
    fn repeat(
        &mut self,
        trip: Option<Loc>,
        cond: Option<Loc>,
        iter: Loc,
        count: Sym,
        body: &[Step],
    ) -> Result<()> {
        let flags = MemFlagsData::trusted();
        let (head, test, inside, after) =
            (self.b.create_block(), self.b.create_block(), self.b.create_block(), self.b.create_block());
        let zero = self.b.ins().iconst(I64, 0);
        let i = self.b.append_block_param(head, I64);
        self.b.ins().jump(head, &[BlockArg::from(zero)]);
        self.b.switch_to_block(head);
        match trip {
            Some(t) => {
                let at = self.address(t);
                let n = self.b.ins().load(I64, flags, at, 0);
                let more = self.b.ins().icmp(IntCC::SignedLessThan, i, n);
                self.b.ins().brif(more, test, &[], after, &[]);
            }
            None => {
                self.b.ins().jump(test, &[]);
            }
        }
        self.b.switch_to_block(test);
        match cond {
            Some(c) => {
                let at = self.address(c);
                let go = self.b.ins().load(I8, flags, at, 0);
                self.b.ins().brif(go, inside, &[], after, &[]);
            }
            None => {
                self.b.ins().jump(inside, &[]);
            }
        }
        self.b.switch_to_block(inside);
        // One more than what has begun must still fit the planned buffers.
        let begun = self.b.ins().iadd_imm_s(i, 1);
        self.set_sym(count, begun, Code::TooManyIterations);
        self.set_sym_unchecked(count, i);
        let at = self.address(iter);
        self.b.ins().store(flags, i, at, 0);
        self.inner(body)?;
        let next = self.b.ins().iadd_imm_s(i, 1);
        self.b.ins().jump(head, &[BlockArg::from(next)]);
        self.b.switch_to_block(after);
        self.set_sym(count, i, Code::TooManyIterations);
        Ok(())
    }
    fn set_sym_unchecked(&mut self, s: Sym, v: Value) {
        let syms = self.syms();
        self.b.ins().store(MemFlagsData::trusted(), v, syms, 8 * s.0 as i32);
    }
}

/// Whether a kernel can give anything but success.
fn can_fail(body: &[Stmt]) -> bool {
    body.iter().any(|s| matches!(s, Stmt::FailIf { .. }) || s.blocks().into_iter().any(|b| can_fail(b)))
}

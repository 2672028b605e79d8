//! `run() -> code`, or `run(states, capacity) -> code` for models with states: the program's steps as straight code.
//!
//! Dims, inputs and outputs lie at fixed addresses, see [`super::layout`]. Dims of outputs are written here.

use super::body::Body;
use super::expr::{self, Memo};
use super::layout::Layout;
use super::module::{READY, kernel_function, task_function};
use super::scalar::memory;
use super::threads;
use sinter_abi::{ALIGNMENT, Code, WEIGHTS_HEADER_BYTES};
use sinter_ir::program::{Loc, Program, Step};
use sinter_ir::{DType, Diag, Expr, Result, Sym};
use wasm_encoder::{BlockType, Function, Instruction as I, ValType};

/// Parameters: the states and what they were made for.
const STATES: u32 = 0;
const CAPACITY: u32 = 1;

struct Run<'a> {
    f: Body,
    p: &'a Program,
    at: &'a Layout,
    state_offsets: Vec<Expr>,
}

/// Parameters of `run`.
pub fn params(p: &Program) -> Vec<ValType> {
    if p.states.is_empty() { vec![] } else { vec![ValType::I32, ValType::I64] }
}

/// Builds `run`.
pub fn build(p: &Program, at: &Layout) -> Result<Function> {
    let mut r = Run { f: Body::new(&params(p)), p, at, state_offsets: p.state_offsets().0 };
    r.f.ops([I::GlobalGet(READY), I::I32Eqz]);
    r.fail_if(Code::NotInitialised);
    r.states();
    r.inputs();
    r.steps(&p.steps)?;
    r.outputs();
    r.f.i32(0);
    Ok(r.f.finish())
}

/// `state_bytes(capacity) -> bytes`: 0 for a capacity outside its range. It uses the place of the capacity in the symbol
/// array.
pub fn state_bytes(p: &Program, at: &Layout) -> Function {
    let mut f = Body::new(&[ValType::I64]);
    if let Some(s) = p.capacity() {
        if let Some(info) = p.symbols.info(s) {
            outside(&mut f, 0, (info.min, info.max));
            f.ops([I::If(BlockType::Empty), I::I64Const(0), I::Return, I::End]);
        }
        f.ops([I::I32Const(0), I::LocalGet(0), I::I64Store(memory(symbol(at, s)))]);
    }
    expr::push(&mut f, at.arena, &p.state_offsets().1, &mut Memo::new());
    f.finish()
}

fn symbol(at: &Layout, s: Sym) -> u64 {
    u64::from(at.arena) + 8 * u64::from(s.0)
}

/// Pushes whether a local lies outside a range.
fn outside(f: &mut Body, local: u32, (min, max): (i64, i64)) {
    f.ops([I::LocalGet(local), I::I64Const(min), I::I64Sub]);
    f.ops([I::I64Const(max.wrapping_sub(min)), I::I64GtU]);
}

impl Run<'_> {
    fn fail_if(&mut self, code: Code) {
        self.f.ops([I::If(BlockType::Empty), I::I32Const(code as i32), I::Return, I::End]);
    }
    fn expr(&mut self, e: &Expr) {
        expr::push(&mut self.f, self.at.arena, e, &mut Memo::new());
    }
    /// Stores the `i64` on the stack as a symbol, whatever it is.
    fn put_sym(&mut self, s: Sym) {
        let v = self.f.keep(ValType::I64);
        self.f.ops([I::I32Const(0), I::LocalGet(v), I::I64Store(memory(symbol(self.at, s)))]);
    }
    /// Stores the `i64` on the stack as a symbol; fails where it is outside the symbol's range.
    fn set_sym(&mut self, s: Sym, code: Code) {
        if let Some(info) = self.p.symbols.info(s) {
            let v = self.f.keep(ValType::I64);
            outside(&mut self.f, v, (info.min, info.max));
            self.fail_if(code);
            self.f.get(v);
        }
        self.put_sym(s);
    }
    fn states(&mut self) {
        if self.p.states.is_empty() {
            return;
        }
        self.f.ops([I::LocalGet(STATES), I::I32Eqz]);
        self.fail_if(Code::BadPointer);
        self.f.ops([I::LocalGet(STATES), I::I32Const(ALIGNMENT as i32 - 1), I::I32And]);
        self.fail_if(Code::BadPointer);
        if let Some(s) = self.p.capacity() {
            self.f.get(CAPACITY);
            self.set_sym(s, Code::BadDim);
        }
    }
    /// Pushes an entry of the dims.
    fn given(&mut self, i: usize) {
        self.f.ops([I::I32Const(0), I::I64Load(memory(u64::from(self.at.dims) + 8 * i as u64))]);
    }
    /// Binds and checks input dims.
    fn inputs(&mut self) {
        let mut seen: Vec<Sym> = vec![];
        let all: Vec<&Expr> = self.p.inputs.iter().flat_map(|i| &i.dims).collect();
        for (i, d) in all.iter().enumerate() {
            if let Some(s) = d.as_sym().filter(|s| !seen.contains(s)) {
                self.given(i);
                self.set_sym(s, Code::BadDim);
                seen.push(s);
            }
        }
        for (i, d) in all.into_iter().enumerate() {
            self.given(i);
            self.expr(d);
            self.f.op(I::I64Ne);
            self.fail_if(Code::BadDim);
        }
    }
    /// Writes the dims of the outputs.
    fn outputs(&mut self) {
        let before: usize = self.p.inputs.iter().map(|i| i.dims.len()).sum();
        for (i, d) in self.p.outputs.iter().flat_map(|o| &o.dims).enumerate() {
            self.f.i32(0);
            self.expr(d);
            self.f.op(I::I64Store(memory(u64::from(self.at.dims) + 8 * (before + i) as u64)));
        }
    }
    /// Pushes an address.
    fn address(&mut self, loc: Loc) {
        let port = |all: &[u32], i: u32| all.get(i as usize).copied().unwrap_or(0);
        let fixed = match loc {
            Loc::Arena(o) => self.at.arena + o as u32,
            Loc::Weights(o) => self.at.weights + WEIGHTS_HEADER_BYTES as u32 + o as u32,
            Loc::Input(i) => port(&self.at.inputs, i),
            Loc::Output(i) => port(&self.at.outputs, i),
            Loc::State(i) => {
                let offset = self.state_offsets.get(i as usize).cloned().unwrap_or_default();
                self.expr(&offset);
                return self.f.ops([I::I32WrapI64, I::LocalGet(STATES), I::I32Add]);
            }
        };
        self.f.i32(fixed.cast_signed());
    }
    fn steps(&mut self, steps: &[Step]) -> Result<()> {
        steps.iter().try_for_each(|s| self.step(s))
    }
    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Call { kernel, args, .. } => self.call(*kernel, args)?,
            Step::Copy { dst, src, bytes } => {
                self.address(*dst);
                self.address(*src);
                self.expr(bytes);
                self.f.ops([I::I32WrapI64, I::MemoryCopy { src_mem: 0, dst_mem: 0 }]);
            }
            Step::SetSym { sym, value } => {
                self.expr(value);
                self.set_sym(*sym, Code::BadRunTimeValue);
            }
            Step::ReadSym { sym, from, index, dtype } => {
                self.address(*from);
                match dtype {
                    DType::I64 => self.f.op(I::I64Load(memory(8 * index))),
                    DType::I32 => self.f.op(I::I64Load32S(memory(4 * index))),
                    other => return Err(Diag::bug(format!("ReadSym of {other}"))),
                }
                self.set_sym(*sym, Code::BadRunTimeValue);
            }
            Step::Require { a, b, .. } => {
                self.expr(a);
                self.expr(b);
                self.f.op(I::I64Ne);
                self.fail_if(Code::BadConstraint);
            }
            Step::If { cond, then, els } => {
                self.address(*cond);
                self.f.ops([I::I32Load8U(memory(0)), I::If(BlockType::Empty)]);
                self.steps(then)?;
                if !els.is_empty() {
                    self.f.op(I::Else);
                    self.steps(els)?;
                }
                self.f.op(I::End);
            }
            Step::Loop { trip, cond, iter, count, body } => {
                self.repeat((*trip, *cond), *iter, *count, body)?;
            }
        }
        Ok(())
    }
    /// Calls a kernel, leaves with its error, checks what it defined.
    fn call(&mut self, kernel: u32, args: &[Loc]) -> Result<()> {
        let k = self.p.kernels.get(kernel as usize).ok_or_else(|| Diag::bug("call of an unknown kernel"))?;
        match (&k.parallel, self.at.pool) {
            (Some(n), Some(pool)) => {
                let kept = args.iter().map(|loc| {
                    self.address(*loc);
                    self.f.keep(ValType::I32)
                });
                let kept: Vec<u32> = kept.collect();
                self.expr(n);
                let trips = self.f.keep(ValType::I64);
                threads::call(&mut self.f, pool, task_function(self.p), kernel, &kept, trips);
            }
            (n, _) => {
                args.iter().for_each(|loc| self.address(*loc));
                if let Some(n) = n {
                    self.f.i64(0);
                    self.expr(n);
                }
                self.f.op(I::Call(kernel_function(kernel)));
            }
        }
        let status = self.f.keep(ValType::I32);
        self.f.ops([I::LocalGet(status), I::If(BlockType::Empty), I::LocalGet(status), I::Return, I::End]);
        for s in k.defines() {
            self.f.ops([I::I32Const(0), I::I64Load(memory(symbol(self.at, s)))]);
            self.set_sym(s, Code::BadRunTimeValue);
        }
        Ok(())
    }
    fn repeat(
        &mut self,
        (trip, cond): (Option<Loc>, Option<Loc>),
        iter: Loc,
        count: Sym,
        body: &[Step],
    ) -> Result<()> {
        self.f.i64(0);
        let i = self.f.keep(ValType::I64);
        self.f.ops([I::Block(BlockType::Empty), I::Loop(BlockType::Empty)]);
        if let Some(t) = trip {
            self.f.get(i);
            self.address(t);
            self.f.ops([I::I64Load(memory(0)), I::I64GeS, I::BrIf(1)]);
        }
        if let Some(c) = cond {
            self.address(c);
            self.f.ops([I::I32Load8U(memory(0)), I::I32Eqz, I::BrIf(1)]);
        }
        // One more than what has begun must still fit the planned buffers.
        self.f.ops([I::LocalGet(i), I::I64Const(1), I::I64Add]);
        self.set_sym(count, Code::TooManyIterations);
        self.f.get(i);
        self.put_sym(count);
        self.address(iter);
        self.f.ops([I::LocalGet(i), I::I64Store(memory(0))]);
        self.steps(body)?;
        self.f.ops([I::LocalGet(i), I::I64Const(1), I::I64Add, I::LocalSet(i)]);
        self.f.ops([I::Br(0), I::End, I::End]);
        self.f.get(i);
        self.set_sym(count, Code::TooManyIterations);
        Ok(())
    }
}

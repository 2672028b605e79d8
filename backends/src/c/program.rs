//! `run` and the functions around it.
//!
//! What a model's steps do is straight C; a kernel that fails, a dim or a constraint that does not hold leaves `run` by
//! `return`.

use super::expr::{int, text};
use super::kernel;
use crate::object::header::constant;
use sinter_abi::{ABI_VERSION, ALIGNMENT, CODES, Code, WEIGHTS_HEADER_BYTES, WEIGHTS_MAGIC, context, header};
use sinter_ir::program::{Loc, Program, Step};
use sinter_ir::{DType, Diag, Expr, Result, Sym};
use std::fmt::Write;

struct Emit<'a> {
    p: &'a Program,
    out: String,
    depth: usize,
    /// Loops so far, for names of counters.
    loops: usize,
    state_offsets: Vec<Expr>,
}

/// Text of all public functions, and of what kernels are called through.
pub fn text_of(p: &Program, weights: &[u8]) -> Result<String> {
    let mut e = Emit { p, out: String::new(), depth: 0, loops: 0, state_offsets: p.state_offsets().0 };
    e.dispatch();
    e.run()?;
    e.init(weights)?;
    e.others();
    Ok(e.out)
}

impl Emit<'_> {
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{:1$}{text}", "", 4 * self.depth);
    }
    fn inside(&mut self, head: &str, f: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.line(&format!("{head} {{"));
        self.depth += 1;
        f(self)?;
        self.depth -= 1;
        self.line("}");
        Ok(())
    }
    fn code(&self, code: Code) -> String {
        format!("{}_{}", self.p.name.to_ascii_uppercase(), constant(code))
    }
    fn fail_if(&mut self, cond: &str, code: Code) {
        let code = self.code(code);
        self.line(&format!("if ({cond}) return {code};"));
    }
    /// Kernels through the host's threads.
    fn dispatch(&mut self) {
        let n = &self.p.name;
        let _ = write!(
            self.out,
            "typedef int32_t (*kernel_fn)(uint8_t *const *, int64_t *, int64_t, int64_t);\n\
             typedef struct {{ kernel_fn kernel; uint8_t *const *bufs; int64_t *syms; volatile int32_t status; }} task_arg;\n\n\
             static void task(void *p, int64_t begin, int64_t end) {{\n    task_arg *t = (task_arg *)p;\n\
             \x20   int32_t status = t->kernel(t->bufs, t->syms, begin, end);\n    if (status) t->status = status;\n}}\n\n\
             static int32_t dispatch({n}_ctx *ctx, kernel_fn kernel, uint8_t *const *bufs, int64_t *syms, int64_t n) {{\n\
             \x20   task_arg t = {{kernel, bufs, syms, 0}};\n\
             \x20   if (!ctx->parallel_for || n < 2) return kernel(bufs, syms, 0, n);\n\
             \x20   ctx->parallel_for(ctx->pool, n, task, &t);\n    return t.status;\n}}\n\n"
        );
    }
    fn run(&mut self) -> Result<()> {
        let n = self.p.name.clone();
        let head = format!(
            "int {n}_run({n}_ctx *ctx, const void *const *inputs, void *const *outputs, int64_t *dims)"
        );
        self.inside(&head, |e| {
            let most = e.p.kernels.iter().map(|k| k.bufs.len()).max().unwrap_or(0).max(1);
            e.line("uint8_t *arena = (uint8_t *)ctx->arena;");
            e.line(&format!("uint8_t *weights = (uint8_t *)ctx->weights + {WEIGHTS_HEADER_BYTES};"));
            e.line("int64_t *syms = (int64_t *)arena;");
            e.line(&format!("uint8_t *bufs[{most}];"));
            e.line("int32_t status = 0;");
            e.line("(void)inputs; (void)outputs; (void)dims; (void)weights; (void)syms; (void)bufs; (void)status;");
            e.fail_if(&format!("ctx->state != UINT64_C({:#x})", context::READY), Code::NotInitialised);
            e.states();
            e.inputs()?;
            e.steps(&e.p.steps)?;
            e.outputs()?;
            let ok = e.code(Code::Ok);
            e.line(&format!("return {ok};"));
            Ok(())
        })
    }
    fn states(&mut self) {
        if self.p.states.is_empty() {
            return;
        }
        self.line("uint8_t *states = (uint8_t *)ctx->states;");
        self.fail_if(&format!("!states || (uintptr_t)states % {ALIGNMENT} != 0"), Code::BadPointer);
        if let Some(s) = self.p.capacity() {
            self.set_sym(s, "ctx->capacity", Code::BadDim);
        }
    }
    /// Defines a symbol; fails where it is outside its range.
    fn set_sym(&mut self, s: Sym, value: &str, code: Code) {
        self.line(&format!("syms[{}] = {value};", s.0));
        if let Some(info) = self.p.symbols.info(s) {
            let (min, max) = (int(info.min), int(info.max));
            self.fail_if(&format!("syms[{0}] < {min} || syms[{0}] > {max}", s.0), code);
        }
    }
    fn inputs(&mut self) -> Result<()> {
        let all: Vec<&Expr> = self.p.inputs.iter().flat_map(|i| &i.dims).collect();
        if all.iter().any(|d| d.as_const().is_none()) {
            self.fail_if("!dims", Code::BadDim);
        }
        if all.is_empty() {
            return Ok(());
        }
        self.inside("if (dims)", |e| {
            let mut seen: Vec<Sym> = vec![];
            for (i, d) in all.iter().enumerate() {
                if let Some(s) = d.as_sym().filter(|s| !seen.contains(s)) {
                    e.set_sym(s, &format!("dims[{i}]"), Code::BadDim);
                    seen.push(s);
                }
            }
            for (i, d) in all.iter().enumerate() {
                e.fail_if(&format!("dims[{i}] != {}", text(d)), Code::BadDim);
            }
            Ok(())
        })
    }
    fn outputs(&mut self) -> Result<()> {
        let before: usize = self.p.inputs.iter().map(|i| i.dims.len()).sum();
        let all: Vec<&Expr> = self.p.outputs.iter().flat_map(|o| &o.dims).collect();
        if all.is_empty() {
            return Ok(());
        }
        self.inside("if (dims)", |e| {
            for (i, d) in all.iter().enumerate() {
                e.line(&format!("dims[{}] = {};", before + i, text(d)));
            }
            Ok(())
        })
    }
    fn address(&self, loc: Loc) -> String {
        match loc {
            Loc::Arena(o) => format!("arena + {o}"),
            Loc::Weights(o) => format!("weights + {o}"),
            Loc::Input(i) => format!("(uint8_t *)inputs[{i}]"),
            Loc::Output(i) => format!("(uint8_t *)outputs[{i}]"),
            Loc::State(i) => {
                let offset = self.state_offsets.get(i as usize).cloned().unwrap_or_default();
                format!("states + {}", text(&offset))
            }
        }
    }
    fn steps(&mut self, steps: &[Step]) -> Result<()> {
        steps.iter().try_for_each(|s| self.step(s))
    }
    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Call { kernel, args, .. } => self.call(*kernel as usize, args)?,
            Step::Copy { dst, src, bytes } => {
                let (dst, src) = (self.address(*dst), self.address(*src));
                self.line(&format!("copy({dst}, {src}, {});", text(bytes)));
            }
            Step::SetSym { sym, value } => self.set_sym(*sym, &text(value), Code::BadRunTimeValue),
            Step::ReadSym { sym, from, index, dtype } => {
                let value = match dtype {
                    DType::I64 => format!("(int64_t)load_i64({} + {})", self.address(*from), 8 * index),
                    DType::I32 => format!("(int32_t)load_i32({} + {})", self.address(*from), 4 * index),
                    other => return Err(Diag::bug(format!("ReadSym of {other}"))),
                };
                self.set_sym(*sym, &value, Code::BadRunTimeValue);
            }
            Step::Require { a, b, .. } => {
                self.fail_if(&format!("{} != {}", text(a), text(b)), Code::BadConstraint);
            }
            Step::If { cond, then, els } => {
                let cond = self.address(*cond);
                self.inside(&format!("if (*({cond}))"), |e| e.steps(then))?;
                if !els.is_empty() {
                    self.inside("else", |e| e.steps(els))?;
                }
            }
            Step::Loop { trip, cond, iter, count, body } => {
                self.repeat((*trip, *cond), *iter, *count, body)?;
            }
        }
        Ok(())
    }
    /// Calls a kernel, leaves with its error, checks what it defined.
    fn call(&mut self, index: usize, args: &[Loc]) -> Result<()> {
        let k = self.p.kernels.get(index).ok_or_else(|| Diag::bug("call of an unknown kernel"))?;
        for (i, loc) in args.iter().enumerate() {
            let at = self.address(*loc);
            self.line(&format!("bufs[{i}] = {at};"));
        }
        let name = kernel::name(index);
        self.line(&match &k.parallel {
            None => format!("status = {name}(bufs, syms, 0, 1);"),
            Some(n) => format!("status = dispatch(ctx, {name}, bufs, syms, {});", text(n)),
        });
        self.line("if (status) return status;");
        for s in k.defines() {
            self.set_sym(s, &format!("syms[{}]", s.0), Code::BadRunTimeValue);
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
        let i = format!("i{}", self.loops);
        self.loops += 1;
        self.line(&format!("int64_t {i} = 0;"));
        self.inside(&format!("for (;; {i}++)"), |e| {
            if let Some(t) = trip {
                let at = e.address(t);
                e.line(&format!("if ({i} >= (int64_t)load_i64({at})) break;"));
            }
            if let Some(c) = cond {
                let at = e.address(c);
                e.line(&format!("if (!*({at})) break;"));
            }
            // One more than what has begun must still fit the planned buffers.
            e.set_sym(count, &format!("{i} + 1"), Code::TooManyIterations);
            e.line(&format!("syms[{}] = {i};", count.0));
            let at = e.address(iter);
            e.line(&format!("store_i64({at}, (uint64_t){i});"));
            e.steps(body)
        })?;
        self.set_sym(count, &i, Code::TooManyIterations);
        Ok(())
    }
    fn init(&mut self, weights: &[u8]) -> Result<()> {
        let word = |at: usize| {
            let bytes = weights.get(at..at + 8).and_then(|b| b.try_into().ok());
            bytes.map(u64::from_le_bytes).ok_or_else(|| Diag::bug("weights without a header"))
        };
        let (total, hash) = (word(header::TOTAL)?, word(header::HASH)?);
        let n = self.p.name.clone();
        let needs_arena = self.p.arena_bytes > 0;
        self.out.push('\n');
        self.inside(&format!("int {n}_init({n}_ctx *ctx, const void *weights, void *arena)"), |e| {
            e.line("const uint8_t *w = (const uint8_t *)weights;");
            let arena = if needs_arena { " || !arena" } else { "" };
            e.fail_if(&format!("!ctx || !w{arena}"), Code::BadPointer);
            e.fail_if(
                &format!("(uintptr_t)w % {ALIGNMENT} != 0 || (uintptr_t)arena % {ALIGNMENT} != 0"),
                Code::BadPointer,
            );
            let magic = u64::from_le_bytes(WEIGHTS_MAGIC);
            for (at, want) in [(header::MAGIC, magic), (header::TOTAL, total), (header::HASH, hash)] {
                e.fail_if(&format!("load_i64(w + {at}) != UINT64_C({want:#x})"), Code::BadWeights);
            }
            e.line("ctx->weights = weights;");
            e.line("ctx->arena = arena;");
            e.line(&format!("ctx->state = UINT64_C({:#x});", context::READY));
            let ok = e.code(Code::Ok);
            e.line(&format!("return {ok};"));
            Ok(())
        })
    }
    fn others(&mut self) {
        let (p, n) = (self.p, &self.p.name);
        let up = n.to_ascii_uppercase();
        let _ = write!(
            self.out,
            "\nvoid {n}_sizes({n}_size *out) {{\n    out->arena_bytes = {up}_ARENA_BYTES;\n\
             \x20   out->weights_bytes = {up}_WEIGHTS_BYTES;\n    out->inputs = {up}_INPUTS;\n    out->outputs = {up}_OUTPUTS;\n}}\n\n\
             uint32_t {n}_abi_version(void) {{\n    return {ABI_VERSION};\n}}\n\n\
             const char *{n}_error_text(int code) {{\n    switch (code) {{\n"
        );
        for (code, text) in CODES {
            let _ = writeln!(self.out, "    case {}: return \"{text}\";", *code as i32);
        }
        self.out.push_str("    default: return \"unknown error\";\n    }\n}\n");
        if p.states.is_empty() {
            return;
        }
        // The capacity is the only symbol that the sizes depend on.
        let sym = p.capacity().map_or(0, |s| s.0);
        let (min, max) =
            p.capacity().and_then(|s| p.symbols.info(s)).map_or((0, i64::MAX), |i| (i.min, i.max));
        let _ = write!(
            self.out,
            "\nuint64_t {n}_state_bytes(int64_t capacity) {{\n    int64_t syms[{}];\n    syms[{sym}] = capacity;\n\
             \x20   return capacity < {} || capacity > {} ? 0 : (uint64_t){};\n}}\n",
            sym + 1,
            int(min),
            int(max),
            text(&p.state_offsets().1)
        );
    }
}

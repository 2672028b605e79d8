//! Execution of steps.

use super::super::{Loc, Program, Step};
use super::Memory;
use crate::tile::build::code;
use crate::tile::interp::{self as kernel, View, dim, run_in};
use crate::{DType, Diag, Expr, Sym, Tensor};

/// Why a run ends early.
pub(super) enum Stop {
    Code(i32),
    Fault(Box<Diag>),
}

impl From<Diag> for Stop {
    fn from(d: Diag) -> Self {
        Stop::Fault(Box::new(d))
    }
}

type Flow<T = ()> = Result<T, Stop>;

/// Machine state.
pub(super) struct Machine<'a, 'm> {
    p: &'a Program,
    memory: Memory<'a, 'm>,
    options: kernel::Options,
    syms: Vec<i64>,
    /// Symbols that have a value.
    defined: Vec<bool>,
}

impl<'a, 'm> Machine<'a, 'm> {
    pub fn new(p: &'a Program, memory: Memory<'a, 'm>, options: kernel::Options) -> Self {
        let n = p.symbols.table.len();
        Self { p, memory, options, syms: vec![0; n], defined: vec![false; n] }
    }
    /// The memory in the end.
    pub fn into_spaces(self) -> Vec<kernel::Space<'m>> {
        self.memory.spaces
    }
    /// Binds the symbols of the dims of inputs and states and checks all dims.
    pub fn bind(&mut self, inputs: &[Tensor], states: &[Tensor]) -> Flow {
        let p = self.p;
        let shapes = inputs
            .iter()
            .chain(states)
            .flat_map(|t| t.shape().iter().map(|&d| i64::try_from(d).unwrap_or(-1)));
        let all: Vec<(&Expr, i64)> =
            p.inputs.iter().chain(&p.states).flat_map(|i| &i.dims).zip(shapes).collect();
        for (d, v) in &all {
            if let Some(s) = d.as_sym().filter(|s| !self.is_defined(*s)) {
                self.set(s, *v, code::DIM)?;
            }
        }
        for (d, v) in all {
            if self.value(d)? != v {
                return Err(Stop::Code(code::DIM));
            }
        }
        Ok(())
    }
    fn is_defined(&self, s: Sym) -> bool {
        self.defined.get(s.0 as usize).is_some_and(|d| *d)
    }
    /// Gives a symbol a value within its range.
    fn set(&mut self, s: Sym, v: i64, code: i32) -> Flow {
        let info = self.p.symbols.info(s);
        let info = info.ok_or_else(|| Diag::bug(format!("symbol s{} does not exist", s.0)))?;
        if !(info.min..=info.max).contains(&v) {
            return Err(Stop::Code(code));
        }
        self.syms[s.0 as usize] = v;
        self.defined[s.0 as usize] = true;
        Ok(())
    }
    /// Value of an expression whose symbols all have values.
    pub fn value(&self, e: &Expr) -> Flow<i64> {
        if let Some(s) = e.syms().into_iter().find(|s| !self.is_defined(*s)) {
            return Err(Diag::bug(format!("`{e}` is computed before s{} has a value", s.0)).into());
        }
        let v = dim(e, &self.syms);
        v.ok_or_else(|| Diag::bug(format!("`{e}` has no value")).into())
    }
    pub fn steps(&mut self, steps: &[Step]) -> Flow {
        steps.iter().try_for_each(|s| self.step(s))
    }
    fn step(&mut self, s: &Step) -> Flow {
        match s {
            Step::Call { kernel, args, sizes, label } => self.call(*kernel, args, sizes, label)?,
            Step::Copy { dst, src, bytes } => {
                let n = self.value(bytes)?;
                self.memory.copy(*dst, *src, usize::try_from(n).unwrap_or(0))?;
            }
            Step::SetSym { sym, value } => {
                let v = self.value(value)?;
                self.set(*sym, v, code::VALUE)?;
            }
            Step::ReadSym { sym, from, index, dtype } => {
                let v = match dtype {
                    DType::I64 => i64::from_le_bytes(self.memory.read(*from, 8 * index)?),
                    DType::I32 => i32::from_le_bytes(self.memory.read(*from, 4 * index)?).into(),
                    other => return Err(Diag::bug(format!("a symbol is read from {other}")).into()),
                };
                self.set(*sym, v, code::VALUE)?;
            }
            Step::Require { a, b, .. } => {
                if self.value(a)? != self.value(b)? {
                    return Err(Stop::Code(code::CONSTRAINT));
                }
            }
            Step::If { cond, then, els } => {
                let body = if self.truth(*cond)? { then } else { els };
                self.steps(body)?;
            }
            Step::Loop { trip, cond, iter, count, body } => self.repeat(*trip, *cond, *iter, *count, body)?,
        }
        Ok(())
    }
    fn truth(&self, at: Loc) -> Flow<bool> {
        let [b] = self.memory.read(at, 0)?;
        Ok(b != 0)
    }
    fn call(&mut self, index: u32, args: &[Loc], sizes: &[Expr], label: &str) -> Flow {
        let k = self.p.kernels.get(index as usize);
        let k = k.ok_or_else(|| Diag::bug(format!("kernel {index} does not exist")).at(label))?;
        let views = args.iter().map(|a| self.memory.view(*a)).collect::<Result<Vec<View>, Diag>>()?;
        // Buffers have the sizes that this call says.
        let mut k = std::borrow::Cow::Borrowed(k);
        if !sizes.is_empty() {
            k.to_mut().bufs.iter_mut().zip(sizes).for_each(|(b, size)| b.bytes.clone_from(size));
        }
        let k = &*k;
        let own = k.defines();
        for (b, v) in k.bufs.iter().zip(&views) {
            // Less memory than declared would go unnoticed as long as nothing reaches that far.
            if !b.bytes.syms().iter().any(|s| own.contains(s)) && self.value(&b.bytes)? > v.len as i64 {
                let what = format!(
                    "kernel {}: buffer `{}` needs {} bytes, {} given",
                    k.name, b.name, b.bytes, v.len
                );
                return Err(Diag::bug(what).at(label).into());
            }
        }
        let n = k.parallel.as_ref().map_or(Ok(1), |e| self.value(e))?;
        // In two parts, the last first, as threads might; at least once, as machine code does.
        let half = n / 2;
        let parts = if n > 1 { [Some(half..n), Some(0..half)] } else { [Some(0..n), None] };
        for range in parts.into_iter().flatten() {
            let r = run_in(k, &mut self.memory.spaces, &views, &mut self.syms, range, self.options);
            match r.map_err(|d| d.at(label))? {
                0 => {}
                code => return Err(Stop::Code(code)),
            }
        }
        for s in own {
            let v = self.syms.get(s.0 as usize).copied().unwrap_or(0);
            self.set(s, v, code::VALUE)?;
        }
        Ok(())
    }
    fn repeat(&mut self, trip: Option<Loc>, cond: Option<Loc>, iter: Loc, count: Sym, body: &[Step]) -> Flow {
        let mut i = 0i64;
        loop {
            let more =
                trip.map_or(Ok(true), |t| Ok::<_, Diag>(i < i64::from_le_bytes(self.memory.read(t, 0)?)))?;
            if !more || !cond.map_or(Ok(true), |c| self.truth(c))? {
                break;
            }
            // One more than what has begun must still fit the planned buffers.
            self.set(count, i + 1, code::ITERATIONS)?;
            self.syms[count.0 as usize] = i;
            self.memory.write(iter, &i.to_le_bytes())?;
            self.steps(body)?;
            i += 1;
        }
        self.set(count, i, code::ITERATIONS)
    }
}

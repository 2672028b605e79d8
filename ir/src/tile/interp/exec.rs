//! Execution of resolved code.

use super::code::{Limit, Op, Place, Slot};
use super::memory::{self, Outside, Space, View};
use super::odd;
use super::scalar::extend;
use crate::expr::Atom;
use crate::tile::{Elem, Kernel};
use crate::{Diag, Expr};

/// Why a block was left early.
pub(super) enum Stop {
    /// `FailIf`.
    Code(i32),
    Fault(Box<Diag>),
}

type Flow = Result<(), Stop>;

/// Machine state.
pub(super) struct Machine<'a, 'm> {
    pub k: &'a Kernel,
    pub regs: Vec<u64>,
    pub spaces: &'a mut [Space<'m>],
    pub views: &'a [View],
    pub syms: &'a mut [i64],
    pub range: (i64, i64),
    pub steps: u64,
}

impl Machine<'_, '_> {
    pub fn block(&mut self, ops: &[Op]) -> Flow {
        // Even an empty block costs a step, so that no loop is free.
        match self.steps.checked_sub(1 + ops.len() as u64) {
            Some(left) => self.steps = left,
            None => {
                let d =
                    Diag::limit(format!("kernel {}: the interpreter's step limit is reached", self.k.name));
                return Err(Stop::Fault(d.into()));
            }
        }
        ops.iter().try_for_each(|op| self.op(op))
    }
    fn op(&mut self, op: &Op) -> Flow {
        let r = &mut self.regs;
        match op {
            Op::Const { dst, bits } => r[dst.at..dst.at + dst.n].fill(*bits),
            Op::Copy { dst, a } => r.copy_within(*a..a + dst.n, dst.at),
            Op::Dim { dst, expr } => {
                let v = self.dim(expr)?;
                self.regs[*dst] = v as u64;
            }
            Op::Map1 { dst, f, a } => (0..dst.n).for_each(|i| r[dst.at + i] = f(r[a + i])),
            Op::Map2 { dst, f, a, b } => (0..dst.n).for_each(|i| r[dst.at + i] = f(r[a + i], r[b + i])),
            Op::Map3 { dst, f, a, b, c } => {
                (0..dst.n).for_each(|i| r[dst.at + i] = f(r[a + i], r[b + i], r[c + i]));
            }
            Op::Select { dst, cond, step, a, b } => {
                for i in 0..dst.n {
                    r[dst.at + i] = if r[cond + i * step] != 0 { r[a + i] } else { r[b + i] };
                }
            }
            Op::Dot4 { dst, acc, a, b, within } => {
                for i in 0..dst.n {
                    let pair = |j: usize| a.get(r, j) * b.get(r, j) + a.get(r, j + 1) * b.get(r, j + 1);
                    let pairs = [pair(4 * i), pair(4 * i + 2)];
                    if pairs.iter().any(|p| p.abs() > *within) {
                        return Err(
                            self.fault(format!("pairs of products give {pairs:?}, not within {within}"))
                        );
                    }
                    let sum = (r[acc + i] as i64).wrapping_add(pairs[0] + pairs[1]);
                    r[dst.at + i] = u64::from(sum as u32);
                }
            }
            // The result may be an operand: whole matrices are read in front of their writes.
            Op::Mat8 { dst, acc, a, b } => {
                for q in (0..dst.n).step_by(4) {
                    let sum = |i: usize, j: usize| {
                        (0..8).map(|k| a.get(r, 4 * q + 8 * i + k) * b.get(r, 4 * q + 8 * j + k)).sum::<i64>()
                    };
                    let sums = [sum(0, 0), sum(0, 1), sum(1, 0), sum(1, 1)];
                    let new = [0, 1, 2, 3].map(|i| (r[acc + q + i] as i64).wrapping_add(sums[i]) as u32);
                    (0..4).for_each(|i| r[dst.at + q + i] = new[i].into());
                }
            }
            Op::Mat4 { dst, acc, a, b } => {
                for q in (0..dst.n).step_by(4) {
                    let new = [0, 1, 2, 3].map(|i| {
                        let (x, y) = (a + q + i / 2 * 2, b + q + i % 2 * 2);
                        let first = odd::dot(r[x], r[y], r[acc + q + i]);
                        odd::dot(r[x + 1], r[y + 1], first)
                    });
                    r[dst.at + q..dst.at + q + 4].copy_from_slice(&new);
                }
            }
            Op::Halves { dst, a, b, high } => {
                let from = if *high { 2 } else { 0 };
                for q in (0..dst.n).step_by(4) {
                    let (a, b) = (a + q + from, b + q + from);
                    let new = [r[a], r[a + 1], r[b], r[b + 1]];
                    r[dst.at + q..dst.at + q + 4].copy_from_slice(&new);
                }
            }
            Op::Cvt { dst, f, mask, a } => (0..dst.n).for_each(|i| r[dst.at + i] = f(r[a + i]) & mask),
            Op::Splat { dst, a } => {
                let v = r[*a];
                r[dst.at..dst.at + dst.n].fill(v);
            }
            Op::LaneIndex { dst, mask } => (0..dst.n).for_each(|i| r[dst.at + i] = i as u64 & mask),
            Op::Fold { dst, f, a } => {
                let mut lanes = r[a.at..a.at + a.n].to_vec();
                while lanes.len() > 1 {
                    let half = lanes.len() / 2;
                    lanes = (0..half).map(|i| f(lanes[i], lanes[i + half])).collect();
                }
                r[*dst] = lanes.first().copied().unwrap_or(0);
            }
            Op::Load { dst, at } => self.load(*dst, at)?,
            Op::Gather { dst, at, index, wide } => self.gather(*dst, at, *index, *wide)?,
            Op::Address { dst, buf } => r[*dst] = memory::address(&self.views[*buf]),
            Op::LoadAt { dst, elem, a } => {
                let address = r[*a];
                self.regs[*dst] = memory::load_at(self.spaces, address, *elem)
                    .ok_or_else(|| self.fault(format!("load from address {address:#x}, where nothing is")))?;
            }
            Op::Store { src, at } => self.store(*src, at)?,
            Op::For { var, lo, hi, step, parallel, body } => {
                let (mut i, mut end) = (self.limit(lo), self.limit(hi));
                if *parallel {
                    (i, end) = (i.max(self.range.0), end.min(self.range.1));
                }
                while i < end {
                    self.regs[*var] = i as u64;
                    self.block(body)?;
                    let Some(next) = i.checked_add(*step) else { break };
                    i = next;
                }
            }
            Op::While { test, cond, body } => loop {
                self.block(test)?;
                if self.regs[*cond] == 0 {
                    break;
                }
                self.block(body)?;
            },
            Op::If { cond, then, els } => {
                let body = if self.regs[*cond] != 0 { then } else { els };
                self.block(body)?;
            }
            Op::SetSym { sym, a } => {
                let v = self.regs[*a] as i64;
                match self.syms.get_mut(sym.0 as usize) {
                    Some(s) => *s = v,
                    None => return Err(self.fault(format!("symbol s{} does not exist", sym.0))),
                }
            }
            Op::FailIf { cond, code } => {
                if self.regs[*cond] != 0 {
                    return Err(Stop::Code(*code));
                }
            }
        }
        Ok(())
    }
    fn fault(&self, what: String) -> Stop {
        Stop::Fault(Diag::bug(format!("kernel {}: {what}", self.k.name)).into())
    }
    fn limit(&self, l: &Limit) -> i64 {
        match l {
            Limit::Const(c) => *c,
            Limit::Reg(r) => self.regs[*r] as i64,
        }
    }
    /// Element address; addresses that overflow are reported as outside.
    fn address(&self, p: &Place) -> Result<i64, Stop> {
        let sum = p.terms.iter().try_fold(p.offset, |sum, (r, scale)| {
            (self.regs[*r] as i64).checked_mul(*scale).and_then(|v| sum.checked_add(v))
        });
        sum.ok_or_else(|| self.fault(format!("an address in {} overflows", self.buffer(p))))
    }
    fn buffer(&self, p: &Place) -> String {
        let name = self.k.bufs.get(p.buf).map_or("?", |b| &b.name);
        format!("buffer b{} `{name}`", p.buf)
    }
    fn outside(&self, what: &str, p: &Place, o: &Outside) -> Stop {
        self.fault(format!("{what} outside {}: {o}", self.buffer(p)))
    }
    /// Lanes that take part.
    fn active(&self, p: &Place, n: usize) -> usize {
        p.tail.map_or(n, |t| (self.regs[t] as i64).clamp(0, n as i64) as usize)
    }
    fn load(&mut self, dst: Slot, p: &Place) -> Flow {
        let n = self.active(p, dst.n);
        let lanes = dst.at..dst.at + dst.n;
        if n > 0 {
            let at = self.address(p)?;
            let out = &mut self.regs[dst.at..dst.at + n];
            memory::load(self.spaces, &self.views[p.buf], at, p.elem, out)
                .map_err(|o| self.outside("load", p, &o))?;
        }
        self.regs[lanes][n..].fill(0);
        Ok(())
    }
    fn gather(&mut self, dst: Slot, p: &Place, index: usize, wide: bool) -> Flow {
        let n = self.active(p, dst.n);
        for i in 0..dst.n {
            let mut v = [0u64];
            if i < n {
                let x = self.regs[index + i];
                let x = if wide { x as i64 } else { extend(x, Elem::I32) };
                let at = self.address(p)?.checked_add(x);
                let at =
                    at.ok_or_else(|| self.fault(format!("an address in {} overflows", self.buffer(p))))?;
                memory::load(self.spaces, &self.views[p.buf], at, p.elem, &mut v)
                    .map_err(|o| self.outside("gather", p, &o))?;
            }
            self.regs[dst.at + i] = v[0];
        }
        Ok(())
    }
    fn store(&mut self, src: Slot, p: &Place) -> Flow {
        let n = self.active(p, src.n);
        if n == 0 {
            return Ok(());
        }
        let at = self.address(p)?;
        let from = &self.regs[src.at..src.at + n];
        memory::store(self.spaces, &self.views[p.buf], at, p.elem, from)
            .map_err(|o| self.outside("store", p, &o))
    }
    fn dim(&self, e: &Expr) -> Result<i64, Stop> {
        dim(e, self.syms).ok_or_else(|| self.fault(format!("`{e}` uses a symbol that does not exist")))
    }
}

/// Value of an expression as machine code computes it: wrapping, division and modulo by zero give 0. `None` for
/// symbols beyond the array.
pub(crate) fn dim(e: &Expr, syms: &[i64]) -> Option<i64> {
    let mut sum = e.constant_term();
    for (atoms, c) in e.terms() {
        let mut p = *c;
        for a in atoms {
            p = p.wrapping_mul(atom(a, syms)?);
        }
        sum = sum.wrapping_add(p);
    }
    Some(sum)
}

fn atom(a: &Atom, syms: &[i64]) -> Option<i64> {
    Some(match a {
        Atom::Sym(s) => *syms.get(s.0 as usize)?,
        Atom::TooBig => return None,
        Atom::Div(a, b) => {
            let (x, y) = (dim(a, syms)?, dim(b, syms)?);
            floor_div(x, y).0
        }
        Atom::Mod(a, b) => {
            let (x, y) = (dim(a, syms)?, dim(b, syms)?);
            floor_div(x, y).1
        }
        Atom::Min(a, b) => dim(a, syms)?.min(dim(b, syms)?),
        Atom::Max(a, b) => dim(a, syms)?.max(dim(b, syms)?),
        Atom::Sel(c, a, b) => {
            if dim(c, syms)? >= 0 {
                dim(a, syms)?
            } else {
                dim(b, syms)?
            }
        }
    })
}

fn floor_div(x: i64, y: i64) -> (i64, i64) {
    if y == 0 {
        return (0, 0);
    }
    let (q, r) = (x.wrapping_div(y), x.wrapping_rem(y));
    if r != 0 && (r < 0) != (y < 0) { (q - 1, r + y) } else { (q, r) }
}

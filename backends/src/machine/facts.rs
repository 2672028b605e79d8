//! What selection knows about a kernel before it starts: constants, use counts, values that need no register.

use super::patterns::{Known, Patterns};
use sinter_ir::Expr;
use sinter_ir::tile::{Addr, Buf, Elem, Inst, Kernel, Reg, Scalar, Stmt};
use std::collections::{BTreeMap, BTreeSet};

/// How far a load or comparison may be put off.
const REACH: usize = 64;

/// Facts about one kernel.
#[derive(Debug, Default)]
pub struct Facts {
    /// Number of assignments in the text of the kernel.
    pub writes: Vec<u32>,
    /// Number of reads in the text of the kernel.
    pub reads: Vec<u32>,
    /// Registers that are a constant wherever they are read.
    pub consts: BTreeMap<Reg, Scalar>,
    /// Loads, splats of loads and comparisons of scalars that are made where their only use is.
    pub late: BTreeSet<Reg>,
    /// Instructions that are made together.
    pub patterns: Patterns,
    /// Symbolic integers.
    pub dims: BTreeSet<Expr>,
    /// Whether symbols change while the kernel runs.
    pub sets_symbols: bool,
    /// Buffers in use.
    pub bufs: BTreeSet<u32>,
    /// Whether the symbol array is read or written.
    pub symbols: bool,
    /// Whether there is a parallel loop.
    pub parallel: bool,
}

impl Facts {
    /// Collects everything. `saturates`: there are instructions that narrow integers with saturation.
    pub fn of(k: &Kernel, saturates: bool) -> Self {
        let mut f = Self { writes: vec![0; k.regs.len()], reads: vec![0; k.regs.len()], ..Self::default() };
        let mut splats = Vec::new();
        f.count(&k.body, &mut splats);
        let writes = &f.writes;
        f.consts.retain(|r, _| writes[r.0 as usize] == 1);
        for (dst, a) in splats {
            if let (1, Some(c)) = (writes[dst.0 as usize], f.consts.get(&a).copied()) {
                f.consts.insert(dst, c);
            }
        }
        f.patterns =
            Patterns::of(&Known { k, writes: &f.writes, reads: &f.reads, consts: &f.consts }, saturates);
        f.defer(k, &k.body, None);
        f
    }
    /// Counts reads and writes and finds constants; `splats` collects splats.
    fn count(&mut self, body: &[Stmt], splats: &mut Vec<(Reg, Reg)>) {
        for s in body {
            own_reads(s, &mut |r| self.reads[r.0 as usize] += 1);
            match s {
                Stmt::Let { dst, inst } => {
                    self.writes[dst.0 as usize] += 1;
                    match inst {
                        Inst::Const(c) => {
                            self.consts.insert(*dst, *c);
                        }
                        Inst::Splat(a) => splats.push((*dst, *a)),
                        Inst::Dim(e) => match e.as_const() {
                            Some(c) => {
                                self.consts.insert(*dst, Scalar::Int(c));
                            }
                            None => {
                                self.dims.insert(e.clone());
                                self.symbols = true;
                            }
                        },
                        Inst::Load { buf, .. } | Inst::LoadGather { buf, .. } | Inst::Address(buf) => {
                            self.bufs.insert(buf.0);
                        }
                        _ => {}
                    }
                }
                Stmt::Store { buf, .. } => {
                    self.bufs.insert(buf.0);
                }
                Stmt::For { var, kind, .. } => {
                    self.writes[var.0 as usize] += 1;
                    self.parallel |= *kind == sinter_ir::tile::LoopKind::Parallel;
                }
                Stmt::SetSym { .. } => {
                    self.sets_symbols = true;
                    self.symbols = true;
                }
                _ => {}
            }
            s.blocks().into_iter().for_each(|b| self.count(b, splats));
        }
    }
    /// Finds what can be put off in a list of statements; `last` is read behind its end.
    fn defer(&mut self, k: &Kernel, body: &[Stmt], last: Option<Reg>) {
        for (i, s) in body.iter().enumerate() {
            match s {
                Stmt::Let { dst, inst } => self.defer_one(k, *dst, inst, &body[i + 1..], last),
                Stmt::While { test, cond, body } => {
                    self.defer(k, test, Some(*cond));
                    self.defer(k, body, None);
                }
                other => other.blocks().into_iter().for_each(|b| self.defer(k, b, None)),
            }
        }
        // A splat can be put off only together with its load, whose reach then ends at the splat's use.
        for (i, s) in body.iter().enumerate() {
            if let Stmt::Let { dst, inst } = s
                && let Inst::Load { at, .. } = inst
                && self.late.contains(dst)
                && let Some(splat) = body[i + 1..].iter().take(REACH).find_map(|s| match s {
                    Stmt::Let { dst: d, inst: Inst::Splat(a) } if a == dst => Some(*d),
                    _ => None,
                })
                && self.once(splat)
            {
                let inputs: Vec<Reg> = at.terms.iter().map(|t| t.0).collect();
                if reaches(&body[i + 1..], splat, &inputs, true, None) {
                    self.late.insert(splat);
                }
            }
        }
    }
    /// Whether a register is written once and read once.
    fn once(&self, r: Reg) -> bool {
        self.writes[r.0 as usize] == 1 && self.reads[r.0 as usize] == 1
    }
    /// Puts off one load or comparison if it may be.
    fn defer_one(&mut self, k: &Kernel, dst: Reg, inst: &Inst, rest: &[Stmt], last: Option<Reg>) {
        let (inputs, memory): (Vec<Reg>, bool) = match inst {
            Inst::Load { at, tail: None, .. } => (at.terms.iter().map(|t| t.0).collect(), true),
            Inst::Cmp(_, a, b) if k.ty(*a).lanes == 1 => (vec![*a, *b], false),
            _ => return,
        };
        // What is made together with its reader's reader is read later than the text says.
        let p = &self.patterns;
        let moved = p.places.values().any(|r| *r == dst) || p.packs.values().any(|k| k.from == dst);
        if !moved && self.once(dst) && reaches(rest, dst, &inputs, memory, last) {
            self.late.insert(dst);
        }
    }
}

/// Whether nothing between here and the use of `r` changes what its value is made from.
fn reaches(rest: &[Stmt], r: Reg, inputs: &[Reg], memory: bool, last: Option<Reg>) -> bool {
    for s in rest.iter().take(REACH) {
        let mut used = false;
        if !matches!(s, Stmt::While { .. }) {
            own_reads(s, &mut |x| used |= x == r);
        }
        if used {
            return true;
        }
        match s {
            Stmt::Let { dst, .. } if inputs.contains(dst) => return false,
            Stmt::Store { .. } if memory => return false,
            Stmt::For { .. } | Stmt::While { .. } | Stmt::If { .. } => return false,
            _ => {}
        }
    }
    rest.len() <= REACH && last == Some(r)
}

/// Every register that a statement itself reads.
pub fn own_reads(s: &Stmt, f: &mut dyn FnMut(Reg)) {
    match s {
        Stmt::Let { inst, .. } => inst.reads(f),
        Stmt::Store { at, value, tail, .. } => {
            at.terms.iter().for_each(|t| f(t.0));
            f(*value);
            tail.iter().for_each(|t| f(*t));
        }
        Stmt::For { lo, hi, .. } => {
            for b in [lo, hi] {
                if let sinter_ir::tile::Bound::Reg(r) = b {
                    f(*r);
                }
            }
        }
        Stmt::While { cond, .. } | Stmt::If { cond, .. } | Stmt::FailIf { cond, .. } => f(*cond),
        Stmt::SetSym { value, .. } => f(*value),
    }
}

/// Buffer, address and element type of a statement's own access to memory.
pub fn own_addresses<'s>(k: &Kernel, s: &'s Stmt) -> Option<(Buf, &'s Addr, Elem)> {
    match s {
        Stmt::Let { dst, inst: Inst::Load { buf, at, .. } | Inst::LoadGather { buf, at, .. } } => {
            Some((*buf, at, k.ty(*dst).elem))
        }
        Stmt::Store { buf, at, value, .. } => Some((*buf, at, k.ty(*value).elem)),
        _ => None,
    }
}

/// Registers that a list of statements assigns anywhere.
pub fn assigned(body: &[Stmt], out: &mut BTreeSet<Reg>) {
    for s in body {
        match s {
            Stmt::Let { dst, .. } => {
                out.insert(*dst);
            }
            Stmt::For { var, .. } => {
                out.insert(*var);
            }
            _ => {}
        }
        s.blocks().into_iter().for_each(|b| assigned(b, out));
    }
}

//! The walk over the steps: symbols with values and bytes with contents.

use super::super::{Program, Step};
use super::Verifier;
use super::memory::Use;
use super::ranges::Ranges;
use crate::tile::Access;
use crate::{DType, Expr, Sym};
use std::collections::BTreeSet;

/// What holds on every path to a step.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// Symbols with values.
    pub defined: BTreeSet<Sym>,
    /// Arena bytes with contents.
    pub arena: Ranges,
    /// The same per output.
    pub outputs: Vec<Ranges>,
}

impl State {
    /// Symbols that are dims of inputs have values.
    pub fn at_start(p: &Program) -> Self {
        let dims = p.inputs.iter().flat_map(|i| &i.dims).filter_map(Expr::as_sym);
        let defined = dims.chain(p.capacity()).collect();
        Self { defined, arena: Ranges::default(), outputs: vec![Ranges::default(); p.outputs.len()] }
    }
}

/// Numbers that steps take: one each, loops one more for their end.
fn count(steps: &[Step]) -> u32 {
    let one = |s: &Step| match s {
        Step::If { then, els, .. } => 1 + count(then) + count(els),
        Step::Loop { body, .. } => 2 + count(body),
        _ => 1,
    };
    steps.iter().map(one).sum()
}

impl<'a> Verifier<'a> {
    /// Reports symbols of an expression that have no value.
    pub(super) fn defined(&mut self, state: &State, e: &Expr) {
        if e.is_too_big() {
            self.err("a symbolic integer is too large an expression");
        }
        for s in e.syms() {
            self.known(state, s);
        }
    }
    fn known(&mut self, state: &State, s: Sym) {
        if !state.defined.contains(&s) {
            self.err(format_args!("s{} is used before it has a value", s.0));
        }
    }
    fn define(&mut self, state: &mut State, s: Sym) {
        if self.p.symbols.info(s).is_none() {
            self.err(format_args!("symbol s{} does not exist", s.0));
        }
        state.defined.insert(s);
    }
    pub(super) fn steps(&mut self, steps: &'a [Step], state: &mut State) {
        let mut at = self.at;
        for s in steps {
            self.label = None;
            self.arrive(at, state);
            self.step(s, state);
            at += count(std::slice::from_ref(s));
            self.at = at;
        }
    }
    fn step(&mut self, s: &'a Step, state: &mut State) {
        match s {
            Step::Call { kernel, args, sizes, label } => {
                self.label = Some(label);
                self.call(*kernel, args, sizes, state);
            }
            Step::Copy { dst, src, bytes } => {
                self.defined(state, bytes);
                let from = Use { at: *src, bytes: self.bytes(bytes), align: 1, read: true, write: false };
                let to = Use { at: *dst, read: false, write: true, ..from };
                if from.at == to.at {
                    self.err(format_args!("{src} is copied onto itself"));
                }
                self.uses(state, &[from, to]);
            }
            Step::SetSym { sym, value } => {
                self.defined(state, value);
                self.define(state, *sym);
            }
            Step::ReadSym { sym, from, index, dtype } => {
                let size = dtype.bits() as u64 / 8;
                if !matches!(dtype, DType::I32 | DType::I64) {
                    self.err(format_args!("a symbol is read from {dtype}"));
                }
                let bytes = index.saturating_add(1).saturating_mul(size);
                self.uses(state, &[Use { align: size.max(1), ..Use::read(*from, bytes) }]);
                self.define(state, *sym);
            }
            Step::Require { a, b, .. } => {
                self.defined(state, a);
                self.defined(state, b);
            }
            Step::If { cond, then, els } => {
                self.uses(state, &[Use::read(*cond, 1)]);
                self.branches(then, els, state);
            }
            Step::Loop { trip, cond, iter, count: n, body } => {
                self.loops.push((self.at, self.at + count(body) + 1));
                let reads = trip.map(|t| Use::read(t, 8)).into_iter().chain(cond.map(|c| Use::read(c, 1)));
                let counter = Use { read: false, write: true, ..Use::read(*iter, 8) };
                self.uses(state, &reads.chain([counter]).collect::<Vec<_>>());
                self.define(state, *n);
                let mut inner = state.clone();
                self.at += 1;
                self.counts.push(*n);
                self.steps(body, &mut inner);
                self.counts.pop();
                self.label = None;
                self.arrive(self.at, &mut inner);
                // A loop that does not run leaves results of size zero: what the body writes counts as written.
                state.arena.add(&inner.arena);
                state.outputs.iter_mut().zip(&inner.outputs).for_each(|(a, b)| a.add(b));
                self.loops.pop();
            }
        }
    }
    fn branches(&mut self, then: &'a [Step], els: &'a [Step], state: &mut State) {
        let mut other = state.clone();
        let started = self.started.len();
        self.at += 1;
        self.steps(then, state);
        self.started[started..].iter().for_each(|(from, to)| other.arena.remove(*from, *to));
        self.steps(els, &mut other);
        state.defined.retain(|s| other.defined.contains(s));
        state.arena.keep(&other.arena);
        state.outputs.iter_mut().zip(&other.outputs).for_each(|(a, b)| a.keep(b));
    }
    fn call(&mut self, kernel: u32, args: &[super::super::Loc], sizes: &[Expr], state: &mut State) {
        let p = self.p;
        let Some(k) = p.kernels.get(kernel as usize) else {
            return self.err(format_args!("kernel {kernel} does not exist"));
        };
        if args.len() != k.bufs.len() {
            let what = format!("kernel {} takes {} buffers, {} given", k.name, k.bufs.len(), args.len());
            return self.err(what);
        }
        if !sizes.is_empty() && sizes.len() != args.len() {
            return self.err(format_args!("{} sizes of {} buffers", sizes.len(), args.len()));
        }
        sizes.iter().for_each(|e| self.defined(state, e));
        let needs: Vec<Sym> = self.facts[kernel as usize].needs.iter().copied().collect();
        needs.into_iter().for_each(|s| self.known(state, s));
        let one = |(i, (b, at)): (usize, (&crate::tile::Buffer, &super::super::Loc))| Use {
            at: *at,
            bytes: self.bytes(sizes.get(i).unwrap_or(&b.bytes)),
            align: self.facts[kernel as usize].align[i],
            // A buffer for both may be scratch memory, whose first use is a store.
            read: b.access == Access::Read,
            write: b.access != Access::Read,
        };
        let uses: Vec<Use> = k.bufs.iter().zip(args).enumerate().map(one).collect();
        self.uses(state, &uses);
        for s in self.facts[kernel as usize].sets.clone() {
            self.define(state, s);
        }
    }
}

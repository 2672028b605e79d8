//! Verifier of programs: whatever passes can be emitted, and cannot leave its memory through a wrong plan.
//!
//! Checked: the tables (kernels, weights, ports, plan), that every location is inside a buffer that is live at
//! its step and large enough, aligned and writable ([`memory`]), that symbols have values before they are used,
//! and that no byte is read that nothing wrote ([`flow`]). Sizes that depend on symbols count with their smallest
//! value where bytes must be there and with their largest where memory must suffice, so nothing is reported
//! that could be right. Everything found is a defect of the passes.

mod facts;
mod flow;
mod memory;
mod ranges;

use super::{BufferLife, Program};
use crate::expr::LIMIT;
use crate::tile;
use crate::{Diag, Expr, Sym};
use facts::Facts;
use flow::State;
use memory::Live;
use std::collections::{BTreeSet, VecDeque};

/// Problems that are reported per program; the rest would only repeat them.
const MAX_DIAGS: usize = 20;

/// Everything wrong with a program; empty when it is sound.
pub fn verify(p: &Program) -> Vec<Diag> {
    let kernels: Vec<Diag> = p.kernels.iter().flat_map(tile::verify::verify).take(MAX_DIAGS).collect();
    if !kernels.is_empty() {
        return kernels;
    }
    let mut lives: Vec<&BufferLife> = p.timeline.iter().collect();
    lives.sort_by_key(|l| (l.first, l.offset));
    let mut v = Verifier {
        p,
        facts: p.kernels.iter().map(Facts::of).collect(),
        at: 0,
        label: None,
        live: Live::default(),
        coming: lives.into(),
        started: vec![],
        loops: vec![],
        counts: vec![],
        out: vec![],
    };
    v.tables();
    let mut state = State::at_start(p);
    v.inputs(&state);
    v.steps(&p.steps, &mut state);
    v.finish(&state);
    v.out
}

/// State: the program, the current step, the buffers live there, problems so far.
struct Verifier<'a> {
    p: &'a Program,
    facts: Vec<Facts>,
    /// Number of the current step, as in [`BufferLife`].
    at: u32,
    label: Option<&'a str>,
    live: Live<'a>,
    /// Buffers that are not live yet, by first step.
    coming: VecDeque<&'a BufferLife>,
    /// Byte ranges of all buffers that have become live, in order.
    started: Vec<(u64, u64)>,
    /// First and last number of the loops around.
    loops: Vec<(u32, u32)>,
    /// Their counts: in the body they are below their largest value, which only the end of the loop reaches.
    counts: Vec<Sym>,
    out: Vec<Diag>,
}

impl Verifier<'_> {
    fn err(&mut self, what: impl std::fmt::Display) {
        if self.out.len() < MAX_DIAGS {
            let d = Diag::bug(format!("program {}, step {}: {what}", self.p.name, self.at));
            self.out.push(match self.label {
                Some(l) => d.at(l),
                None => d,
            });
        }
    }
    /// Smallest and largest value of a size.
    fn bytes(&self, e: &Expr) -> (u64, u64) {
        let (lo, hi) = e.range(&|s| {
            let (min, max) = self.p.symbols.info(s).map_or((-LIMIT, LIMIT), |i| (i.min, i.max));
            if self.counts.contains(&s) { (min, (max - 1).max(min)) } else { (min, max) }
        });
        (lo.max(0) as u64, hi.max(0) as u64)
    }
    fn tables(&mut self) {
        let p = self.p;
        let mut names = BTreeSet::new();
        for k in &p.kernels {
            if !names.insert(&k.name) {
                self.err(format_args!("two kernels are called {}", k.name));
            }
        }
        let mut end = 0;
        for (at, data) in &p.weights {
            if !at.is_multiple_of(64) || *at < end {
                self.err(format_args!("weights+{at} is not aligned to 64 bytes behind {end}"));
            }
            // An empty section has an address of its own.
            end = at.saturating_add(data.len().max(1) as u64);
        }
        if !p.arena_bytes.is_multiple_of(64) || p.live_bytes > p.arena_bytes {
            self.err(format_args!("an arena of {} bytes for {} live ones", p.arena_bytes, p.live_bytes));
        }
        for s in &p.symbols.table {
            if s.min > s.max {
                self.err(format_args!("symbol {} has the empty range {}..{}", s.name, s.min, s.max));
            }
        }
        for port in p.inputs.iter().chain(&p.outputs).chain(&p.states) {
            let most = self.bytes(&port.bytes()).1;
            if most > port.max_bytes {
                let what = format!("{} can have {most} bytes, {} are stated", port.name, port.max_bytes);
                self.err(what);
            }
        }
        for l in &p.timeline {
            let symbols = 8 * p.symbols.table.len() as u64;
            if l.offset < symbols || l.end() > p.arena_bytes || l.first > l.last {
                self.err(format_args!("buffer {} is planned badly: {l:?}", l.name));
            }
        }
    }
    /// Every dim of every input must be known from the dims that are symbols, and states depend on the capacity only.
    fn inputs(&mut self, state: &State) {
        let p = self.p;
        let capacity = p.capacity();
        if p.states.iter().flat_map(|s| &s.dims).flat_map(Expr::syms).any(|s| Some(s) != capacity) {
            self.err("the dims of states depend on several symbols");
        }
        if p.inputs.iter().flat_map(|i| &i.dims).flat_map(Expr::syms).any(|s| Some(s) == capacity) {
            self.err("the capacity of states is also a dim of an input");
        }
        p.inputs.iter().flat_map(|i| &i.dims).for_each(|d| self.defined(state, d));
    }
    /// Every output is written, every buffer was met.
    fn finish(&mut self, state: &State) {
        let p = self.p;
        self.label = None;
        for (i, o) in p.outputs.iter().enumerate() {
            o.dims.iter().for_each(|d| self.defined(state, d));
            let least = self.bytes(&o.bytes()).0;
            if !state.outputs[i].contains(0, least) {
                self.err(format_args!("output{i} `{}` is not written in full", o.name));
            }
        }
        if let Some(l) = self.coming.front() {
            let what = format!("buffer {} lives from step {}, which does not exist", l.name, l.first);
            self.err(what);
        }
    }
}

//! From the optimised module to the program for each target: how much may be unrolled, and which choices are made.

use super::Request;
use super::splitting::{Before, split};
use crate::dump::{Dump, Past};
use crate::spool::{Packing, Spool};
use crate::tune::{self, Answers};
use sinter_backends as backends;
use sinter_ir::program::Program;
use sinter_ir::target::{Memory, TargetDesc};
use sinter_ir::tile::Stmt;
use sinter_ir::{Diag, Module};
use sinter_passes::compress::Calibrated;
use sinter_passes::lower::choices::Choices;
use sinter_passes::pipeline::{self, LowerOptions, PipelineOptions};
use sinter_passes::plan::weights::Store;
use sinter_passes::report::PassReport;
use std::path::Path;

/// Bytes of machine code, or of WebAssembly, that a bundle may have for a target: of language models, of all others, and
/// where code is to be small.
const LANGUAGE_MODEL: u64 = 150_000;
const OTHERS: u64 = 100_000;
const SMALL: u64 = 50_000;
/// Times that code becomes dearer, at most, by each of two ways.
const STEPS: u32 = 12;
/// A statement of TileIR is at most this much code on average: no model comes near.
const STATEMENT_BYTES: u64 = 16;

/// A program, what was done for it, and where its weights are if not in it.
pub type Made = (Program, PassReport, Option<Spool>);

/// A module that has gone through all passes.
pub struct Lowering<'a> {
    module: Option<Module>,
    report: PassReport,
    /// Where memory is limited: the module in front of what splits it, and what all targets have in common.
    before: Option<Before>,
    request: &'a Request,
    lower: LowerOptions,
    dump: Option<Dump>,
    unused: Vec<String>,
    /// What was split.
    told: Vec<String>,
    /// Weights of the module may be in it.
    codes: Option<Spool>,
}

/// What a target gets.
pub struct Lowered {
    pub program: Program,
    pub report: PassReport,
    /// Where its weights are, if not in the program.
    pub spool: Option<Spool>,
    /// Choices that were measured, now or before.
    pub tuned: Option<Answers>,
}

impl<'a> Lowering<'a> {
    /// Runs the passes for all targets, of which `target` stands for what they have in common; `None` where they stop
    /// before the end. `limited`: memory of some is. The dump is complete as far as the passes came, also when one of them fails.
    pub fn new(
        module: Module,
        past: &Past,
        request: &'a Request,
        calibrated: Option<&Calibrated>,
        mut dump: Option<Dump>,
        (target, limited): (Option<&TargetDesc>, bool),
    ) -> Result<Option<Self>, Vec<Diag>> {
        let mut before = None;
        let mut write = |pass: &str, m: &Module, report: &PassReport| {
            if limited && pass == pipeline::BEFORE_PATCHES {
                let (module, report, target) = (m.clone(), report.clone(), target.cloned());
                before = Some(Before { module, report, target });
            }
            if let Some(dump) = dump.as_mut() {
                dump.pass(pass, m, report);
            }
        };
        // Where codes of rounded weights go.
        let folder = request.spool.as_deref().filter(|_| request.compress.is_some());
        let mut codes = folder.map(Spool::create).transpose().map_err(|d| vec![d])?;
        let lower = LowerOptions {
            precision: super::precision(past, request).map_err(|d| vec![d])?,
            ..request.lower
        };
        let mut options = options(request, lower);
        options.past = past.report.clone();
        options.calibrated = calibrated;
        options.codes = codes.as_mut().map(|s| s as &mut dyn Store);
        options.on_dump = Some(&mut write);
        let rewritten = pipeline::rewrite(module, &mut options, target);
        let failed = |d: Option<Diag>, dump: Option<Dump>| {
            let all: Vec<Diag> = d.into_iter().chain(dump.and_then(|d| d.finish().err())).collect();
            if all.is_empty() { Ok(None) } else { Err(all) }
        };
        match rewritten {
            Ok((module, report, true)) => Ok(Some(Self {
                module: Some(module),
                report,
                before,
                request,
                lower,
                dump,
                unused: vec![],
                told: vec![],
                codes,
            })),
            Ok(_) => failed(None, dump),
            Err(d) => failed(Some(d), dump),
        }
    }
    /// The program for a target, its weights in a file where `spooled` and the request allows it. After the last one
    /// the module is gone: weights are not held twice.
    pub fn lower(
        &mut self,
        target: &TargetDesc,
        spooled: bool,
        last: bool,
        step: &dyn Fn(&str),
    ) -> Result<Lowered, Vec<Diag>> {
        step(&format!("optimising for {}", target.name));
        let lowered = self.program(target, spooled, step);
        if let (Some(dump), Ok(l)) = (self.dump.as_mut(), &lowered) {
            dump.program(&l.program);
        }
        // One program is enough to look at.
        if let Some(Err(d)) = self.dump.take().map(Dump::finish) {
            return Err(lowered.err().into_iter().flatten().chain([d]).collect());
        }
        if last {
            (self.module, self.before) = (None, None);
        }
        lowered
    }
    /// What is to be told in the end.
    pub fn finish(self) -> Vec<String> {
        let n = self.unused.len();
        let first = self.unused.into_iter().next();
        let unused = first.map(|q| format!("{n} of the tuned choices do not apply here, as `{q}`"));
        self.told.into_iter().chain(unused).collect()
    }
    fn program(
        &mut self,
        target: &TargetDesc,
        spooled: bool,
        step: &dyn Fn(&str),
    ) -> Result<Lowered, Vec<Diag>> {
        let mut tuned = self.request.tuned.get(&target.name).cloned();
        let gone = || vec![Diag::bug("lowering of a module that is gone")];
        let module = (self.module.as_ref().ok_or_else(gone)?, &self.report);
        if let Some(how) = &self.request.tune {
            tuned = Some({
                let mut make = |c: &Choices| self.make(module, target, c, None).map(|(p, r, _)| (p, r));
                tune::tune(target, how, &mut make, step)?
            });
        }
        let choices = Choices::new(tuned.clone().unwrap_or_default());
        let folder = self.request.spool.as_deref().filter(|_| spooled);
        let (mut program, mut report, mut spool) = self.make(module, target, &choices, folder)?;
        let (asked, known) = (&self.request.memory, &target.memory);
        let memory = Memory {
            ram_bytes: asked.ram().or_else(|| known.ram()),
            flash_bytes: asked.flash().or_else(|| known.flash()),
            regions: vec![],
        };
        let mut problems = super::budget::check(&program, &target.name, &memory);
        if let (false, Some(before), Some(room)) = (problems.is_empty(), &self.before, memory.ram_bytes) {
            step(&format!("splitting layers for {}", target.name));
            let mut make = |m: &Module, r: &PassReport| self.make((m, r), target, &choices, folder);
            let now = super::budget::ram(&program);
            let split = split(before, (room, now), &|| options(self.request, self.lower), &mut make)?;
            if let Some(split) = split {
                let left = super::budget::check(&split.made.0, &target.name, &memory);
                match left.is_empty() {
                    true => self.told.push(split.told),
                    false => {
                        problems.iter_mut().for_each(|d| d.message += &format!("; at best, {}", split.told))
                    }
                }
                if left.is_empty() {
                    ((program, report, spool), problems) = (split.made, left);
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        self.unused.extend(choices.unused());
        Ok(Lowered { program, report, spool, tuned })
    }
    /// Lowers with as much unrolling as the room for code allows.
    fn make(
        &self,
        (module, report): (&Module, &PassReport),
        target: &TargetDesc,
        choices: &Choices,
        folder: Option<&Path>,
    ) -> Result<Made, Vec<Diag>> {
        let small = self.request.opt_size;
        let room = match module.states.is_empty() {
            _ if small => SMALL,
            true => OTHERS,
            false => LANGUAGE_MODEL,
        };
        let mut levers = Levers {
            lower: self.lower,
            // Modules for browsers keep kernels of known shapes: what sharing would cost there is not known.
            shares: !backends::wasm::is(target),
            uniform: false,
            steps: 0,
            small,
            code: 0,
        };
        let mut smallest: Option<(u64, Made)> = None;
        loop {
            let lower = levers.lower;
            let mut machine = target.clone();
            machine.cost = target.cost.dearer_code(levers.steps);
            machine.cost.uniform = levers.uniform;
            let mut report = report.clone();
            let mut spool = folder.map(Spool::create).transpose().map_err(|d| vec![d])?;
            let mut packing = spool.as_mut().map(|s| Packing::new(s, self.codes.as_ref()));
            let mut options = options(self.request, lower);
            options.store = packing.as_mut().map(|s| s as &mut dyn Store);
            let program = pipeline::finish(module, &mut options, &machine, choices, &mut report)?;
            let problems = backends::legalise(&program, target);
            if !problems.is_empty() {
                return Err(problems);
            }
            let (program, code) = code_bytes(program, target, room).map_err(|d| vec![d])?;
            let made = (program, report, spool);
            if code <= room {
                return Ok(made);
            }
            if smallest.as_ref().is_none_or(|(least, _)| code < *least) {
                smallest = Some((code, made));
            }
            if !levers.tighten(code)
                && let Some((_, made)) = smallest.take()
            {
                return Ok(made);
            }
        }
    }
}

/// What makes code less, in the order of what it costs in time: one kernel for several shapes costs next to nothing.
struct Levers {
    lower: LowerOptions,
    /// Whether kernels of several shapes may become one.
    shares: bool,
    /// All products have tiles of a few sizes.
    uniform: bool,
    /// Times that code became twice as dear, the same everywhere.
    steps: u32,
    /// Whether code is to be small whatever that costs.
    small: bool,
    /// Bytes before.
    code: u64,
}

impl Levers {
    /// Takes the next step, where this much code is too much; whether there is one.
    fn tighten(&mut self, code: u64) -> bool {
        // What changed nothing is not done again.
        let idle = std::mem::replace(&mut self.code, code) == code;
        let Self { lower, shares, uniform, steps, small, .. } = self;
        if *shares && !lower.share_shapes {
            lower.share_shapes = true;
        } else if !*uniform && lower.thrift < STEPS && !(idle && lower.thrift > 0) {
            lower.thrift += 1;
        } else if !*small {
            return false;
        } else if *shares && !*uniform {
            // Kernels are the same for all shapes where their code is as dear for all.
            (*uniform, lower.thrift, *steps) = (true, 0, 1);
        } else if *steps < STEPS && !idle {
            *steps += 1;
        } else if !lower.exact_convolutions {
            (lower.exact_convolutions, *steps) = (true, 1);
        } else if *steps < STEPS {
            *steps = STEPS;
        } else {
            return false;
        }
        true
    }
}

fn options<'a>(request: &Request, lower: LowerOptions) -> PipelineOptions<'a> {
    PipelineOptions {
        start_from: request.start_from.clone(),
        stop_after: request.stop_after.clone(),
        verify_each: request.verify_each,
        lower,
        compress: request.compress,
        ..PipelineOptions::default()
    }
}

/// Bytes of a program's code; 0 where it surely fits the room for it.
fn code_bytes(mut program: Program, target: &TargetDesc, room: u64) -> Result<(Program, u64), Diag> {
    fn count(body: &[Stmt]) -> u64 {
        body.iter().map(|s| 1 + s.blocks().into_iter().map(|b| count(b)).sum::<u64>()).sum()
    }
    let wasm = backends::wasm::is(target);
    let statements: u64 = program.kernels.iter().map(|k| count(&k.body)).sum();
    let steps = program.steps.len() as u64;
    // Other code is not measured by bytes of instructions.
    let measured = wasm || target.triple.starts_with("x86_64");
    if !measured || (!wasm && (statements + 8 * steps) * STATEMENT_BYTES <= room) {
        return Ok((program, 0));
    }
    // The code does not depend on the weights, which may be large.
    let weights = std::mem::take(&mut program.weights);
    let code = match wasm {
        true => backends::wasm::emit(&program, target)?.code,
        false => backends::emit(&program, target)?.code,
    };
    let code = code.values().sum::<u64>();
    program.weights = weights;
    Ok((program, code))
}

//! The pipeline: the ordered list of passes and the driver that runs them.

use crate::compress::{Calibrated, Recipe};
use crate::lower::Precision;
use crate::lower::choices::Choices;
use crate::patches::{self, PATCHES};
use crate::plan::weights::Store;
use crate::report::{PassReport, PassStat};
use crate::{assemble, canon, check, compress, fuse, layout, rebuild};
use sinter_ir::program::{self, Program};
use sinter_ir::target::TargetDesc;
use sinter_ir::{Diag, Module, Result};

/// One pass: module to module.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    /// CLI-visible name, e.g. for `--stop-after`.
    pub name: &'static str,
    /// Phase it belongs to: `canon` or `fuse`.
    pub phase: &'static str,
    /// One line for `--help`.
    pub summary: &'static str,
    /// Targets that it is for; none: all.
    pub only: Option<fn(&TargetDesc) -> bool>,
    /// The pass.
    pub run: fn(&mut Module, &mut PassReport) -> Result<()>,
}

const fn pass(
    phase: &'static str,
    name: &'static str,
    run: fn(&mut Module, &mut PassReport) -> Result<()>,
    summary: &'static str,
) -> Pass {
    Pass { name, phase, summary, only: None, run }
}

impl Pass {
    const fn only(self, targets: fn(&TargetDesc) -> bool) -> Self {
        Self { only: Some(targets), ..self }
    }
}

/// All passes in order: the table of contents of the compiler.
pub const PASSES: &[Pass] = &[
    pass("canon", "dce", canon::dce::run, "drop what nothing needs"),
    pass("canon", "captures", canon::captures::run, "move captured constants into regions"),
    pass("canon", "tables", canon::tables::run, "functions of quantised bytes become tables"),
    pass("canon", "integers", canon::integers::run, "contract quantised operands as integers"),
    pass("canon", "dots", canon::dots::run, "contract bytes where there are dot products of them")
        .only(TargetDesc::dots),
    pass("canon", "fold", canon::fold::run, "compute constants, take known branches"),
    pass("canon", "ranges", canon::ranges::run, "simplify symbolic integers by the ranges of symbols"),
    pass("canon", "constraints", canon::constraints::run, "replace symbols that constraints fix"),
    pass("canon", "subpixel", canon::subpixel::run, "transposed convolutions become convolutions"),
    pass("canon", FOURIER, canon::fourier::run, "convolutions that are Fourier transforms become fast ones"),
    pass("canon", "simplify", canon::simplify::run, "local rewrites, see RULES.md"),
    pass("canon", "algebra", canon::algebra::run, "equality saturation on element-wise regions"),
    pass("canon", "fold-final", canon::fold::run, "compute constants that the rewrites made"),
    pass("canon", "cse", canon::cse::run, "merge equal nodes"),
    pass("canon", "widen", canon::widen::run, "compute 16-bit floats in f32"),
    pass("canon", "join", canon::join::run, "quantised products of the same data become one"),
    pass("canon", "dce-final", canon::dce::run_final, "drop what the rewrites left over"),
    pass("canon", "texts", canon::texts::run, "constant strings become views made while running"),
    pass("fuse", "layout", layout::run, "channels first or last, by cost; transposes move and cancel"),
    pass("fuse", BF16[0], layout::bf16::run, "with --precision bf16: weights of contractions in bf16"),
    pass("fuse", BF16[1], layout::bf16_data::run, "with --precision bf16: data of contractions in bf16")
        .only(TargetDesc::pairs),
    pass("fuse", "fuse", fuse::run, "group nodes into kernels"),
];

/// Names of the passes that only [`Precision::Bf16`] asks for.
const BF16: [&str; 2] = ["bf16", "bf16-data"];

/// Name of the pass that forms other sums than those of windows.
const FOURIER: &str = "fourier";

/// The pass behind which modules are split, and the one that follows.
pub const BEFORE_PATCHES: &str = "texts";
/// See [`BEFORE_PATCHES`].
pub const AFTER_PATCHES: &str = "layout";

/// Name of the last phase, which makes the program.
pub const ASSEMBLE: &str = "assemble";

/// How kernels are made.
#[derive(Debug, Clone, Copy, Default)]
pub struct LowerOptions {
    /// Bytes for strings that are made while running; by default enough for short ones.
    pub text_bytes: Option<u64>,
    /// Sums of convolutions have no other terms than their windows: no Winograd's method, no folding.
    pub exact_convolutions: bool,
    /// Arithmetic of models in f32.
    pub precision: Precision,
    /// Kernels that differ only in shapes become one that takes them as parameters.
    pub share_shapes: bool,
    /// How little code is worth: 0 as the target says, and less with every step, above all in kernels with little to do.
    pub thrift: u32,
}

/// Name of what runs in front of all passes where weights are to be compressed.
pub const COMPRESS: &str = "compress";

/// How to run the pipeline.
#[derive(Default)]
pub struct PipelineOptions<'a> {
    /// Start with this pass: the module is what the passes before it made.
    pub start_from: Option<String>,
    /// What those passes did; goes into the report as if they had run now.
    pub past: PassReport,
    /// Stop after this pass; there is no program then.
    pub stop_after: Option<String>,
    /// Verify the module after every pass and the program in the end (always done in debug builds).
    pub verify_each: bool,
    /// How to lower.
    pub lower: LowerOptions,
    /// What to do to the weights before all passes.
    pub compress: Option<Recipe>,
    /// Codes that were made by calibration.
    pub calibrated: Option<&'a Calibrated>,
    /// What to compute in parts, of the module that [`BEFORE_PATCHES`] leaves.
    pub patches: Option<patches::Choice>,
    /// Where codes of compressed weights go; they stay in memory otherwise.
    pub codes: Option<&'a mut dyn Store>,
    /// Where packed constants go; they stay in memory otherwise.
    pub store: Option<&'a mut dyn Store>,
    /// Called after every pass with its name, the module, and what all passes so far did.
    pub on_dump: Option<&'a mut OnDump<'a>>,
}

/// See [`PipelineOptions::on_dump`].
pub type OnDump<'a> = dyn FnMut(&str, &Module, &PassReport) + 'a;

/// What the pipeline gives.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The program; `None` when stopped before the end.
    pub program: Option<Program>,
    /// The module as last rewritten.
    pub module: Module,
    /// What happened.
    pub report: PassReport,
}

/// Runs all passes over a module, then lowers and plans it for a target. Everything that cannot be lowered is
/// reported at once.
pub fn run(
    module: Module,
    options: &mut PipelineOptions,
    target: &TargetDesc,
) -> Result<Compiled, Vec<Diag>> {
    let (module, mut report, finished) = rewrite(module, options, Some(target)).map_err(|d| vec![d])?;
    let choices = Choices::default();
    let program = match finished {
        true => Some(finish(&module, options, target, &choices, &mut report)?),
        false => None,
    };
    Ok(Compiled { program, module, report })
}

/// Lowers and plans a module that has gone through all passes, see [`rewrite`]. It may be done again with other
/// choices, or for another target.
pub fn finish(
    module: &Module,
    options: &mut PipelineOptions,
    target: &TargetDesc,
    choices: &Choices,
    report: &mut PassReport,
) -> Result<Program, Vec<Diag>> {
    let store = options.store.as_mut().map(|s| &mut **s as &mut dyn Store);
    let program = assemble::run(module, target, &options.lower, choices, store, report).map_err(|d| {
        let all = check::run(module, target, 0).problems;
        if all.is_empty() { vec![d] } else { all }
    })?;
    if options.verify_each || cfg!(debug_assertions) {
        let problems = program::verify::verify(&program);
        if !problems.is_empty() {
            return Err(problems);
        }
    }
    Ok(program)
}

/// Runs the rewriting passes; also says whether all of them were run. Without a target, those that are for some
/// targets only are left out.
pub fn rewrite(
    mut module: Module,
    options: &mut PipelineOptions,
    target: Option<&TargetDesc>,
) -> Result<(Module, PassReport, bool)> {
    let first = options.start_from.as_deref().map_or(Ok(0), position)?;
    let only_compress = options.stop_after.as_deref() == Some(COMPRESS);
    let stop = options.stop_after.as_deref().filter(|_| !only_compress);
    let last = stop.map_or(Ok(PASSES.len()), position)?;
    if only_compress && options.start_from.is_some() {
        return Err(Diag::input(format!("cannot start behind {COMPRESS} and stop there")));
    }
    if last < first {
        let (start, stop) = (name(first), name(last));
        return Err(Diag::input(format!(
            "cannot start from {start} and stop after {stop}, which comes before"
        )));
    }
    let mut report = std::mem::take(&mut options.past);
    let check = options.verify_each || cfg!(debug_assertions);
    if check {
        verify(&module, "before the passes")?;
    }
    if let Some(recipe) = options.compress.filter(|_| options.start_from.is_none()) {
        let nodes_before = rebuild::count_nodes(&module.graph);
        let codes = options.codes.as_mut().map(|s| &mut **s as &mut dyn Store);
        compress::run(&mut module, recipe, options.calibrated, codes, &mut report)?;
        if check {
            verify(&module, "after compress")?;
        }
        let nodes_after = rebuild::count_nodes(&module.graph);
        report.passes.push(PassStat { name: COMPRESS.to_owned(), nodes_before, nodes_after });
        if let Some(dump) = options.on_dump.as_mut() {
            dump(COMPRESS, &module, &report);
        }
    }
    if only_compress {
        return Ok((module, report, false));
    }
    for p in PASSES.iter().take(last + 1).skip(first) {
        let mut nodes_before = rebuild::count_nodes(&module.graph);
        if let Some(choice) = options.patches.as_ref().filter(|_| p.name == AFTER_PATCHES) {
            patches::run(&mut module, choice, &mut report)?;
            if check {
                verify(&module, "after patches")?;
            }
            let nodes_after = rebuild::count_nodes(&module.graph);
            report.passes.push(PassStat { name: PATCHES.to_owned(), nodes_before, nodes_after });
            nodes_before = nodes_after;
        }
        let asked = match p.name {
            FOURIER => !options.lower.exact_convolutions,
            name => !BF16.contains(&name) || options.lower.precision == Precision::Bf16,
        };
        if asked && p.only.is_none_or(|only| target.is_some_and(only)) {
            (p.run)(&mut module, &mut report)?;
        }
        if check {
            verify(&module, &format!("after pass {}", p.name))?;
        }
        let nodes_after = rebuild::count_nodes(&module.graph);
        report.passes.push(PassStat { name: p.name.to_owned(), nodes_before, nodes_after });
        if let Some(dump) = options.on_dump.as_mut() {
            dump(p.name, &module, &report);
        }
    }
    Ok((module, report, last == PASSES.len()))
}

/// Position of a pass, or of what follows all passes.
pub fn position(pass: &str) -> Result<usize> {
    let names = || PASSES.iter().map(|p| p.name).chain([ASSEMBLE]);
    names().position(|n| n == pass).ok_or_else(|| {
        let all: Vec<&str> = names().collect();
        Diag::input(format!("there is no pass `{pass}`")).help(format!("passes: {}", all.join(", ")))
    })
}

fn name(position: usize) -> &'static str {
    PASSES.get(position).map_or(ASSEMBLE, |p| p.name)
}

/// The first problem of a module.
fn verify(module: &Module, when: &str) -> Result<()> {
    match module.verify().into_iter().next() {
        Some(d) => Err(Diag { message: format!("{when}: {}", d.message), ..d }),
        None => Ok(()),
    }
}

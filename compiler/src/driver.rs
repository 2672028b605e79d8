//! From a model file to bundles in memory: import, passes, emission.

mod budget;
mod looking;
mod lowering;
mod made;
mod pruning;
mod splitting;
mod targets;

use crate::bench::sites::Measured;
use crate::calibrate::Calibration;
use crate::calibrate::mix::Weight;
use crate::dump::{self, Dump, Past};
use crate::frontend::llm::language::Language;
use crate::frontend::{self, onnx::ImportOptions};
use crate::manifest::{LevelInfo, Manifest, sha256, sha256_of_file};
use crate::quantise::{self, Job};
use crate::report::Report;
use crate::spool::Spool;
use crate::tune::{Answers, Tuned, Tuning};
use bytes::Bytes;
pub use looking::Known;
use lowering::{Lowered, Lowering};
use made::{Files, Made};
use sinter_backends as backends;
use sinter_ir::program::Program;
use sinter_ir::target::Memory;
use sinter_ir::{Diag, Module};
use sinter_llm::info::{TABLES_FILE, TEMPLATE_FILE, TOKENIZER_FILE};
use sinter_passes::compress::{Calibrated, Recipe};
use sinter_passes::lower::Precision;
use sinter_passes::pipeline::{self, LowerOptions};
use sinter_passes::prune::{self, Pruned};
use sinter_passes::quantise::StaticRecipe;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
pub use targets::{Levels, native, target};

/// What to compile and how.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The model file: ONNX, or a dumped text (`.mir`).
    pub model: PathBuf,
    /// Dims, fixed inputs, name.
    pub import: ImportOptions,
    /// Target names; `native` is this machine. Each gives a bundle, several with commas between them one for all.
    pub targets: Vec<String>,
    /// Start with this pass; the model file is a text from a dump.
    pub start_from: Option<String>,
    /// Stop after this pass.
    pub stop_after: Option<String>,
    /// Verify after every pass.
    pub verify_each: bool,
    /// How to lower.
    pub lower: LowerOptions,
    /// Write the module's text after every pass to this folder, and the program's for the first target.
    pub dump_ir: Option<PathBuf>,
    /// What to take away before, in the words of `--prune`.
    pub prune: Option<prune::Recipe>,
    /// What to do to the weights, in the words of `--quantize`.
    pub compress: Option<Recipe>,
    /// What to run the model on where the recipe wants to see activations.
    pub calibrate: Option<Calibration>,
    /// What a compilation of the same model with the same recipes found out by running it.
    pub known: Option<Arc<Known>>,
    /// Static quantisation of a float model.
    pub statics: Option<Job>,
    /// Folder in which weights files grow while they are made; without one weights are in memory.
    pub spool: Option<PathBuf>,
    /// Also emit code that measures itself.
    pub measure: bool,
    /// Less unrolling until the code fits 50 KB, as far as that goes.
    pub opt_size: bool,
    /// Memory of the device, where it is not what the target says.
    pub memory: Memory,
    /// Measure choices on this machine.
    pub tune: Option<Tuning>,
    /// Choices that were measured before, by target.
    pub tuned: BTreeMap<String, Answers>,
    /// Features that bundles for several targets are to find missing on any machine: for tests of how they choose.
    pub lacking: Vec<String>,
    /// Flags for the manifest.
    pub flags: BTreeMap<String, String>,
}

/// One finished bundle.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// Folder name: the target as it was asked for.
    pub folder: String,
    /// Describes everything.
    pub manifest: Manifest,
    /// What the report says.
    pub report: Report,
    /// Files by name.
    pub files: BTreeMap<String, Bytes>,
    /// The weights file, where it is not among the files.
    pub weights: Option<Arc<Spool>>,
    /// Code for measuring, where it was asked for.
    pub measured: Option<Measured>,
    /// The program, for inspection.
    pub program: Program,
}

/// Everything that a compilation gives.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// One per target; none when stopped before the end.
    pub bundles: Vec<Bundle>,
    /// Things in the model that look wrong.
    pub warnings: Vec<String>,
    /// What was found out by running the model.
    pub known: Arc<Known>,
}

/// Compiles a model for all targets.
pub fn compile(request: &Request, step: &dyn Fn(&str)) -> Result<Output, Vec<Diag>> {
    let targets: Result<Vec<_>, Diag> = request.targets.iter().map(|t| Levels::parse(t)).collect();
    let targets = targets.map_err(|d| vec![d])?;
    if request.start_from.is_some() && request.compress.is_some() {
        let d = Diag::input("--quantize with --start-from: weights become codes in front of all passes");
        return Err(vec![
            d.help("give --quantize where the model is compiled, or dump and edit what it made"),
        ]);
    }
    let request = &looking::rotated(request, step)?;
    step("reading the model");
    let (mut module, mut past, language) = read_model(request)?;
    if let Some(job) = &request.statics {
        // Bytes are as wide as the weakest processor multiplies well.
        let narrow = targets.iter().flat_map(|l| &l.targets).any(|t| t.halves());
        let recipe = StaticRecipe { narrow: Some(job.recipe.narrow.unwrap_or(narrow)), ..job.recipe };
        let job = Job { recipe, ..job.clone() };
        module = statics(&module, &job, request, &mut past, language.is_some(), step)?;
    }
    // Weights of the module may be in it.
    let mut shelf = pruning::shelf(request).map_err(|d| vec![d])?;
    let pruned = looking::pruned(&mut module, &mut past, request, shelf.as_mut(), step)?;
    let mut out = compile_module(module, &past, request, pruned, &targets, step)?;
    if let Some(language) = language {
        for bundle in &mut out.bundles {
            bundle.take(&language).map_err(|d| vec![d])?;
        }
    }
    Ok(out)
}

/// A model of bytes from one of floats.
fn statics(
    module: &Module,
    job: &Job,
    request: &Request,
    past: &mut Past,
    language: bool,
    step: &dyn Fn(&str),
) -> Result<Module, Vec<Diag>> {
    let d = match (language, dump::is_dump(&request.model)) {
        (true, _) => {
            Diag::unsupported("--quantize int8 of a language model").help("w8 keeps weights in 8 bits")
        }
        (_, true) => {
            Diag::input("--quantize int8 of a dumped module").help("give it where the model is compiled")
        }
        _ => {
            let done = quantise::run(module, job, step)?;
            past.flags.insert("calibrate".into(), format!("{} samples of {}", done.samples, done.sum));
            past.report.compressed = done.stats();
            past.warnings.extend(done.warnings);
            return Ok(done.module);
        }
    };
    Err(vec![d])
}

impl Bundle {
    /// Adds what the runtime has to know of a language model.
    fn take(&mut self, language: &Language) -> Result<(), Diag> {
        let mut files = language.assets.clone();
        // A page has no runtime of ours: the bundle brings what reads and writes text.
        if self.files.contains_key(&format!("{}.wasm", self.manifest.name)) {
            let chats = files.contains_key(TEMPLATE_FILE);
            let more = crate::web::language_files(&self.manifest.name, &language.info, chats);
            files.extend(more.into_iter().map(|(path, text)| (path, text.into())));
        } else if let Some(t) = files.get(TOKENIZER_FILE).and_then(|json| sinter_llm::tokenizer::tables(json))
        {
            files.insert(TABLES_FILE.to_owned(), t.into());
        }
        for (name, bytes) in files {
            self.manifest.files.insert(name.clone(), sha256(&bytes));
            self.files.insert(name, bytes);
        }
        self.manifest.language_model = Some(language.info.clone());
        self.files.insert("manifest.json".into(), json(serde_json::to_string_pretty(&self.manifest))?);
        Ok(())
    }
}

/// The module to start with, what is to be told of where it comes from, and what a language model's
/// runtime has to know.
fn read_model(request: &Request) -> Result<(Module, Past, Option<Language>), Vec<Diag>> {
    if dump::is_dump(&request.model) {
        let o = &request.import;
        if !o.dims.is_empty() || !o.fixed.is_empty() || o.name.is_some() {
            let d = Diag::input("a dumped module has its dims, fixed inputs and name already");
            return Err(vec![d.help("give --dim, --fix and --name where the ONNX model is compiled")]);
        }
        let (module, mut past) = dump::read(&request.model).map_err(|d| vec![d])?;
        let first = request.start_from.as_deref().map_or(Ok(0), pipeline::position).map_err(|d| vec![d])?;
        // Skipped or repeated passes shape the output.
        if past.report.passes.len() != first {
            past.flags.insert("start-from".into(), request.start_from.clone().unwrap_or_default());
        }
        return Ok((module, past, None));
    }
    if request.start_from.is_some() {
        let d = Diag::input(format!("--start-from needs a dumped module, not {}", request.model.display()));
        return Err(vec![d.help("write one with --dump-ir DIR and give DIR/NN-PASS.mir as the model")]);
    }
    let imported = frontend::import(&request.model, &request.import)?;
    let (flags, metadata) = (request.flags.clone(), imported.metadata);
    let mut past = Past { flags, metadata, warnings: imported.warnings, ..Past::default() };
    for f in &imported.files {
        let name = f.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        past.sources.insert(name, sha256_of_file(f).map_err(|d| vec![d])?);
    }
    Ok((imported.module, past, imported.language))
}

fn compile_module(
    module: Module,
    past: &Past,
    request: &Request,
    pruned: Vec<Pruned>,
    targets: &[Levels],
    step: &dyn Fn(&str),
) -> Result<Output, Vec<Diag>> {
    let mut out = Output { warnings: past.warnings.clone(), ..Output::default() };
    // Passes know no targets: they run once, and one dump is that of all.
    let mut dump = request.dump_ir.as_ref().map(|dir| Dump::new(dir, past));
    if let Some(dump) = dump.as_mut().filter(|_| !dump::is_dump(&request.model)) {
        dump.imported(&module);
    }
    let weigh = |codes: &Calibrated| {
        let plain = Request { dump_ir: None, stop_after: None, ..request.clone() };
        let out = emitted(module.clone(), past, &plain, Some(codes), None, targets, &|_| {})?;
        let first = out.bundles.first().ok_or_else(|| vec![Diag::bug("no bundle")])?;
        Ok(Weight { weights: first.manifest.weights_bytes, rest: budget::memory(&first.program).1 })
    };
    let calibrated = looking::calibrated(request, &pruned, &weigh, step)?;
    out.warnings.extend(calibrated.iter().flat_map(|c| c.warnings.clone()));
    let made = emitted(module, past, request, calibrated.as_ref(), dump, targets, step)?;
    out.warnings.extend(made.warnings);
    let known = Arc::new(Known::new(request, pruned, calibrated));
    Ok(Output { bundles: made.bundles, known, ..out })
}

/// Runs the passes and emits the bundles of all targets; warnings are those of here.
fn emitted(
    module: Module,
    past: &Past,
    request: &Request,
    calibrated: Option<&Calibrated>,
    dump: Option<Dump>,
    targets: &[Levels],
    step: &dyn Fn(&str),
) -> Result<Output, Vec<Diag>> {
    let mut out = Output::default();
    step("optimising");
    // Passes that only some targets want are left out unless all do.
    let mut all = targets.iter().flat_map(|l| &l.targets);
    let common = all.clone().all(|t| t.dots()).then(|| all.next()).flatten().copied();
    let limited = request.memory.ram().is_some()
        || targets.iter().flat_map(|l| &l.targets).any(|t| t.memory.ram().is_some());
    let lowering = Lowering::new(module, past, request, calibrated, dump, (common, limited))?;
    let Some(mut lowering) = lowering else { return Ok(out) };
    let mut left: usize = targets.iter().map(|l| l.targets.len()).sum();
    let mut problems = vec![];
    for levels in targets {
        let mut lowered = vec![];
        for target in &levels.targets {
            left -= 1;
            // Weights of several levels are compared with each other: they stay in memory.
            let alone = levels.targets.len() == 1;
            match lowering.lower(target, alone, left == 0, step) {
                Ok(l) => lowered.push(l),
                Err(d) => problems.extend(d),
            }
        }
        // What other targets refuse is told too, but nothing is emitted any more.
        if !problems.is_empty() {
            continue;
        }
        step(&format!("generating code for {}", levels.folder));
        let bundle = bundle(levels, lowered, past, request).map_err(|d| vec![d])?;
        out.warnings.extend(pruning::told(request, &bundle.program));
        out.bundles.push(bundle);
    }
    if !problems.is_empty() {
        problems.dedup();
        return Err(problems);
    }
    out.warnings.extend(lowering.finish());
    Ok(out)
}

/// Emits the programs of all levels of a bundle and describes it.
fn bundle(levels: &Levels, lowered: Vec<Lowered>, past: &Past, request: &Request) -> Result<Bundle, Diag> {
    let mut tuned = Tuned::default();
    let mut spool = None;
    let (mut programs, mut reports) = (vec![], vec![]);
    for (l, target) in lowered.into_iter().zip(&levels.targets) {
        programs.push(l.program);
        reports.push(l.report);
        spool = spool.or(l.spool);
        tuned.tuned.extend(l.tuned.map(|t| (target.name.clone(), t)));
    }
    let shares = if programs.len() > 1 { backends::fat::join(&mut programs)? } else { vec![] };
    let all: Vec<backends::Level> = programs
        .iter()
        .zip(&levels.targets)
        .map(|(program, target)| backends::Level { program, target })
        .collect();
    let [strongest, weaker @ ..] = all.as_slice() else { return Err(Diag::bug("a bundle for no target")) };
    let mut made = made::generate(&all, spool.as_ref().map(Spool::sum), &request.lacking)?;
    let mut manifest = Manifest::new(strongest.program, strongest.target, made.code.values().sum());
    manifest.sources.clone_from(&past.sources);
    manifest.flags.clone_from(&past.flags);
    manifest.metadata.clone_from(&past.metadata);
    manifest.tuned.clone_from(&tuned.tuned);
    let tables = std::mem::take(&mut made.tables);
    if !weaker.is_empty() {
        let each = all.iter().zip(&shares).zip(&tables);
        manifest.several(&each.map(|((l, s), code)| LevelInfo::new(l.target, *s, code)).collect::<Vec<_>>());
    }
    let told = pruning::told(request, strongest.program);
    let warnings: Vec<String> = past.warnings.iter().cloned().chain(told).collect();
    let mut report: Option<Report> = None;
    for ((level, passes), code) in all.iter().zip(&reports).zip(&tables) {
        let one = Report::new(level.program, code, passes, &manifest, &warnings);
        match &mut report {
            Some(r) => r.add(&level.target.name, one),
            None => report = Some(one),
        }
    }
    let report = report.ok_or_else(|| Diag::bug("a bundle without a report"))?;
    let measured = match (request.measure, reports.as_slice()) {
        (true, [passes, ..]) => Some(Measured::new(strongest.program, strongest.target, passes)?),
        _ => None,
    };
    if !tuned.tuned.is_empty() {
        made.files.insert("tuned.json".into(), tuned.file()?);
    }
    let files = files(&strongest.program.name, made, spool.as_mut(), &mut manifest, &report)?;
    // The weights are in the files now.
    let program = Program { weights: Vec::new(), ..programs.swap_remove(0) };
    let (folder, weights) = (levels.folder.clone(), spool.map(Arc::new));
    Ok(Bundle { folder, manifest, report, files, weights, measured, program })
}

/// The precision that was asked for; a dumped module keeps that of its past.
fn precision(past: &Past, request: &Request) -> Result<Precision, Diag> {
    match past.flags.get("precision") {
        Some(p) if dump::is_dump(&request.model) => p.parse(),
        _ => Ok(request.lower.precision),
    }
}

fn json(v: serde_json::Result<String>) -> Result<Bytes, Diag> {
    v.map(|t| Bytes::from(t + "\n")).map_err(|e| Diag::bug(format!("writing JSON: {e}")))
}

fn files(
    name: &str,
    made: Made,
    spool: Option<&mut Spool>,
    manifest: &mut Manifest,
    report: &Report,
) -> Result<Files, Diag> {
    let mut files = made.files;
    files.insert("report.json".into(), json(serde_json::to_string_pretty(report))?);
    files.insert("report.html".into(), report.html().into());
    let weights = format!("{name}.weights");
    let stored = match spool {
        Some(s) => Some((weights, s.finish(&made.weights)?)),
        None => {
            files.insert(weights, made.weights.into());
            None
        }
    };
    manifest.files = files.iter().map(|(n, b)| (n.clone(), sha256(b))).chain(stored).collect();
    files.insert("manifest.json".into(), json(serde_json::to_string_pretty(manifest))?);
    Ok(files)
}

/// Name of a bundle's folder as text.
pub fn folder(dir: &Path, bundle: &Bundle) -> PathBuf {
    dir.join(&bundle.folder)
}

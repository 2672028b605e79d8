//! `sinter compile`.

use super::calibrate::{CalibrateArgs, statics};
use super::room::Room;
use super::{ModelArgs, bytes, inspect};
use crate::calibrate::{Calibration, Work};
use crate::driver::{self, Request};
use crate::frontend::llm::cache::KvCache;
use crate::frontend::onnx::ImportOptions;
use crate::progress::Progress;
use crate::report::size;
use crate::system::{self, Clock};
use crate::tune::{Tuned, Tuning};
use clap::Args;
use sinter_ir::op::quantized_matmul::Activations;
use sinter_ir::target::Memory;
use sinter_ir::{Diag, Result};
use sinter_passes::compress::Wanted;
use sinter_passes::pipeline::{ASSEMBLE, COMPRESS, LowerOptions, PASSES};
use sinter_passes::prune;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Options of `compile`.
#[derive(Debug, Clone, Args)]
pub struct CompileArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Target; see `sinter targets`. Several, comma separated or repeated, give one bundle with the code of all:
    /// its init takes the strongest that the processor can run.
    #[arg(long = "target", value_name = "NAME", value_delimiter = ',', default_value = "native")]
    pub targets: Vec<String>,
    /// Output folder: DIR/TARGET/ holds the bundle; of several targets, DIR/TARGET,TARGET.../.
    #[arg(short, long = "output", value_name = "DIR")]
    pub output: PathBuf,
    /// C symbol prefix; default: from the file name.
    #[arg(long)]
    pub name: Option<String>,
    /// Fix an input to the values in a .npy, .pb or .json file: it becomes a constant.
    #[arg(long = "fix", value_name = "INPUT=FILE")]
    pub fix: Vec<String>,
    /// Of a language model: give the logits of every token, not only those of the last. Needed for perplexities.
    #[arg(long)]
    pub all_logits: bool,
    /// How weights are held: one of these, or a recipe of words with `-` between.
    /// - stored: matrices that a language model's file has in codes of few bits stay as they are, activations in products
    ///   with them become bytes; stored-a8c: coarser ones (see a8c); stored-a16: they stay floats
    /// - none: all become floats
    /// - int8: of a float model that is no language model, activations and weights become bytes, with ranges that samples
    ///   give (--calibrate): of least squared error, or int8-minmax, int8-percentile, int8-entropy; then -nobias (the
    ///   mean error of channels stays), -noequalise (channels of depthwise layers keep their sizes), -narrow (activations
    ///   of 7 bits, so that sums of products fit 16: faster where AVX2 has no VNNI, and the default for such targets) or
    ///   -wide (all 8). The same as auto there
    ///
    /// A recipe is for the weights of large products and embeddings, which take 8 bits like the product that gives
    /// logits: w4, w8-a16, gptq-w4-g128, smooth-w8a8, rotate-gptq-w4a8-token. Its words:
    /// - w8, w6, w5, w4, w3, w2: bits of a weight; mxfp4: numbers of 4 bits with an exponent; auto: bits of every product
    ///   by what the model loses when it is rounded alone, within --max-size, --max-ram, --max-kl or --max-ppl-increase
    /// - e8, e6, e5, e4: bits of embeddings and of the product that gives logits; in small models e6 leaves much room for
    ///   all others: auto-e6 with --max-size
    /// - rounded to nearest; gptq: errors make up for each other; awq: strong channels are spared; hqq: few are far off.
    ///   gptq, awq and auto need --calibrate. auto alone is rotate-gptq-auto where the architecture can be rotated, else
    ///   gptq-auto
    /// - g16, g32 (default), g64, g128, gall: weights that share a scale; sym, asym: without or with zero points (awq and hqq
    ///   have them); mse: scales of least error
    /// - a8: activations in bytes (default of w5 and more); a8c: coarser where many rows are multiplied, a scale per 64
    ///   to 128, weights of 4 bits rounded once more to bytes, attention in bf16 (default of fewer bits); a4: in 16
    ///   codes, which are computed with as bytes, no faster; a16: as they are; token: one scale for all activations of
    ///   a token, not one per group
    /// - smooth: channels of activations are evened out (SmoothQuant; its authors' scales are those of gall; the
    ///   logits' product reads floats; needs --calibrate)
    /// - rotate: of a language model, in a basis in which no channel stands out (QuaRot); spin: the same, the basis learned
    ///   (SpinQuant; needs --calibrate). Pays for activations of few bits where tokens have one scale, and for weights
    ///   with gptq. Weights that are rounded to nearest lose more than in the model's own basis: all of them, not a few,
    ///   meet its strong channels then
    #[arg(long, value_name = "RECIPE", default_value = "stored", verbatim_doc_comment)]
    pub quantize: String,
    /// What to take away before: weights of large products become zero, or channels, heads and layers go and the model
    /// becomes smaller. magnitude, wanda or sparsegpt with a pattern: 50 (percent of the weights), 2:4 (two of four
    /// neighbours), block32x1-50 (percent of the blocks of 32 rows by one column; products in
    /// f32 leave blocks out whose rows fill a vector, all other zeros are multiplied like other weights): wanda-50, sparsegpt-2:4. Or what goes
    /// as a whole: ffn-30, heads-25, channels-30 of convolutions (percent), layers-2. Several, one after the other, with `+` between. All but
    /// magnitude and channels need --calibrate. Matrices that a file has in codes become floats. Zeros stay zeros in codes,
    /// but for those of hqq.
    #[arg(long, value_name = "RECIPE", default_value = "none")]
    pub prune: String,
    /// For gptq, awq, auto, smooth, spin and most of --prune, and for int8.
    #[command(flatten)]
    pub calibration: CalibrateArgs,
    /// Of a language model: how caches hold keys and values: f32, f16 or bf16, or as codes of few bits (int8, int4, int3,
    /// int2) with scales, per channel of keys and per position of values; the first 64 positions and the newest 64 to 128
    /// stay f16 then. A recipe of --quantize may end in it: w4-kv8.
    #[arg(long, value_name = "TYPE", default_value = "f16")]
    pub kv_cache: KvCache,
    /// Space in the arena for strings that the model makes while running (case changes, concatenations), for a whole
    /// run; default: 64 bytes for each, at least 4096. A run that needs more fails with code 10.
    #[arg(long, value_name = "BYTES")]
    pub text_bytes: Option<u64>,
    /// Sum up convolutions term by term. Otherwise large 3x3 convolutions of f32 may use Winograd's method where it is
    /// faster (results within some 1e-5 of the largest value), and those to few channels take neighbouring points at once
    /// (an infinite element then also spoils results next to those whose windows hold it).
    #[arg(long)]
    pub exact_convolutions: bool,
    /// Arithmetic of models in f32: `f32`, or `bf16`: weights of contractions are stored as bf16, and where the target
    /// multiplies those their data is rounded to bf16: with avx512bf16 and stored so, like the operands of attentions;
    /// on 64-bit Arm for matrix products and pointwise convolutions. Sums and everything else stay f32.
    #[arg(long, default_value = "f32", value_parser = ["f32", "bf16"])]
    pub precision: String,
    /// Make small code rather than the fastest, until a bundle's code fits 50 KB, as far as that goes: layers of several
    /// shapes share kernels, less and less is unrolled, then convolutions are direct and all tiles of one size. Without,
    /// the first two are done for 100 KB (language models: 150 KB).
    #[arg(long)]
    pub opt_size: bool,
    /// RAM of the device: arena, inputs, outputs and states must fit; otherwise layers are computed in parts, as far as
    /// that helps. In bytes, or with K or M (1024, 1048576), or the name of a memory of the device. With `auto` in the recipe and no --max-flash, bits are chosen
    /// so that the weights fit it too, beside states of the largest capacity.
    #[arg(long, value_name = "SIZE", value_parser = Room::parse)]
    pub max_ram: Option<Room>,
    /// Flash of the device: the weights must fit. Sizes as for --max-ram. With `auto`, the same as --max-size.
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub max_flash: Option<u64>,
    /// Measure on this machine what the cost model would guess: the tiles of products and convolutions. What is best
    /// goes into the manifest and into tuned.json.
    #[arg(long, conflicts_with = "tuned")]
    pub tune: bool,
    /// Begin no new measurement after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, requires = "tune")]
    pub tune_seconds: f64,
    /// Folder with inputs to measure with: input_0.pb, input_1.npy, or NAME.npy; random data otherwise.
    #[arg(long, value_name = "DIR", requires = "tune")]
    pub tune_inputs: Option<PathBuf>,
    /// Take the choices that an earlier --tune wrote to tuned.json or manifest.json: the same bytes, without measuring.
    #[arg(long, value_name = "FILE")]
    pub tuned: Option<PathBuf>,
    /// Write the module after every pass to a folder: DIR/NN-PASS.mir, with the data of constants beside them, and the
    /// program in the end.
    #[arg(long, value_name = "DIR")]
    pub dump_ir: Option<PathBuf>,
    /// Start with a pass; MODEL is a .mir file that was dumped before it. The bundle is the same as without the stop.
    #[arg(long, value_name = "PASS")]
    pub start_from: Option<String>,
    /// Stop after a pass and write no bundle.
    #[arg(long, value_name = "PASS", long_help = stop_help())]
    pub stop_after: Option<String>,
    /// Verify the module after every pass, and the program in the end.
    #[arg(long)]
    pub verify_each: bool,
    /// Print to standard error how long every step took, and the peak memory; of calibration, the cost of every piece
    /// of the model, and what it would be for 8 billion weights.
    #[arg(long)]
    pub timings: bool,
    /// Print the manifests as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Lists the passes.
fn stop_help() -> String {
    let mut text = "Stop after a pass and write no bundle. Passes in order:".to_owned();
    text += &format!("\n- {COMPRESS}: with --quantize: weights become codes");
    for p in PASSES {
        text += &format!("\n- {}: {}", p.name, p.summary);
    }
    text + &format!("\n- {ASSEMBLE}: lower to kernels, plan memory, make the program")
}

/// What an import needs from the flags.
pub fn import_options(model: &ModelArgs, name: Option<&String>, fix: &[String]) -> Result<ImportOptions> {
    let mut fixed = BTreeMap::new();
    for f in fix {
        let (input, file) =
            f.split_once('=').ok_or_else(|| Diag::input(format!("--fix {f}: expected INPUT=FILE")))?;
        let bytes = system::read(Path::new(file))?;
        let tensor = if file.ends_with(".npy") {
            crate::data::npy::read(&bytes)?
        } else if file.ends_with(".json") {
            crate::data::json::read(&bytes, sinter_ir::DType::I64)?
        } else {
            crate::frontend::onnx::tensor_from_pb(&bytes)?
        };
        fixed.insert(input.to_owned(), tensor);
    }
    let (dims, name, stored) = (model.dim_ranges()?, name.cloned(), Some(Activations::Blocks));
    Ok(ImportOptions { dims, name, fixed, stored, ..ImportOptions::default() })
}

/// When every step began.
struct Timings {
    clock: Clock,
    begun: RefCell<Vec<(String, f64)>>,
    /// What calibration cost.
    costs: RefCell<Vec<String>>,
}

impl Timings {
    fn start() -> Self {
        Self { clock: Clock::start(), begun: RefCell::default(), costs: RefCell::default() }
    }
    fn step(&self, what: &str) {
        if let Some(cost) = what.strip_prefix("cost: ") {
            self.costs.borrow_mut().push(cost.to_owned());
            return;
        }
        // Parts of a step are told for progress only.
        let what = what.split_once(": ").map_or(what, |w| w.0);
        let mut begun = self.begun.borrow_mut();
        if begun.last().is_none_or(|b| b.0 != what) {
            begun.push((what.to_owned(), self.clock.seconds()));
        }
    }
    /// A line per step, the total, and the peak memory where the system tells it.
    fn table(&self) -> String {
        let total = self.clock.seconds();
        let begun = self.begun.borrow();
        let ends = begun.iter().skip(1).map(|b| b.1).chain([total]);
        let mut out: String = self.costs.borrow().iter().map(|c| format!("calibrating {c}\n")).collect();
        for ((what, from), to) in begun.iter().zip(ends) {
            out += &format!("{:>9.3} s  {what}\n", to - from);
        }
        out += &format!("{total:>9.3} s  in all\n");
        if let Some(bytes) = system::peak_memory() {
            out += &format!("peak memory: {bytes} bytes\n");
        }
        out
    }
}

/// What to calibrate with; the device's memory is a budget of mixed recipes.
fn calibration(a: &CompileArgs, ram: Option<u64>, mixed: bool) -> Option<Calibration> {
    let mut how = a.calibration.calibration()?;
    how.work.get_or_insert_with(|| a.output.clone());
    if mixed {
        how.budget.ram = ram.filter(|_| a.max_flash.is_none());
        how.budget.size = how.budget.size.into_iter().chain(a.max_flash).min();
    }
    Some(how)
}

/// Runs the command.
pub fn run(a: &CompileArgs) -> Result<(), Vec<Diag>> {
    let ram = a.max_ram.as_ref().map(|r| r.bytes(&a.targets)).transpose().map_err(|d| vec![d])?;
    let mut flags = BTreeMap::new();
    for (key, list) in [("dim", &a.model.dims), ("fix", &a.fix)] {
        if !list.is_empty() {
            flags.insert(key.to_owned(), list.join(" "));
        }
    }
    if let Some(bytes) = a.text_bytes {
        flags.insert("text-bytes".to_owned(), bytes.to_string());
    }
    let switches = [
        ("exact-convolutions", a.exact_convolutions),
        ("opt-size", a.opt_size),
        ("all-logits", a.all_logits),
    ];
    for (key, _) in switches.iter().filter(|s| s.1) {
        flags.insert((*key).to_owned(), "true".to_owned());
    }
    let (recipe, cache) = KvCache::of_recipe(&a.quantize).map_err(|d| vec![d])?;
    let cache = cache.unwrap_or(a.kv_cache);
    let words = [
        ("prune", &a.prune, "none"),
        ("quantize", &recipe.to_owned(), "stored"),
        ("precision", &a.precision, "f32"),
        ("kv-cache", &cache.to_string(), "f16"),
    ];
    for (key, value, _) in words.into_iter().filter(|(_, value, default)| *value != default) {
        flags.insert(key.to_owned(), value.clone());
    }
    let statics = statics(recipe, &a.model.model).map_err(|d| vec![d])?;
    let (stored, compress) = match statics {
        Some(_) => (None, None),
        None => Wanted::parse(recipe).map_err(|d| vec![d])?.parts(),
    };
    let prune = prune::Recipe::parse(&a.prune).map_err(|d| vec![d])?;
    let text = compress.is_some_and(|r| r.looks()) || prune.as_ref().is_some_and(prune::Recipe::needs_data);
    a.calibration.check(compress.as_ref()).map_err(|d| vec![d])?;
    if statics.is_some() && prune.is_some() {
        return Err(vec![Diag::unsupported("--prune together with --quantize int8")]);
    }
    if statics.is_some() {
        a.calibration.note_static(&mut flags);
    } else if text {
        a.calibration.note(&mut flags).map_err(|d| vec![d])?;
    } else if !a.calibration.calibrate.is_empty() {
        let d = Diag::input(format!("--calibrate: --quantize {} looks at no data", a.quantize));
        return Err(vec![d.help(
            "gptq, awq, auto, smooth, spin and most of --prune look at texts: --quantize gptq-w4-g128; int8 at samples of inputs",
        )]);
    }
    let statics = statics.map(|r| a.calibration.job(r)).transpose().map_err(|d| vec![d])?;
    let import = import_options(&a.model, a.name.as_ref(), &a.fix).map_err(|d| vec![d])?;
    let request = Request {
        model: PathBuf::from(&a.model.model),
        import: ImportOptions {
            all_logits: a.all_logits,
            kv_cache: Some(cache),
            stored: stored.filter(|_| prune.is_none()),
            ..import
        },
        targets: vec![a.targets.join(",")],
        start_from: a.start_from.clone(),
        stop_after: a.stop_after.clone(),
        verify_each: a.verify_each,
        lower: LowerOptions {
            text_bytes: a.text_bytes,
            exact_convolutions: a.exact_convolutions,
            precision: a.precision.parse().map_err(|d| vec![d])?,
            ..LowerOptions::default()
        },
        dump_ir: a.dump_ir.clone(),
        prune,
        compress,
        calibrate: calibration(a, ram, compress.is_some_and(|r| r.mixed.is_some())).filter(|_| text),
        statics,
        known: None,
        spool: Some(a.output.clone()),
        measure: false,
        opt_size: a.opt_size,
        memory: Memory { ram_bytes: ram, flash_bytes: a.max_flash, regions: vec![] },
        tune: a.tune.then(|| Tuning { seconds: a.tune_seconds, inputs: a.tune_inputs.clone() }),
        tuned: a
            .tuned
            .as_deref()
            .map_or(Ok(BTreeMap::new()), |f| Tuned::read(f).map(|t| t.tuned))
            .map_err(|d| vec![d])?,
        lacking: vec![],
        flags,
    };
    let progress = Progress::start();
    let timings = Timings::start();
    let step = |what: &str| {
        progress.step(what);
        timings.step(what);
    };
    let out = driver::compile(&request, &step)?;
    for b in &out.bundles {
        step("writing");
        let weights = b.weights.iter().map(|s| (format!("{}.weights", b.manifest.name), s.file()));
        let grown: Vec<_> = weights.collect();
        system::write_dir(&driver::folder(&a.output, b), &b.files, &grown).map_err(|d| vec![d])?;
    }
    for work in request.calibrate.iter().filter_map(|c| c.work.as_ref()) {
        Work::discard(work).map_err(|d| vec![d])?;
    }
    drop(progress);
    if a.timings {
        eprint!("{}", timings.table());
    }
    for w in &out.warnings {
        eprintln!("warning: {w}");
    }
    for b in &out.bundles {
        let m = &b.manifest;
        if a.json {
            println!("{}", serde_json::to_string(m).unwrap_or_default());
            continue;
        }
        let code = if m.code_bytes > 0 { size(m.code_bytes) } else { "as C".into() };
        println!(
            "{}: {} for {}: code {code}, weights {}, arena {} (bound {})",
            driver::folder(&a.output, b).display(),
            m.name,
            m.target,
            size(m.weights_bytes),
            size(m.arena_bytes),
            size(m.live_bytes)
        );
        inspect::levels(m);
        for d in &m.dims {
            println!("  dim {} is {}..{}", d.name, d.min, d.max);
        }
    }
    Ok(())
}

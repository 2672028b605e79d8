//! What recipes make of a language model, one line each: `sinter eval --quantize` and `sinter quantize --compare`.

use super::calibrate::CalibrateArgs;
use super::language::{diag, model_of};
use crate::bench::language::own::Own;
use crate::bench::language::{Phase, entry, play};
use crate::calibrate::Work;
use crate::driver::{self, Request};
use crate::frontend::llm::cache::KvCache;
use crate::frontend::onnx::ImportOptions;
use crate::progress::Progress;
use crate::report::comparison::{self, Row};
use crate::report::size;
use crate::system::{self, Clock};
use sinter_ir::Diag;
use sinter_llm::bundle::BundleModel;
use sinter_llm::eval;
use sinter_llm::files::Opening;
use sinter_llm::info::TOKENIZER_FILE;
use sinter_llm::tokenizer::Tokenizer;
use sinter_passes::compress::Wanted;
use sinter_passes::prune;
use std::path::PathBuf;
use std::sync::Arc;

/// Speed is that of a prompt of so many tokens, and of generating so many.
pub const SPEEDS: [Phase; 2] = [Phase::Read(512), Phase::Generate(128)];
/// How often that is measured.
const ROUNDS: usize = 3;

/// What is compared, and how.
pub struct Comparison<'a> {
    /// A checkpoint.
    pub model: &'a str,
    /// Recipes of `compile --quantize`, and of `compile --prune`; none of either is none.
    pub quantize: &'a [String],
    /// See there.
    pub prune: &'a [String],
    /// Tokens of a window, and most windows.
    pub windows: (usize, Option<usize>),
    /// For recipes that look at data.
    pub calibration: &'a CalibrateArgs,
    /// How caches hold keys and values.
    pub kv_cache: Option<KvCache>,
    /// Threads.
    pub threads: usize,
    /// JSON in the place of a table.
    pub json: bool,
    /// Whether speed is measured.
    pub speed: bool,
    /// Where a page goes.
    pub page: Option<PathBuf>,
}

/// Compiles the model once per recipe, and once with float weights to compare with; where speed is wanted, each once
/// more as it would be used.
pub fn run(a: &Comparison, text: &str) -> Result<(), Vec<Diag>> {
    let one = |d: Diag| vec![d];
    let bad = |e| one(diag(e));
    let progress = Progress::start();
    let (reference, out) = a.compile(("none", "none-kv16"), &|w| progress.step(&format!("none: {w}")))?;
    let (mut reference, float) = (reference, first(&out)?);
    let floats = float.manifest.weights_bytes;
    let tokenizer = float.files.get(TOKENIZER_FILE);
    let tokenizer = tokenizer.ok_or_else(|| one(Diag::input("the model has no tokenizer")))?;
    let tokens = Tokenizer::from_json(tokenizer).and_then(|t| t.encode(text, false)).map_err(bad)?;
    drop(out);
    let (window, most) = (a.windows.0, a.windows.1.unwrap_or(usize::MAX));
    if !a.json {
        println!("{}", comparison::head(a.speed));
    }
    let mut rows: Vec<Row> = vec![];
    for (prune, recipe) in a.recipes() {
        let name = match (prune, recipe) {
            ("none", _) => recipe.to_owned(),
            (_, "none") => prune.to_owned(),
            _ => format!("{prune}, {recipe}"),
        };
        let told = |w: &str| progress.step(&format!("{name}: {w}"));
        let clock = Clock::start();
        let (mut model, out) = a.compile((prune, recipe), &told)?;
        let seconds = clock.seconds();
        let b = first(&out)?;
        let codes = &b.report.compressed;
        let weights: u64 = codes.iter().map(|l| l.dims[0] * l.dims[1]).sum();
        let bytes: u64 = codes.iter().map(|l| l.bytes).sum();
        let mut step = |p: &eval::Perplexity| told(&format!("perplexity {:.3}", p.value()));
        let measured = eval::compare(&mut model, &mut reference, &tokens, window, most, &mut step);
        let (p, q, d) = measured.map_err(bad)?;
        drop(model);
        if rows.is_empty() {
            let none =
                Row { name: "none".into(), weights_bytes: floats, perplexity: q.value(), ..Row::default() };
            let speed = a.speed.then(|| a.speed(("none", "none-kv16"), None, &told)).transpose()?;
            rows.push(Row { speed, ..none });
            if let (Some(row), false) = (rows.last(), a.json) {
                println!("{}", row.line(a.speed));
            }
        }
        let row = Row {
            name: name.clone(),
            recipe: recipe.to_owned(),
            prune: prune.to_owned(),
            weights_bytes: b.manifest.weights_bytes,
            bits: bytes as f64 * 8.0 / weights.max(1) as f64,
            perplexity: p.value(),
            kl: d.mean(),
            kl_error: d.standard_error(),
            kl_worst: d.worst,
            agreement: d.agreement(),
            seconds,
            layers: codes.clone(),
            speed: None,
        };
        let known = Some(out.known.clone());
        drop(out);
        let speed = a.speed.then(|| a.speed((prune, recipe), known, &told)).transpose()?;
        let row = Row { speed, ..row };
        if !a.json {
            println!("{}", row.line(a.speed));
        }
        rows.push(row);
    }
    if let Some(work) = &a.calibration.work {
        Work::discard(work).map_err(one)?;
    }
    drop(progress);
    if let Some(path) = &a.page {
        system::write_file(path, comparison::page(a.model, window, &rows).as_bytes()).map_err(one)?;
        eprintln!(
            "{}: the table, and pictures of size, loss and speed and of errors by layer",
            path.display()
        );
    }
    if a.json {
        let rows = rows.get(1..).unwrap_or(&[]);
        println!("{}", serde_json::json!({ "model": a.model, "window": window, "recipes": rows }));
    }
    if let Some(bytes) = system::peak_memory() {
        eprintln!("peak memory: {}", size(bytes));
    }
    Ok(())
}

fn first(out: &driver::Output) -> Result<&driver::Bundle, Vec<Diag>> {
    out.bundles.first().ok_or_else(|| vec![Diag::bug("no bundle")])
}

impl Comparison<'_> {
    /// What is compared: every way of pruning with every one of rounding.
    fn recipes(&self) -> Vec<(&str, &str)> {
        fn all(list: &[String]) -> Vec<&str> {
            if list.is_empty() { vec!["none"] } else { list.iter().map(String::as_str).collect() }
        }
        let quantize = all(self.quantize);
        all(self.prune).into_iter().flat_map(|p| quantize.iter().map(move |q| (p, *q))).collect()
    }
    fn request(&self, (prune, recipe): (&str, &str)) -> Result<Request, Diag> {
        let (recipe, cache) = KvCache::of_recipe(recipe)?;
        let (stored, compress) = Wanted::parse(recipe)?.parts();
        let prune = prune::Recipe::parse(prune)?;
        let stored = stored.filter(|_| prune.is_none());
        let kv_cache = cache.or(self.kv_cache);
        let import = ImportOptions { all_logits: true, stored, kv_cache, ..ImportOptions::default() };
        let (model, calibrate) = (PathBuf::from(self.model), self.calibration.calibration());
        let targets = vec!["native".into()];
        Ok(Request { model, import, targets, prune, compress, calibrate, ..Request::default() })
    }
    fn compile(
        &self,
        recipes: (&str, &str),
        step: &dyn Fn(&str),
    ) -> Result<(BundleModel, driver::Output), Vec<Diag>> {
        let request = self.request(recipes).map_err(|d| vec![d])?;
        let out = driver::compile(&request, step)?;
        out.warnings.iter().for_each(|w| eprintln!("warning: {w}"));
        let opening = Opening { threads: self.threads, capacity: Some(self.windows.0) };
        let (model, _) = model_of(first(&out)?, opening)?;
        Ok((model, out))
    }
    /// Tokens per second of reading and generating, of the model with the logits of the last token alone.
    fn speed(
        &self,
        recipes: (&str, &str),
        known: Option<Arc<driver::Known>>,
        step: &dyn Fn(&str),
    ) -> Result<[f64; 2], Vec<Diag>> {
        let request = self.request(recipes).map_err(|d| vec![d])?;
        let import = ImportOptions { all_logits: false, ..request.import };
        let out = driver::compile(&Request { import, known, ..request }, step)?;
        step("measuring its speed");
        let room = SPEEDS.map(Phase::tokens).into_iter().max();
        let (model, _) = model_of(first(&out)?, Opening { threads: self.threads, capacity: room })?;
        let mut own = Own::new(model, SPEEDS, 0).map_err(|d| vec![d])?;
        let mut entry = entry("sinter", "", None);
        let times = play(vec![&mut own], SPEEDS, ROUNDS).pop();
        entry.take(SPEEDS, times.unwrap_or_else(|| Err("nobody played".into())));
        match (entry.read, entry.generate) {
            (Some(read), Some(generate)) => Ok([read.median, generate.median]),
            _ => Err(vec![Diag::input(entry.unavailable.unwrap_or_default())]),
        }
    }
}

//! `sinter bench` of language models.

use super::{BenchArgs, kernels};
use crate::bench::language::llama::Llama;
use crate::bench::language::openvino::{self, Openvino};
use crate::bench::language::own::{self, Own};
use crate::bench::language::{Bench, Contender, Entry, Phase, Profiles, Rate, SCHEMA, entry, play};
use crate::bench::peaks::Peaks;
use crate::bench::stats::show;
use crate::cli::compile::import_options;
use crate::cli::{inspect, language, run as own_run};
use crate::driver::{self, Request};
use crate::frontend::llm::cache::KvCache;
use crate::frontend::onnx::ImportOptions;
use crate::manifest::Manifest;
use crate::progress::Progress;
use crate::report::size;
use crate::system;
use clap::Args;
use sinter_ir::{Diag, Result};
use sinter_llm::bundle::BundleModel;
use sinter_llm::files::{self, Opening};
use sinter_passes::compress::Wanted;
use std::path::{Path, PathBuf};

/// How a language model is measured.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Language models")]
pub struct LanguageBench {
    /// Tokens of the prompt that is read.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u16).range(1..))]
    pub prompt_tokens: u16,
    /// Tokens that are generated.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..))]
    pub generate_tokens: u16,
    /// Tokens that are in the caches before generating begins.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub depth: u16,
    /// How a checkpoint's weights are held: see `compile --quantize`.
    #[arg(long, value_name = "RECIPE", default_value = "stored")]
    pub quantize: String,
    /// How a checkpoint's caches hold keys and values: see `compile --kv-cache`.
    #[arg(long, value_name = "TYPE")]
    pub kv_cache: Option<KvCache>,
    /// The program of `--against llama.cpp`; otherwise $SINTER_LLAMA_BENCH, otherwise llama-bench.
    #[arg(long, value_name = "PATH")]
    pub llama_bench: Option<String>,
}

/// Who can be asked for with `--against`.
pub const PEERS: &[&str] = &["llama.cpp", openvino::NAME];

/// A model that can be measured, and what it is.
struct Subject {
    model: BundleModel,
    manifest: Manifest,
    out: Option<driver::Output>,
}

fn subject(a: &BenchArgs, opening: Opening) -> Result<Subject, Vec<Diag>> {
    let one = |d| vec![d];
    let path = Path::new(&a.model.model);
    if inspect::is_bundle(path) {
        let model = files::model(path, opening).map_err(|e| one(language::diag(e)))?;
        return Ok(Subject { model, manifest: inspect::manifest(path).map_err(one)?, out: None });
    }
    let import = import_options(&a.model, None, &[]).map_err(one)?;
    let progress = Progress::start();
    let (targets, measure) = (vec!["native".into()], !a.no_kernels);
    let (recipe, cache) = KvCache::of_recipe(&a.language.quantize).map_err(one)?;
    let (stored, compress) = Wanted::parse(recipe).map_err(one)?.parts();
    let import = ImportOptions { stored, kv_cache: cache.or(a.language.kv_cache), ..import };
    let request = Request { model: path.into(), import, targets, measure, compress, ..Request::default() };
    let out = driver::compile(&request, &|w| progress.step(w))?;
    let b = out.bundles.first().ok_or_else(|| one(Diag::bug("no bundle")))?;
    let (model, _) = language::model_of(b, opening)?;
    Ok(Subject { model, manifest: b.manifest.clone(), out: Some(out) })
}

/// Runs the command for a language model.
pub fn run(a: &BenchArgs) -> Result<(), Vec<Diag>> {
    let one = |d| vec![d];
    if let Some(p) = a.against.iter().find(|p| !PEERS.contains(&p.as_str())) {
        return Err(one(Diag::input(format!(
            "--against {p}: for language models known is {}",
            PEERS.join(", ")
        ))));
    }
    let phases =
        [Phase::Read(a.language.prompt_tokens.into()), Phase::Generate(a.language.generate_tokens.into())];
    let [prompt, generated] = phases.map(Phase::tokens);
    let depth = usize::from(a.language.depth);
    let opening = Opening { threads: a.threads.into(), capacity: Some(prompt.max(depth + generated)) };
    let Subject { model, manifest, out } = subject(a, opening)?;
    let (chunk, memory) = (sinter_llm::Model::chunk(&model), sinter_llm::Model::memory(&model));
    let state_bytes = memory.len() as u64;
    let progress = Progress::start();
    let mut entries = vec![entry("sinter", env!("CARGO_PKG_VERSION"), Some(manifest.weights_bytes))];
    let mut peers: Vec<Peer> = Vec::new();
    for name in &a.against {
        progress.step(&format!("starting {name}"));
        let (e, peer) = peer(a, name, sinter_llm::Model::vocab(&model))?;
        entries.push(e);
        peers.extend(peer);
    }
    progress.step("measuring");
    let mut ours = Own::new(model, phases, depth).map_err(one)?;
    let mut who: Vec<&mut dyn Contender> = vec![&mut ours];
    for p in &mut peers {
        who.push(p.as_mut());
    }
    let results = play(who, phases, a.rounds.into());
    let present = entries.iter_mut().filter(|e| e.unavailable.is_none());
    present.zip(results).for_each(|(e, r)| e.take(phases, r));
    // Its memory is needed no longer.
    drop(ours);
    if let Some(why) = entries.first().and_then(|e| e.unavailable.clone()) {
        return Err(one(Diag::input(why)));
    }
    if let Some((first, others)) = entries.split_first_mut() {
        others.iter_mut().for_each(|e| e.compare(first));
    }
    progress.step("measuring kernels");
    let profiles = profiles(a, out.as_ref(), phases, (chunk, depth)).map_err(one)?;
    drop(progress);
    let bench = Bench {
        schema: SCHEMA,
        model: a.model.model.clone(),
        target: manifest.target.clone(),
        threads: a.threads.into(),
        prompt,
        generated,
        depth,
        chunk,
        code_bytes: manifest.code_bytes,
        state_bytes,
        entries,
        profiles,
    };
    if a.json {
        println!("{}", serde_json::to_string_pretty(&bench).unwrap_or_default());
    } else {
        table(&bench);
    }
    Ok(())
}

/// Another runtime.
type Peer = Box<dyn Contender>;

/// What is known of another runtime, and it itself: one that is missing takes no turn.
fn peer(a: &BenchArgs, name: &str, vocabulary: usize) -> Result<(Entry, Option<Peer>), Vec<Diag>> {
    // Its model: the one that is measured, where that is a GGUF file.
    let model = a.reference.clone().unwrap_or_else(|| PathBuf::from(&a.model.model));
    if system::is_dir(&model) {
        let d = Diag::input(format!("{name} needs a GGUF file, {} is a folder", model.display()));
        return Err(vec![d.help("name the GGUF file with --reference")]);
    }
    let (threads, depth) = (a.threads.into(), a.language.depth.into());
    let found = if name == openvino::NAME {
        let peer = Openvino::start(&a.interpreter(), &model, threads, (vocabulary, depth));
        peer.map(|p| (p.version().to_owned(), None, Box::new(p) as Peer))
    } else {
        let program = a.language.llama_bench.clone().or_else(|| system::variable("SINTER_LLAMA_BENCH"));
        let peer = Llama::new(&program.unwrap_or_else(|| "llama-bench".to_owned()), &model, threads, depth);
        peer.describe().map(|(version, bytes)| (version, bytes, Box::new(peer) as Peer))
    };
    Ok(match found {
        Ok((version, bytes, peer)) => (entry(name, &version, bytes), Some(peer)),
        Err(d) => (Entry { unavailable: Some(d.message), ..entry(name, "", None) }, None),
    })
}

fn profiles(
    a: &BenchArgs,
    out: Option<&driver::Output>,
    phases: [Phase; 2],
    (chunk, depth): (usize, usize),
) -> Result<Option<Profiles>> {
    let bundle = out.and_then(|o| o.bundles.first());
    let Some((bundle, measured)) = bundle.and_then(|b| Some((b, b.measured.as_ref()?))) else {
        return Ok(None);
    };
    let peaks = Peaks::measure(a.threads.into())?;
    let mut session = own_run::session_of(bundle, &measured.archive, a.threads.into())?;
    own::profiles(&mut session, measured, &peaks, phases, (chunk, depth)).map(Some)
}

fn table(b: &Bench) {
    println!(
        "{} for {}, {} thread(s), chunks of {} tokens, code {}, states {}",
        b.model,
        b.target,
        b.threads,
        b.chunk,
        size(b.code_bytes),
        size(b.state_bytes)
    );
    println!(
        "{:<24} {:>10} {:>14} {:>7} {:>14} {:>7}",
        "tokens/s (median)",
        "weights",
        format!("pp{}", b.prompt),
        "ratio",
        if b.depth > 0 { format!("tg{} @{}", b.generated, b.depth) } else { format!("tg{}", b.generated) },
        "ratio"
    );
    for e in &b.entries {
        row(e);
    }
    let Some(p) = &b.profiles else { return };
    println!("\nreading: one run of {} tokens", b.chunk.min(b.prompt));
    kernels(&p.read);
    println!("\ngenerating: one token, which touches {}", size(p.bytes_per_token as u64));
    kernels(&p.generate);
    let ours = b.entries.first().and_then(|e| e.generate);
    if let (Some(floor), Some(ours)) = (p.memory_floor, ours) {
        let part = 100.0 * floor * ours.median;
        println!(
            "memory alone would need {} a token: generating reaches {part:.1} % of its rate",
            show(floor)
        );
    }
}

fn row(e: &Entry) {
    let name = format!("{} {}", e.name, e.version);
    if let Some(why) = &e.unavailable {
        return println!("{name:<24} n/a: {why}");
    }
    let rate = |r: Option<Rate>| r.map_or(String::new(), |r| format!("{:.1}", r.median));
    let ratio = |r: Option<f64>| r.map_or(String::new(), |r| format!("{r:.2} x"));
    let bytes = e.bytes.map(size).unwrap_or_default();
    let (read, generate) = (rate(e.read), rate(e.generate));
    let (first, second) = (ratio(e.read_ratio), ratio(e.generate_ratio));
    println!("{name:<24} {bytes:>10} {read:>14} {first:>7} {generate:>14} {second:>7}");
}

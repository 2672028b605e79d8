//! `sinter eval`.

use super::agreement;
use super::calibrate::CalibrateArgs;
use super::compare::{self, Comparison};
use super::language::{diag, open};
use crate::frontend::llm::cache::KvCache;
use crate::frontend::onnx::ImportOptions;
use crate::progress::Progress;
use crate::system::{self, Clock};
use clap::Args;
use sinter_ir::Diag;
use sinter_ir::op::quantized_matmul::Activations;
use sinter_llm::eval::{self, Perplexity};
use sinter_llm::files::Opening;
use std::path::PathBuf;

/// Options of `eval`.
///
/// Protocol: the text's tokens without special tokens, in windows that each begin anew; the first token of a window is
/// given, the others are predicted; a shorter rest is left out. Perplexity is e to the mean of -ln p of all predicted
/// tokens.
#[derive(Debug, Clone, Args)]
pub struct EvalArgs {
    /// Bundle folder of a language model, or a checkpoint that is compiled on the fly: weights as stored, activations
    /// as floats. With --data, an ONNX model.
    #[arg(value_parser = super::given)]
    pub bundle: String,
    /// The text.
    #[arg(long, value_name = "FILE", required_unless_present = "data")]
    pub text: Option<PathBuf>,
    /// Of a model that is no language model: samples of the inputs, as for --calibrate. Outputs with --quantize int8,...
    /// are compared with those of the float model on them.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["text", "against"], requires = "quantize")]
    pub data: Vec<String>,
    /// Dims of the model, with --data.
    #[arg(long = "dim", value_name = "NAME=N|MIN..MAX", requires = "data")]
    pub dims: Vec<String>,
    /// With --data: a table of the layers for every recipe.
    #[arg(long, requires = "data")]
    pub layers: bool,
    /// A model to compare with: bundle or checkpoint, of the same vocabulary.
    #[arg(long, value_name = "MODEL", value_parser = super::given)]
    pub against: Option<String>,
    /// Tokens of a window.
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub window: usize,
    /// Most windows; default: the whole text.
    #[arg(long, value_name = "N")]
    pub windows: Option<usize>,
    /// Compare what recipes of `compile --quantize` make of a checkpoint: a table, each line measured against the model
    /// with float weights.
    #[arg(long, value_name = "RECIPE", value_delimiter = ',', conflicts_with = "against")]
    pub quantize: Vec<String>,
    /// The same for recipes of `compile --prune`, each with every recipe of --quantize behind; `none` is one too.
    #[arg(long, value_name = "RECIPE", value_delimiter = ',', conflicts_with = "against")]
    pub prune: Vec<String>,
    /// Measure speed too: tokens per second of reading 512 and of generating 128.
    #[arg(long, requires = "quantize")]
    pub speed: bool,
    /// For gptq, awq, smooth, spin and most of --prune.
    #[command(flatten)]
    pub calibration: CalibrateArgs,
    /// How caches of a checkpoint hold keys and values: see `compile --kv-cache`. That of --against and the float model
    /// of --quantize keep f16.
    #[arg(long, value_name = "TYPE")]
    pub kv_cache: Option<KvCache>,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

fn comparison(a: &EvalArgs) -> Comparison<'_> {
    Comparison {
        model: &a.bundle,
        quantize: &a.quantize,
        prune: &a.prune,
        windows: (a.window, a.windows),
        calibration: &a.calibration,
        kv_cache: a.kv_cache,
        threads: a.threads,
        json: a.json,
        speed: a.speed,
        page: None,
    }
}

/// Runs the command.
pub fn run(a: &EvalArgs) -> Result<(), Vec<Diag>> {
    let one = |d: Diag| vec![d];
    let bad = |e| one(diag(e));
    let Some(file) = &a.text else { return agreement::run(a) };
    let text = &system::read_text(file).map_err(one)?;
    if !a.quantize.is_empty() || !a.prune.is_empty() {
        return compare::run(&comparison(a), text);
    }
    let opening = Opening { threads: a.threads, capacity: Some(a.window) };
    let import = |kv_cache| {
        let stored = Some(Activations::Float);
        ImportOptions { all_logits: true, stored, kv_cache, ..ImportOptions::default() }
    };
    let (mut model, language) = open(&a.bundle, opening, import(a.kv_cache))?;
    let mut other = a.against.as_ref().map(|p| open(p, opening, import(None))).transpose()?;
    let tokens = language.tokenizer.encode(text, false).map_err(bad)?;
    let most = a.windows.unwrap_or(usize::MAX);
    let total = (tokens.len() / a.window.max(1)).min(most);
    let progress = Progress::start();
    let mut done = 0;
    let mut step = |p: &Perplexity| {
        done += 1;
        progress.step(&format!("window {done} of {total}, perplexity {:.3}", p.value()));
    };
    let clock = Clock::start();
    let (p, compared) = match &mut other {
        None => (eval::perplexity(&mut model, &tokens, a.window, most, &mut step).map_err(bad)?, None),
        Some((reference, l)) => {
            // Equal numbers of tokens do not make an equal vocabulary.
            if l.tokenizer.encode(text, false).map_err(bad)? != tokens {
                return Err(one(Diag::input(
                    "the models cut the text into other tokens: they cannot be compared",
                )));
            }
            let (p, q, d) =
                eval::compare(&mut model, reference, &tokens, a.window, most, &mut step).map_err(bad)?;
            (p, Some((q, d)))
        }
    };
    let seconds = clock.seconds();
    drop(progress);
    if a.json {
        let compared = compared.map(|(q, d)| {
            serde_json::json!({ "perplexity": q.value(), "top1": q.accuracy(), "kl": d.mean(), "kl_error": d.standard_error(), "kl_worst": d.worst,
                "agreement": d.agreement() })
        });
        println!(
            "{}",
            serde_json::json!({ "model": a.bundle, "window": a.window, "windows": p.tokens / (a.window - 1),
                "tokens": p.tokens, "perplexity": p.value(), "top1": p.accuracy(), "against": compared })
        );
        return Ok(());
    }
    println!("perplexity {:.4} over {} tokens in windows of {}", p.value(), p.tokens, a.window);
    println!("the most probable token was right for {:.2} %", p.accuracy() * 100.0);
    if let (Some((q, d)), Some(name)) = (compared, &a.against) {
        println!("{name}: perplexity {:.4}", q.value());
        println!(
            "KL divergence from it: mean {:.6} +- {:.6}, worst {:.4}",
            d.mean(),
            d.standard_error(),
            d.worst
        );
        println!("same most probable token: {:.2} %", d.agreement() * 100.0);
    }
    eprintln!(
        "{seconds:.1} s, {:.1} tokens/s, {} thread(s)",
        p.tokens as f64 / seconds.max(1e-9),
        a.threads.max(1)
    );
    Ok(())
}

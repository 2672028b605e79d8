//! Talking to language models: `sinter run --prompt` and `--chat`.

use super::run::RunArgs;
use crate::driver::{self, Request};
use crate::frontend::llm::cache::KvCache;
use crate::frontend::onnx::ImportOptions;
use crate::progress::Progress;
use crate::system::{self, Clock};
use clap::Args;
use sinter_ir::op::quantized_matmul::Activations;
use sinter_ir::{Diag, Fault};
use sinter_llm::bundle::{BundleModel, Manifest};
use sinter_llm::files::{self, Opening};
use sinter_llm::tokenizer::Blob;
use sinter_llm::{Context, Finish, Kind, Language, Message, Model, Options, Session, Settings};
use sinter_runtime::{Aligned, Bundle, Image};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How to talk to a language model.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Language models")]
pub struct LanguageArgs {
    /// Go on with a text. With --chat: answer it as a message.
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Talk, line by line from standard input; an empty line begins anew.
    #[arg(long)]
    pub chat: bool,
    /// What the model is told before a chat.
    #[arg(long, value_name = "TEXT", requires = "chat")]
    pub system: Option<String>,
    /// Most tokens of an answer; default: until the model ends it or the cache is full.
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<usize>,
    /// Tokens that the cache has room for; default: what the model was trained for, at most 4096.
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// How caches of a checkpoint hold keys and values: see `compile --kv-cache`.
    #[arg(long, value_name = "TYPE")]
    pub kv_cache: Option<KvCache>,
    /// Choose at random, the more evenly the higher; 0 takes the best token. Default: what the checkpoint recommends,
    /// like those of the next four.
    #[arg(long, value_name = "T")]
    pub temperature: Option<f32>,
    /// Choose among the k best; 0: all.
    #[arg(long, value_name = "K")]
    pub top_k: Option<u32>,
    /// Choose among the best that make up this probability.
    #[arg(long, value_name = "P")]
    pub top_p: Option<f32>,
    /// Choose among those that are at least this probable relative to the best.
    #[arg(long, value_name = "P")]
    pub min_p: Option<f32>,
    /// Make what is in the text already less likely; 1: do not.
    #[arg(long, value_name = "R")]
    pub repetition_penalty: Option<f32>,
    /// Make what was generated less likely.
    #[arg(long, value_name = "A")]
    pub presence_penalty: Option<f32>,
    /// Make what was generated less likely for every time.
    #[arg(long, value_name = "A")]
    pub frequency_penalty: Option<f32>,
    /// Which random numbers; the same seed gives the same answer.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// End the answer in front of this text. May be repeated.
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
}

impl LanguageArgs {
    /// Whether `run` is to talk.
    pub fn talks(&self) -> bool {
        self.chat || self.prompt.is_some()
    }
    fn options(&self, language: &Language) -> Options {
        let d = Settings::of(&language.info.generation);
        let settings = Settings {
            temperature: self.temperature.unwrap_or(d.temperature),
            top_k: self.top_k.unwrap_or(d.top_k),
            top_p: self.top_p.unwrap_or(d.top_p),
            min_p: self.min_p.unwrap_or(d.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(d.repetition_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(d.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(d.frequency_penalty),
            seed: self.seed,
        };
        let (max_tokens, stops) = (self.max_tokens, self.stop.clone());
        Options { max_tokens, settings, stops, ignore_eos: false, own_text: self.chat }
    }
}

/// An error of the runtime as one of the compiler's.
pub fn diag(e: sinter_llm::Error) -> Diag {
    let fault = match e.kind {
        Kind::Input | Kind::Model => Fault::Input,
        Kind::Unsupported => Fault::Unsupported,
        Kind::Limit => Fault::Limit,
        Kind::Output => Fault::Output,
    };
    let d = Diag { fault, ..Diag::input(e.message) };
    match e.help {
        Some(help) => d.help(help),
        None => d,
    }
}

/// Opens a bundle folder, or compiles a checkpoint for this machine.
pub fn open(
    path: &str,
    opening: Opening,
    import: ImportOptions,
) -> Result<(BundleModel, Language), Vec<Diag>> {
    let one = |d: Diag| vec![d];
    let bad = |e| one(diag(e));
    let dir = Path::new(path);
    if super::inspect::is_bundle(dir) {
        if import.kv_cache.is_some() {
            let d = Diag::input(format!("--kv-cache: {path} is compiled already"));
            return Err(one(d.help("give the checkpoint, or compile it with --kv-cache")));
        }
        super::inspect::manifest(dir).and_then(|m| super::run::runs_here(&m)).map_err(one)?;
        let language = files::manifest(dir).and_then(|m| files::language_of(dir, &m)).map_err(bad)?;
        return Ok((files::model(dir, opening).map_err(bad)?, language));
    }
    let progress = Progress::start();
    let request =
        Request { model: PathBuf::from(path), import, targets: vec!["native".into()], ..Request::default() };
    let out = driver::compile(&request, &|w| progress.step(w))?;
    let b = out.bundles.first().ok_or_else(|| one(Diag::bug("no bundle")))?;
    let (model, manifest) = model_of(b, opening)?;
    let file = |name: &str| Ok(b.files.get(name).map(|f| Arc::new(f.clone()) as Blob));
    Ok((model, files::language(&manifest, &file).map_err(bad)?))
}

/// The model of a bundle that was never written to files.
pub fn model_of(b: &driver::Bundle, opening: Opening) -> Result<(BundleModel, Manifest), Vec<Diag>> {
    let one = |d: Diag| vec![d];
    let bad = |e| one(diag(e));
    let missing = |name: &str| one(Diag::bug(format!("no file {name}")));
    let file = |name: String| b.files.get(&name).ok_or_else(|| missing(&name));
    let manifest = Manifest::read(file("manifest.json".into())?).map_err(bad)?;
    let weights = Aligned::copy_of(file(format!("{}.weights", manifest.name))?);
    let weights = weights.map_err(|e| one(Diag::limit(e.to_string())))?;
    let archive = file(format!("lib{}.a", manifest.name))?;
    let bundle = Bundle::load(&manifest.name, archive, Image::Heap(weights), opening.threads.max(1));
    let bundle = bundle.map_err(|e| one(Diag::input(e.to_string())))?;
    let capacity = manifest.capacity(opening.capacity).map_err(bad)?;
    Ok((BundleModel::new(&manifest, bundle, capacity).map_err(bad)?, manifest))
}

/// A session and what it costs.
struct Talk {
    session: Session<BundleModel>,
    options: Options,
    json: bool,
    /// Tokens and seconds of reading.
    read: (usize, f64),
    /// Tokens and seconds of speaking.
    said: (usize, f64),
}

impl Talk {
    /// Reads tokens, where the session goes on with what it has in common with them, and answers.
    fn answer(&mut self, tokens: &[u32]) -> Result<String, Diag> {
        let clock = Clock::start();
        let kept = self.session.become_tokens(tokens).map_err(diag)?;
        self.read = (self.read.0 + tokens.len() - kept, self.read.1 + clock.seconds());
        let clock = Clock::start();
        let (mut text, json) = (String::new(), self.json);
        let outcome = self.session.generate(&self.options, |part| {
            text += part;
            if !json {
                system::say_part(part);
            }
            if system::unheard() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let outcome = outcome.map_err(diag)?;
        self.said = (self.said.0 + outcome.tokens, self.said.1 + clock.seconds());
        if json {
            let finish = format!("{:?}", outcome.finish).to_lowercase();
            let line = serde_json::json!({ "text": text, "tokens": outcome.tokens, "finish": finish, "read": tokens.len() });
            println!("{line}");
        } else {
            println!("");
        }
        if outcome.finish == Finish::Full {
            let room = self.session.model().capacity();
            eprintln!("the answer was cut off: the cache holds {room} tokens (--context gives more room)");
        }
        Ok(text)
    }
    /// What it cost.
    fn rates(&self) -> String {
        let rate =
            |(n, seconds): (usize, f64)| format!("{n} tokens, {:.1} tokens/s", n as f64 / seconds.max(1e-9));
        format!("read {}; said {}", rate(self.read), rate(self.said))
    }
}

/// Runs the command.
pub fn run(a: &RunArgs) -> Result<(), Vec<Diag>> {
    let one = |d: Diag| vec![d];
    let l = &a.language;
    let clock = Clock::start();
    let opening = Opening { threads: a.threads, capacity: l.context };
    let (stored, kv_cache) = (Some(Activations::Blocks), l.kv_cache);
    let import = ImportOptions { stored, kv_cache, ..ImportOptions::default() };
    let (model, language) = open(&a.bundle, opening, import)?;
    let options = l.options(&language);
    let session = Session::new(model, Arc::new(language)).map_err(|e| one(diag(e)))?;
    let opened = clock.seconds();
    let mut talk = Talk { session, options, json: a.json, read: (0, 0.0), said: (0, 0.0) };
    let done = match (&l.prompt, l.chat) {
        (Some(text), false) => go_on(&mut talk, text),
        (Some(text), true) => chat(&mut talk, l, &mut std::iter::once(Ok(text.clone()))),
        (None, _) => {
            let person = system::is_terminal();
            let mut lines = std::iter::from_fn(|| {
                if person {
                    system::say_part("> ");
                }
                system::hear().transpose()
            });
            chat(&mut talk, l, &mut lines)
        }
    };
    eprintln!("{}; opened in {:.0} ms; {} thread(s)", talk.rates(), opened * 1e3, a.threads.max(1));
    done.map_err(one)
}

fn go_on(talk: &mut Talk, text: &str) -> Result<(), Diag> {
    let tokens = talk.session.tokens_of(text).map_err(diag)?;
    talk.answer(&tokens).map(drop)
}

fn chat(
    talk: &mut Talk,
    l: &LanguageArgs,
    lines: &mut dyn Iterator<Item = Result<String, Diag>>,
) -> Result<(), Diag> {
    let system: Vec<Message> = l.system.iter().map(|t| Message::new("system", t)).collect();
    let mut messages = system.clone();
    for line in lines {
        let line = line?;
        if line.is_empty() {
            messages.clone_from(&system);
            continue;
        }
        messages.push(Message::new("user", &line));
        let context = Context { add_generation_prompt: true, now: system::now(), ..Context::default() };
        let tokens = talk.session.tokens_of_chat(&messages, &context).map_err(diag)?;
        let text = talk.answer(&tokens)?;
        messages.push(Message::new("assistant", &text));
        if system::unheard() {
            break;
        }
    }
    Ok(())
}

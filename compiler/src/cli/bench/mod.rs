//! `sinter bench`.

mod language;

use super::compile::import_options;
use super::{ModelArgs, inspect, run as own};
use crate::bench::peaks::Peaks;
use crate::bench::peer::{self, Job, Peer};
use crate::bench::profile::{self, Profile};
use crate::bench::rounds::{Player, Runner, play};
use crate::bench::stats::{difference, show};
use crate::bench::{Bench, Entry, SCHEMA};
use crate::bench::{inputs, page};
use crate::driver::{self, Request};
use crate::frontend::llm;
use crate::progress::Progress;
use crate::session::{Ready, Session};
use crate::system::{self, Clock};
use clap::Args;
use sinter_ir::{Diag, Result, Tensor};
use sinter_passes::pipeline::LowerOptions;
use std::path::{Path, PathBuf};

/// Options of `bench`.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Bundle folder, or a model file that is compiled for this machine.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Runtimes to compare with, through their Python packages: onnxruntime, openvino, ncnn (needs pnnx), tract. Of
    /// language models: llama.cpp, openvino-genai.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub against: Vec<String>,
    /// The ONNX or GGUF file that the others run, where MODEL is a bundle or another kind of file.
    #[arg(long, value_name = "FILE")]
    pub reference: Option<PathBuf>,
    /// Threads of everyone.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: u16,
    /// Arithmetic of everyone on f32 models; ours where a model is compiled here.
    #[arg(long, default_value = "f32", value_parser = ["f32", "bf16"])]
    pub precision: String,
    /// Folder with inputs: input_0.pb, input_1.npy, or NAME.npy; random data otherwise.
    #[arg(long, value_name = "DIR")]
    pub inputs: Option<PathBuf>,
    /// Rounds that count; in each everyone runs for about 20 ms, at least once.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..))]
    pub rounds: u16,
    /// Compile for the range of open dims, not for the shapes of the inputs.
    #[arg(long)]
    pub open: bool,
    /// Compile for small code: see `compile --opt-size`.
    #[arg(long)]
    pub opt_size: bool,
    /// Measure no kernels, only whole runs.
    #[arg(long, conflicts_with = "profile")]
    pub no_kernels: bool,
    /// Write a picture of where the time goes to an HTML file.
    #[arg(long, value_name = "FILE.html")]
    pub profile: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Python with the packages; otherwise $SINTER_PYTHON, otherwise python3.
    #[arg(long, value_name = "PATH")]
    pub python: Option<String>,
    /// How language models are measured.
    #[command(flatten)]
    pub language: language::LanguageBench,
}

impl BenchArgs {
    fn interpreter(&self) -> String {
        let python = self.python.clone().or_else(|| system::variable("SINTER_PYTHON"));
        python.unwrap_or_else(|| "python3".to_owned())
    }
}

/// Whether a path is a checkpoint of a language model or a bundle of one.
fn is_language(path: &Path) -> bool {
    llm::is_model(path) || inspect::manifest(path).is_ok_and(|m| m.language_model.is_some())
}

/// Our own turns.
struct Own<'a, 'b>(&'a mut Ready<'b>);

impl Runner for Own<'_, '_> {
    fn run(&mut self, calls: usize) -> Result<Vec<f64>> {
        let timed = |_| {
            let clock = Clock::start();
            self.0.run()?;
            Ok(clock.seconds())
        };
        (0..calls).map(timed).collect()
    }
}

/// What is measured.
struct Subject {
    session: Session,
    inputs: Vec<(String, Tensor)>,
    /// What is measured kernel by kernel: only the compiler knows how.
    out: Option<driver::Output>,
}

fn subject(a: &BenchArgs) -> Result<Subject, Vec<Diag>> {
    let one = |d| vec![d];
    let (threads, dir) = (a.threads.into(), a.inputs.as_deref());
    let path = Path::new(&a.model.model);
    if system::is_dir(path) {
        let session = own::open(&a.model.model, &[], threads)?;
        let specs: Vec<_> = session.manifest.inputs.iter().map(|p| p.spec()).collect();
        return Ok(Subject { inputs: inputs::find(&specs, dir).map_err(one)?, session, out: None });
    }
    let mut import = import_options(&a.model, None, &[]).map_err(one)?;
    let specs = inputs::specs(path, &import)?;
    let found = inputs::find(&specs, dir).map_err(one)?;
    let compile = |import| {
        let progress = Progress::start();
        let targets = vec!["native".into()];
        let measure = !a.no_kernels;
        let lower =
            LowerOptions { precision: a.precision.parse().map_err(|d| vec![d])?, ..LowerOptions::default() };
        let opt_size = a.opt_size;
        let request =
            Request { model: path.into(), import, targets, measure, opt_size, lower, ..Request::default() };
        driver::compile(&request, &|w| progress.step(w))
    };
    let open = import.clone();
    import.dims.extend(inputs::pinned(&specs, &found));
    let out = match compile(if a.open { open.clone() } else { import }) {
        // A branch that is never taken need not make sense for just these shapes.
        Err(all) if !a.open => {
            let Ok(out) = compile(open) else { return Err(all) };
            eprintln!("the model does not compile for the shapes of the inputs alone: dims stay open");
            out
        }
        other => other?,
    };
    Ok(Subject { inputs: found, session: own::session(&out, threads).map_err(one)?, out: Some(out) })
}

/// Runs the command.
pub fn run(a: &BenchArgs) -> Result<(), Vec<Diag>> {
    let one = |d| vec![d];
    if is_language(Path::new(&a.model.model)) {
        return language::run(a);
    }
    if let Some(p) = a.against.iter().find(|p| !peer::PEERS.contains(&p.as_str())) {
        return Err(one(Diag::input(format!("--against {p}: known are {}", peer::PEERS.join(", ")))));
    }
    let model = PathBuf::from(&a.model.model);
    let reference = match &a.reference {
        Some(r) => r.clone(),
        None if !a.against.is_empty() && system::is_dir(&model) => {
            return Err(one(Diag::input("a bundle does not hold the model that the others need")
                .help("name the ONNX file with --reference")));
        }
        None => model,
    };
    let Subject { mut session, inputs, out } = subject(a)?;
    let python = a.interpreter();
    let progress = Progress::start();
    let mut peers: Vec<(&str, Result<Peer>)> = Vec::new();
    for name in &a.against {
        progress.step(&format!("starting {name}"));
        let job = Job {
            python: &python,
            peer: name,
            model: &reference,
            inputs: &inputs,
            threads: a.threads.into(),
            precision: &a.precision,
        };
        peers.push((name, Peer::start(&job)));
    }
    progress.step("measuring");
    let tensors: Vec<Tensor> = inputs.iter().map(|i| i.1.clone()).collect();
    let measure = |ready: &mut Ready| {
        let mut own = Own(ready);
        let mut players = vec![Player::new(&mut own)];
        players.extend(peers.iter_mut().filter_map(|p| p.1.as_mut().ok()).map(|p| Player::new(p)));
        play(&mut players, a.rounds.into());
        Ok(players.iter().map(Player::result).collect::<Vec<_>>())
    };
    let (results, outputs) = session.with(None, &tensors, measure).map_err(one)?;
    let target = session.manifest.target.clone();
    let entries = entries(results, peers, &outputs).map_err(one)?;
    // Its memory is needed no longer.
    drop(session);
    progress.step("measuring kernels");
    let profile = profile(out.as_ref(), &tensors, a.threads.into()).map_err(one)?;
    drop(progress);
    let bench = Bench {
        schema: SCHEMA,
        model: a.model.model.clone(),
        target,
        threads: a.threads.into(),
        precision: a.precision.clone(),
        rounds: a.rounds.into(),
        inputs: inputs.iter().map(|(n, t)| format!("{n} {}{:?}", t.dtype(), t.shape())).collect(),
        entries,
        against_fastest: None,
        profile,
    };
    let bench = Bench { against_fastest: bench.fastest(), ..bench };
    if let Some(file) = &a.profile {
        let profile = bench.profile.as_ref().ok_or_else(|| {
            one(Diag::input("a bundle cannot tell kernels apart").help("name the model file"))
        })?;
        system::write_file(file, page::page(&bench, profile).as_bytes()).map_err(one)?;
    }
    if a.json {
        println!("{}", serde_json::to_string_pretty(&bench).unwrap_or_default());
    } else {
        table(&bench);
    }
    Ok(())
}

/// Measures kernel by kernel.
fn profile(out: Option<&driver::Output>, inputs: &[Tensor], threads: usize) -> Result<Option<Profile>> {
    let bundle = out.and_then(|o| o.bundles.first());
    let Some((bundle, measured)) = bundle.and_then(|b| Some((b, b.measured.as_ref()?))) else {
        return Ok(None);
    };
    let peaks = Peaks::measure(threads)?;
    let mut session = own::session_of(bundle, &measured.archive, threads)?;
    session.measure(measured.sites.len())?;
    let (profile, _) = session.with(None, inputs, |ready| profile::collect(ready, measured, peaks, false))?;
    Ok(Some(profile))
}

/// Joins times and peers; ours come first.
fn entries(
    results: Vec<(Option<crate::bench::Stats>, Option<String>)>,
    peers: Vec<(&str, Result<Peer>)>,
    outputs: &[Tensor],
) -> Result<Vec<Entry>> {
    let mut results = results.into_iter();
    let (own, failure) = results.next().ok_or_else(|| Diag::bug("nobody took part"))?;
    if let Some(why) = failure {
        return Err(Diag::input(why));
    }
    let mut all = vec![Entry {
        name: "sinter".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        latency: own,
        unavailable: None,
        ratio: None,
        difference: None,
    }];
    for (name, peer) in peers {
        let mut entry = Entry {
            name: name.into(),
            version: String::new(),
            latency: None,
            unavailable: None,
            ratio: None,
            difference: None,
        };
        match peer {
            Err(d) => entry.unavailable = Some(d.message),
            Ok(mut peer) => {
                (entry.latency, entry.unavailable) = results.next().unwrap_or_default();
                entry.version = peer.version().to_owned();
                entry.ratio = entry.latency.zip(own).map(|(theirs, ours)| theirs.median / ours.median);
                let theirs = peer.outputs().ok().filter(|t| t.len() == outputs.len());
                entry.difference = theirs.and_then(|t| {
                    let each = t.iter().zip(outputs).map(|(t, o)| difference(t, o));
                    each.collect::<Option<Vec<f64>>>()?.into_iter().reduce(f64::max)
                });
            }
        }
        all.push(entry);
    }
    Ok(all)
}

fn table(b: &Bench) {
    println!("{} for {}, {} thread(s), {} rounds", b.model, b.target, b.threads, b.rounds);
    b.inputs.iter().for_each(|i| println!("  input {i}"));
    println!("{:<24} {:>12} {:>12} {:>12} {:>7} {:>9}", "", "min", "median", "p90", "ratio", "differs");
    for e in &b.entries {
        let name = format!("{} {}", e.name, e.version);
        let Some(l) = e.latency else {
            println!("{name:<24} n/a: {}", e.unavailable.as_deref().unwrap_or("no times"));
            continue;
        };
        let ratio = e.ratio.map_or(String::new(), |r| format!("{r:.2} x"));
        let differs = e.difference.map_or(String::new(), |d| format!("{d:.1e}"));
        let (min, median, p90) = (show(l.min), show(l.median), show(l.p90));
        println!("{name:<24} {min:>12} {median:>12} {p90:>12} {ratio:>7} {differs:>9}");
    }
    let absent = b.entries.iter().filter(|e| e.latency.is_none()).count();
    if absent > 0 {
        println!("{absent} of {} could not take part", b.entries.len() - 1);
    }
    if let Some(p) = &b.profile {
        kernels(p);
    }
    if let Some(r) = b.against_fastest {
        println!("{r:.2} x as fast as the fastest of the others");
    }
}

/// Kernels shown in the table.
const KERNELS_SHOWN: usize = 20;

fn kernels(p: &Profile) {
    println!(
        "{:<44} {:>6} {:>11} {:>6} {:>8} {:>8} {:>16}",
        "kernel", "calls", "time", "share", "GOP/s", "GB/s", "of the limit"
    );
    for k in p.kernels.iter().take(KERNELS_SHOWN) {
        let name: String = k.kernel.chars().take(44).collect();
        let of = format!("{:.1} % of {}", k.of_peak * 100.0, k.bound);
        println!(
            "{name:<44} {:>6} {:>11} {:>4.1} % {:>8.2} {:>8.2} {of:>16}",
            k.calls,
            show(k.seconds),
            k.share * 100.0,
            k.operations_per_second / 1e9,
            k.bytes_per_second / 1e9
        );
    }
    if p.kernels.len() > KERNELS_SHOWN {
        println!("and {} more", p.kernels.len() - KERNELS_SHOWN);
    }
    let limit = |name: &str, r: f64, unit: &str| format!("{name} {:.0} {unit}", r / 1e9);
    let ops = [("FMA", p.peaks.fma), ("dot8", p.peaks.dot8), ("bf16", p.peaks.bf16)];
    let ops = ops.into_iter().filter_map(|(n, r)| Some(limit(n, r?, "GOP/s")));
    let all: Vec<String> = ops.chain(p.peaks.read.iter().map(|l| limit(l.name, l.rate, "GB/s"))).collect();
    if let Some(s) = p.peaks.fork_join {
        println!("splitting a kernel over the threads costs {}", show(s));
    }
    println!(
        "kernels {}, at the limits {}; limits measured now: {}",
        show(p.seconds),
        show(p.floor),
        all.join(", ")
    );
}

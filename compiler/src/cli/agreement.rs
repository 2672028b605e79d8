//! `sinter eval --data`: what static quantisation makes of a model, one line a recipe.

use super::calibrate::statics;
use super::eval::EvalArgs;
use super::run::session as session_of;
use crate::driver::{self, Bundle, Request};
use crate::frontend;
use crate::frontend::onnx::ImportOptions;
use crate::progress::Progress;
use crate::quantise::measure::OutputError;
use crate::quantise::samples::Samples;
use crate::report::size;
use crate::session::Session;
use crate::system::Clock;
use serde::Serialize;
use sinter_ir::{Diag, Tensor};
use sinter_passes::compress::LayerStat;
use sinter_passes::quantise;
use std::path::PathBuf;

/// Least time that a model is measured for, in seconds, and least number of runs.
const LEAST: (f64, usize) = (1.0, 5);

/// A line of the table.
#[derive(Debug, Serialize)]
struct Row {
    recipe: String,
    weights_bytes: u64,
    /// Part of the float bundle's weights.
    size: f64,
    /// Milliseconds of a run, the median.
    milliseconds: f64,
    /// How many times as fast as the float bundle.
    speed: f64,
    outputs: Vec<Output>,
    layers: Vec<LayerStat>,
    /// Seconds from the model to the bundle.
    seconds: f64,
}

/// How close an output is to that of the float model.
#[derive(Debug, Serialize)]
struct Output {
    name: String,
    cosine: f64,
    worst_cosine: f64,
    sqnr_db: f64,
    /// Part of the rows whose largest score is the same.
    top1: Option<f64>,
}

impl Output {
    fn of(o: &OutputError) -> Self {
        let top1 = o.rows.map(|(rows, same)| same as f64 / rows.max(1) as f64);
        let (name, cosine, sqnr_db) = (o.name.clone(), o.cosine(), o.all.decibels());
        Self { name, cosine, worst_cosine: o.worst, sqnr_db, top1 }
    }
}

/// Compiles the model once with floats and once per recipe.
pub fn run(a: &EvalArgs) -> Result<(), Vec<Diag>> {
    let one = |d: Diag| vec![d];
    let progress = Progress::start();
    let data = a.calibration.data(&a.data).map_err(one)?;
    let mut module = frontend::import(&PathBuf::from(&a.bundle), &import(a).map_err(one)?)?.module;
    quantise::prepare(&mut module).map_err(one)?;
    let samples = Samples::new(&module, &data).map_err(one)?;
    if samples.is_empty() {
        return Err(one(Diag::input("--data: no samples")));
    }
    let float = compile(a, None, &|w| progress.step(&format!("float: {w}")))?;
    let mut reference = session_of(&float.0, a.threads).map_err(one)?;
    let first = samples.get(0).map_err(one)?;
    if !a.json {
        println!(
            "| recipe | weights | of float | time | speed | output | cosine | worst | SQNR | top-1 | made in |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|");
    }
    let mut rows = vec![];
    for recipe in &a.quantize {
        let clock = Clock::start();
        let (out, warnings) = compile(a, Some(recipe), &|w| progress.step(&format!("{recipe}: {w}")))?;
        let seconds = clock.seconds();
        let mut session = session_of(&out, a.threads).map_err(one)?;
        let b = bundle(&out).map_err(one)?;
        let names = session.manifest.outputs.iter().map(|o| o.name.clone());
        let mut errors: Vec<OutputError> =
            names.map(|name| OutputError { name, worst: 1.0, ..OutputError::default() }).collect();
        for i in 0..samples.len() {
            progress.step(&format!("{recipe}: sample {} of {}", i + 1, samples.len()));
            let inputs = samples.get(i).map_err(one)?;
            let (x, y) = (reference.run(&inputs).map_err(one)?, session.run(&inputs).map_err(one)?);
            for ((e, x), y) in errors.iter_mut().zip(&x).zip(&y) {
                e.count(x, y).map_err(one)?;
            }
        }
        progress.step(&format!("{recipe}: measuring time"));
        let (before, milliseconds) = times(&mut reference, &mut session, &first).map_err(one)?;
        let floats = bundle(&float.0).map_err(one)?.manifest.weights_bytes;
        let row = Row {
            recipe: recipe.clone(),
            weights_bytes: b.manifest.weights_bytes,
            size: b.manifest.weights_bytes as f64 / floats.max(1) as f64,
            milliseconds,
            speed: before / milliseconds.max(1e-9),
            outputs: errors.iter().map(Output::of).collect(),
            layers: b.report.compressed.clone(),
            seconds,
        };
        if !a.json {
            if rows.is_empty() {
                println!("| float | {} | | {before:.2} ms | | | | | | | |", size(floats));
            }
            row.print();
        }
        warnings.iter().for_each(|w| eprintln!("warning: {recipe}: {w}"));
        rows.push(row);
    }
    drop(progress);
    if a.json {
        println!("{}", serde_json::json!({ "model": a.bundle, "samples": samples.len(), "recipes": rows }));
    } else if a.layers {
        rows.iter().for_each(Row::print_layers);
    }
    Ok(())
}

impl Row {
    fn print(&self) {
        let mut head = format!(
            "{} | {} | {:.2} | {:.2} ms | {:.2} x",
            self.recipe,
            size(self.weights_bytes),
            self.size,
            self.milliseconds,
            self.speed
        );
        let mut tail = format!("{:.0} s", self.seconds);
        for o in &self.outputs {
            let top1 = o.top1.map_or(String::new(), |t| format!("{:.1} %", t * 100.0));
            println!(
                "| {head} | {} | {:.5} | {:.5} | {:.1} dB | {top1} | {tail} |",
                o.name, o.cosine, o.worst_cosine, o.sqnr_db
            );
            (head, tail) = (" | | | | ".into(), String::new());
        }
    }
    fn print_layers(&self) {
        println!("\n{}: layers, on the samples of the calibration", self.recipe);
        println!("| layer | outputs x terms | as | weights | alone | in the model |");
        println!("|---|---|---|---|---|---|");
        for l in &self.layers {
            let own = l.output_db.map_or(String::new(), |d| format!("{d:.1} dB"));
            let all = l.accumulated_db.map_or(String::new(), |d| format!("{d:.1} dB"));
            println!(
                "| {} | {} x {} | {} | {:.1} dB | {own} | {all} |",
                l.name, l.dims[0], l.dims[1], l.scheme, l.sqnr_db
            );
        }
    }
}

/// Medians of two models that run in turns, in milliseconds.
fn times(a: &mut Session, b: &mut Session, inputs: &[Tensor]) -> Result<(f64, f64), Diag> {
    let mut seconds: [Vec<f64>; 2] = [vec![], vec![]];
    let clock = Clock::start();
    let (_, _) = a.with(None, inputs, |a| {
        b.with(None, inputs, |b| {
            a.run()?;
            b.run()?;
            while clock.seconds() < LEAST.0 || seconds[0].len() < LEAST.1 {
                let at = clock.seconds();
                a.run()?;
                let then = clock.seconds();
                b.run()?;
                seconds[0].push(then - at);
                seconds[1].push(clock.seconds() - then);
            }
            Ok(())
        })
    })?;
    let median = |v: &mut Vec<f64>| {
        v.sort_by(f64::total_cmp);
        v.get(v.len() / 2).copied().unwrap_or(0.0) * 1e3
    };
    let [a, b] = &mut seconds;
    Ok((median(a), median(b)))
}

fn import(a: &EvalArgs) -> Result<ImportOptions, Diag> {
    let model = super::ModelArgs { model: a.bundle.clone(), dims: a.dims.clone() };
    super::compile::import_options(&model, None, &[])
}

fn bundle(out: &driver::Output) -> Result<&Bundle, Diag> {
    out.bundles.first().ok_or_else(|| Diag::bug("no bundle"))
}

fn compile(
    a: &EvalArgs,
    recipe: Option<&str>,
    step: &dyn Fn(&str),
) -> Result<(driver::Output, Vec<String>), Vec<Diag>> {
    let one = |d: Diag| vec![d];
    let statics = match recipe {
        None | Some("none") => None,
        Some(r) => Some(statics(r, &a.bundle).map_err(one)?.ok_or_else(|| {
            let d = Diag::input(format!("--quantize {r}: with --data, recipes are int8 and its variants"));
            one(d.help("int8, int8-minmax, int8-percentile, int8-entropy; with -nobias"))
        })?),
    };
    let request = Request {
        model: PathBuf::from(&a.bundle),
        import: import(a).map_err(one)?,
        targets: vec!["native".into()],
        statics: statics.map(|r| a.calibration.job(r)).transpose().map_err(one)?,
        ..Request::default()
    };
    let mut out = driver::compile(&request, step)?;
    let warnings = std::mem::take(&mut out.warnings);
    Ok((out, warnings))
}

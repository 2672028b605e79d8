//! `sinter inspect`.

use super::ModelArgs;
use super::compile::import_options;
use crate::driver;
use crate::frontend;
use crate::manifest::{Manifest, SCHEMA};
use crate::report::size;
use crate::system;
use clap::Args;
use sinter_ir::{Diag, Graph, Op, Result};
use sinter_passes::pipeline::{self, PipelineOptions};
use std::collections::BTreeMap;
use std::path::Path;

/// Options of `inspect`.
#[derive(Debug, Clone, Args)]
pub struct InspectArgs {
    /// Model file, folder of a language model, or bundle folder.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Print JSON.
    #[arg(long, conflicts_with_all = ["program", "kernel"])]
    pub json: bool,
    /// Print what the model compiles to: memory plan, kernels and steps, without weights.
    #[arg(long, conflicts_with = "kernel")]
    pub program: bool,
    /// Print one kernel of that program.
    #[arg(long, value_name = "NAME")]
    pub kernel: Option<String>,
    /// Target of the printed program. See `sinter targets`.
    #[arg(long, value_name = "TARGET", default_value = "native")]
    pub target: String,
}

const MANIFEST: &str = "manifest.json";

/// Whether a folder holds a bundle.
pub fn is_bundle(dir: &Path) -> bool {
    system::exists(&dir.join(MANIFEST))
}

/// Reads and checks a bundle's manifest.
pub fn manifest(dir: &Path) -> Result<Manifest> {
    let path = dir.join(MANIFEST);
    let bad = |e: String| Diag::input(format!("{}: {e}", path.display()));
    let bytes = system::read(&path)?;
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
    let schema = value.get("schema").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if schema != u64::from(SCHEMA) {
        return Err(bad(format!("schema {schema}, this sinter reads {SCHEMA}")));
    }
    serde_json::from_value(value).map_err(|e| bad(e.to_string()))
}

/// Runs the command.
pub fn run(a: &InspectArgs) -> Result<(), Vec<Diag>> {
    let path = Path::new(&a.model.model);
    let texts = a.program || a.kernel.is_some();
    match system::is_dir(path) && !frontend::llm::is_model(path) {
        true if texts => {
            Err(vec![Diag::input("a bundle holds machine code only").help("name the model file")])
        }
        true => bundle(path, a.json).map_err(|d| vec![d]),
        false if texts => program(a),
        false => model(a),
    }
}

fn bundle(dir: &Path, json: bool) -> Result<()> {
    let m = manifest(dir)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&m).unwrap_or_default());
        return Ok(());
    }
    println!("{} for {} ({}), ABI {}, sinter {}", m.name, m.target, m.triple, m.abi, m.sinter);
    for (kind, ports) in [("input", &m.inputs), ("output", &m.outputs)] {
        ports.iter().for_each(|p| println!("  {kind:<6} {}  at most {}", p.show(), size(p.max_bytes)));
    }
    m.dims.iter().for_each(|d| println!("  dim    {} {}..{}", d.name, d.min, d.max));
    println!(
        "  code {}  weights {}  arena {} (bound {})",
        size(m.code_bytes),
        size(m.weights_bytes),
        size(m.arena_bytes),
        size(m.live_bytes)
    );
    levels(&m);
    let report: serde_json::Value = serde_json::from_slice(&system::read(&dir.join("report.json"))?)
        .map_err(|e| Diag::input(format!("report.json: {e}")))?;
    timeline(&report);
    Ok(())
}

/// What a bundle for several levels holds of each.
pub fn levels(m: &Manifest) {
    for l in &m.levels {
        println!(
            "  level {}: code {}, weights {} ({} of its own), arena {}",
            l.target,
            size(l.code_bytes),
            size(l.weights_bytes),
            size(l.own_weights_bytes),
            size(l.arena_bytes)
        );
    }
}

/// Live arena bytes per step, as bars.
fn timeline(report: &serde_json::Value) {
    let lives: Vec<(u64, u64, u64)> = report["timeline"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|b| Some((b["first"].as_u64()?, b["last"].as_u64()?, b["bytes"].as_u64()?)))
        .collect();
    let Some(last) = lives.iter().map(|l| l.1).max() else { return };
    let live = |t: u64| lives.iter().filter(|l| l.0 <= t && t <= l.1).map(|l| l.2).sum::<u64>();
    let top = (0..=last).map(live).max().unwrap_or(1).max(1);
    println!("  memory over {} steps:", last + 1);
    let rows = 24.min(last + 1);
    for r in 0..rows {
        let (from, to) =
            (r * (last + 1) / rows, ((r + 1) * (last + 1) / rows).max(r * (last + 1) / rows + 1));
        let most = (from..to).map(live).max().unwrap_or(0);
        println!("  {from:>5} {:>10} {}", size(most), "#".repeat((most * 50 / top) as usize));
    }
}

/// Prints the program or one of its kernels.
fn program(a: &InspectArgs) -> Result<(), Vec<Diag>> {
    let target = driver::target(&a.target).map_err(|d| vec![d])?;
    let options = import_options(&a.model, None, &[]).map_err(|d| vec![d])?;
    let imported = frontend::import(Path::new(&a.model.model), &options)?;
    let compiled = pipeline::run(imported.module, &mut PipelineOptions::default(), target)?;
    let p = compiled.program.ok_or_else(|| vec![Diag::bug("the pipeline ended without a program")])?;
    let Some(name) = &a.kernel else {
        print!("{}", p.dump_text());
        return Ok(());
    };
    match p.kernels.iter().find(|k| k.name == *name) {
        Some(k) => print!("{}", k.dump_text()),
        None => {
            let names: Vec<&str> = p.kernels.iter().map(|k| k.name.as_str()).collect();
            let d = Diag::input(format!("the program has no kernel `{name}`"));
            return Err(vec![d.help(format!("kernels: {}", names.join(", ")))]);
        }
    }
    Ok(())
}

fn model(a: &InspectArgs) -> Result<(), Vec<Diag>> {
    let options = import_options(&a.model, None, &[]).map_err(|d| vec![d])?;
    let imported = frontend::import(Path::new(&a.model.model), &options)?;
    let m = &imported.module;
    let mut ops = BTreeMap::new();
    let mut constants = 0u64;
    count(&m.graph, &mut ops, &mut constants);
    let port = |name: Option<&str>, v: sinter_ir::ValueId| {
        format!("{} {}", name.unwrap_or("?"), m.symbols.show_type(m.graph.ty(v)))
    };
    let input = |v: &sinter_ir::ValueId| port(m.graph.value(*v).name.as_deref(), *v);
    let inputs: Vec<String> = m.graph.inputs.iter().map(input).collect();
    let outputs = m.graph.outputs.iter().enumerate().map(|(i, v)| port(m.output_name(i), *v));
    let outputs: Vec<String> = outputs.collect();
    if a.json {
        println!(
            "{}",
            serde_json::json!({ "name": m.name, "inputs": inputs, "outputs": outputs, "ops": ops,
                "constant_bytes": constants, "dims": m.symbols.table })
        );
        return Ok(());
    }
    println!("{}", m.name);
    for (i, port) in inputs.iter().enumerate() {
        let state = m.states.iter().any(|s| s.input as usize == i);
        println!("  {} {port}", if state { "state " } else { "input " });
    }
    for (i, port) in outputs.iter().enumerate() {
        if m.states.iter().all(|s| s.output as usize != i) {
            println!("  output {port}");
        }
    }
    m.symbols.table.iter().for_each(|s| println!("  dim    {} {}..{}", s.name, s.min, s.max));
    println!("  constants {}", size(constants));
    ops.iter().for_each(|(name, n)| println!("  {n:>6} {name}"));
    imported.warnings.iter().for_each(|w| println!("  warning: {w}"));
    Ok(())
}

fn count(g: &Graph, ops: &mut BTreeMap<&'static str, usize>, constants: &mut u64) {
    for (_, n) in g.iter() {
        match &n.op {
            Op::Constant(c) => *constants += c.tensor.stored_bytes() as u64,
            Op::If(i) => {
                count(&i.then_body, ops, constants);
                count(&i.else_body, ops, constants);
            }
            Op::Loop(l) => count(&l.body, ops, constants),
            _ => {}
        }
        *ops.entry(n.op.name()).or_default() += 1;
    }
}

//! `sinter check`.

use super::ModelArgs;
use crate::check::{self, Reason};
use crate::driver;
use crate::frontend::onnx::ImportOptions;
use clap::Args;
use sinter_ir::Diag;
use std::path::Path;

/// Options of `check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// The target to check for.
    #[arg(long, default_value = "native")]
    pub target: String,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Nodes listed per reason on a terminal.
const NODES_SHOWN: usize = 8;

/// Runs the command.
pub fn run(a: &CheckArgs) -> Result<(), Vec<Diag>> {
    let one = |d| vec![d];
    let options = ImportOptions { dims: a.model.dim_ranges().map_err(one)?, ..ImportOptions::default() };
    let target = driver::target(&a.target).map_err(one)?;
    let found = check::model(Path::new(&a.model.model), &options, target);
    let rows = check::reasons(&found.problems);
    if a.json {
        println!(
            "{}",
            serde_json::json!({
                "ok": rows.is_empty(), "model": a.model.model, "target": a.target,
                "problems": rows, "warnings": found.warnings,
            })
        );
    } else if rows.is_empty() {
        println!("everything in {} is supported ({} nodes)", a.model.model, found.nodes);
    } else {
        let count = found.problems.len();
        println!("{count} problem{} in {}:", if count == 1 { "" } else { "s" }, a.model.model);
        rows.iter().for_each(show);
    }
    if !a.json {
        found.warnings.iter().for_each(|w| println!("warning: {w}"));
    }
    let Some(worst) = found.problems.iter().map(|d| d.fault).max() else { return Ok(()) };
    let text = format!("{} cannot be compiled as it is", a.model.model);
    Err(vec![Diag { fault: worst, ..Diag::input(text) }])
}

fn show(r: &Reason) {
    println!("{:>5} x {}", r.count, r.reason);
    for n in r.nodes.iter().take(NODES_SHOWN) {
        let op = n.op.as_ref().map_or(String::new(), |op| format!(" ({op})"));
        let of = if n.operands.is_empty() { String::new() } else { format!(" of {}", n.operands.join(", ")) };
        println!("          {}{op}{of}", n.name);
    }
    if r.nodes.len() > NODES_SHOWN {
        println!("          and {} more", r.nodes.len() - NODES_SHOWN);
    }
    if let Some(h) = &r.help {
        println!("        help: {h}");
    }
}

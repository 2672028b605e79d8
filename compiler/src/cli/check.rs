//! `sinter check`.

use super::ModelArgs;
use crate::frontend::onnx::{self, ImportOptions};
use clap::Args;
use serde::Serialize;
use sinter_ir::{Diag, Fault};
use std::collections::BTreeMap;
use std::path::Path;

/// Options of `check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Row {
    fault: Fault,
    reason: String,
    count: usize,
    nodes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

/// Node names listed per reason on a terminal.
const NAMES_SHOWN: usize = 8;

/// Equal reasons together, with the nodes they concern.
fn rows(diags: &[Diag]) -> Vec<Row> {
    let mut by: BTreeMap<(Fault, String), Row> = BTreeMap::new();
    for d in diags {
        let row = by.entry((d.fault, d.message.clone())).or_insert_with(|| Row {
            fault: d.fault,
            reason: d.message.clone(),
            count: 0,
            nodes: vec![],
            help: d.help.clone(),
        });
        row.count += 1;
        row.nodes.extend(d.node.clone());
    }
    by.into_values().collect()
}

/// Runs the command.
pub fn run(a: &CheckArgs) -> Result<(), Vec<Diag>> {
    let options = ImportOptions {
        dims: a.model.dim_ranges().map_err(|d| vec![d])?,
        skip_weights: true,
        ..ImportOptions::default()
    };
    let result = onnx::import(Path::new(&a.model.model), &options);
    let diags = result.as_ref().err().cloned().unwrap_or_default();
    let rows = rows(&diags);
    if a.json {
        println!("{}", serde_json::json!({ "ok": diags.is_empty(), "problems": rows }));
        return if diags.is_empty() { Ok(()) } else { Err(diags) };
    }
    match result {
        Ok(i) => {
            println!("everything in {} is supported ({} nodes)", a.model.model, i.module.graph.order().len());
            Ok(())
        }
        Err(diags) => {
            println!("{} problems in {}:", diags.len(), a.model.model);
            for r in &rows {
                let more = r.nodes.len().saturating_sub(NAMES_SHOWN);
                let names: Vec<&str> = r.nodes.iter().take(NAMES_SHOWN).map(String::as_str).collect();
                println!("{:>5} x {}", r.count, r.reason);
                if !names.is_empty() {
                    println!(
                        "        at {}{}",
                        names.join(", "),
                        if more > 0 { format!(" and {more} more") } else { String::new() }
                    );
                }
                if let Some(h) = &r.help {
                    println!("        help: {h}");
                }
            }
            let worst = diags.iter().map(|d| d.fault).max().unwrap_or(Fault::Input);
            Err(vec![Diag {
                fault: worst,
                ..Diag::input(format!("{} cannot be compiled as it is", a.model.model))
            }])
        }
    }
}

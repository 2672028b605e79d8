//! Everything that keeps a model from compiling, found without reading weights.

use crate::frontend::{self, onnx::ImportOptions};
use serde::Serialize;
use sinter_backends as backends;
use sinter_ir::program::Program;
use sinter_ir::target::TargetDesc;
use sinter_ir::{Diag, Fault, Module};
use sinter_passes::pipeline::{self, PipelineOptions};
use sinter_passes::{check, math};
use std::collections::BTreeMap;
use std::path::Path;

/// What `sinter check` knows of a model.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// Everything that is wrong, importer first.
    pub problems: Vec<Diag>,
    /// Things that look wrong but do not matter.
    pub warnings: Vec<String>,
    /// Nodes of the imported graph.
    pub nodes: usize,
}

/// One reason and the nodes that it concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Whose fault it is.
    pub fault: Fault,
    /// What is wrong.
    pub reason: String,
    /// How often.
    pub count: usize,
    /// Where.
    pub nodes: Vec<Site>,
    /// What the user can do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// One node with a problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Site {
    /// Name in the model.
    pub name: String,
    /// Operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub op: Option<String>,
    /// Types of its operands, `unknown` behind another problem.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operands: Vec<String>,
}

/// Imports, rewrites and lowers a model as far as possible for a target. Weights stay unread.
pub fn model(path: &Path, options: &ImportOptions, target: &TargetDesc) -> Checked {
    let options = ImportOptions { skip_weights: true, ..options.clone() };
    let survey = frontend::survey(path, &options);
    let mut problems = survey.problems;
    let mut nodes = 0;
    if let Some(module) = survey.module {
        nodes = module.graph.order().len();
        let partial = !problems.is_empty();
        match native(module, target, survey.unread) {
            Ok(more) => problems.extend(more),
            // Of a graph with holes only what nodes themselves say is certain.
            Err(_) if partial => {}
            Err(d) => problems.push(d),
        }
    }
    let mut seen = Vec::new();
    problems.retain(|d| {
        let fresh = !seen.contains(d);
        seen.push(d.clone());
        fresh
    });
    Checked { problems, warnings: survey.warnings, nodes }
}

/// What keeps a module from becoming machine code.
fn native(module: Module, target: &TargetDesc, unread: usize) -> Result<Vec<Diag>, Diag> {
    let (module, ..) = pipeline::rewrite(module, &mut PipelineOptions::default(), None)?;
    let found = check::run(&module, target, unread);
    let mut problems = found.problems;
    let have = math::Primitives::of(target);
    let kernels = found.kernels.into_iter().map(|k| math::expand(k, have)).collect();
    problems.extend(backends::legalise(&Program { kernels, ..Program::default() }, target));
    Ok(problems)
}

/// Equal reasons together.
pub fn reasons(problems: &[Diag]) -> Vec<Reason> {
    let mut by: BTreeMap<(Fault, &str), Reason> = BTreeMap::new();
    for d in problems {
        let row = by.entry((d.fault, &d.message)).or_insert_with(|| Reason {
            fault: d.fault,
            reason: d.message.clone(),
            count: 0,
            nodes: vec![],
            help: d.help.clone(),
        });
        row.count += 1;
        row.nodes.extend(d.node.as_deref().map(|n| site(n, &d.operands)));
    }
    let mut rows: Vec<Reason> = by.into_values().collect();
    rows.sort_by_key(|r| std::cmp::Reverse(r.count));
    rows
}

/// Takes a label such as `conv1 (Conv)` apart.
fn site(label: &str, operands: &[String]) -> Site {
    let parts = label.strip_suffix(')').and_then(|l| l.rsplit_once(" ("));
    // Labels of fused nodes name the first and the last: no single operator.
    let (name, op) = match parts {
        Some((name, op)) if !label.contains(" .. ") => (name, Some(op.to_owned())),
        _ => (label, None),
    };
    Site { name: name.to_owned(), op, operands: operands.to_vec() }
}

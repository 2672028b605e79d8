//! Runs every case of a folder once per process, whichever test asks first.

use super::common::{self, Case, cases, compare, data, import, no_panic, parallel};
use prost::Message;
use sinter::frontend::onnx::op;
use sinter::frontend::onnx::proto::{GraphProto, ModelProto, NodeProto, ValueInfoProto, type_proto};
use sinter_ir::target::TargetDesc;
use sinter_ir::{Module, Tensor};
use sinter_runtime::remote::Remote;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// Folders of the suite.
pub const FOLDERS: [&str; 4] = ["node", "simple", "pytorch-converted", "pytorch-operator"];

/// What runs a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runner {
    /// The reference evaluator.
    Evaluator,
    /// Machine code.
    Native,
    /// WebAssembly in Node.js.
    Browser,
    /// Machine code of 64-bit Arm in an emulator.
    Aarch64,
}

thread_local! {
    /// The emulator of this thread.
    static REMOTE: RefCell<Option<Remote>> = const { RefCell::new(None) };
}

/// Target of [`Runner::Aarch64`].
pub fn aarch64() -> &'static TargetDesc {
    sinter_backends::target("aarch64").unwrap()
}

impl Runner {
    /// As in file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Evaluator => "evaluator",
            Self::Native => "native",
            Self::Browser => "browser",
            Self::Aarch64 => "aarch64",
        }
    }
    fn run(self, module: Module, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        match self {
            Self::Native => common::native(module, inputs),
            Self::Browser => common::browser::run(module, 0, inputs).map(|r| r.0),
            Self::Aarch64 => {
                let program = common::program_for(aarch64(), module)?;
                REMOTE.with_borrow_mut(|remote| {
                    common::run_emulated(remote, aarch64(), &program, inputs).map(|(outputs, _)| outputs)
                })
            }
            Self::Evaluator => match module.verify().first() {
                Some(d) => Err(format!("verifier: {d}")),
                None => sinter_ir::eval::module(&module, inputs).map_err(|d| d.to_string()),
            },
        }
    }
}

/// One case and how it went.
#[derive(Debug)]
pub struct Outcome {
    /// Name of the case.
    pub case: String,
    /// Operators in the model, regions and functions included, as the importer names them.
    pub operators: BTreeSet<String>,
    /// Opsets of the domains that the model imports.
    pub opsets: BTreeMap<String, i64>,
    /// Why it does not pass.
    pub error: Option<String>,
}

/// Outcomes of a folder's cases, sorted by name; none without the suite.
pub fn outcomes(folder: &str, runner: Runner) -> Option<&'static [Outcome]> {
    static DONE: [[OnceLock<Vec<Outcome>>; 4]; FOLDERS.len()] =
        [const { [const { OnceLock::new() }; 4] }; FOLDERS.len()];
    let suite = common::suite()?;
    let at = FOLDERS.iter().position(|f| *f == folder).unwrap();
    let run = || {
        let list = cases(&suite.join(folder));
        assert!(!list.is_empty(), "no cases in {folder}");
        parallel(&list, |c| outcome(c, runner))
    };
    Some(DONE[at][runner as usize].get_or_init(run))
}

fn outcome(case: &Case, runner: Runner) -> Outcome {
    let model = ModelProto::decode(std::fs::read(&case.model).unwrap().as_slice());
    let mut operators = BTreeSet::new();
    if let Some(g) = model.as_ref().ok().and_then(|m| m.graph.as_ref()) {
        collect(&g.node, &mut operators);
    }
    let error = match &model {
        Ok(m) if !tensors_only(m) => Some("sequences or optionals as inputs or outputs of the model".into()),
        _ => no_panic(|| check(case, runner)).err(),
    };
    let imports = model.as_ref().map_or(&[][..], |m| &m.opset_import);
    let opsets = imports.iter().map(|o| (o.domain.clone(), o.version)).collect();
    Outcome { case: case.name.clone(), operators, opsets, error }
}

fn check(case: &Case, runner: Runner) -> Result<(), String> {
    for (inputs, outputs) in data(case)? {
        let (imported, inputs) = import(case, inputs)?;
        let got = runner.run(imported.module, &inputs)?;
        if got.len() != outputs.len() {
            return Err(format!("{} outputs, expected {}", got.len(), outputs.len()));
        }
        for (i, (g, w)) in got.iter().zip(&outputs).enumerate() {
            compare(g, w, case.rtol, case.atol).map_err(|e| format!("output {i} ({}): {e}", w.dtype()))?;
        }
    }
    Ok(())
}

/// The data files of other models hold no tensors.
fn tensors_only(m: &ModelProto) -> bool {
    let tensor = |v: &ValueInfoProto| {
        matches!(v.r#type.as_ref().and_then(|t| t.value.as_ref()), Some(type_proto::Value::TensorType(_)))
    };
    m.graph.as_ref().is_some_and(|g| g.input.iter().chain(&g.output).all(tensor))
}

fn collect(nodes: &[NodeProto], out: &mut BTreeSet<String>) {
    for n in nodes {
        out.insert(op::full_name(&n.domain, &n.op_type));
        let graphs = n.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs));
        graphs.for_each(|g: &GraphProto| collect(&g.node, out));
    }
}

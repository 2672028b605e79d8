//! Golden tests of single passes: `testdata/filetests/<pass>/*.txt`.
//!
//! A file starts with `#` lines that say what it shows, then comes a module, a line `-----`, and what exactly this
//! pass makes of the module: how often each rule fired and the new module, or the error. `BLESS=1` rewrites the part
//! behind the line. Both modules are also evaluated on the same inputs and must agree.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod support;

use sinter_ir::graph::SymKind;
use sinter_ir::graph::text::{Inline, NoConsts};
use sinter_ir::{DType, Expr, Module, Result, Tensor, ValueId, eval};
use sinter_passes::patches::{self, Choice};
use sinter_passes::pipeline::{PASSES, Pass};
use sinter_passes::report::PassReport;
use std::path::{Path, PathBuf};
use support::Rng;

const SEPARATOR: &str = "-----\n";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("testdata/filetests")
}

/// Files of a pass, sorted.
fn files(pass: &str) -> Vec<PathBuf> {
    let dir = folder().join(pass);
    let list = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut files: Vec<PathBuf> = list.map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

/// The text behind the separator.
fn after(pass: &Pass, before: &Module) -> (String, Option<Module>) {
    let (mut module, mut report) = (before.clone(), PassReport::default());
    if let Err(d) = (pass.run)(&mut module, &mut report) {
        return (format!("{d}\n"), None);
    }
    let rules: Vec<String> = report.rules.iter().map(|(rule, n)| format!("{rule} {n}")).collect();
    let fired = if rules.is_empty() { "nothing".to_owned() } else { rules.join(", ") };
    (format!("# fired: {fired}\n{}", module.to_text(&mut Inline)), Some(module))
}

/// A value for every symbol that the inputs give: the smallest, the largest, then any.
fn sizes(m: &Module, k: u64, rng: &mut Rng) -> Vec<i64> {
    let value = |s: &sinter_ir::graph::SymbolInfo, rng: &mut Rng| match k {
        0 => s.min,
        1 => s.max.min(s.min + 12),
        _ => s.min + rng.below((s.max - s.min).min(12) as usize + 1) as i64,
    };
    m.symbols.table.iter().map(|s| if s.kind == SymKind::Input { value(s, rng) } else { 0 }).collect()
}

fn inputs(m: &Module, k: u64) -> Option<Vec<Tensor>> {
    let mut rng = Rng::new(k);
    let sizes = sizes(m, k, &mut rng);
    let dim = |d: &Expr| usize::try_from(d.eval(&|s| sizes.get(s.0 as usize).copied())?).ok();
    let one = |v: &sinter_ir::ValueId| {
        let ty = m.graph.ty(*v);
        let shape = ty.dims.iter().map(dim).collect::<Option<Vec<usize>>>()?;
        if ty.dtype != DType::Bool {
            return Some(rng.tensor(ty.dtype, shape));
        }
        let bits: Vec<i64> = (0..shape.iter().product()).map(|_| rng.below(2) as i64).collect();
        Tensor::from_i64(DType::Bool, shape, &bits).ok()
    };
    m.graph.inputs.iter().map(one).collect()
}

/// Outputs of a module; nothing for inputs that it refuses, be it for values that turn up on the way.
fn outputs(m: &Module, inputs: &[Tensor]) -> Option<Vec<Tensor>> {
    let mut cx = eval::bind_inputs(m, inputs).ok()?;
    let out = eval::graph(&m.graph, &mut cx, inputs).ok()?;
    let value = |e: &Expr| e.eval(&|s| cx.syms.get(&s).copied());
    m.symbols.constraints.iter().all(|c| value(&c.a) == value(&c.b)).then_some(out)
}

/// Evaluates both; inputs that the module before the pass refuses are left out.
fn same_meaning(before: &Module, after: &Module, tolerance: f64, what: &str) {
    let mut compared = 0;
    for k in 0..40 {
        let Some(inputs) = inputs(before, k) else { continue };
        let Some(want) = outputs(before, &inputs) else { continue };
        let got = outputs(after, &inputs).unwrap_or_else(|| panic!("{what}: refuses inputs {k}"));
        support::assert_near(&want, &got, tolerance, what);
        compared += 1;
    }
    assert!(compared > 0, "{what}: no inputs could be evaluated");
}

/// One file; gives the difference when there is one.
fn check(pass: &Pass, path: &Path) -> Option<String> {
    let what = format!("{}/{}", pass.name, path.file_name().unwrap().to_string_lossy());
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.starts_with("# "), "{what}: the file does not say what it shows");
    let (input, want) = text.split_once(SEPARATOR).unwrap_or((&text, ""));
    let source: String = input.lines().filter(|l| !l.starts_with('#')).map(|l| format!("{l}\n")).collect();
    let before = Module::from_text(&source, &NoConsts).unwrap_or_else(|d| panic!("{what}: {d}"));
    let (got, module) = after(pass, &before);
    if let Some(module) = module {
        assert_eq!(module.verify(), [], "{what}");
        // Nothing but rounding to bf16 is coarser than f32.
        let tolerance = match pass.name {
            "bf16-data" => 0.01,
            patches::PATCHES => 0.0,
            _ => 1e-4,
        };
        same_meaning(&before, &module, tolerance, &what);
    }
    if got == want {
        return None;
    }
    if std::env::var("BLESS").is_ok() {
        std::fs::write(path, format!("{}\n{SEPARATOR}{got}", input.trim_end())).unwrap();
        return None;
    }
    Some(format!("{what}: expected\n{want}\ngot\n{got}"))
}

/// Splitting, which is no pass of the list: what to split is chosen. Here it is what the names say, in three parts.
const PATCHES: Pass = Pass { name: patches::PATCHES, phase: "fuse", summary: "", only: None, run: split };

fn split(m: &mut Module, report: &mut PassReport) -> Result<()> {
    let named = |name: &str| {
        let mut values = (0..m.graph.value_count() as u32).map(ValueId);
        values.find(|v| m.graph.value(*v).name.as_deref() == Some(name)).unwrap()
    };
    let choice = Choice { from: named("from"), to: named("to"), axis: 2, parts: 3, bytes: 0, again: 0.0 };
    patches::run(m, &choice, report)
}

#[test]
fn splits_are_what_their_files_say() {
    let wrong: Vec<String> = files(PATCHES.name).iter().filter_map(|f| check(&PATCHES, f)).collect();
    assert!(wrong.is_empty(), "{} files differ; BLESS=1 rewrites them\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_pass_does_what_its_files_say() {
    let mut wrong = vec![];
    for pass in PASSES {
        let files = files(pass.name);
        assert!(files.len() >= 2, "pass {} has {} files", pass.name, files.len());
        wrong.extend(files.iter().filter_map(|f| check(pass, f)));
    }
    assert!(wrong.is_empty(), "{} files differ; BLESS=1 rewrites them\n{}", wrong.len(), wrong.join("\n"));
}

/// No file is forgotten because its folder has no pass; kernels (TileIR) have folders and a test of their own.
#[test]
fn every_folder_with_modules_is_a_pass() {
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let modules = |f: &PathBuf| std::fs::read_to_string(f).unwrap().contains("sinter-graph ");
        let known = PASSES.iter().chain([&PATCHES]).any(|p| p.name == name);
        assert!(known || !files(&name).iter().any(modules), "filetests/{name} belongs to no pass");
    }
}

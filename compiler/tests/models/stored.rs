//! Every model against the outputs that lie beside it.

use super::bar::{self, MODELS};
use super::common::browser::{self, Engine};
use super::common::{self, Case, Sizes, data, import_with, no_panic, open_dims};
use sinter_ir::target::TargetDesc;

/// Largest code of a model.
const CODE_BYTES: u64 = 150_000;

/// Sizes that must hold for every program.
pub fn check_sizes(s: Sizes) -> Result<(), String> {
    if s.code > CODE_BYTES {
        return Err(format!("{} bytes of code, at most {CODE_BYTES}", s.code));
    }
    if s.arena > s.live + s.live / 10 {
        return Err(format!("arena {} bytes, lower bound {}", s.arena, s.live));
    }
    Ok(())
}

/// This machine's best target, and that with AVX2 alone where it is another: vectors of other widths, other
/// instructions.
fn targets() -> Vec<&'static TargetDesc> {
    let Ok(best) = sinter::driver::native() else { return vec![] };
    let narrow = sinter_backends::target("x86-64-v3").filter(|t| best.has("avx2") && t.name != best.name);
    narrow.into_iter().chain([best]).collect()
}

fn matches(case: &Case, held: &bar::Expect) -> Result<(), String> {
    for (inputs, outputs) in data(case)? {
        let module = import_with(case, open_dims(case, &inputs)?)?;
        for target in targets() {
            let program = common::program_for(target, module.clone())?;
            let (got, sizes) = common::run_on(target, &program, &inputs)?;
            let Sizes { code, arena, live } = sizes;
            println!("{} on {}: code {code}, arena {arena}, bound {live}", case.name, target.name);
            if got.len() != outputs.len() {
                return Err(format!("{} outputs, expected {}", got.len(), outputs.len()));
            }
            for (i, (g, w)) in got.iter().zip(&outputs).enumerate() {
                let used = held.bar.check_tensor(g, w);
                let used = used.map_err(|e| format!("output {i} on {}: {e}", target.name))?;
                println!("  output {i}: {:.1} % of the allowed error", used * 100.0);
            }
            check_sizes(sizes)?;
        }
    }
    Ok(())
}

#[test]
fn every_model_matches_the_stored_outputs() {
    let Some(shared) = common::shared() else { return common::skip("real models not found") };
    let list = common::cases(&shared.join("models"));
    let names: Vec<&str> = list.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, MODELS.iter().map(|m| m.name).collect::<Vec<_>>(), "models on disk and in the table");
    let results =
        list.iter().zip(MODELS).map(|(c, m)| (c, no_panic(|| matches(c, m)).map_err(|e| (e, m.why))));
    let failures: Vec<String> =
        results.filter_map(|(c, r)| r.err().map(|(e, why)| format!("{}: {e} {why}", c.name))).collect();
    assert!(failures.is_empty(), "{failures:#?}");
}

fn matches_in(engine: Engine, case: &Case, held: &bar::Expect) -> Result<(), String> {
    for (inputs, outputs) in data(case)? {
        let module = import_with(case, open_dims(case, &inputs)?)?;
        let (got, sizes) = browser::run_in(engine, module, 0, &inputs)?;
        println!("{} in {engine:?}: code {}, arena {}", case.name, sizes.code, sizes.arena);
        check_sizes(sizes)?;
        if got.len() != outputs.len() {
            return Err(format!("{} outputs, expected {}", got.len(), outputs.len()));
        }
        for (i, (g, w)) in got.iter().zip(&outputs).enumerate() {
            let used = held.bar.without_fma().check_tensor(g, w).map_err(|e| format!("output {i}: {e}"))?;
            println!("  output {i}: {:.1} % of the allowed error", used * 100.0);
        }
    }
    Ok(())
}

fn every_model_matches_in(engine: Engine) {
    let Some(shared) = common::shared() else { return common::skip("real models not found") };
    let list = common::cases(&shared.join("models"));
    let results = list.iter().zip(MODELS).map(|(c, m)| (c, no_panic(|| matches_in(engine, c, m))));
    let failures: Vec<String> =
        results.filter_map(|(c, r)| r.err().map(|e| format!("{}: {e}", c.name))).collect();
    engine.end();
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn every_model_matches_in_node() {
    if browser::there() {
        every_model_matches_in(Engine::Node);
    }
}

#[test]
fn every_model_matches_in_chromium() {
    if browser::chromium() {
        every_model_matches_in(Engine::Chromium);
    }
}

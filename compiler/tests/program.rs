//! Programs of the ONNX suite in the program interpreter: against machine code and against the evaluator.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use common::{Case, cases, compare, data, import, import_with, no_panic, open_dims, parallel};
use sinter_ir::graph::text::{ConstTable, NoConsts};
use sinter_ir::program::Program;
use sinter_ir::program::interp::{self, Outcome};
use sinter_ir::program::verify::verify;
use sinter_ir::tile::build::code;
use sinter_ir::{DType, Diag, Fault, Tensor, eval, tile};

/// What one case showed.
enum Seen {
    Checked,
    /// Not compiled, too large, or random: the suite's own tests say what works.
    Skipped,
}

/// Elements that the interpreter multiplies at most, roughly.
const SMALL: usize = 1 << 16;

fn interpret(p: &Program, inputs: &[Tensor], fill: u8, memory: u64) -> Result<Outcome, Diag> {
    let fused = sinter::driver::native()?.has("fma");
    let kernel = tile::interp::Options { fused, ..tile::interp::Options::default() };
    interp::run(p, inputs, interp::Options { kernel, fill, memory })
}

/// Bit for bit, but for the bits of NaNs.
fn same(got: &[Tensor], want: &[Tensor], what: &str) -> Result<(), String> {
    if got.len() != want.len() {
        return Err(format!("{what}: {} outputs, {} expected", got.len(), want.len()));
    }
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        compare(g, w, 0.0, 0.0).map_err(|e| format!("{what}: output {i}: {e}"))?;
    }
    Ok(())
}

/// Through text and back, with the weights in a table and without.
fn round_trip(p: &Program) -> Result<(), String> {
    let mut table = ConstTable::default();
    let text = p.to_text(&mut table);
    let back = Program::from_text(&text, &table).map_err(|d| d.to_string())?;
    if back != *p {
        return Err(format!("reads back differently:\n{text}"));
    }
    let text = p.dump_text();
    let back = Program::from_text(&text, &NoConsts).map_err(|d| d.to_string())?;
    if back.dump_text() != text || !verify(&back).is_empty() {
        return Err(format!("without weights reads back differently:\n{text}"));
    }
    Ok(())
}

fn check(case: &Case) -> Result<Seen, String> {
    no_panic(|| {
        let Some((inputs, _)) = data(case).unwrap_or_default().into_iter().next() else {
            return Ok(Seen::Skipped);
        };
        let Ok((imported, inputs)) = import(case, inputs) else { return Ok(Seen::Skipped) };
        if inputs.iter().map(Tensor::len).sum::<usize>() > SMALL {
            return Ok(Seen::Skipped);
        }
        let module = imported.module;
        let p = match common::program(module.clone()) {
            // The verifier's findings among them.
            Err(e) if e.contains("bug in sinter") => return Err(e),
            Err(_) => return Ok(Seen::Skipped),
            Ok(p) => p,
        };
        if p.weights_bytes() > SMALL as u64 {
            return Ok(Seen::Skipped);
        }
        round_trip(&p)?;
        let zeros = match interpret(&p, &inputs, 0, 1 << 26) {
            Err(d) if d.fault == Fault::Limit => return Ok(Seen::Skipped),
            r => r.map_err(|d| d.to_string())?,
        };
        let ones = interpret(&p, &inputs, 0xff, 1 << 26).map_err(|d| d.to_string())?;
        if ones.code != zeros.code {
            return Err(format!("codes {} and {} depend on old memory", zeros.code, ones.code));
        }
        same(&ones.outputs, &zeros.outputs, "depends on what memory held before")?;
        let native = common::run_native(&p, &inputs);
        if zeros.code != 0 {
            let text = sinter_abi::error_text(zeros.code);
            return match native {
                // Dims are checked before `run`, with a message of their own.
                Err(e) if zeros.code == code::DIM || e.contains(text) => Ok(Seen::Checked),
                other => Err(format!("code {} ({text}) in the interpreter, natively {other:?}", zeros.code)),
            };
        }
        same(&native?.0, &zeros.outputs, "machine code differs from the interpreter")?;
        let want = eval::module(&module, &inputs).map_err(|d| d.to_string())?;
        for (i, (g, w)) in zeros.outputs.iter().zip(&want).enumerate() {
            let rtol = case.rtol.max(rounding(w.dtype()));
            compare(g, w, rtol, case.atol).map_err(|e| format!("evaluator: output {i}: {e}"))?;
        }
        Ok(Seen::Checked)
    })
}

/// The evaluator rounds 16-bit floats after every operation, programs once: a few units of the last place apart.
fn rounding(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 4.0 / 1024.0,
        DType::BF16 => 4.0 / 128.0,
        _ => 0.0,
    }
}

fn folder(name: &str, at_least: usize) {
    let Some(suite) = common::suite() else { return common::skip("ONNX backend suite not found") };
    let list = cases(&suite.join(name));
    let results = parallel(&list, check);
    let failures: Vec<String> = list
        .iter()
        .zip(&results)
        .filter_map(|(c, r)| Some(format!("{}: {}", c.name, r.as_ref().err()?)))
        .collect();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), list.len(), failures.join("\n"));
    let checked = results.iter().filter(|r| matches!(r, Ok(Seen::Checked))).count();
    println!("{checked} of {} {name} cases", list.len());
    assert!(checked >= at_least, "only {checked} cases checked");
}

#[test]
fn node_cases() {
    folder("node", 1000);
}

#[test]
fn simple_cases() {
    folder("simple", 1);
}

/// Real models that take the interpreter more than a few seconds.
const SLOW: &[&str] =
    &["basic-pitch", "dnsmos-p808-v8", "efficientnet-lite0-qdq", "magika-v3.3", "ppocrv4-det", "ppocrv4-rec"];

fn real_models(slow: bool) {
    let Some(shared) = common::shared() else { return common::skip("real models not found") };
    let mut list = cases(&shared.join("models"));
    list.retain(|c| SLOW.contains(&c.name.as_str()) == slow);
    let results = parallel(&list, |case| {
        let (inputs, _) = data(case)?.into_iter().next().ok_or("no data")?;
        let p = common::program(import_with(case, open_dims(case, &inputs)?)?)?;
        round_trip(&p)?;
        let got = interpret(&p, &inputs, 0x5a, 1 << 30).and_then(Outcome::ok).map_err(|d| d.to_string())?;
        same(&common::run_native(&p, &inputs)?.0, &got, &case.name)
    });
    let failures: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(list.len() >= 6, "{} models", list.len());
}

#[test]
fn real_models_give_the_same_bits() {
    real_models(false);
}

#[test]
#[ignore = "minutes of interpretation"]
fn slow_real_models_give_the_same_bits() {
    real_models(true);
}

/// `sinter inspect` prints the text of the program and of single kernels.
#[test]
fn inspect_prints_programs_and_kernels() {
    let sinter = |args: &[&str]| {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_sinter")).args(args).output().unwrap();
        let text = |b: Vec<u8>| String::from_utf8(b).unwrap();
        (out.status.code(), text(out.stdout), text(out.stderr))
    };
    let model = common::root().join("testdata/models/efficientnet-lite0-qdq/model.onnx");
    let model = model.to_str().unwrap();
    let (code, text, _) = sinter(&["inspect", model, "--program", "--target", "x86-64-v3"]);
    assert_eq!(code, Some(0));
    let p = Program::from_text(&text, &NoConsts).unwrap();
    assert_eq!(verify(&p), vec![]);
    assert!(p.weights_bytes() > 1 << 20 && text.len() < 1 << 20, "weights are left out");
    let kernel = &p.kernels[1];
    let (code, text, _) = sinter(&["inspect", model, "--kernel", &kernel.name, "--target", "x86-64-v3"]);
    assert_eq!((code, text.parse().as_ref()), (Some(0), Ok(kernel)));
    let (code, _, error) = sinter(&["inspect", model, "--kernel", "nonsense", "--target", "x86-64-v3"]);
    assert!(code == Some(1) && error.contains(&kernel.name), "{error}");
    let (code, _, error) = sinter(&["inspect", model, "--program", "--target", "nonsense"]);
    assert!(code == Some(1) && error.contains("unknown target"), "{error}");
}

//! Models compiled once and run at several sizes and rates, against testdata/expected (made by ONNX Runtime) and
//! the evaluator.

use super::bar::{self, Bar, best};
use super::common::{self, Case, Sizes};
use super::{recipe, stored};
use serde_json::Value;
use sinter::session::Session;
use sinter_ir::graph::text::ConstTable;
use sinter_ir::{Module, Op, Tensor};
use std::collections::{BTreeMap, BTreeSet};

/// A model with what is expected of it.
struct Subject {
    case: Case,
    spec: Value,
    module: Module,
    session: Session,
    sizes: Sizes,
}

impl Subject {
    /// Compiles a model once, with the ranges of dims that its file states.
    fn compile(name: &str) -> Option<Self> {
        Self::compile_changed(name, |m| m)
    }

    /// The same, of what `change` makes of the imported module.
    fn compile_changed(name: &str, change: impl Fn(Module) -> Module) -> Option<Self> {
        let Some(shared) = common::shared() else {
            common::skip("real models not found");
            return None;
        };
        let case = common::cases(&shared.join("models")).into_iter().find(|c| c.name == name).unwrap();
        let file = common::root().join(format!("testdata/expected/{name}.json"));
        let spec: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let dims: BTreeMap<String, (i64, i64)> = serde_json::from_value(spec["dims"].clone()).unwrap();
        let module = change(common::import_with(&case, dims).unwrap());
        let program = common::program(module.clone()).unwrap();
        let (session, sizes) = common::open(sinter::driver::native().unwrap(), &program).unwrap();
        stored::check_sizes(sizes).unwrap();
        Some(Self { case, spec, module, session, sizes })
    }

    /// Runs every case of the file and gives its inputs.
    fn check(&mut self) -> Vec<Vec<Tensor>> {
        println!("{}: code {}, arena {}", self.case.name, self.sizes.code, self.sizes.arena);
        let mut all = vec![];
        for case in self.spec["cases"].as_array().unwrap() {
            let inputs: Vec<Tensor> = match case["inputs"].as_array() {
                Some(recipes) => recipes.iter().map(recipe::fill).collect(),
                None => common::data(&self.case).unwrap().remove(0).0,
            };
            let got = self.session.run(&inputs).unwrap();
            let wanted = case["outputs"].as_array().unwrap();
            assert_eq!(got.len(), wanted.len());
            for (g, w) in got.iter().zip(wanted) {
                let used = sampled(g, w).unwrap_or_else(|e| panic!("{}: {}: {e}", self.case.name, w["file"]));
                println!("  {}: {:.1} % of the allowed error", w["file"], used * 100.0);
            }
            all.push(inputs);
        }
        all
    }

    /// Runs the stored inputs in the same bundle.
    fn check_stored(&mut self) {
        let bar = bar::find(&self.case.name).unwrap().bar;
        for (inputs, outputs) in common::data(&self.case).unwrap() {
            let got = self.session.run(&inputs).unwrap();
            for (g, w) in got.iter().zip(&outputs) {
                bar.check_tensor(g, w).unwrap_or_else(|e| panic!("{}: stored data: {e}", self.case.name));
            }
        }
    }

    /// Compares the machine code with the evaluator.
    fn check_evaluator(&mut self, inputs: &[Tensor]) {
        let want = sinter_ir::eval::module(&self.module, inputs).unwrap();
        let got = self.session.run(inputs).unwrap();
        assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(&want) {
            Bar::Float.check_tensor(g, w).unwrap_or_else(|e| panic!("{}: evaluator: {e}", self.case.name));
        }
    }
}

/// Compares an output with every n-th element of the expected one, the mean of magnitudes and the best classes.
fn sampled(got: &Tensor, want: &Value) -> Result<f64, String> {
    let shape: Vec<usize> = serde_json::from_value(want["shape"].clone()).unwrap();
    if got.shape() != shape {
        return Err(format!("shape {:?}, expected {shape:?}", got.shape()));
    }
    let file = common::root().join("testdata/expected").join(want["file"].as_str().unwrap());
    let kept = sinter::data::npy::read(&std::fs::read(file).unwrap()).unwrap();
    if kept.dtype() != got.dtype() {
        return Err(format!("{}, expected {}", got.dtype(), kept.dtype()));
    }
    let g = got.to_f64().unwrap();
    let number = |key: &str| want[key].as_f64().unwrap();
    let samples: Vec<f64> = g.iter().copied().step_by(number("stride") as usize).collect();
    let used = Bar::Float.check(&samples, &kept.to_f64().unwrap(), number("full"))?;
    let mean = g.iter().map(|v| v.abs()).sum::<f64>() / g.len() as f64;
    Bar::Float.check(&[mean], &[number("mean")], number("mean"))?;
    let wanted: Vec<usize> = serde_json::from_value(want["best"].clone()).unwrap();
    let classes: Vec<usize> = g.chunks(g.len() / wanted.len()).map(best).collect();
    if classes != wanted {
        return Err(format!("best {classes:?}, expected {wanted:?}"));
    }
    Ok(used)
}

/// Compiled once, with height and width open: three sizes and the stored one.
fn three_sizes(name: &str) {
    let Some(mut s) = Subject::compile(name) else { return };
    let free =
        s.module.graph.ty(s.module.graph.inputs[0]).dims.iter().filter(|d| d.as_const().is_none()).count();
    assert_eq!(free, 2, "height and width are symbolic");
    let all = s.check();
    let sizes: BTreeSet<&[usize]> = all.iter().map(|i| i[0].shape()).collect();
    assert!(sizes.len() >= 3, "{sizes:?}");
    s.check_stored();
    let smallest = all.iter().min_by_key(|i| i[0].len()).unwrap();
    s.check_evaluator(smallest);
}

#[test]
fn text_detection_at_three_sizes_from_one_bundle() {
    three_sizes("ppocrv4-det");
}

#[test]
fn text_recognition_at_three_sizes_from_one_bundle() {
    three_sizes("ppocrv4-rec");
}

#[test]
fn voice_detection_at_both_rates_from_one_bundle() {
    let Some(mut s) = Subject::compile("silero-vad") else { return };
    assert!(s.module.graph.iter().any(|(_, n)| matches!(n.op, Op::If(_))), "the rate decides at run time");
    let all = s.check();
    let rates: BTreeSet<i64> = all.iter().map(|i| i[2].to_i64().unwrap()[0]).collect();
    assert_eq!(rates, BTreeSet::from([8000, 16000]));
    s.check_stored();
    all.iter().for_each(|i| s.check_evaluator(i));
}

/// The model lets activations be rounded to bytes, block by block; here they are not, as in the outputs of the file.
#[test]
fn int4_weights_with_float_activations() {
    let floats = |m: Module| {
        let mut consts = ConstTable::default();
        let text = m.to_text(&mut consts);
        assert!(text.matches("\"Blocks\"").count() >= 35, "all products have weights of 4 bits");
        Module::from_text(&text.replace("\"Blocks\"", "\"Float\""), &consts).unwrap()
    };
    let Some(mut s) = Subject::compile_changed("stories260k-int4", floats) else { return };
    s.check();
}

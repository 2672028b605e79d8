//! Translation validation: random modules mean the same before and after every pass.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod support;

use sinter_ir::eval;
use sinter_passes::pipeline::PASSES;
use sinter_passes::report::PassReport;

#[test]
fn every_pass_keeps_the_meaning_of_random_modules() {
    let mut fired = PassReport::default();
    let mut checked = 0;
    for seed in 0..3000 {
        let (mut module, inputs) = support::module(seed, 4 + seed as usize % 30);
        let names = |m: &sinter_ir::Module| {
            m.graph.outputs.iter().map(|&v| m.graph.value(v).name.clone()).collect::<Vec<_>>()
        };
        // A loop that runs zero times makes empty tensors, on which some ops rightly fail.
        let Ok(want) = eval::module(&module, &inputs) else { continue };
        checked += 1;
        let output_names = names(&module);
        // Rounding to bf16 is meant to change values; `lower_bf16` says by how much.
        for pass in PASSES.iter().filter(|p| p.name != "bf16") {
            let what = format!("seed {seed}, pass {}", pass.name);
            (pass.run)(&mut module, &mut fired).unwrap_or_else(|d| panic!("{what}: {d}"));
            assert_eq!(module.verify(), [], "{what}");
            let got = eval::module(&module, &inputs).unwrap_or_else(|d| panic!("{what}: {d}"));
            support::assert_close(&want, &got, &what);
            assert_eq!(output_names, names(&module), "{what}: output names");
        }
    }
    assert!(checked > 2500, "only {checked} modules could be evaluated");
    for rule in [
        "captures/constant",
        "dce/node",
        "dce/capture",
        "dce/result",
        "fold/Binary",
        "fold/if",
        "cse/node",
        "scale-into-weights",
        "neutral-operand",
    ] {
        assert!(fired.count(rule) > 0, "{rule} never fired: {:?}", fired.rules);
    }
}

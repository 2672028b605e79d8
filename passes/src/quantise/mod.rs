//! Static quantisation: activations and weights of a float model become bytes.
//!
//! The float model is brought into its plain form ([`prepare`]), [`plan`] decides which values are bytes, somebody runs the
//! model and fills a [`histogram`] for each of them, [`ranges`] chooses the interval that bytes stand for, and [`insert`]
//! writes Quantize and Dequantize round the layers. What depthwise layers read gets a scale per channel ([`equalise`]). From there on the model is like one that came quantised: the passes
//! `tables`, `integers` and `dots` compute on bytes.

pub mod equalise;
pub mod histogram;
pub mod insert;
pub mod plan;
pub mod quotients;
pub mod ranges;
pub mod recipe;
pub mod weights;

pub use recipe::StaticRecipe;

use crate::canon;
use crate::report::PassReport;
use sinter_ir::{Module, Op, Result};

/// Brings a float model into the form that [`plan`] reads: constants known, normalisations folded into weights, f32
/// everywhere inside.
pub fn prepare(module: &mut Module) -> Result<()> {
    let mut report = PassReport::default();
    let passes: [fn(&mut Module, &mut PassReport) -> Result<()>; 13] = [
        canon::dce::run,
        canon::captures::run,
        canon::fold::run,
        canon::ranges::run,
        canon::constraints::run,
        canon::simplify::run,
        canon::algebra::run,
        canon::fold::run,
        canon::cse::run,
        canon::widen::run,
        quotients::run,
        canon::subpixel::run,
        canon::dce::run_final,
    ];
    passes.iter().try_for_each(|pass| pass(module, &mut report))
}

/// Whether a model has been quantised by another tool: there is nothing to calibrate in it.
pub fn is_quantised(module: &Module) -> bool {
    let quantised = |op: &Op| matches!(op, Op::Quantize(_) | Op::Dequantize(_) | Op::QuantizedMatMul(_));
    module.graph.iter().any(|(_, n)| quantised(&n.op))
}

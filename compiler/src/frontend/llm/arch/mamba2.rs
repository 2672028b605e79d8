//! Mamba-2.

use super::mamba;
use crate::frontend::llm::blocks::mamba2::Mamba2;
use crate::frontend::llm::blocks::norm::Norm;
use crate::frontend::llm::config::Config;
use crate::frontend::llm::decoder::{Decoder, Mixer};
use crate::frontend::llm::net::Sizes;
use serde_json::Value;
use sinter_ir::Result;

/// Mamba-2.
pub fn describe(c: &Config, sizes: &Sizes) -> Result<Decoder> {
    let width = c.size(&["hidden_size"])?;
    let size = c.size_or("head_dim", 64)?;
    let heads = match c.opt_size("num_heads")? {
        Some(n) => n,
        None => width * c.size_or("expand", 2)? / size,
    };
    // The upper bound is usually infinite, which JSON cannot say as a number.
    let limit = c.get("time_step_limit").and_then(Value::as_array).map(|l| {
        let at = |i: usize, default| l.get(i).and_then(Value::as_f64).map_or(default, |v| v as f32);
        (at(0, 0.0), at(1, f32::INFINITY))
    });
    let mixer = Mixer::Mamba2(Mamba2 {
        heads,
        size,
        groups: c.size_or("n_groups", 8)?,
        state: c.size(&["state_size"])?,
        taps: c.size(&["conv_kernel"])?,
        bias: c.flag("use_bias", false)?,
        conv_bias: c.flag("use_conv_bias", true)?,
        limit,
        norm: Norm::rms(c.float_or("layer_norm_epsilon", 1e-5)?),
    });
    mamba::stack(c, sizes, mixer)
}

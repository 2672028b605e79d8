//! Mamba and Falcon-Mamba.

use crate::frontend::llm::blocks::mamba::Mamba;
use crate::frontend::llm::blocks::norm::Norm;
use crate::frontend::llm::config::Config;
use crate::frontend::llm::decoder::{Decoder, Ffn, Layer, Mixer, Names, Order};
use crate::frontend::llm::net::Sizes;
use serde_json::Value;
use sinter_ir::Result;

/// Mamba.
pub fn describe(c: &Config, sizes: &Sizes) -> Result<Decoder> {
    block(c, sizes, None)
}

/// Falcon-Mamba: normalises step sizes and both state vectors.
pub fn falcon(c: &Config, sizes: &Sizes) -> Result<Decoder> {
    block(c, sizes, Some(Norm::rms(c.float_or("mixer_rms_eps", 1e-6)?)))
}

fn block(c: &Config, sizes: &Sizes, inner_norm: Option<Norm>) -> Result<Decoder> {
    let width = c.size(&["hidden_size"])?;
    let rank = match c.get("time_step_rank") {
        Some(Value::String(_)) | None => (width + 15) / 16,
        Some(_) => c.size(&["time_step_rank"])?,
    };
    let inner = match c.opt_size("intermediate_size")? {
        Some(n) => n,
        None => width * c.size_or("expand", 2)?,
    };
    let mixer = Mixer::Mamba(Mamba {
        inner,
        state: c.size(&["state_size"])?,
        taps: c.size(&["conv_kernel"])?,
        rank,
        bias: c.flag("use_bias", false)?,
        conv_bias: c.flag("use_conv_bias", true)?,
        inner_norm,
    });
    stack(c, sizes, mixer)
}

/// Layers of nothing but a mixer.
pub fn stack(c: &Config, sizes: &Sizes, mixer: Mixer) -> Result<Decoder> {
    let order = Order::Pre { mixer: "norm".into(), ffn: String::new() };
    let layer = Layer { mixer, ffn: Ffn::None, order };
    Ok(Decoder {
        vocabulary: c.size(&["vocab_size"])?,
        width: c.size(&["hidden_size"])?,
        // Nothing in the model ends anywhere.
        context: sizes.context,
        layers: (0..super::llama::layers(c, "num_hidden_layers")?).map(|_| layer.clone()).collect(),
        names: Names {
            embed: "backbone.embeddings.weight".into(),
            positions: None,
            layer: "backbone.layers.".into(),
            norm: "backbone.norm_f".into(),
            head: "lm_head".into(),
        },
        norm: Norm::rms(c.float_or("layer_norm_epsilon", 1e-5)?),
        embed_scale: 1.0,
        residual_scale: 1.0,
        logit_scale: 1.0,
        logit_cap: None,
        tied: c.flag("tie_word_embeddings", true)?,
    })
}

//! GPT-NeoX: both parts of a layer side by side, a quarter of every head turns.

use super::llama;
use crate::frontend::llm::blocks::attention::{Attention, Projections};
use crate::frontend::llm::blocks::mlp::{Form, Mlp};
use crate::frontend::llm::blocks::norm::{Kind, Norm};
use crate::frontend::llm::blocks::rope::Rope;
use crate::frontend::llm::config::Config;
use crate::frontend::llm::decoder::{Decoder, Ffn, Layer, Mixer, Names, Order};
use crate::frontend::llm::net::Sizes;
use sinter_ir::{Diag, Result};

/// GPT-NeoX.
pub fn describe(c: &Config, sizes: &Sizes) -> Result<Decoder> {
    let (width, heads) = (c.size(&["hidden_size"])?, c.size(&["num_attention_heads"])?);
    let size = width / heads;
    if !c.flag("attention_bias", true)? {
        return Err(Diag::unsupported("GPT-NeoX without biases"));
    }
    let (mixer, ffn) = ("input_layernorm".to_owned(), "post_attention_layernorm".to_owned());
    let layer = Layer {
        mixer: Mixer::Attention(Attention {
            heads,
            kv_heads: heads,
            size,
            projections: Projections::Heads { name: "attention.query_key_value".into() },
            out: "attention.dense".into(),
            out_bias: true,
            out_conv1d: false,
            scale: 1.0 / (size as f32).sqrt(),
            softcap: None,
            window: None,
            rope: Some(rope(c, sizes, size)?),
            qk_norm: None,
        }),
        ffn: Ffn::Mlp(Mlp {
            inner: c.size(&["intermediate_size"])?,
            act: llama::act(c)?,
            form: Form::Plain {
                first: "mlp.dense_h_to_4h".into(),
                second: "mlp.dense_4h_to_h".into(),
                conv1d: false,
            },
        }),
        order: match c.flag("use_parallel_residual", true)? {
            true => Order::Parallel { mixer, ffn },
            false => Order::Pre { mixer, ffn },
        },
    };
    Ok(Decoder {
        vocabulary: c.size(&["vocab_size"])?,
        width,
        context: c.size(&["max_position_embeddings"])?,
        layers: (0..llama::layers(c, "num_hidden_layers")?).map(|_| layer.clone()).collect(),
        names: Names {
            embed: "gpt_neox.embed_in.weight".into(),
            positions: None,
            layer: "gpt_neox.layers.".into(),
            norm: "gpt_neox.final_layer_norm".into(),
            head: "embed_out".into(),
        },
        norm: Norm { kind: Kind::Layer, eps: c.float_or("layer_norm_eps", 1e-5)? as f32 },
        embed_scale: 1.0,
        residual_scale: 1.0,
        logit_scale: 1.0,
        logit_cap: None,
        tied: c.flag("tie_word_embeddings", false)?,
    })
}

/// Older configurations say `rotary_pct` and `rotary_emb_base`.
fn rope(c: &Config, sizes: &Sizes, size: i64) -> Result<Rope> {
    match c.get("rope_parameters") {
        Some(_) => llama::rope(c, sizes, size, None, 10_000.0),
        None => {
            let turned = (size as f64 * c.float_or("rotary_pct", 0.25)?) as i64;
            let max = c.size_or("max_position_embeddings", sizes.context)?;
            let scaling = c.part("rope_scaling");
            Rope::new(c.float_or("rotary_emb_base", 10_000.0)?, scaling.as_ref(), turned, sizes.context, max)
        }
    }
}

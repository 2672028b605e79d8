//! GPT-2: learned positions, matrices stored as `[in, out]`, biases everywhere.

use crate::frontend::llm::blocks::attention::{Attention, Projections};
use crate::frontend::llm::blocks::mlp::{Act, Form, Mlp};
use crate::frontend::llm::blocks::norm::{Kind, Norm};
use crate::frontend::llm::config::Config;
use crate::frontend::llm::decoder::{Decoder, Ffn, Layer, Mixer, Names, Order};
use crate::frontend::llm::net::Sizes;
use sinter_ir::Result;

/// GPT-2.
pub fn describe(c: &Config, _: &Sizes) -> Result<Decoder> {
    let (width, heads) = (c.size(&["n_embd"])?, c.size(&["n_head"])?);
    let size = width / heads;
    let scaled = c.flag("scale_attn_weights", true)?;
    let by_layer = c.flag("scale_attn_by_inverse_layer_idx", false)?;
    let inner = c.opt_size("n_inner")?;
    let act = Act::named(&c.text("activation_function", "gelu_new")?)?;
    let layer = |i: i64| Layer {
        mixer: Mixer::Attention(Attention {
            heads,
            kv_heads: heads,
            size,
            projections: Projections::Fused { name: "attn.c_attn".into(), conv1d: true },
            out: "attn.c_proj".into(),
            out_bias: true,
            out_conv1d: true,
            scale: if scaled { 1.0 / (size as f32).sqrt() } else { 1.0 }
                / if by_layer { (i + 1) as f32 } else { 1.0 },
            softcap: None,
            window: None,
            rope: None,
            qk_norm: None,
        }),
        ffn: Ffn::Mlp(Mlp {
            inner: inner.unwrap_or(4 * width),
            act,
            form: Form::Plain { first: "mlp.c_fc".into(), second: "mlp.c_proj".into(), conv1d: true },
        }),
        order: Order::Pre { mixer: "ln_1".into(), ffn: "ln_2".into() },
    };
    let layers = (0..super::llama::layers(c, "n_layer")?).map(layer).collect();
    Ok(Decoder {
        vocabulary: c.size(&["vocab_size"])?,
        width,
        context: c.size(&["n_positions", "n_ctx"])?,
        layers,
        names: names(),
        norm: Norm { kind: Kind::Layer, eps: c.float_or("layer_norm_epsilon", 1e-5)? as f32 },
        embed_scale: 1.0,
        residual_scale: 1.0,
        logit_scale: 1.0,
        logit_cap: None,
        tied: c.flag("tie_word_embeddings", true)?,
    })
}

/// Names of GPT-2 and GPT-Neo.
pub fn names() -> Names {
    Names {
        embed: "transformer.wte.weight".into(),
        positions: Some("transformer.wpe.weight".into()),
        layer: "transformer.h.".into(),
        norm: "transformer.ln_f".into(),
        head: "lm_head".into(),
    }
}

//! GPT-Neo: as GPT-2 with matrices of their own for queries, keys and values, scores without a factor, and windows.

use super::gpt2;
use crate::frontend::llm::blocks::attention::{Attention, Projections};
use crate::frontend::llm::blocks::mlp::{Act, Form, Mlp};
use crate::frontend::llm::blocks::norm::{Kind, Norm};
use crate::frontend::llm::config::Config;
use crate::frontend::llm::decoder::{Decoder, Ffn, Layer, Mixer, Order};
use crate::frontend::llm::net::Sizes;
use serde_json::Value;
use sinter_ir::{Diag, Result};

/// GPT-Neo.
pub fn describe(c: &Config, _: &Sizes) -> Result<Decoder> {
    let (width, heads) = (c.size(&["hidden_size"])?, c.size(&["num_heads", "num_attention_heads"])?);
    let local = local_layers(c)?;
    let window = c.size_or("window_size", 256)?;
    let inner = c.opt_size("intermediate_size")?;
    let act = Act::named(&c.text("activation_function", "gelu_new")?)?;
    let layer = |local: bool| Layer {
        mixer: Mixer::Attention(Attention {
            heads,
            kv_heads: heads,
            size: width / heads,
            projections: Projections::Apart { name: "attn.attention".into(), bias: false },
            out: "attn.attention.out_proj".into(),
            out_bias: true,
            out_conv1d: false,
            scale: 1.0,
            softcap: None,
            window: local.then_some(window),
            rope: None,
            qk_norm: None,
        }),
        ffn: Ffn::Mlp(Mlp {
            inner: inner.unwrap_or(4 * width),
            act,
            form: Form::Plain { first: "mlp.c_fc".into(), second: "mlp.c_proj".into(), conv1d: false },
        }),
        order: Order::Pre { mixer: "ln_1".into(), ffn: "ln_2".into() },
    };
    Ok(Decoder {
        vocabulary: c.size(&["vocab_size"])?,
        width,
        context: c.size(&["max_position_embeddings"])?,
        layers: local.into_iter().map(layer).collect(),
        names: gpt2::names(),
        norm: Norm { kind: Kind::Layer, eps: c.float_or("layer_norm_epsilon", 1e-5)? as f32 },
        embed_scale: 1.0,
        residual_scale: 1.0,
        logit_scale: 1.0,
        logit_cap: None,
        tied: c.flag("tie_word_embeddings", true)?,
    })
}

/// Which layers have the window: `attention_layers`, or `attention_types` as `[[["global", "local"], 6]]`.
fn local_layers(c: &Config) -> Result<Vec<bool>> {
    let key = if c.get("num_layers").is_some() { "num_layers" } else { "num_hidden_layers" };
    let layers = super::llama::layers(c, key)? as usize;
    let wrong = || Diag::input("config.json: `attention_types` does not describe the layers");
    let mut kinds: Vec<String> = c.opt_texts("attention_layers")?.unwrap_or_default();
    if kinds.is_empty() {
        for part in c.get("attention_types").and_then(Value::as_array).ok_or_else(wrong)? {
            let names = part.get(0).and_then(Value::as_array).ok_or_else(wrong)?;
            let times =
                part.get(1).and_then(Value::as_u64).filter(|n| *n <= layers as u64).ok_or_else(wrong)?;
            let names: Option<Vec<String>> = names.iter().map(|n| n.as_str().map(str::to_owned)).collect();
            let names = names.ok_or_else(wrong)?;
            (0..times).for_each(|_| kinds.extend(names.iter().cloned()));
        }
    }
    match kinds.len() == layers {
        true => Ok(kinds.iter().map(|k| k == "local").collect()),
        false => Err(wrong()),
    }
}

//! Llama, and what every relative of Llama starts from.

use crate::frontend::llm::blocks::attention::{Attention, Projections};
use crate::frontend::llm::blocks::mlp::{Act, Form, Mlp};
use crate::frontend::llm::blocks::norm::Norm;
use crate::frontend::llm::blocks::rope::Rope;
use crate::frontend::llm::config::Config;
use crate::frontend::llm::decoder::{Decoder, Ffn, Layer, Mixer, Names, Order};
use crate::frontend::llm::net::Sizes;
use sinter_ir::{Diag, Result};

/// Llama.
pub fn describe(c: &Config, sizes: &Sizes) -> Result<Decoder> {
    plain(c, sizes)
}

/// Sizes that all layers share.
pub struct Heads {
    pub heads: i64,
    pub kv_heads: i64,
    pub size: i64,
}

/// Heads of a configuration.
pub fn heads(c: &Config) -> Result<Heads> {
    let heads = c.size(&["num_attention_heads"])?;
    let size = match c.opt_size("head_dim")? {
        Some(d) => d,
        None => c.size(&["hidden_size"])? / heads,
    };
    Ok(Heads { heads, kv_heads: c.size_or("num_key_value_heads", heads)?, size })
}

/// Rotary positions, of the entries for `kind` of layers where these have their own. `default`: the base where none is
/// given.
pub fn rope(c: &Config, sizes: &Sizes, size: i64, kind: Option<&str>, default: f64) -> Result<Rope> {
    let both = c.part("rope_parameters").or_else(|| c.part("rope_scaling"));
    let part = both.as_ref().and_then(|b| kind.and_then(|k| b.part(k))).or(both);
    let of = |key: &str, default: f64| match &part {
        Some(p) if p.get(key).is_some() => p.float_or(key, default),
        _ => c.float_or(key, default),
    };
    let turned = (size as f64 * of("partial_rotary_factor", 1.0)?) as i64;
    let max = c.size_or("max_position_embeddings", sizes.context)?;
    Rope::new(of("rope_theta", default)?, part.as_ref(), turned, sizes.context, max)
}

/// The window of a layer: where `layer_types` says so, else of all layers.
pub fn window(c: &Config, layer: i64) -> Result<Option<i64>> {
    let types = c.opt_texts("layer_types")?;
    let kind = types.as_ref().and_then(|t| t.get(usize::try_from(layer).ok()?));
    match kind.map(String::as_str) {
        Some("full_attention") => Ok(None),
        _ => c.opt_size("sliding_window"),
    }
}

/// The activation.
pub fn act(c: &Config) -> Result<Act> {
    let default = c.text("hidden_act", "silu")?;
    Act::named(&c.text("hidden_activation", &default)?)
}

/// Plain Llama of any configuration.
pub fn plain(c: &Config, sizes: &Sizes) -> Result<Decoder> {
    let Heads { heads, kv_heads, size } = heads(c)?;
    let bias = c.flag("attention_bias", false)?;
    let rope = rope(c, sizes, size, None, 10_000.0)?;
    let attention = Attention {
        heads,
        kv_heads,
        size,
        projections: Projections::Apart { name: "self_attn".into(), bias },
        out: "self_attn.o_proj".into(),
        out_bias: bias,
        out_conv1d: false,
        scale: 1.0 / (size as f32).sqrt(),
        softcap: None,
        window: None,
        rope: Some(rope),
        qk_norm: None,
    };
    let form = Form::Gated { name: "mlp".into(), bias: c.flag("mlp_bias", false)? };
    let mlp = Mlp { inner: c.size(&["intermediate_size"])?, act: act(c)?, form };
    let layer = Layer {
        mixer: Mixer::Attention(attention),
        ffn: Ffn::Mlp(mlp),
        order: Order::Pre { mixer: "input_layernorm".into(), ffn: "post_attention_layernorm".into() },
    };
    let layers = layers(c, "num_hidden_layers")?;
    Ok(Decoder {
        vocabulary: c.size(&["vocab_size"])?,
        width: c.size(&["hidden_size"])?,
        context: c.size_or("max_position_embeddings", 2048)?,
        layers: (0..layers).map(|_| layer.clone()).collect(),
        names: names("model."),
        norm: Norm::rms(c.float_or("rms_norm_eps", 1e-6)?),
        embed_scale: 1.0,
        residual_scale: 1.0,
        logit_scale: 1.0,
        logit_cap: None,
        tied: c.flag("tie_word_embeddings", false)?,
    })
}

/// Number of layers.
pub fn layers(c: &Config, key: &str) -> Result<i64> {
    let n = c.size(&[key])?;
    if n <= MAX_LAYERS { Ok(n) } else { Err(Diag::limit(format!("config.json: {n} layers"))) }
}

/// Layers at most: every one costs time before its weights are looked for.
const MAX_LAYERS: i64 = 4096;

/// Names below a prefix.
pub fn names(prefix: &str) -> Names {
    Names {
        embed: format!("{prefix}embed_tokens.weight"),
        positions: None,
        layer: format!("{prefix}layers."),
        norm: format!("{prefix}norm"),
        head: "lm_head".into(),
    }
}

impl Decoder {
    /// Changes every attention block; the number is the layer's.
    pub fn each_attention(
        mut self,
        mut change: impl FnMut(i64, &mut Attention) -> Result<()>,
    ) -> Result<Decoder> {
        for (i, layer) in (0..).zip(&mut self.layers) {
            if let Mixer::Attention(a) = &mut layer.mixer {
                change(i, a)?;
            }
        }
        Ok(self)
    }
}

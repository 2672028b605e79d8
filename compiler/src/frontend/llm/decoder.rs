//! A decoder as a description, and the graph made from it.

use super::blocks::attention::Attention;
use super::blocks::experts::Experts;
use super::blocks::latent::Latent;
use super::blocks::mamba::Mamba;
use super::blocks::mamba2::Mamba2;
use super::blocks::mlp::Mlp;
use super::blocks::norm::{Kind, Norm};
use super::net::{Net, Sizes};
use super::rotate::Turned;
use super::weights::Weights;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{Diag, Module, Result, ValueId};
use std::sync::Arc;

/// Everything about a model but its weights. Names are those of Hugging Face checkpoints.
#[derive(Debug, Clone)]
pub struct Decoder {
    /// Token ids.
    pub vocabulary: i64,
    /// Elements of a token's vector between layers.
    pub width: i64,
    /// Positions that it was made for.
    pub context: i64,
    /// Layers, first to last.
    pub layers: Vec<Layer>,
    /// Names of what is not in a layer.
    pub names: Names,
    /// Normalisation of layers and of the end.
    pub norm: Norm,
    /// Factor of embeddings.
    pub embed_scale: f32,
    /// Factor of what layers add.
    pub residual_scale: f32,
    /// Factor of logits.
    pub logit_scale: f32,
    /// Logits are bent to stay below this.
    pub logit_cap: Option<f32>,
    /// Whether the embedding is also the last matrix.
    pub tied: bool,
}

/// Names of what is not in a layer.
#[derive(Debug, Clone)]
pub struct Names {
    /// The embedding.
    pub embed: String,
    /// Learned positions, where there are any: a row per position of the context.
    pub positions: Option<String>,
    /// In front of a layer's number.
    pub layer: String,
    /// The last normalisation.
    pub norm: String,
    /// The last matrix.
    pub head: String,
}

/// One layer.
#[derive(Debug, Clone)]
pub struct Layer {
    /// What mixes tokens.
    pub mixer: Mixer,
    /// What works on each token.
    pub ffn: Ffn,
    /// Where normalisations are.
    pub order: Order,
}

/// What mixes tokens.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Mixer {
    Attention(Attention),
    Latent(Latent),
    Mamba(Mamba),
    Mamba2(Mamba2),
}

/// What works on each token.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Ffn {
    None,
    Mlp(Mlp),
    Experts(Box<Experts>),
}

/// Where normalisations are, by their names below the layer.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Order {
    /// In front of both parts.
    Pre { mixer: String, ffn: String },
    /// Behind both parts, in front of the sum.
    Post { mixer: String, ffn: String },
    /// On both sides of both parts.
    Around { names: [String; 4] },
    /// Both parts side by side on the layer's input.
    Parallel { mixer: String, ffn: String },
}

impl Decoder {
    /// The graph; `turned` where weights are those of the rotated model.
    pub fn build(
        &self,
        weights: &Arc<dyn Weights>,
        turned: Option<Turned>,
        sizes: Sizes,
        name: String,
    ) -> Result<Module, Vec<Diag>> {
        let one = |d: Diag| vec![d];
        // Before a number in a file costs time or memory.
        if weights.dims(&self.names.embed).is_none() {
            return Err(vec![Diag::input(format!("tensor {} is missing", self.names.embed))]);
        }
        let (mut net, ids) = Net::new(weights.clone(), sizes).map_err(one)?;
        net.turned = turned.map(Arc::new);
        let logits = self.logits(&mut net, ids).map_err(one)?;
        net.finish(name, logits)
    }

    fn logits(&self, net: &mut Net, ids: ValueId) -> Result<ValueId> {
        net.at(&self.names.embed);
        let mut x = net.embed(&self.names.embed, ids, self.vocabulary, self.width)?;
        x = net.scaled(x, self.embed_scale)?;
        if let Some(name) = &self.names.positions {
            let table = net.weight(name, &[self.context, self.width])?;
            let (past, tokens) = (net.past.clone(), net.tokens.clone());
            let rows = net.slice(table, 0, past, tokens)?;
            x = net.plus(x, rows)?;
        }
        x = net.into_stream(x)?;
        for (i, layer) in self.layers.iter().enumerate() {
            let at = format!("{}{i}", self.names.layer);
            net.at(&at);
            x = self.layer(net, layer, x, &at)?;
        }
        net.at(&self.names.norm);
        if !net.sizes.all_logits {
            let last = net.tokens.clone() - 1.into();
            x = net.slice(x, 0, last, 1.into())?;
        }
        x = net.out_of_stream(x)?;
        x = self.norm.apply(net, x, &self.names.norm, self.width)?;
        net.at(&self.names.head);
        let sizes = (self.width, self.vocabulary);
        let name = match self.tied {
            true => self.names.embed.strip_suffix(".weight").unwrap_or(&self.names.embed),
            false => &self.names.head,
        };
        let y = net.linear(x, name, sizes, false)?;
        let y = net.scaled(y, self.logit_scale)?;
        let Some(cap) = self.logit_cap else { return Ok(y) };
        let y = net.scaled(y, 1.0 / cap)?;
        let y = net.unary(U::Tanh, y)?;
        net.scaled(y, cap)
    }

    fn layer(&self, net: &mut Net, layer: &Layer, x: ValueId, at: &str) -> Result<ValueId> {
        // Matrices of rotated models hold the weights of norms.
        let kind = if net.turned.is_some() { Kind::Unit } else { self.norm.kind };
        let by = Norm { kind, ..self.norm };
        let norm = |net: &mut Net, x, name: &str| by.apply(net, x, &format!("{at}.{name}"), self.width);
        let mix = |net: &mut Net, x| match &layer.mixer {
            Mixer::Attention(a) => a.apply(net, x, at, self.width),
            Mixer::Latent(a) => a.apply(net, x, at, self.width),
            Mixer::Mamba(m) => m.apply(net, x, at, self.width),
            Mixer::Mamba2(m) => m.apply(net, x, at, self.width),
        };
        let feed = |net: &mut Net, x| match &layer.ffn {
            Ffn::None => Err(Diag::bug("there is nothing behind the mixer")),
            Ffn::Mlp(m) => m.apply(net, x, at, self.width),
            Ffn::Experts(e) => e.apply(net, x, at, self.width),
        };
        let add = |net: &mut Net, x, y| {
            let y = net.scaled(y, self.residual_scale)?;
            net.plus(x, y)
        };
        let only_mixer = matches!(layer.ffn, Ffn::None);
        match &layer.order {
            Order::Pre { mixer, ffn } => {
                let y = norm(net, x, mixer)?;
                let y = mix(net, y)?;
                let x = add(net, x, y)?;
                if only_mixer {
                    return Ok(x);
                }
                let y = norm(net, x, ffn)?;
                let y = feed(net, y)?;
                add(net, x, y)
            }
            Order::Post { mixer, ffn } => {
                let y = mix(net, x)?;
                let y = norm(net, y, mixer)?;
                let x = add(net, x, y)?;
                let y = feed(net, x)?;
                let y = norm(net, y, ffn)?;
                add(net, x, y)
            }
            Order::Around { names: [before, after, before_ffn, after_ffn] } => {
                let y = norm(net, x, before)?;
                let y = mix(net, y)?;
                let y = norm(net, y, after)?;
                let x = add(net, x, y)?;
                let y = norm(net, x, before_ffn)?;
                let y = feed(net, y)?;
                let y = norm(net, y, after_ffn)?;
                add(net, x, y)
            }
            Order::Parallel { mixer, ffn } => {
                let y = norm(net, x, mixer)?;
                let y = mix(net, y)?;
                let z = norm(net, x, ffn)?;
                let z = feed(net, z)?;
                let sum = net.plus(y, z)?;
                add(net, x, sum)
            }
        }
    }
}

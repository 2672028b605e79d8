//! Rotated decoders: the stream between layers, values of heads and the middle of feed-forward blocks in other bases, in
//! which no channel stands out, so that few bits do for activations.
//!
//! What reads a normalised stream takes the norm's weights and the rotation into its matrix, what writes to the stream the
//! inverse; norms keep nothing but the division. Where norms take the mean away, it is taken out of what is written
//! instead. Embeddings and the last matrix stay as they are, so that they may stay one: the stream is rotated behind the
//! one and back in front of the last norm. Values turn in front of the sum over positions and back behind it, both inside
//! matrices. The last matrix of a feed-forward block reads a fast Hadamard transform ([`online`]).

mod online;
mod weights;

use super::blocks::attention::{Attention, Projections};
use super::blocks::mlp::{Form, Mlp};
use super::blocks::norm::Kind;
use super::decoder::{Decoder, Ffn, Mixer, Order};
use super::weights::{Weights, wide};
use sinter_ir::{Diag, Result};
use sinter_passes::compress::hadamard::Transform;
use sinter_passes::compress::rotation::{Change, Rotation, Rotations, Side};
use std::sync::Arc;
use weights::{Bias, Entry, Rotated};

/// Order of a Hadamard matrix up to which it is worth its time while running, beside powers of two.
const ONLINE: usize = 60;
/// The same where weights take it into themselves.
const MERGED: usize = 256;
/// The random signs of the stream's rotation.
const SEED: u64 = 1;

/// What the graph of a rotated decoder does that others do not.
#[derive(Debug)]
pub struct Turned {
    /// Rotation of the stream.
    pub stream: Arc<Rotation>,
    /// The stream has no mean.
    pub centred: bool,
    /// Queries and keys are transformed.
    pub keys: bool,
    /// Transforms stay within groups of so many.
    pub group: usize,
}

/// The transform of what a feed-forward block's last matrix reads.
fn middle(n: usize, group: usize) -> Transform {
    Transform::grouped(n, group, ONLINE)
}

/// Rotates a decoder: gives what its graph does, and its weights.
pub fn rotate(
    d: &mut Decoder,
    weights: &Arc<dyn Weights>,
    how: &Rotations,
) -> Result<(Turned, Arc<dyn Weights>)> {
    let width = usize::try_from(d.width).unwrap_or(0);
    let stream = how.stream.clone().unwrap_or_else(|| {
        Arc::new(Rotation::Fast(Transform::grouped(width, how.group, MERGED).randomised(SEED)))
    });
    let mut plan = Plan {
        all: Rotated::new(weights.clone()),
        norm: d.norm.kind,
        side: Side::whole(stream.clone(), width),
        centred: d.norm.kind == Kind::Layer,
        width,
        group: how.group,
    };
    for (i, layer) in d.layers.iter_mut().enumerate() {
        let at = format!("{}{i}", d.names.layer);
        let refuse = |why: &str| {
            let d = Diag::unsupported(format!("{at} cannot be rotated: {why}")).at(at.clone());
            d.help("recipes without rotate and spin leave the model's basis as it is")
        };
        let (Order::Pre { mixer, ffn } | Order::Parallel { mixer, ffn }) = &layer.order else {
            return Err(refuse(
                "what its blocks give is normalised before it is added, and factors of channels stand in the way",
            ));
        };
        let Mixer::Attention(a) = &mut layer.mixer else {
            return Err(refuse("only attention with keys and values of its own can be"));
        };
        let values = how.values.get(i).or(how.values.last()).cloned();
        plan.attention(a, &at, mixer, values).map_err(|d| d.at(at.clone()))?;
        match &mut layer.ffn {
            Ffn::None => {}
            Ffn::Mlp(m) => plan.mlp(m, &at, ffn).map_err(|d| d.at(at.clone()))?,
            Ffn::Experts(_) => return Err(refuse("matrices of experts cannot be yet")),
        }
    }
    let turned = Turned { stream, centred: plan.centred, keys: how.keys, group: how.group };
    Ok((turned, Arc::new(plan.all)))
}

/// What becomes of tensors.
struct Plan {
    all: Rotated,
    norm: Kind,
    /// The stream's rotation.
    side: Side,
    centred: bool,
    width: usize,
    group: usize,
}

/// Weights of a norm.
struct Factors {
    gamma: Vec<f32>,
    beta: Option<Vec<f32>>,
}

impl Plan {
    fn numbers(&self, name: &str) -> Result<Vec<f32>> {
        let w = &self.all.inner;
        if w.dims(name).is_none_or(|d| d != [self.width]) {
            return Err(Diag::input(format!("tensor {name} [{}] is missing", self.width)));
        }
        wide(w.load(name)?)?.to_f32()
    }
    fn factors(&self, name: &str) -> Result<Factors> {
        let mut gamma = self.numbers(&format!("{name}.weight"))?;
        if self.norm == Kind::RmsPlusOne {
            gamma.iter_mut().for_each(|w| *w += 1.0);
        }
        let beta = (self.norm == Kind::Layer).then(|| self.numbers(&format!("{name}.bias"))).transpose()?;
        Ok(Factors { gamma, beta })
    }
    /// A matrix that reads the stream behind a norm.
    fn reads(&mut self, name: &str, f: &Factors, conv1d: bool, output: Option<Side>) {
        let change = Change {
            factors: Some(f.gamma.clone()),
            input: Some(self.side.clone()),
            centred: false,
            output: output.clone(),
        };
        let matrix = format!("{name}.weight");
        self.all.put(matrix.clone(), Entry::Matrix { change, conv1d });
        if output.is_some() || f.beta.is_some() {
            let change = Change { output, ..Change::default() };
            let beta = f.beta.clone().map(|b| (matrix, conv1d, b));
            self.all.put(format!("{name}.bias"), Entry::Bias(Bias { change, beta }));
        }
    }
    /// A matrix that writes to the stream.
    fn writes(&mut self, name: &str, conv1d: bool, input: Option<Side>) {
        let change = Change { factors: None, input, centred: self.centred, output: Some(self.side.clone()) };
        let bias = Change { input: None, ..change.clone() };
        self.all.put(format!("{name}.weight"), Entry::Matrix { change, conv1d });
        self.all.put(format!("{name}.bias"), Entry::Bias(Bias { change: bias, beta: None }));
    }
    fn attention(
        &mut self,
        a: &mut Attention,
        at: &str,
        norm: &str,
        values: Option<Arc<Rotation>>,
    ) -> Result<()> {
        let f = self.factors(&format!("{at}.{norm}"))?;
        let number = |v: i64| usize::try_from(v).unwrap_or(0);
        let (size, heads, kv) = (number(a.size), number(a.heads), number(a.kv_heads));
        let fast = || Arc::new(Rotation::Fast(Transform::grouped(size, self.group, MERGED)));
        let rotation = values.unwrap_or_else(fast);
        let side = |at: Vec<usize>| Side { rotation: rotation.clone(), size, at };
        match &mut a.projections {
            Projections::Apart { name, bias } => {
                *bias |= f.beta.is_some();
                for part in ["q_proj", "k_proj"] {
                    self.reads(&format!("{at}.{name}.{part}"), &f, false, None);
                }
                let own = side((0..kv).map(|h| h * size).collect());
                self.reads(&format!("{at}.{name}.v_proj"), &f, false, Some(own));
            }
            Projections::Fused { name, conv1d } => {
                if !*conv1d && f.beta.is_some() {
                    return Err(Diag::unsupported(format!("{name} has no bias to take that of the norm")));
                }
                let own = side((0..kv).map(|h| (heads + kv + h) * size).collect());
                self.reads(&format!("{at}.{name}"), &f, *conv1d, Some(own));
            }
            Projections::Heads { name } => {
                let own = side((0..heads).map(|h| (3 * h + 2) * size).collect());
                self.reads(&format!("{at}.{name}"), &f, false, Some(own));
            }
        }
        let own = side((0..heads).map(|h| h * size).collect());
        self.writes(&format!("{at}.{}", a.out), a.out_conv1d, Some(own));
        Ok(())
    }
    fn mlp(&mut self, m: &mut Mlp, at: &str, norm: &str) -> Result<()> {
        let f = self.factors(&format!("{at}.{norm}"))?;
        let n = usize::try_from(m.inner).unwrap_or(0);
        let own = Side::whole(Arc::new(Rotation::Fast(middle(n, self.group))), n);
        match &mut m.form {
            Form::Gated { name, bias } => {
                *bias |= f.beta.is_some();
                for part in ["gate_proj", "up_proj"] {
                    self.reads(&format!("{at}.{name}.{part}"), &f, false, None);
                }
                self.writes(&format!("{at}.{name}.down_proj"), false, Some(own));
            }
            Form::Fused { name } => {
                if f.beta.is_some() {
                    return Err(Diag::unsupported(format!("{name} has no bias to take that of the norm")));
                }
                self.reads(&format!("{at}.{name}.gate_up_proj"), &f, false, None);
                self.writes(&format!("{at}.{name}.down_proj"), false, Some(own));
            }
            Form::Plain { first, second, conv1d } => {
                self.reads(&format!("{at}.{first}"), &f, *conv1d, None);
                self.writes(&format!("{at}.{second}"), *conv1d, Some(own));
            }
        }
        Ok(())
    }
}

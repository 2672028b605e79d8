//! Mixtures of experts: a router chooses a few of many gated blocks for each token, and only those are computed.

use super::mlp;
use super::mlp::{Act, Mlp};
use crate::frontend::llm::deferred::Form;
use crate::frontend::llm::net::{Net, Turn};
use sinter_ir::op::binary::BinaryKind as B;
use sinter_ir::op::reduce::ReduceKind as R;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::op::{self, compare};
use sinter_ir::{Diag, Result, Tensor, ValueId};

/// How logits of the router become scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scoring {
    /// Over all experts.
    Softmax,
    /// Each by itself.
    Sigmoid,
}

/// Groups of experts, of which only the best take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Groups {
    /// Number of groups.
    pub all: i64,
    /// Groups that take part.
    pub kept: i64,
    /// A group is as good as its best so many experts together.
    pub by: i64,
}

/// A block of experts.
#[derive(Debug, Clone)]
pub struct Experts {
    /// Number of experts.
    pub all: i64,
    /// Experts per token.
    pub chosen: i64,
    /// Width of the middle of each.
    pub inner: i64,
    /// Activation.
    pub act: Act,
    /// Name of the router below the layer.
    pub router: String,
    /// Scores.
    pub scoring: Scoring,
    /// A tensor beside the router that counts in the choice only.
    pub bias: Option<String>,
    /// Groups.
    pub groups: Option<Groups>,
    /// Whether the weights of a token's experts sum to 1.
    pub normalise: bool,
    /// Factor of the weights.
    pub scale: f32,
    /// Where the experts are below the layer.
    pub name: String,
    /// Names of gate, up and down matrix of an expert.
    pub parts: [&'static str; 3],
    /// A block that all tokens use, and whether `NAME_gate` (a sigmoid) weighs it.
    pub shared: Option<(Mlp, Option<String>)>,
}

impl Experts {
    /// Applies it to `x[tokens, width]`.
    pub fn apply(&self, net: &mut Net, x: ValueId, at: &str, width: i64) -> Result<ValueId> {
        if self.chosen > self.all {
            return Err(Diag::input(format!("{} of {} experts", self.chosen, self.all)));
        }
        let (weights, chosen) = self.route(net, x, at, width)?;
        let [gate, up] = [0, 1].map(|i| self.stack(net, at, i, (width, self.inner)));
        let (gate, up) = (gate?, up?);
        let down = self.stack(net, at, 2, (self.inner, width))?;
        let pairs = net.tokens.clone() * self.chosen.into();
        let flat = net.reshape(chosen, vec![pairs.clone()])?;
        let most = net.sizes.chunk.saturating_mul(self.chosen);
        let y = net.repeat(pairs, most, &[], &[x, flat, gate, up, down], |net, turn, _, held| {
            self.one(net, turn, held, width)
        })?;
        let y = *y.first().ok_or_else(|| Diag::bug("a loop has a result"))?;
        let y = net.reshape(y, vec![net.tokens.clone(), self.chosen.into(), width.into()])?;
        let weights = net.reshape(weights, vec![net.tokens.clone(), self.chosen.into(), 1.into()])?;
        let y = net.times(y, weights)?;
        let y = net.reduce(R::Sum, y, 1, false)?;
        match &self.shared {
            None => Ok(y),
            Some((mlp, gate)) => {
                let mut s = mlp.apply(net, x, at, width)?;
                if let Some(gate) = gate {
                    let g = net.linear(x, &format!("{at}.{gate}"), (width, 1), false)?;
                    let g = net.unary(U::Sigmoid, g)?;
                    s = net.times(s, g)?;
                }
                net.plus(y, s)
            }
        }
    }

    /// One expert on one token.
    fn one(&self, net: &mut Net, turn: ValueId, held: &[ValueId], width: i64) -> Result<Turn> {
        let &[x, chosen, gate, up, down] = held else { return Err(Diag::bug("captures of an expert")) };
        let k = net.constant(Tensor::i64(self.chosen))?;
        let token = net.binary(B::Div, turn, k)?;
        let x = net.row(x, token)?;
        let x = net.reshape(x, vec![1.into(), width.into()])?;
        let expert = net.row(chosen, turn)?;
        let [gate, up, down] = [net.row(gate, expert)?, net.row(up, expert)?, net.row(down, expert)?];
        let g = net.matmul(x, gate)?;
        let g = self.act.apply(net, g)?;
        let u = net.matmul(x, up)?;
        let h = net.times(g, u)?;
        let y = net.matmul(h, down)?;
        let y = net.reshape(y, vec![width.into()])?;
        Ok(Turn { carried: vec![], scanned: vec![y] })
    }

    /// A matrix of all experts, `[experts, in, out]`.
    fn stack(&self, net: &mut Net, at: &str, part: usize, (from, to): (i64, i64)) -> Result<ValueId> {
        let part = self.parts.get(part).copied().unwrap_or_default();
        let name = format!("{at}.{}", self.name);
        // Some files hold the experts as one tensor.
        let whole = format!("{name}.{part}.weight");
        let parts = match net.has(&whole) {
            true => vec![whole.clone()],
            false => (0..self.all).map(|e| format!("{name}.{e}.{part}.weight")).collect(),
        };
        let dims = [self.all, to, from];
        let dims = if parts.len() == 1 && net.has(&whole) { &dims[..] } else { &dims[1..] };
        let mut fit = true;
        for part in &parts {
            fit &= net.fits(part, dims)?;
        }
        let v = if fit { net.late(&whole, parts, Form::Stack)? } else { None };
        Ok(v.unwrap_or_else(|| net.hole(&[self.all, from, to])))
    }

    /// Weights and numbers of each token's experts, both `[tokens, chosen]`.
    fn route(&self, net: &mut Net, x: ValueId, at: &str, width: i64) -> Result<(ValueId, ValueId)> {
        let logits = net.linear(x, &format!("{at}.{}", self.router), (width, self.all), false)?;
        let scores = match self.scoring {
            Scoring::Softmax => net.add(op::Softmax { axis: 1, log: false }, &[logits])?,
            Scoring::Sigmoid => net.unary(U::Sigmoid, logits)?,
        };
        let mut choice = scores;
        if let Some(bias) = &self.bias {
            let b = net.weight(&format!("{at}.{bias}"), &[self.all])?;
            choice = net.plus(choice, b)?;
        }
        if let Some(g) = self.groups {
            choice = self.best_groups(net, choice, g)?;
        }
        let top = best(net, choice, self.chosen, 1)?;
        let [mut weights, chosen] = top;
        if choice != scores {
            weights = net.add(op::GatherElements { axis: 1 }, &[scores, chosen])?;
        }
        if self.normalise {
            let sum = net.reduce(R::Sum, weights, 1, true)?;
            weights = net.binary(B::Div, weights, sum)?;
        }
        Ok((net.scaled(weights, self.scale)?, chosen))
    }

    /// Scores, those of all but the best groups out of the question.
    fn best_groups(&self, net: &mut Net, scores: ValueId, g: Groups) -> Result<ValueId> {
        if g.all < 1 || self.all % g.all != 0 || g.kept > g.all || g.by > self.all / g.all {
            return Err(Diag::input(format!("{} of {} groups of {} experts", g.kept, g.all, self.all)));
        }
        let tokens = net.tokens.clone();
        let by_group = vec![tokens.clone(), g.all.into(), (self.all / g.all).into()];
        let grouped = net.reshape(scores, by_group.clone())?;
        let [values, _] = best(net, grouped, g.by, 2)?;
        let value = net.reduce(R::Sum, values, 2, false)?;
        let [kept, _] = best(net, value, g.kept, 1)?;
        // A group is kept where it is not worse than the last that is.
        let last = net.slice(kept, 1, (g.kept - 1).into(), 1.into())?;
        let keep = net.add(compare::Compare { kind: compare::CompareKind::Ge }, &[value, last])?;
        let keep = net.reshape(keep, vec![tokens.clone(), g.all.into(), 1.into()])?;
        let none = net.constant(Tensor::f32s(vec![], &[f32::NEG_INFINITY])?)?;
        let grouped = net.add(op::Select {}, &[keep, grouped, none])?;
        net.reshape(grouped, vec![tokens, self.all.into()])
    }
}

fn best(net: &mut Net, x: ValueId, k: i64, axis: usize) -> Result<[ValueId; 2]> {
    let top = net.add_all(op::TopK { k: k.into(), axis, largest: true, sorted: true }, &[x])?;
    <[ValueId; 2]>::try_from(top).map_err(|_| Diag::bug("TopK has two results"))
}

/// A shared block below a name.
pub fn shared(name: &str, inner: i64, act: Act) -> Mlp {
    Mlp { inner, act, form: mlp::Form::Gated { name: name.to_owned(), bias: false } }
}

//! Rotary positions: pairs of a head's elements turn by an angle that grows with the position.

use crate::frontend::llm::config::Config;
use crate::frontend::llm::net::Net;
use sinter_ir::op::Iota;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{DType, Diag, Result, ValueId};

/// Elements of a head that can turn.
const MAX_TURNED: i64 = 1 << 14;

/// Which elements form a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairs {
    /// `j` and `j + half`.
    Halves,
    /// `2j` and `2j + 1`. The result has all first elements, then all second ones: scores do not see the order.
    Neighbours,
}

/// A table of angles.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Angle per position of every pair; twice as many elements turn, from the first on.
    pub frequencies: Vec<f32>,
    /// Factor of sine and cosine.
    pub factor: f32,
    /// Pairs.
    pub pairs: Pairs,
}

impl Rope {
    /// From the base and `rope_scaling` (or `rope_parameters`) for heads of which `dims` elements turn. `context` is
    /// how long sequences will be at most.
    pub fn new(theta: f64, scaling: Option<&Config>, dims: i64, context: i64, max: i64) -> Result<Self> {
        if dims % 2 != 0 || !(2..=MAX_TURNED).contains(&dims) || theta.is_nan() || theta <= 1.0 {
            return Err(Diag::input(format!("rotary positions of {dims} elements with base {theta}")));
        }
        let d = dims as f64;
        let base: Vec<f64> = (0..dims / 2).map(|j| theta.powf(-2.0 * j as f64 / d)).collect();
        let mut rope =
            Self { frequencies: base.iter().map(|f| *f as f32).collect(), factor: 1.0, pairs: Pairs::Halves };
        let Some(s) = scaling else { return Ok(rope) };
        let kind = match s.text("rope_type", "")?.as_str() {
            "" => s.text("type", "default")?,
            k => k.to_owned(),
        };
        let scaled: Vec<f64> = match kind.as_str() {
            "default" => return Ok(rope),
            "linear" => {
                let f = factor(s)?;
                base.iter().map(|v| v / f).collect()
            }
            "llama3" => llama3(s, &base)?,
            "yarn" => {
                let (f, attention) = yarn(s, &base, theta, max)?;
                rope.factor = attention;
                f
            }
            "longrope" | "su" => {
                let (f, attention) = longrope(s, &base, context, max)?;
                rope.factor = attention;
                f
            }
            // Grows with sequences longer than the model was made for; up to there nothing changes.
            "dynamic" if context <= max => return Ok(rope),
            other => return Err(Diag::unsupported(format!("rope scaling `{other}`"))),
        };
        rope.frequencies = scaled.iter().map(|f| *f as f32).collect();
        Ok(rope)
    }
    /// Number of elements that turn.
    pub fn turned(&self) -> i64 {
        2 * self.frequencies.len() as i64
    }
    /// Cosines and sines `[tokens, 1, pairs]`.
    fn tables(&self, net: &mut Net) -> Result<[ValueId; 2]> {
        let name = format!("rope {:?} {:?}", self.frequencies, self.factor);
        let made = net.once(name, |net| {
            let dims = vec![net.tokens.clone(), 1.into(), 1.into()];
            let i = net.add(Iota { dtype: DType::I64, dims, axis: 0 }, &[])?;
            let past = net.past.clone();
            let past = net.add(sinter_ir::op::FromDims { values: vec![past], scalar: true }, &[])?;
            let at = net.plus(i, past)?;
            let at = net.cast(at, DType::F32)?;
            let f = net.vector(&self.frequencies)?;
            let angle = net.times(at, f)?;
            let (cos, sin) = (net.unary(U::Cos, angle)?, net.unary(U::Sin, angle)?);
            Ok(vec![net.scaled(cos, self.factor)?, net.scaled(sin, self.factor)?])
        })?;
        <[ValueId; 2]>::try_from(made).map_err(|_| Diag::bug("two tables"))
    }
    /// Turns `x[tokens, heads, size]`.
    pub fn apply(&self, net: &mut Net, x: ValueId) -> Result<ValueId> {
        let [cos, sin] = self.tables(net)?;
        let half = self.frequencies.len() as i64;
        let dims = net.dims(x);
        let size = dims.get(2).and_then(|d| d.as_const()).unwrap_or(0);
        let (a, b) = match self.pairs {
            Pairs::Halves => {
                (net.slice(x, 2, 0.into(), half.into())?, net.slice(x, 2, half.into(), half.into())?)
            }
            Pairs::Neighbours => {
                (net.steps(x, 2, 0.into(), half.into(), 2)?, net.steps(x, 2, 1.into(), half.into(), 2)?)
            }
        };
        let (ac, bs) = (net.times(a, cos)?, net.times(b, sin)?);
        let (bc, az) = (net.times(b, cos)?, net.times(a, sin)?);
        let mut parts = vec![net.minus(ac, bs)?, net.plus(bc, az)?];
        if size > 2 * half {
            parts.push(net.slice(x, 2, (2 * half).into(), (size - 2 * half).into())?);
        }
        net.concat(&parts, 2)
    }
}

fn factor(s: &Config) -> Result<f64> {
    let f = s.float_or("factor", 1.0)?;
    if f > 0.0 { Ok(f) } else { Err(Diag::input(format!("rope scaling by {f}"))) }
}

fn llama3(s: &Config, base: &[f64]) -> Result<Vec<f64>> {
    let (f, low, high) =
        (factor(s)?, s.float_or("low_freq_factor", 1.0)?, s.float_or("high_freq_factor", 4.0)?);
    let old = s.float_or("original_max_position_embeddings", 8192.0)?;
    if high <= low {
        return Err(Diag::input(format!("rope scaling between the factors {low} and {high}")));
    }
    let one = |&v: &f64| {
        let turns = old * v / (2.0 * std::f64::consts::PI);
        let t = ((turns - low) / (high - low)).clamp(0.0, 1.0);
        (1.0 - t) * v / f + t * v
    };
    Ok(base.iter().map(one).collect())
}

/// Frequencies and the factor of the tables.
fn yarn(s: &Config, base: &[f64], theta: f64, max: i64) -> Result<(Vec<f64>, f32)> {
    let f = factor(s)?;
    let old = s.float_or("original_max_position_embeddings", max as f64)?;
    let d = 2.0 * base.len() as f64;
    let at = |turns: f64| d * (old / (turns * 2.0 * std::f64::consts::PI)).ln() / (2.0 * theta.ln());
    let (mut low, mut high) = (at(s.float_or("beta_fast", 32.0)?), at(s.float_or("beta_slow", 1.0)?));
    if s.flag("truncate", true)? {
        (low, high) = (low.floor(), high.ceil());
    }
    (low, high) = (low.max(0.0), high.min(d - 1.0));
    let span = if high > low { high - low } else { 0.001 };
    let one = |(j, &v): (usize, &f64)| {
        let ramp = ((j as f64 - low) / span).clamp(0.0, 1.0);
        v / f * ramp + v * (1.0 - ramp)
    };
    let get = |m: f64| if f <= 1.0 { 1.0 } else { 0.1 * m * f.ln() + 1.0 };
    let attention =
        match (s.opt_float("attention_factor")?, s.opt_float("mscale")?, s.opt_float("mscale_all_dim")?) {
            (Some(a), ..) => a,
            (None, Some(m), Some(all)) if m != 0.0 && all != 0.0 => get(m) / get(all),
            _ => get(1.0),
        };
    Ok((base.iter().enumerate().map(one).collect(), attention as f32))
}

/// One of two lists of divisors, by how long sequences will be.
fn longrope(s: &Config, base: &[f64], context: i64, max: i64) -> Result<(Vec<f64>, f32)> {
    let old = s.float_or("original_max_position_embeddings", max as f64)?;
    let ext = s.floats(if context as f64 > old { "long_factor" } else { "short_factor" })?;
    if ext.len() != base.len() || ext.iter().any(|e| *e <= 0.0) {
        return Err(Diag::input(format!("{} rope factors for {} pairs", ext.len(), base.len())));
    }
    let f = match s.opt_float("factor")? {
        Some(f) => f,
        None => max as f64 / old,
    };
    let attention = match s.opt_float("attention_factor")? {
        Some(a) => a,
        None if f <= 1.0 => 1.0,
        None => (1.0 + f.ln() / old.ln()).sqrt(),
    };
    Ok((base.iter().zip(&ext).map(|(v, e)| v / e).collect(), attention as f32))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn close(got: f32, want: f64) -> bool {
        (f64::from(got) - want).abs() <= 1e-6 * want
    }

    #[test]
    fn llama3_blends_between_the_two_wavelengths() {
        let s = br#"{"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                     "original_max_position_embeddings": 8192}"#;
        let r = Rope::new(5e5, Some(&Config::parse(s).unwrap()), 64, 8192, 131_072).unwrap();
        let want =
            [(0, 1.0), (1, 0.663_601_24), (14, 0.003_211_446), (15, 0.001_290_547_9), (16, 0.000_429_556_8)];
        want.iter().for_each(|&(i, w)| assert!(close(r.frequencies[i], w), "{i}: {}", r.frequencies[i]));
        assert!(close(r.frequencies[31], 9.418_306_7e-8));
    }

    #[test]
    fn yarn_ramps_and_scales_the_tables() {
        let s = br#"{"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}"#;
        let r = Rope::new(1e6, Some(&Config::parse(s).unwrap()), 128, 32768, 32768).unwrap();
        let want =
            [(24, 0.005_375_321_5), (32, 0.000_602_941_18), (40, 4.445_698_5e-5), (63, 3.102_344_4e-7)];
        want.iter().for_each(|&(i, w)| assert!(close(r.frequencies[i], w), "{i}: {}", r.frequencies[i]));
        assert!(close(r.factor, 1.138_629_436));
    }

    #[test]
    fn longrope_divides_by_the_list_for_the_length() {
        let s = br#"{"type": "longrope", "short_factor": [1.0, 2.0], "long_factor": [4.0, 8.0],
                     "original_max_position_embeddings": 4096}"#;
        let s = Config::parse(s).unwrap();
        let short = Rope::new(1e4, Some(&s), 4, 4096, 131_072).unwrap();
        let long = Rope::new(1e4, Some(&s), 4, 4097, 131_072).unwrap();
        assert_eq!((short.frequencies[1], long.frequencies[1]), (0.01 / 2.0, 0.01 / 8.0));
        assert!(close(long.factor, (1.0 + 32f64.ln() / 4096f64.ln()).sqrt()) && short.factor == long.factor);
        assert!(Rope::new(1e4, Some(&s), 8, 1, 1).is_err(), "a list of the wrong length");
        assert!(Rope::new(1e4, None, 3, 1, 1).is_err() && Rope::new(f64::NAN, None, 4, 1, 1).is_err());
    }
}

//! SpinQuant: the rotation of a model's stream is learned, on the manifold of orthogonal matrices.
//!
//! Where its authors follow the gradient of cross-entropy through the rounded model, this follows an estimate of what
//! rounding adds to the outputs of all layers that read the stream, from [`steps`](super::steps), whatever they meet: the
//! gradient goes to the largest and the smallest number of each block. The descent's steps are Cayley transforms of the gradient's skew part, as theirs
//! (`Y = P + t/2 W (P + Y)`, iterated); they begin at the best of some random Hadamard transforms.

use super::hadamard::Transform;
use super::rotation::Rotation;
use super::stats::dot;
use super::steps::Goal;

/// Steps of the descent.
const STEPS: usize = 60;
/// Rows that a step looks at, of all layers together.
const BATCH: usize = 1024;
/// Random Hadamard transforms among which the first rotation is chosen.
const SEEDS: u64 = 4;
/// Iterations of a Cayley transform.
const ITERATIONS: usize = 3;

/// A product that reads the stream.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    /// What it reads: rows of tokens, one behind the other.
    pub rows: Vec<f32>,
    /// Rows of its weights.
    pub weights: Vec<f32>,
}

/// A row with what the square of its steps counts.
struct Sample<'a> {
    row: &'a [f32],
    weight: f32,
    input: bool,
}

fn square(v: &[f32]) -> f64 {
    v.iter().map(|v| f64::from(v * v)).sum()
}

/// All rows of all layers, each with what its noise adds to that of outputs, relative to the outputs.
fn samples<'a>(k: usize, layers: &'a [Layer]) -> Vec<Sample<'a>> {
    let mut all = vec![];
    for l in layers {
        let tokens = (l.rows.len() / k.max(1)).max(1) as f64;
        let mut signal = 0f64;
        for x in l.rows.chunks_exact(k.max(1)) {
            signal += l.weights.chunks_exact(k).map(|w| f64::from(dot(x, w)).powi(2)).sum::<f64>();
        }
        let scale = tokens / signal.max(f64::MIN_POSITIVE) / 12.0 / k as f64;
        let of_inputs = (scale * square(&l.weights) / tokens) as f32;
        let of_weights = (scale * square(&l.rows) / tokens) as f32;
        let each = |row: &'a [f32], weight, input| Sample { row, weight, input };
        all.extend(l.rows.chunks_exact(k.max(1)).map(|r| each(r, of_inputs, true)));
        all.extend(l.weights.chunks_exact(k.max(1)).map(|r| each(r, of_weights, false)));
    }
    all
}

/// Noise of rows rotated by `p` (`z = P x`), and its gradient where one is wanted.
fn noise<'a>(
    p: &[f32],
    k: usize,
    goal: &Goal,
    rows: impl Iterator<Item = &'a Sample<'a>>,
    mut gradient: Option<&mut [f32]>,
) -> f64 {
    let (inputs, weights) = (goal.inputs(k), goal.weights(k));
    let mut sum = 0f64;
    let mut z = vec![0f32; k];
    for s in rows {
        let span = match (s.input, &inputs) {
            (true, Some(span)) => span,
            (true, None) => continue,
            (false, _) => &weights,
        };
        z.iter_mut().zip(p.chunks_exact(k)).for_each(|(z, p)| *z = dot(p, s.row));
        for (b, part) in z.chunks(span.share).enumerate() {
            let (step, ends) = span.step(part);
            let weight = s.weight * part.len() as f32;
            sum += f64::from(weight * step * step);
            for (i, by) in ends {
                let by = 2.0 * weight * step * by;
                let row = gradient.as_mut().and_then(|g| g.get_mut((b * span.share + i) * k..)?.get_mut(..k));
                if let Some(g) = row.filter(|_| by != 0.0) {
                    g.iter_mut().zip(s.row).for_each(|(g, x)| *g += by * x);
                }
            }
        }
    }
    sum
}

/// `a b^T` for square matrices.
fn times_turned(a: &[f32], b: &[f32], n: usize) -> Vec<f32> {
    a.chunks_exact(n).flat_map(|a| b.chunks_exact(n).map(|b| dot(a, b))).collect()
}

fn turned(a: &[f32], n: usize) -> Vec<f32> {
    (0..n * n).map(|i| a[i % n * n + i / n]).collect()
}

/// One step down a gradient: `rate` of the longest that the iteration allows.
fn step(p: &mut [f32], n: usize, gradient: &[f32], rate: f32) {
    let half = times_turned(gradient, p, n);
    let skew: Vec<f32> = half.iter().zip(turned(&half, n)).map(|(a, b)| b - a).collect();
    let norm = skew.chunks_exact(n).map(|r| r.iter().map(|v| v.abs()).sum::<f32>()).fold(0f32, f32::max);
    if norm <= 0.0 || !norm.is_finite() {
        return;
    }
    let t = rate / norm;
    let start = p.to_vec();
    // The first guess is the straight line.
    let mut sum: Vec<f32> = start.iter().map(|v| 2.0 * v).collect();
    for _ in 0..ITERATIONS {
        let moved = times_turned(&skew, &turned(&sum, n), n);
        for (((p, s), m), sum) in p.iter_mut().zip(&start).zip(moved).zip(sum.iter_mut()) {
            *p = s + t / 2.0 * m;
            *sum = *p + s;
        }
    }
}

/// Rows made orthogonal again: rounding errors of many steps add up.
fn orthogonal(p: &mut [f32], n: usize) {
    for i in 0..n {
        let (before, rest) = p.split_at_mut(i * n);
        let row = &mut rest[..n];
        for other in before.chunks_exact(n) {
            let along = dot(other, row);
            row.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
        }
        let norm = square(row).sqrt() as f32;
        row.iter_mut().for_each(|v| *v /= norm);
    }
}

/// Descends from a rotation given as `P`, the transposed matrix; keeps the first one where the last is not better.
pub fn descend(mut p: Vec<f32>, k: usize, layers: &[Layer], goal: &Goal, told: &dyn Fn(usize)) -> Vec<f32> {
    let all = samples(k, layers);
    let stride = all.len().div_ceil(BATCH).max(1);
    // What is compared is not what the last step saw.
    let test = |p: &[f32]| noise(p, k, goal, all.iter().skip(stride / 2).step_by(stride), None);
    let (first, begun) = (p.clone(), test(&p));
    for i in 0..STEPS {
        told(i);
        let mut gradient = vec![0f32; k * k];
        noise(&p, k, goal, all.iter().skip(i % stride).step_by(stride), Some(&mut gradient));
        let rate = 0.5 * (1.0 + (std::f32::consts::PI * i as f32 / STEPS as f32).cos());
        step(&mut p, k, &gradient, rate);
    }
    orthogonal(&mut p, k);
    if test(&p) < begun { p } else { first }
}

/// Learns the rotation of a stream of `k` channels.
pub fn learn(k: usize, layers: &[Layer], goal: &Goal, told: &dyn Fn(usize)) -> Rotation {
    let all = samples(k, layers);
    let stride = all.len().div_ceil(BATCH).max(1);
    let start = |seed: u64| {
        let m = Rotation::Fast(Transform::grouped(k, goal.inputs.share(k), 256).randomised(seed)).matrix(k);
        turned(&m, k)
    };
    let mut best: Option<(f64, Vec<f32>)> = None;
    for seed in 1..=SEEDS {
        let p = start(seed);
        let n = noise(&p, k, goal, all.iter().step_by(stride), None);
        if best.as_ref().is_none_or(|b| n < b.0) {
            best = Some((n, p));
        }
    }
    let p = best.map_or_else(|| start(1), |b| b.1);
    let p = descend(p, k, layers, goal, told);
    Rotation::Dense(k, turned(&p, k))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::inputs::Inputs;
    use super::super::{Scheme, samples};
    use super::*;

    fn goal() -> Goal {
        let inputs = Inputs { block: Some(0), nibbles: Some(1.0) };
        Goal { inputs, weights: Scheme { bits: 4, group: 0, ..Scheme::default() } }
    }
    fn layers(k: usize) -> Vec<Layer> {
        let one = |seed: u64| {
            let weights = samples::weights(8, k).to_f32().unwrap();
            let mut rows = samples::inputs(seed, 40, k);
            rows.iter_mut().skip(3).step_by(k).for_each(|v| *v *= 20.0);
            Layer { rows, weights }
        };
        vec![one(1), one(2)]
    }
    fn identity(k: usize) -> Vec<f32> {
        (0..k * k).map(|i| f32::from(u8::from(i % (k + 1) == 0))).collect()
    }

    #[test]
    fn what_is_learned_is_orthogonal_and_better_than_a_hadamard_transform() {
        let (k, layers) = (24, layers(24));
        let Rotation::Dense(_, r) = learn(k, &layers, &goal(), &|_| {}) else { panic!() };
        let unit = times_turned(&r, &r, k);
        assert!(unit.iter().zip(identity(k)).all(|(a, b)| (a - b).abs() < 1e-5));
        let all = samples(k, &layers);
        let of = |r: &[f32]| noise(&turned(r, k), k, &goal(), all.iter(), None);
        let hadamard = of(&Rotation::Fast(Transform::new(k, 256).randomised(1)).matrix(k));
        println!("own {}, hadamard {hadamard}, learned {}", of(&identity(k)), of(&r));
        assert!(hadamard < 0.75 * of(&identity(k)) && of(&r) < 0.6 * hadamard);
        // It is what rounding does, not only its estimate.
        let off = |r: &[f32]| {
            let rotation = Rotation::Dense(k, r.to_vec());
            let mut sum = 0.0;
            for row in layers[0].rows.chunks(k) {
                let mut x = row.to_vec();
                rotation.apply(&mut x);
                let exact = x.clone();
                goal().inputs.round(&mut x);
                sum += x.iter().zip(exact).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
            }
            sum
        };
        assert!(off(&r) < 0.9 * off(&identity(k)));
    }

    #[test]
    fn the_gradient_is_that_of_the_noise() {
        let (k, layers) = (8, layers(8));
        let all = samples(k, &layers);
        let p = turned(&Rotation::Fast(Transform::new(k, 256).randomised(5)).matrix(k), k);
        let mut gradient = vec![0f32; k * k];
        noise(&p, k, &goal(), all.iter(), Some(&mut gradient));
        for i in [0, 9, 30, 63] {
            let at = |by: f32| {
                let mut p = p.clone();
                p[i] += by;
                noise(&p, k, &goal(), all.iter(), None)
            };
            let slope = (at(1e-3) - at(-1e-3)) / 2e-3;
            assert!(
                (slope - f64::from(gradient[i])).abs() < 0.02 * slope.abs() + 1e-6,
                "{i}: {slope}, {}",
                gradient[i]
            );
        }
    }

    #[test]
    fn two_channels_meet_half_way() {
        // Of one strong channel, the best is 45 degrees, from wherever it starts.
        let bytes = Goal { inputs: Inputs { block: Some(0), nibbles: None }, ..goal() };
        let l = Layer { rows: vec![1.0, 0.0, -2.0, 0.0], weights: vec![1e-3, 0.0] };
        let (a, b) = (0.3f32.cos(), 0.3f32.sin());
        let p = descend(vec![a, -b, b, a], 2, &[l], &bytes, &|_| {});
        assert!((p[0].abs() - p[2].abs()).abs() < 0.1, "{p:?}");
    }
}

//! Numbers for tests of methods.

use sinter_ir::Tensor;

struct Random(u64);

impl Random {
    /// Evenly in -0.5..0.5.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1 << 24) as f32 - 0.5
    }
}

/// Numbers that look like weights.
#[allow(clippy::unwrap_used)]
pub fn weights(n: usize, k: usize) -> Tensor {
    let mut r = Random(1);
    let v: Vec<f32> = (0..n * k).map(|_| r.next() + r.next() + r.next() * r.next()).collect();
    Tensor::f32s(vec![n, k], &v).unwrap()
}

/// Rows of inputs whose channels are correlated and of different strength.
pub fn inputs(seed: u64, rows: usize, k: usize) -> Vec<f32> {
    let mut r = Random(seed.wrapping_mul(77) + 5);
    let hidden = k / 4 + 1;
    let mix: Vec<f32> = (0..hidden * k).map(|_| r.next()).collect();
    let strength: Vec<f32> = (0..k).map(|_| 0.2 + 4.0 * (r.next() + 0.5).powi(4)).collect();
    let mut out = Vec::with_capacity(rows * k);
    for _ in 0..rows {
        let z: Vec<f32> = (0..hidden).map(|_| r.next()).collect();
        for j in 0..k {
            let x: f32 = z.iter().enumerate().map(|(i, z)| z * mix[i * k + j]).sum();
            out.push((x + 0.2 * r.next()) * strength[j]);
        }
    }
    out
}

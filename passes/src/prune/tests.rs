//! Numbers by hand, and what must hold for any.

use super::mask::Pattern;
use super::*;
use crate::compress::samples;
use sinter_ir::Tensor;

const TWO_OF_FOUR: Pattern = Pattern::Few { zeros: 2, of: 4 };

/// Weights and inputs by rows of channels.
fn case() -> (Vec<f32>, Statistics) {
    let w = [0.9, -0.4, 0.3, 0.75, -0.2, 0.65, -0.8, 0.1, 0.33, 0.12, 0.58, -0.47, -0.95, 0.27, 0.41, 0.22];
    let x = [
        [1.0, 2.0, -1.0, 0.5, 3.0, -2.0, 1.0, 0.0],
        [0.9, 1.8, -1.2, 0.4, 2.5, -2.2, 1.1, 0.2],
        [-0.3, 0.1, 0.4, -0.2, 0.6, 0.5, -0.1, 0.3],
        [2.0, -1.0, 1.0, 3.0, -2.0, 1.0, 0.5, -1.5],
    ];
    let rows: Vec<f32> = (0..8).flat_map(|t| x.map(|c| c[t])).collect();
    (w.to_vec(), Statistics::of_rows(4, &rows).unwrap())
}

fn kept(w: &[f32]) -> Vec<u8> {
    w.iter().map(|w| u8::from(*w != 0.0)).collect()
}

fn loss(s: &Statistics, w: &[f32], new: &[f32]) -> f64 {
    s.difference(w, new).noise * s.rows as f64
}

fn sparse(w: &[f32], s: &Statistics, pattern: Pattern) -> Vec<f32> {
    sparsegpt::prune(w, &Factor::new(s, false).unwrap(), pattern, &sparsegpt::in_turn).unwrap()
}

#[test]
fn two_of_four_by_hand() {
    let (w, s) = case();
    let m = magnitude::prune(&w, 4, TWO_OF_FOUR);
    assert!((loss(&s, &w, &m) - 9.892272).abs() < 1e-4);
    let m = wanda::prune(&w, &s, TWO_OF_FOUR);
    assert_eq!(kept(&m), [1, 0, 0, 1, 1, 1, 0, 0, 1, 0, 0, 1, 1, 1, 0, 0]);
    assert!((loss(&s, &w, &m) - 5.685701).abs() < 1e-4);
    let m = sparse(&w, &s, TWO_OF_FOUR);
    assert_eq!(kept(&m), [0, 1, 0, 1, 0, 1, 1, 0, 0, 0, 1, 1, 0, 1, 0, 1]);
    assert!((loss(&s, &w, &m) - 4.366489).abs() < 1e-4);
    let want = [
        0.0, 0.567101, 0.0, 0.74079, 0.0, 0.435089, -0.896063, 0.0, 0.0, 0.0, 0.276363, -0.636928, 0.0,
        -0.750829, 0.0, 0.162362,
    ];
    assert!(m.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-5), "{m:?}");
}

#[test]
fn making_up_for_zeros_beats_choosing_them_well_and_that_beats_size() {
    let (n, k) = (24, 160);
    let w = samples::weights(n, k).to_f32().unwrap();
    let block = Pattern::Blocks { rows: 8, columns: 1, percent: 50 };
    for pattern in [Pattern::Part(50), TWO_OF_FOUR, block] {
        let mut sums = [0.0; 3];
        for seed in 0..5 {
            let s = Statistics::of_rows(k, &samples::inputs(seed, 400, k)).unwrap();
            let all =
                [magnitude::prune(&w, k, pattern), wanda::prune(&w, &s, pattern), sparse(&w, &s, pattern)];
            for (sum, new) in sums.iter_mut().zip(&all) {
                let zeros = new.iter().filter(|w| **w == 0.0).count();
                assert_eq!(zeros, n * k / 2, "{pattern}");
                *sum += loss(&s, &w, new);
            }
            // What stays is as it was, unless something has to be made up for.
            assert!(all[1].iter().zip(&w).all(|(p, w)| *p == 0.0 || p == w));
        }
        assert!(sums[2] < 0.8 * sums[1] && sums[1] < 0.9 * sums[0], "{pattern}: {sums:?}");
    }
}

#[test]
fn inputs_that_know_nothing_of_each_other_leave_weights_alone() {
    let (n, k) = (5, 96);
    let w = samples::weights(n, k).to_f32().unwrap();
    let mut gram = vec![0f32; k * k];
    (0..k).for_each(|i| gram[i * (k + 1)] = 3.0);
    let s = Statistics::new(1, gram, vec![1.0; k]).unwrap();
    // Equal inputs: what is least worth is what is smallest.
    assert_eq!(sparse(&w, &s, TWO_OF_FOUR), wanda::prune(&w, &s, TWO_OF_FOUR));
    assert_eq!(sparse(&w, &s, Pattern::Part(40)), magnitude::prune(&w, k, Pattern::Part(40)));
}

#[test]
fn channels_that_no_text_reached_go_first() {
    let k = 32;
    let w = samples::weights(4, k).to_f32().unwrap();
    let mut x = samples::inputs(1, 100, k);
    x.iter_mut().skip(5).step_by(k).for_each(|v| *v = 0.0);
    let s = Statistics::of_rows(k, &x).unwrap();
    for new in [wanda::prune(&w, &s, Pattern::Part(10)), sparse(&w, &s, Pattern::Part(10))] {
        assert!(new.iter().skip(5).step_by(k).all(|w| *w == 0.0));
    }
    let bad = [f32::NAN; 32];
    let f = Factor::new(&s, false).unwrap();
    assert!(sparsegpt::prune(&bad, &f, TWO_OF_FOUR, &sparsegpt::in_turn).is_err());
    assert!(sparsegpt::prune(&w, &Factor::new(&s, true).unwrap(), TWO_OF_FOUR, &sparsegpt::in_turn).is_err());
}

#[test]
fn tensors_on_a_shelf_are_what_they_were() {
    let t = Tensor::f32s(vec![2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let kept = Shelf::new(None).keep(t.clone()).unwrap();
    assert!(kept.is_deferred());
    assert_eq!(kept.load().unwrap(), t);
    assert_eq!(turned(&numbers(&t).unwrap(), 3), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
}

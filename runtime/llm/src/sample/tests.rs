//! Every filter against small cases that can be worked out by hand, and draws against their probabilities.

#![allow(clippy::unwrap_used)]

use super::*;

/// Logits of given probabilities.
fn logits(p: &[f64]) -> Vec<f32> {
    p.iter().map(|p| p.ln() as f32).collect()
}

/// Tokens that are left after all filters.
fn left(settings: Settings, logits: &[f32]) -> Vec<u32> {
    let mut s = Sampler::new(
        Settings {
            temperature: if settings.temperature == 0.0 { 1.0 } else { settings.temperature },
            ..settings
        },
        logits.len(),
    )
    .unwrap();
    s.pick(logits).unwrap();
    let mut ids: Vec<u32> = s.candidates.iter().map(|c| c.1).collect();
    ids.sort_unstable();
    ids
}

const P: [f64; 5] = [0.1, 0.4, 0.05, 0.25, 0.2];

#[test]
fn greedy_takes_the_first_of_the_best() {
    let mut s = Sampler::new(Settings::default(), 4).unwrap();
    assert_eq!(s.choose(&[1.0, 3.0, 3.0, -1.0]).unwrap(), 1);
    assert_eq!(s.choose(&[f32::NEG_INFINITY; 3]).unwrap(), 0);
    assert!(s.choose(&[0.0, f32::NAN]).is_err());
    assert!(s.choose(&[]).is_err());
}

#[test]
fn top_k() {
    let k = |top_k| left(Settings { top_k, ..Settings::default() }, &logits(&P));
    assert_eq!([k(1), k(2), k(3)], [vec![1], vec![1, 3], vec![1, 3, 4]]);
    assert!([k(0), k(5), k(99)].iter().all(|v| *v == [0, 1, 2, 3, 4]));
    // Of equal ones the lower tokens stay.
    assert_eq!(left(Settings { top_k: 2, ..Settings::default() }, &[1.0; 6]), [0, 1]);
}

#[test]
fn top_p() {
    let p = |top_p| left(Settings { top_p, ..Settings::default() }, &logits(&P));
    assert_eq!([p(0.01), p(0.39)], [vec![1], vec![1]]);
    assert_eq!([p(0.41), p(0.64)], [vec![1, 3], vec![1, 3]]);
    assert_eq!([p(0.66), p(0.84)], [vec![1, 3, 4], vec![1, 3, 4]]);
    assert_eq!([p(0.86), p(0.96)], [vec![0, 1, 3, 4], vec![0, 1, 2, 3, 4]]);
    // After top-k the mass is that of what is left: 0.4 of 0.65 and 0.25 of 0.65.
    let both = |top_p| left(Settings { top_k: 2, top_p, ..Settings::default() }, &logits(&P));
    assert_eq!([both(0.6), both(0.63)], [vec![1], vec![1, 3]]);
}

/// More candidates than are sorted at first: the same as sorting them all.
#[test]
fn top_p_of_many() {
    let mut rng = Rng::new(5);
    for n in [63, 64, 65, 257, 3000] {
        let logits: Vec<f32> = (0..n).map(|_| (rng.unit() * 3.0) as f32).collect();
        for top_p in [0.01, 0.3, 0.9, 0.999] {
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
            let w = |i: usize| f64::from(logits[i]).exp();
            let mass = f64::from(top_p) * (0..n).map(w).sum::<f64>();
            let mut sum = 0.0;
            let mut want: Vec<u32> = vec![];
            for i in order {
                if sum >= mass {
                    break;
                }
                sum += w(i);
                want.push(i as u32);
            }
            want.sort_unstable();
            assert_eq!(left(Settings { top_p, ..Settings::default() }, &logits), want, "{n} {top_p}");
        }
    }
}

#[test]
fn min_p() {
    let p = |min_p| left(Settings { min_p, ..Settings::default() }, &logits(&P));
    assert_eq!([p(0.12), p(0.13)], [vec![0, 1, 2, 3, 4], vec![0, 1, 3, 4]]);
    assert_eq!([p(0.26), p(0.51), p(0.63), p(1.0)], [vec![1, 3, 4], vec![1, 3], vec![1], vec![1]]);
    // Temperature comes first: (0.25 / 0.4)^2 = 0.39, (0.2 / 0.4)^2 = 0.25.
    let warm = Settings { min_p: 0.3, temperature: 0.5, ..Settings::default() };
    assert_eq!(left(warm, &logits(&P)), [1, 3]);
}

#[test]
fn penalties() {
    let run = |s: Settings, prompt: &[u32], generated: &[u32]| {
        let mut x = Sampler::new(s, 4).unwrap();
        x.prompt(prompt);
        generated.iter().for_each(|&t| x.seen.add(t, true));
        x.pick(&[2.0, -1.0, 4.0, 0.5]).unwrap();
        x.candidates.iter().map(|c| c.0).collect::<Vec<_>>()
    };
    let d = Settings::default;
    let repetition = Settings { repetition_penalty: 2.0, ..d() };
    assert_eq!(run(repetition, &[1, 1], &[2]), [2.0, -2.0, 2.0, 0.5]);
    // Only what was generated counts.
    let presence = Settings { presence_penalty: 0.75, ..d() };
    assert_eq!(run(presence, &[0], &[2, 2, 3]), [2.0, -1.0, 3.25, -0.25]);
    let frequency = Settings { frequency_penalty: 0.5, ..d() };
    assert_eq!(run(frequency, &[0], &[2, 2, 3, 9]), [2.0, -1.0, 3.0, 0.0]);
    // The best one changes, and is forgotten with the rest.
    let mut s = Sampler::new(Settings { presence_penalty: 3.0, ..d() }, 2).unwrap();
    let picks: Vec<u32> = (0..4).map(|_| s.choose(&[1.0, 3.0]).unwrap()).collect();
    assert_eq!(picks, [1, 0, 1, 1]);
    s.reset();
    assert_eq!(s.choose(&[1.0, 3.0]).unwrap(), 1);
}

/// Draws follow the probabilities: the deviation of 20,000 draws stays within five standard deviations.
#[test]
fn draws() {
    for (settings, want) in [
        (Settings { temperature: 1.0, ..Settings::default() }, P),
        // Squared and normalised: 0.27 is the sum of the squares.
        (Settings { temperature: 0.5, seed: 7, ..Settings::default() }, P.map(|p| p * p / 0.275)),
        (
            Settings { temperature: 1.0, top_k: 2, seed: 9, ..Settings::default() },
            [0.0, 0.4 / 0.65, 0.0, 0.25 / 0.65, 0.0],
        ),
    ] {
        let mut s = Sampler::new(settings.clone(), 5).unwrap();
        let mut counts = [0f64; 5];
        let n = 20_000;
        for _ in 0..n {
            counts[s.choose(&logits(&P)).unwrap() as usize] += 1.0;
        }
        for (c, p) in counts.iter().zip(want) {
            let deviation = (f64::from(n) * p * (1.0 - p)).sqrt();
            assert!((c - f64::from(n) * p).abs() <= 5.0 * deviation, "{settings:?}: {counts:?}");
        }
    }
}

/// A seed means the same on every machine: these come from a program in another language.
#[test]
fn seeds_are_for_ever() {
    let mut rng = Rng::new(42);
    let logits: Vec<f32> = (0..100).map(|_| (rng.unit() * 6.0) as f32).collect();
    let draw = |s: Settings| {
        let mut s = Sampler::new(Settings { temperature: 0.8, ..s }, 100).unwrap();
        (0..8).map(|_| s.choose(&logits).unwrap()).collect::<Vec<u32>>()
    };
    let d = Settings::default;
    assert_eq!(draw(d()), [84, 49, 5, 91, 20, 38, 26, 70]);
    assert_eq!(draw(Settings { seed: 1, top_k: 10, ..d() }), [28, 70, 5, 20, 20, 70, 58, 20]);
    assert_eq!(draw(Settings { seed: 2, top_p: 0.7, min_p: 0.05, ..d() }), [68, 88, 68, 31, 20, 20, 88, 88]);
}

#[test]
fn values_that_mean_nothing() {
    let d = Settings::default;
    for bad in [
        Settings { temperature: -1.0, ..d() },
        Settings { temperature: f32::NAN, ..d() },
        Settings { top_p: 0.0, ..d() },
        Settings { top_p: 1.5, ..d() },
        Settings { min_p: 2.0, ..d() },
        Settings { repetition_penalty: 0.0, ..d() },
        Settings { frequency_penalty: f32::INFINITY, ..d() },
    ] {
        assert!(Sampler::new(bad.clone(), 4).is_err(), "{bad:?}");
    }
    let g = crate::info::Generation { do_sample: Some(true), top_p: Some(0.9), ..Default::default() };
    assert_eq!(Settings::of(&g), Settings { temperature: 1.0, top_p: 0.9, ..d() });
    assert_eq!(Settings::of(&crate::info::Generation { temperature: Some(0.7), ..Default::default() }), d());
}

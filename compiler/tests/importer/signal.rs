//! Fourier transforms of awkward lengths against the definition, random numbers, sequences.

use crate::build::{F32, float, graph, i64s, int, model, node, subgraph, value};
use crate::run;
use sinter::frontend::onnx::proto::ModelProto;
use sinter_ir::Tensor;
use std::f64::consts::TAU;

fn signal(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * i % 17) as f32 - 8.0) / 4.0 + (i % 3) as f32).collect()
}

fn dft_model(n: i64, attributes: &[(&str, i64)], parts: i64) -> ModelProto {
    let attrs = attributes.iter().map(|(k, v)| int(k, *v)).collect();
    let nodes = vec![node("DFT", &["x", "", "axis"], &["y"], attrs)];
    let dims = [1, n, parts];
    let held = vec![i64s("axis", &[], &[1])];
    let mut m = model(graph(vec![value("x", F32, &dims)], vec![value("y", F32, &[1, -1, -1])], held, nodes));
    m.opset_import[0].version = 20;
    m
}

/// The definition, in f64.
fn defined(x: &[f32], bins: usize) -> Vec<f64> {
    let n = x.len();
    let bin = |k: usize| {
        let angle = |j: usize| TAU * (j * k % n) as f64 / n as f64;
        let re: f64 = x.iter().enumerate().map(|(j, v)| f64::from(*v) * angle(j).cos()).sum();
        let im: f64 = x.iter().enumerate().map(|(j, v)| -f64::from(*v) * angle(j).sin()).sum();
        [re, im]
    };
    (0..bins).flat_map(bin).collect()
}

fn close(got: &Tensor, want: &[f64], scale: f64) {
    let g = got.to_f64().unwrap();
    assert_eq!(g.len(), want.len());
    for (i, (g, w)) in g.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= 2e-6 * scale, "element {i}: {g}, expected {w}");
    }
}

/// One product, a prime above its limit, products of many factors, a factor that is a large prime.
#[test]
fn transforms_of_every_kind_of_length() {
    for n in [1usize, 2, 15, 64, 67, 96, 400, 512, 1000, 2 * 331] {
        let x = signal(n);
        let input = Tensor::f32s(vec![1, n, 1], &x).unwrap();
        let scale = x.iter().map(|v| f64::from(v.abs())).sum::<f64>();
        let whole = run(&dft_model(n as i64, &[], 1), std::slice::from_ref(&input));
        assert_eq!(whole[0].shape(), [1, n, 2]);
        close(&whole[0], &defined(&x, n), scale);
        let half = run(&dft_model(n as i64, &[("onesided", 1)], 1), &[input]);
        close(&half[0], &defined(&x, n / 2 + 1), scale);
        // And back, to the samples themselves.
        let back = run(&dft_model(n as i64, &[("inverse", 1)], 2), &whole);
        let got: Vec<f32> = back[0].to_f32().unwrap().chunks(2).map(|c| c[0]).collect();
        let want: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
        close(&Tensor::f32s(vec![n], &got).unwrap(), &want, 4.0);
    }
}

/// A length that is known only at run time.
#[test]
fn transforms_of_open_lengths() {
    let m = dft_model(-1, &[("onesided", 1)], 1);
    for n in [5usize, 32, 96] {
        let x = signal(n);
        let y = run(&m, &[Tensor::f32s(vec![1, n, 1], &x).unwrap()]);
        close(&y[0], &defined(&x, n / 2 + 1), x.iter().map(|v| f64::from(v.abs())).sum());
    }
}

#[test]
fn large_lengths_are_a_stated_limit() {
    let m = dft_model(10_007, &[], 1);
    let e = crate::import(&m).unwrap_err();
    assert!(e[0].message.contains("10007"), "{e:?}");
    let e = crate::import(&dft_model(1 << 21, &[], 1)).unwrap_err();
    assert!(e[0].message.contains("at most 1048576"), "{e:?}");
}

fn random(op: &str, attrs: Vec<sinter::frontend::onnx::proto::AttributeProto>, n: i64) -> Vec<f64> {
    let nodes = vec![node(op, &["x"], &["y"], attrs)];
    let m = model(graph(vec![value("x", F32, &[n])], vec![value("y", F32, &[n])], vec![], nodes));
    let x = Tensor::f32s(vec![n as usize], &vec![0.25; n as usize]).unwrap();
    run(&m, &[x])[0].to_f64().unwrap()
}

fn moments(v: &[f64]) -> (f64, f64) {
    let mean = v.iter().sum::<f64>() / v.len() as f64;
    (mean, v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / v.len() as f64)
}

#[test]
fn random_numbers_have_their_distribution_and_seed() {
    const N: i64 = 20_000;
    let u = random("RandomUniformLike", vec![float("low", -1.0), float("high", 3.0), float("seed", 5.0)], N);
    let (mean, var) = moments(&u);
    assert!((mean - 1.0).abs() < 0.05 && (var - 16.0 / 12.0).abs() < 0.05, "{mean} {var}");
    assert!(u.iter().all(|v| (-1.0..=3.0).contains(v)));
    let n = random("RandomNormalLike", vec![float("mean", 2.0), float("scale", 0.5), float("seed", 5.0)], N);
    let (mean, var) = moments(&n);
    assert!((mean - 2.0).abs() < 0.02 && (var - 0.25).abs() < 0.02, "{mean} {var}");
    let b = random("Bernoulli", vec![float("seed", 5.0)], N);
    let (mean, _) = moments(&b);
    assert!((mean - 0.25).abs() < 0.02 && b.iter().all(|v| *v == 0.0 || *v == 1.0), "{mean}");
    let again =
        random("RandomUniformLike", vec![float("low", -1.0), float("high", 3.0), float("seed", 5.0)], N);
    assert_eq!(u, again);
    let other =
        random("RandomUniformLike", vec![float("low", -1.0), float("high", 3.0), float("seed", 6.0)], N);
    assert_ne!(u, other);
}

#[test]
fn multinomial_draws_by_log_probability() {
    let nodes =
        vec![node("Multinomial", &["x"], &["y"], vec![int("sample_size", 20_000), float("seed", 1.0)])];
    let m = model(graph(vec![value("x", F32, &[1, 3])], vec![value("y", 6, &[1, 20_000])], vec![], nodes));
    let x = Tensor::f32s(vec![1, 3], &[0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()]).unwrap();
    let y = run(&m, &[x])[0].to_i64().unwrap();
    for (class, p) in [(0, 0.5), (1, 0.3), (2, 0.2)] {
        let share = y.iter().filter(|v| **v == class).count() as f64 / y.len() as f64;
        assert!((share - p).abs() < 0.02, "class {class}: {share}");
    }
}

#[test]
fn training_dropout_scales_what_survives() {
    let nodes = vec![node("Dropout", &["x", "ratio", "on"], &["y", "mask"], vec![float("seed", 3.0)])];
    let ins = vec![value("x", F32, &[4000]), value("ratio", F32, &[]), value("on", 9, &[])];
    let m = model(graph(ins, vec![value("y", F32, &[4000]), value("mask", 9, &[4000])], vec![], nodes));
    let at = |on: u8| {
        let x = Tensor::f32s(vec![4000], &[3.0; 4000]).unwrap();
        let on = Tensor::from_bytes(sinter_ir::DType::Bool, vec![], vec![on]).unwrap();
        run(&m, &[x, Tensor::f32s(vec![], &[0.25]).unwrap(), on])
    };
    let (y, mask) = (at(1)[0].to_f32().unwrap(), at(1)[1].to_i64().unwrap());
    assert!(y.iter().zip(&mask).all(|(y, m)| *y == if *m == 1 { 4.0 } else { 0.0 }));
    let kept = mask.iter().sum::<i64>() as f64 / 4000.0;
    assert!((kept - 0.75).abs() < 0.04, "{kept}");
    assert!(at(0)[0].to_f32().unwrap().iter().all(|y| *y == 3.0));
}

/// One body per element; the scalar is the same every time.
#[test]
fn a_body_maps_a_sequence() {
    let body = graph(
        vec![value("e", F32, &[-1]), value("s", F32, &[])],
        vec![value("r", F32, &[-1])],
        vec![],
        vec![node("Mul", &["e", "s"], &["r"], vec![])],
    );
    let nodes = vec![
        node("SequenceConstruct", &["a", "b"], &["seq"], vec![]),
        node("SequenceMap", &["seq", "s"], &["mapped"], vec![subgraph("body", body)]),
        node("ConcatFromSequence", &["mapped"], &["y"], vec![int("axis", 0)]),
    ];
    let ins = vec![value("a", F32, &[2]), value("b", F32, &[3]), value("s", F32, &[])];
    let m = model(graph(ins, vec![value("y", F32, &[5])], vec![], nodes));
    let f = |v: &[f32]| Tensor::f32s(vec![v.len()], v).unwrap();
    let s = Tensor::f32s(vec![], &[10.0]).unwrap();
    let y = run(&m, &[f(&[1.0, 2.0]), f(&[3.0, 4.0, 5.0]), s]);
    assert_eq!(y[0].to_f32().unwrap(), [10.0, 20.0, 30.0, 40.0, 50.0]);
}

/// Of the sizes asked for, the smaller or the larger ratio counts for all axes.
#[test]
fn resize_keeps_the_aspect_ratio() {
    for (policy, want) in [("not_larger", [3, 6]), ("not_smaller", [5, 10])] {
        let mut attr = int("keep_aspect_ratio_policy", 0);
        (attr.r#type, attr.s) = (3, policy.into());
        let mut axes = int("axes", 0);
        (axes.r#type, axes.ints) = (7, vec![2, 3]);
        let nodes = vec![node("Resize", &["x", "", "", "sizes"], &["y"], vec![attr, axes])];
        let held = vec![i64s("sizes", &[2], &[5, 6])];
        let out = vec![value("y", F32, &[1, 1, -1, -1])];
        let m = model(graph(vec![value("x", F32, &[1, 1, 2, 4])], out, held, nodes));
        let y = run(&m, &[Tensor::f32s(vec![1, 1, 2, 4], &signal(8)).unwrap()]);
        assert_eq!(y[0].shape()[2..], want, "{policy}");
    }
}

//! Quantised products too deep for a filetest.

#![allow(clippy::unwrap_used)]

use sinter_ir::graph::Origin;
use sinter_ir::op::binary::BinaryKind;
use sinter_ir::op::{Binary, Constant, Dequantize, MatMul, Quantize, Transpose};
use sinter_ir::{DType, Graph, Module, Op, Symbols, Tensor, TensorType, eval};
use sinter_passes::canon::integers;
use sinter_passes::report::PassReport;

/// The product of `depth` bytes of 255 with weights of 127, before and after the pass, and whether the pass fired.
fn product(depth: usize) -> (Tensor, Tensor, bool) {
    let (mut symbols, mut g) = (Symbols::default(), Graph::default());
    let x = g.add_input(TensorType::new(DType::U8, vec![1.into(), depth.into()]), None);
    let mut add =
        |g: &mut Graph, op: Op, inputs: &[_]| g.add1(&mut symbols, op, inputs, &Origin::new()).unwrap();
    let bytes = |dtype, shape, v: u8, n| Tensor::from_bytes(dtype, shape, vec![v; n]).unwrap();
    let scale = add(&mut g, Constant { tensor: Tensor::f32s(vec![], &[1.0]).unwrap() }.into(), &[]);
    let dequantize = || Op::from(Dequantize { axis: 0, block: 0, to: DType::F32 });
    let zero = add(&mut g, Constant { tensor: bytes(DType::U8, vec![], 0, 1) }.into(), &[]);
    let data = add(&mut g, dequantize(), &[x, scale, zero]);
    let weights = Constant { tensor: bytes(DType::I8, vec![depth, 1], 127, depth) };
    let weights = add(&mut g, weights.into(), &[]);
    let zero = add(&mut g, Constant { tensor: bytes(DType::I8, vec![], 0, 1) }.into(), &[]);
    let weights = add(&mut g, dequantize(), &[weights, scale, zero]);
    g.outputs = vec![add(&mut g, MatMul::default().into(), &[data, weights])];
    let mut module = Module { name: "deep".into(), graph: g, symbols, ..Module::default() };
    let input = [bytes(DType::U8, vec![1, depth], 255, depth)];
    let before = eval::module(&module, &input).unwrap().remove(0);
    let mut report = PassReport::default();
    integers::run(&mut module, &mut report).unwrap();
    let fired = report.rules.keys().any(|rule| rule != "integers/weights");
    (before, eval::module(&module, &input).unwrap().remove(0), fired)
}

#[test]
fn sums_that_would_wrap_stay_in_floats() {
    for (depth, fires) in [(500, true), (60_000, true), (70_000, false)] {
        let (before, after, fired) = product(depth);
        assert_eq!(fired, fires, "{depth}");
        let exact = (depth * 255 * 127) as f64;
        for y in [before, after] {
            assert!((y.to_f64().unwrap()[0] / exact - 1.0).abs() < 1e-3, "{depth}: {y:?}");
        }
    }
}

/// A product of floats with weights of `k` terms that are dequantised along `axis`, stored by rows of the result's
/// columns or not; says whether the weights kept their codes and checks that the result stays.
fn keeps_codes(dtype: DType, k: usize, rows: bool, axis: usize, block: usize) -> bool {
    let n = 6;
    let (mut symbols, mut g) = (Symbols::default(), Graph::default());
    let x = g.add_input(TensorType::new(DType::F32, vec![2.into(), k.into()]), None);
    let mut add =
        |g: &mut Graph, op: Op, inputs: &[_]| g.add1(&mut symbols, op, inputs, &Origin::new()).unwrap();
    let shape = if rows { vec![n, k] } else { vec![k, n] };
    let (lo, hi) = dtype.int_range().unwrap();
    let code = |i: usize| lo as i64 + (i * 7 % 13) as i64 % (hi - lo + 1) as i64;
    let codes: Vec<i64> = (0..n * k).map(code).collect();
    let mut grid = shape.clone();
    match block {
        0 => grid = vec![shape[axis]],
        _ => grid[axis] = shape[axis].div_ceil(block),
    }
    let count: usize = grid.iter().product();
    let scales: Vec<f32> = (0..count).map(|i| (i + 1) as f32 / 8.0).collect();
    let zeros: Vec<i64> = (0..count).map(|i| code(i + 5)).collect();
    let tensors = [
        Tensor::from_i64(dtype, shape, &codes).unwrap(),
        Tensor::f32s(grid.clone(), &scales).unwrap(),
        Tensor::from_i64(dtype, grid, &zeros).unwrap(),
    ];
    let parts = tensors.map(|tensor| add(&mut g, Constant { tensor }.into(), &[]));
    let mut w = add(&mut g, Dequantize { axis, block, to: DType::F32 }.into(), &parts);
    if rows {
        w = add(&mut g, Transpose { perm: vec![1, 0] }.into(), &[w]);
    }
    g.outputs = vec![add(&mut g, MatMul::default().into(), &[x, w])];
    let mut module = Module { name: "weights".into(), graph: g, symbols, ..Module::default() };
    let v: Vec<f32> = (0..2 * k).map(|i| (i % 9) as f32 - 4.0).collect();
    let input = [Tensor::f32s(vec![2, k], &v).unwrap()];
    let before = eval::module(&module, &input).unwrap().remove(0).to_f64().unwrap();
    let mut report = PassReport::default();
    integers::run(&mut module, &mut report).unwrap();
    let after = eval::module(&module, &input).unwrap().remove(0).to_f64().unwrap();
    for (a, b) in before.iter().zip(&after) {
        assert!((a - b).abs() <= 1e-4 * (1.0 + a.abs()), "{dtype} {k} {rows} {axis} {block}: {after:?}");
    }
    report.rules.contains_key("integers/weights")
}

#[test]
fn weights_keep_their_codes() {
    for dtype in [DType::I4, DType::U4, DType::U8, DType::I8, DType::U2] {
        for rows in [true, false] {
            let terms = usize::from(rows);
            assert!(keeps_codes(dtype, 40, rows, terms, 16), "{dtype}: blocks of terms");
            assert!(keeps_codes(dtype, 32, rows, 1 - terms, 0), "{dtype}: a scale per column");
            assert!(!keeps_codes(dtype, 32, rows, terms, 0), "{dtype}: a scale per term");
            assert!(!keeps_codes(dtype, 32, rows, 1 - terms, 2), "{dtype}: blocks of columns");
            assert!(!keeps_codes(dtype, 36, rows, terms, 6), "{dtype}: blocks of odd sizes");
        }
        assert_eq!(keeps_codes(dtype, 36, true, 1, 36), dtype.bits() == 8, "{dtype}: 36 terms");
    }
}

/// Quantize to bytes with a scale, a zero point and a largest code, of what `f` makes of numbers, per channel of two.
fn rounded(
    (scale, zero, top): (f32, u8, Option<i64>),
    f: impl FnOnce(&mut dyn FnMut(BinaryKind, &[f32])),
) -> (Vec<i64>, Vec<i64>, PassReport) {
    let mut v: Vec<f32> = (-400..400).map(|i| i as f32 / 37.0).collect();
    v.extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38, -3e38, -0.0, 1e-40, 6.0]);
    let (mut symbols, mut g) = (Symbols::default(), Graph::default());
    let shape = vec![v.len() / 2, 2];
    let x = g.add_input(TensorType::new(DType::F32, shape.iter().map(|d| (*d).into()).collect()), None);
    let mut add =
        |g: &mut Graph, op: Op, inputs: &[_]| g.add1(&mut symbols, op, inputs, &Origin::new()).unwrap();
    let mut y = x;
    f(&mut |kind, by| {
        let dims = if by.len() > 1 { vec![by.len()] } else { vec![] };
        let by = add(&mut g, Constant { tensor: Tensor::f32s(dims, by).unwrap() }.into(), &[]);
        y = add(&mut g, Binary { kind }.into(), &[y, by]);
    });
    let scale = add(&mut g, Constant { tensor: Tensor::f32s(vec![], &[scale]).unwrap() }.into(), &[]);
    let zero = Tensor::from_i64(DType::U8, vec![], &[zero.into()]).unwrap();
    let zero = add(&mut g, Constant { tensor: zero }.into(), &[]);
    g.outputs = vec![add(&mut g, Quantize { axis: 0, block: 0, top }.into(), &[y, scale, zero])];
    let mut module = Module { name: "rounded".into(), graph: g, symbols, ..Module::default() };
    let input = [Tensor::f32s(shape, &v).unwrap()];
    let codes = |m: &Module| eval::module(m, &input).unwrap().remove(0).to_i64().unwrap();
    let before = codes(&module);
    let mut report = PassReport::default();
    integers::run(&mut module, &mut report).unwrap();
    (before, codes(&module), report)
}

#[test]
fn clamps_that_quantize_does_itself_are_left_out() {
    use BinaryKind::{Max, Min, Mul};
    // Bounds, a factor behind them, parameters, and whether a bound is left out.
    type Params = (f32, u8, Option<i64>);
    type Case<'a> = (f32, f32, Option<&'a [f32]>, Params, bool);
    let cases: &[Case] = &[
        (0.0, 6.0, None, (6.0 / 255.0, 0, None), true),
        (0.0, 6.0, None, (6.0 / 127.0, 0, Some(127)), true),
        (0.0, 6.0, Some(&[21.166_666]), (1.0, 0, Some(127)), true),
        (0.0, 6.0, Some(&[42.0, 60.0]), (1.0, 0, None), false),
        (0.0, 6.0, Some(&[43.0, 60.0]), (1.0, 0, None), true),
        (0.0, 5.9, None, (6.0 / 255.0, 0, None), false),
        (0.0, 6.0, None, (6.0 / 255.0, 3, None), true),
        (0.1, 5.0, None, (6.0 / 255.0, 3, None), false),
        (-1.0, 6.0, Some(&[-43.0]), (1.0, 40, None), false),
    ];
    for (i, &(lo, hi, factor, params, fires)) in cases.iter().enumerate() {
        let (before, after, report) = rounded(params, |add| {
            add(Max, &[lo]);
            add(Min, &[hi]);
            factor.into_iter().for_each(|f| add(Mul, f));
        });
        assert_eq!(before, after, "case {i}");
        assert_eq!(report.count("integers/saturated") > 0, fires, "case {i}: {:?}", report.rules);
    }
}

#[test]
fn steps_of_static_quantisation_are_one_multiply_add() {
    use BinaryKind::{Add, Mul};
    let of = |scale| {
        rounded((scale, 7, None), |add| {
            add(Mul, &[0.5, 0.25]);
            add(Add, &[1.5, -0.75]);
            add(Add, &[0.5]);
            add(Mul, &[12.0]);
        })
    };
    let (before, after, report) = of(1.0);
    assert_eq!(report.count("integers/steps"), 1);
    assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() <= 1), "{before:?} {after:?}");
    assert!(before.iter().zip(&after).filter(|(a, b)| a != b).count() < 3);
    // Another tool's Quantize keeps its roundings.
    assert_eq!(of(0.3).2.count("integers/steps"), 0);
}

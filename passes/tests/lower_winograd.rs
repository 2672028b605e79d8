//! Winograd's method against the evaluator: convolutions that are large enough to be done so.
#![allow(clippy::unwrap_used)]

mod kernels;

use kernels::{Case, Rng, size};
use sinter_ir::op::Conv;
use sinter_ir::{DType, Tensor};

/// A convolution of `[n, h, w, c]` data with 3x3 windows to `o` channels, padded before and after.
fn case(rng: &mut Rng, x: [usize; 4], o: usize, before: [usize; 2], after: [usize; 2]) -> Case {
    windows(rng, &x, o, &[3, 3], &[before, after])
}

/// A convolution of `[n, .., c]` data with any windows.
fn windows(rng: &mut Rng, x: &[usize], o: usize, taps: &[usize], pads: &[impl AsRef<[usize]>; 2]) -> Case {
    let [pads_before, pads_after] = pads.each_ref().map(|p| p.as_ref().iter().map(|&p| p.into()).collect());
    let op = Conv {
        strides: vec![1; taps.len()],
        dilations: vec![1; taps.len()],
        pads_before,
        pads_after,
        group: 1,
        channels_last: true,
        zero: None,
        largest: None,
        wide: false,
    };
    let stored = rng.pick(&[DType::F32, DType::F32, DType::F16]);
    let w = rng.tensor(stored, [&[o, x[x.len() - 1]], taps].concat());
    Case::new(op, vec![rng.tensor(DType::F32, x.to_vec()), w]).fix(1)
}

/// How many of the cases with results of each tile size were lowered.
#[derive(Default)]
struct Seen {
    two: usize,
    four: usize,
    other: usize,
}

impl Seen {
    fn check(&mut self, case: &Case) {
        let l = case.check();
        assert!(size(&l.calls[0].kernel) < 1200, "{} statements", size(&l.calls[0].kernel));
        match &l.calls[0].kernel.name {
            n if n.contains("winograd2x2") => self.two += 1,
            n if n.contains("winograd4x4") => self.four += 1,
            _ => self.other += 1,
        }
    }
}

#[test]
fn random_shapes() {
    let (mut rng, mut seen) = (Rng::new(1), Seen::default());
    for _ in 0..60 {
        let x = [rng.dim(1, 2), rng.dim(1, 19), rng.dim(1, 19), rng.pick(&[16, 24, 33, 40])];
        let o = rng.pick(&[16, 31, 48, 70]);
        // Windows must fit.
        let pads = [0, 1].map(|axis: usize| {
            let least = 3usize.saturating_sub(x[1 + axis]);
            let before = rng.dim(0, 2);
            (before, rng.dim(0, 2).max(least.saturating_sub(before)))
        });
        let mut case = case(&mut rng, x, o, pads.map(|p| p.0), pads.map(|p| p.1));
        case.on_any_target(&mut rng);
        case.tolerance = 2e-4;
        seen.check(&case);
    }
    assert!(seen.four > 12 && seen.two > 0, "{} with 2, {} with 4", seen.two, seen.four);
}

#[test]
fn windows_of_all_kinds() {
    let mut rng = Rng::new(4);
    let mut seen = std::collections::BTreeMap::<String, usize>::new();
    for _ in 0..120 {
        let taps: &[usize] = rng.pick(&[
            &[3_usize][..],
            &[5],
            &[7],
            &[2],
            &[4],
            &[1, 3],
            &[3, 1],
            &[1, 5],
            &[5, 1],
            &[5, 5],
            &[3, 5],
            &[2, 3],
            &[6, 1],
        ]);
        let long = if taps.len() == 1 { rng.dim(1, 40) } else { rng.dim(1, 17) };
        let pads = taps.iter().map(|&t| (rng.dim(0, t - 1), rng.dim(0, t - 1)));
        let (before, after): (Vec<usize>, Vec<usize>) = pads.unzip();
        let spatial = (0..taps.len()).map(|i| long.max(taps[i]) + if i == 0 { 0 } else { rng.dim(0, 5) });
        let spatial: Vec<usize> = spatial.collect();
        let x = [&[rng.dim(1, 2)], &spatial[..], &[rng.pick(&[16, 24, 33, 48])]].concat();
        let o = rng.pick(&[16, 31, 64]);
        let mut case = windows(&mut rng, &x, o, taps, &[before, after]);
        if rng.flip() {
            case.free(&[(0, 1)]);
        }
        case.on_any_target(&mut rng);
        case.tolerance = 4e-4;
        let l = case.check();
        let name = &l.calls[0].kernel.name;
        if let Some(rest) = name.strip_prefix("winograd") {
            let tile = rest.split('_').next().unwrap_or_default();
            *seen.entry(format!("{tile} of {taps:?}")).or_default() += 1;
        }
    }
    let tiles: std::collections::BTreeSet<_> = seen.keys().map(|k| k.split(' ').next().unwrap()).collect();
    assert!(seen.len() >= 12 && tiles.len() > 6, "{seen:?}");
}

#[test]
fn open_sizes() {
    let (mut rng, mut seen) = (Rng::new(2), Seen::default());
    for _ in 0..40 {
        let x = [rng.dim(1, 2), rng.dim(1, 17), rng.dim(1, 17), rng.pick(&[32, 36, 48])];
        let o = rng.pick(&[40, 64]);
        let mut case = case(&mut rng, x, o, [1, 1], [1, 1]);
        case.free(&[(0, 1)]);
        case.free(&[(0, 2)]);
        if rng.flip() {
            case.free(&[(0, 0)]);
        }
        case.on_any_target(&mut rng);
        case.tolerance = 2e-4;
        seen.check(&case);
    }
    assert!(seen.two + seen.four > 15, "{} others", seen.other);
}

/// Products of 16 bits: results are those of plain sums to the last bit, at the ends of the range too.
#[test]
fn of_bytes() {
    let (mut rng, mut seen) = (Rng::new(5), 0);
    for round in 0..60 {
        let (x, zero) = rng.pick(&[
            (DType::U8, 0),
            (DType::U8, 255),
            (DType::U8, 113),
            (DType::I8, -128),
            (DType::I8, 9),
        ]);
        let taps: &[usize] = rng.pick(&[&[3, 3][..], &[3, 3], &[3, 1], &[1, 3], &[3], &[2, 3]]);
        let image: Vec<usize> = taps.iter().map(|_| rng.dim(3, 19)).collect();
        let (c, o) = (rng.pick(&[33, 34, 48, 64]), rng.pick(&[40, 63, 64, 100]));
        let pads = |rng: &mut Rng| taps.iter().map(|&t| rng.dim(0, t - 1).into()).collect();
        let op = Conv {
            strides: vec![1; taps.len()],
            dilations: vec![1; taps.len()],
            pads_before: pads(&mut rng),
            pads_after: pads(&mut rng),
            group: 1,
            channels_last: true,
            zero: Some(zero),
            largest: None,
            wide: false,
        };
        let mut bytes = |dtype, shape: Vec<usize>| {
            let n = shape.iter().product();
            let ends = round % 4 == 0;
            let values: Vec<u8> = (0..n)
                .map(|_| if ends { rng.pick(&[0, 127, 128, 255]) } else { rng.below(256) as u8 })
                .collect();
            Tensor::from_bytes(dtype, shape, values).unwrap()
        };
        let data = bytes(x, [&[1], &image[..], &[c]].concat());
        let weights = bytes(DType::I8, [&[o, c], taps].concat());
        let mut case = Case::new(op, vec![data, weights]).fix(1);
        if rng.flip() {
            case.free(&[(0, 1)]);
        }
        case.on_any_target(&mut rng);
        case.target.features = vec!["avx2".into()];
        let name = case.check().calls[0].kernel.name.clone();
        assert!(c % 2 == 0 || !name.starts_with("winograd"), "{name}");
        seen += usize::from(name.starts_with("winograd"));
    }
    assert!(seen > 15, "{seen} of 60");
}

#[test]
fn not_where_it_is_forbidden_or_slower() {
    let mut rng = Rng::new(3);
    let mut kernel = |x: [usize; 4], o: usize, exact: bool| {
        let mut case = case(&mut rng, x, o, [1, 1], [1, 1]);
        case.exact_convolutions = exact;
        case.check().calls[0].kernel.name.clone()
    };
    assert!(kernel([1, 12, 12, 32], 32, false).starts_with("winograd4x4"));
    assert!(kernel([1, 12, 12, 32], 32, true).starts_with("conv_last"));
    // One result: no tile is full.
    assert!(kernel([1, 1, 1, 32], 32, false).starts_with("conv_last"));
}

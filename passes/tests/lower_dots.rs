//! Contractions of bytes against the evaluator: by dot products of words and one by one.
#![allow(clippy::unwrap_used)]

mod kernels;

use kernels::group::Body;
use kernels::{Case, Rng};
use sinter_ir::op::binary::BinaryKind;
use sinter_ir::op::{Binary, Cast, Conv, Lookup, MatMul, Quantize};
use sinter_ir::tile::{Elem, Inst, Stmt};
use sinter_ir::{DType, Tensor};
use sinter_passes::lower::Lowered;

/// Any bytes.
fn bytes(rng: &mut Rng, dtype: DType, shape: Vec<usize>) -> Tensor {
    let n = shape.iter().product();
    Tensor::from_bytes(dtype, shape, (0..n).map(|_| rng.below(256) as u8).collect::<Vec<u8>>()).unwrap()
}

/// What data is.
#[derive(Clone, Copy)]
struct Data {
    dtype: DType,
    zero: i64,
    largest: Option<i64>,
}

impl Data {
    fn any(rng: &mut Rng) -> Self {
        let (dtype, zero) = match rng.below(4) {
            0 => (DType::U8, 0),
            1 => (DType::U8, rng.dim(1, 255) as i64),
            2 => (DType::I8, rng.dim(0, 255) as i64 - 128),
            _ => (DType::I8, -128),
        };
        // In the middle, where two sums of two products may fit 16 bits.
        let largest = rng.flip().then_some(if dtype == DType::U8 { 127 } else { -1 });
        Self { dtype, zero: largest.map_or(zero, |l| l.min(zero)), largest }
    }
    /// Bytes that are often as large as they may be.
    fn bytes(self, rng: &mut Rng, shape: Vec<usize>) -> Tensor {
        let (lo, hi) = if self.dtype == DType::U8 { (0, 255) } else { (-128, 127) };
        let hi = self.largest.unwrap_or(hi);
        let often = rng.flip();
        let n: usize = shape.iter().product();
        let mut one =
            || if often && rng.below(4) > 0 { hi } else { lo + rng.below((hi - lo + 1) as usize) as i64 };
        let all: Vec<u8> = (0..n).map(|_| one() as u8).collect();
        Tensor::from_bytes(self.dtype, shape, all).unwrap()
    }
}

/// Any weights, or such of which two of one sign are at most 128, all of one sign among them.
fn weights(rng: &mut Rng, shape: Vec<usize>) -> Tensor {
    let n: usize = shape.iter().product();
    let (form, sign) = (rng.below(3), if rng.flip() { 1 } else { -1 });
    let mut one = || match form {
        0 => rng.below(256) as i64 - 128,
        1 => rng.below(129) as i64 - 64,
        _ => sign * (64 - i64::from(rng.below(8) == 0)),
    };
    let all: Vec<u8> = (0..n).map(|_| one() as u8).collect();
    Tensor::from_bytes(DType::I8, shape, all).unwrap()
}

fn on_any_target(c: &mut Case, rng: &mut Rng) {
    c.on_any_target(rng);
    // What dot products take: unsigned data; signed; either.
    let features: &[&str] =
        rng.pick(&[&[][..], &["avx512vnni"], &["avx2"], &["dotprod", "neon"], &["dotprod", "i8mm", "neon"]]);
    if !features.is_empty() {
        c.target.features = features.iter().map(|f| (*f).to_owned()).collect();
    }
}

/// Products of words that are summed in 16 bits, two at a time or more.
fn narrow(l: &Lowered) -> bool {
    fn any(body: &[Stmt]) -> bool {
        let within = |s: &Stmt| matches!(s, Stmt::Let { inst: Inst::Dot4 { within: Some(_), .. }, .. });
        body.iter().any(|s| within(s) || s.blocks().into_iter().any(|b| any(b)))
    }
    l.calls.iter().any(|c| any(&c.kernel.body))
}

fn has_dots(body: &[Stmt]) -> bool {
    body.iter().any(|s| {
        matches!(s, Stmt::Let { inst: Inst::Dot4 { .. } | Inst::Dot2 { .. }, .. })
            || s.blocks().into_iter().any(|b| has_dots(b))
    })
}

/// Whether small matrices of bytes are multiplied.
fn has_matrices(l: &Lowered) -> bool {
    fn any(body: &[Stmt]) -> bool {
        body.iter().any(|s| {
            matches!(s, Stmt::Let { inst: Inst::Mat8 { .. } | Inst::Mat4 { .. }, .. })
                || s.blocks().into_iter().any(|b| any(b))
        })
    }
    l.calls.iter().any(|c| any(&c.kernel.body))
}

/// Whether bytes are summed up four or eight at a time.
fn by_words(l: &Lowered) -> bool {
    has_matrices(l) || l.calls.iter().any(|c| has_dots(&c.kernel.body))
}

#[test]
fn products() {
    let mut rng = Rng::new(1);
    let (mut dots, mut sums) = (0, 0);
    for _ in 0..160 {
        let data = Data::any(&mut rng);
        let k = if rng.flip() { 4 * rng.dim(1, 20) } else { rng.dim(1, 30) };
        let (m, n) = (rng.dim(1, 40), rng.dim(1, 70));
        let a = if rng.flip() { vec![2, m, k] } else { vec![m, k] };
        let (a, b) = (data.bytes(&mut rng, a), weights(&mut rng, vec![k, n]));
        let mut c =
            Case::new(MatMul { zero: Some(data.zero), largest: data.largest, wide: false }, vec![a, b]);
        on_any_target(&mut c, &mut rng);
        c.fixed[1] = rng.below(5) > 0;
        if rng.below(3) == 0 {
            let axis = c.inputs[0].rank() - 2;
            c.free(&[(0, axis)]);
        }
        let wanted = c.target.dots() && c.fixed[1] && k % 4 == 0;
        let lowered = c.check();
        let found = by_words(&lowered);
        assert_eq!(found, wanted);
        dots += usize::from(found);
        sums += usize::from(narrow(&lowered));
    }
    assert!(dots > 20 && sums > 5, "{dots} products by words, {sums} with sums of 16 bits");
}

/// Rows in pairs and columns in pairs: odd numbers of both, open numbers of rows, batches, and points of an image.
#[test]
fn products_of_small_matrices() {
    let mut rng = Rng::new(9);
    for round in 0..80 {
        let data = Data::any(&mut rng);
        let (m, k, n) = (rng.dim(4, 27), 8 * rng.dim(1, 9), rng.dim(16, 45));
        let mut c = if round % 4 == 3 {
            let (x, w) = (data.bytes(&mut rng, vec![2, 3, m, k]), weights(&mut rng, vec![n, k, 1, 1]));
            let op = Conv {
                strides: vec![1; 2],
                dilations: vec![1; 2],
                pads_before: vec![0.into(); 2],
                pads_after: vec![0.into(); 2],
                group: 1,
                channels_last: true,
                zero: Some(data.zero),
                largest: data.largest,
                wide: false,
            };
            Case::new(op, vec![x, w])
        } else {
            let a = if rng.flip() { vec![2, m, k] } else { vec![m, k] };
            let (a, b) = (data.bytes(&mut rng, a), weights(&mut rng, vec![k, n]));
            Case::new(MatMul { zero: Some(data.zero), largest: data.largest, wide: false }, vec![a, b])
        }
        .fix(1);
        c.on_any_target(&mut rng);
        c.target.features = ["dotprod", "i8mm", "neon"].map(str::to_owned).to_vec();
        c.target.cost.uniform = round % 5 == 4;
        if rng.below(3) == 0 {
            let axis = c.inputs[0].rank() - 2;
            c.free(&[(0, axis)]);
        }
        assert!(has_matrices(&c.check()), "round {round}");
    }
}

#[test]
fn weights_without_a_sign() {
    let mut rng = Rng::new(2);
    let (a, b) = (bytes(&mut rng, DType::U8, vec![3, 8]), bytes(&mut rng, DType::U8, vec![8, 5]));
    let mut c = Case::new(MatMul { zero: Some(7), ..MatMul::default() }, vec![a, b]).fix(1);
    c.target.features = vec!["avx512vnni".into()];
    c.check();
}

#[test]
fn convolutions() {
    let mut rng = Rng::new(3);
    let (mut dots, mut sums) = (0, 0);
    for round in 0..280 {
        let rank = [2, 2, 1, 3][round % 4];
        let data = Data::any(&mut rng);
        let channels_last = rng.below(4) > 0;
        let group = rng.pick(&[1, 1, 1, 2, 3]);
        let per = rng.pick(&[1, 3, 4, 5, 8, 13, 16]);
        let o = group * rng.dim(1, 40);
        let most = if rank == 3 { 5 } else { 12 };
        let padded = rng.flip();
        let pads =
            |rng: &mut Rng| (0..rank).map(|_| if padded { rng.dim(0, 2) } else { 0 }).collect::<Vec<_>>();
        let (before, after) = (pads(&mut rng), pads(&mut rng));
        let kernel: Vec<usize> = (0..rank).map(|_| rng.pick(&[1, 2, 3])).collect();
        let dilations: Vec<usize> = (0..rank).map(|_| rng.pick(&[1, 1, 2])).collect();
        let size: Vec<usize> = (0..rank).map(|i| rng.dim((kernel[i] - 1) * dilations[i] + 1, most)).collect();
        let n = rng.dim(1, 2);
        let mut x = [vec![n, group * per], size].concat();
        if channels_last {
            let c = x.remove(1);
            x.push(c);
        }
        let w = [vec![o, per], kernel].concat();
        let op = Conv {
            strides: (0..rank).map(|_| rng.pick(&[1, 1, 2])).collect(),
            dilations,
            pads_before: before.into_iter().map(|p| p.into()).collect(),
            pads_after: after.into_iter().map(|p| p.into()).collect(),
            group,
            channels_last,
            zero: Some(data.zero),
            largest: data.largest,
            wide: false,
        };
        let (x, w) = (data.bytes(&mut rng, x), weights(&mut rng, w));
        let mut c = Case::new(op, vec![x, w]).fix(1);
        on_any_target(&mut c, &mut rng);
        let lowered = c.check();
        dots += usize::from(by_words(&lowered));
        sums += usize::from(narrow(&lowered));
    }
    assert!(dots > 40 && sums > 10, "{dots} convolutions by words, {sums} with sums of 16 bits");
}

#[test]
fn depthwise() {
    let mut rng = Rng::new(4);
    let mut sums = 0;
    for _ in 0..240 {
        let data = Data::any(&mut rng);
        let c = rng.dim(2, 40);
        let channels_last = rng.flip();
        let x = if channels_last { vec![1, 7, 9, c] } else { vec![1, c, 7, 9] };
        let pad = rng.dim(0, 1);
        let op = Conv {
            strides: vec![rng.dim(1, 2); 2],
            dilations: vec![1; 2],
            pads_before: vec![pad.into(); 2],
            pads_after: vec![pad.into(); 2],
            group: c,
            channels_last,
            zero: Some(data.zero),
            largest: data.largest,
            wide: false,
        };
        let (x, mut w) = (data.bytes(&mut rng, x), weights(&mut rng, vec![c, 1, 3, 3]));
        if rng.flip() {
            // Nine of one sign, as large as sums of 16 bits hold.
            let most = rng.pick(&[14, 28, 28]);
            let mut one =
                || (most - rng.below(3) as i64) * if data.largest.is_some() && rng.flip() { 1 } else { -1 };
            let all: Vec<i64> = (0..9 * c).map(|_| one()).collect();
            w = Tensor::from_i64(DType::I8, vec![c, 1, 3, 3], &all).unwrap();
        }
        let mut case = Case::new(op, vec![x, w]).fix(1);
        on_any_target(&mut case, &mut rng);
        let short = |l: &Lowered| l.calls.iter().any(|c| c.kernel.regs.iter().any(|r| r.elem == Elem::I16));
        sums += usize::from(short(&case.check()));
    }
    assert!(sums > 4, "{sums} with sums of 16 bits");
}

/// Sums on their way back to bytes, to the last bit: scales that keep them small and scales that do not.
#[test]
fn requantised() {
    let mut rng = Rng::new(5);
    for _ in 0..120 {
        let data = Data::any(&mut rng);
        let (m, k, n) = (rng.dim(1, 40), 4 * rng.dim(1, 20), rng.dim(1, 70));
        let mut g = Body::default();
        let a = g.input(data.bytes(&mut rng, vec![m, k]));
        let b = g.input(weights(&mut rng, vec![k, n]));
        let most = rng.pick(&[1e-4, 1e-3, 0.02, 3.0, 1e30]);
        let scales: Vec<f32> = (0..n).map(|_| most * (1 + rng.below(99)) as f32 / 100.0).collect();
        let scale = g.input(Tensor::f32s(vec![n], &scales).unwrap());
        let sum = g.add(MatMul { zero: Some(data.zero), largest: data.largest, wide: false }, &[a, b]);
        let float = g.add(Cast { to: DType::F32, saturate: true }, &[sum]);
        let scaled = g.add(Binary { kind: BinaryKind::Mul }, &[float, scale]);
        let to = rng.pick(&[DType::U8, DType::I8]);
        let (one, z) = (g.number(1.0, DType::F32), g.number(rng.below(128) as f64, to));
        let mut y = g.add(Quantize { axis: 0, block: 0, top: rng.flip().then_some(100) }, &[scaled, one, z]);
        if rng.flip() {
            let table = (0..256).map(|_| rng.below(256) as u8).collect();
            y = g.add(Lookup { to: rng.pick(&[DType::U8, DType::I8]), table }, &[y]);
        }
        let mut c = g.case(&[y]);
        (c.fixed[1], c.fixed[2]) = (true, rng.below(5) > 0);
        on_any_target(&mut c, &mut rng);
        c.check();
    }
}

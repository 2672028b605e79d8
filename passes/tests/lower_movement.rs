//! Ops that move elements, one by one, of any shape, known or not, against the evaluator.
#![allow(clippy::unwrap_used)]

mod kernels;

use kernels::group::Body;
use kernels::{Case, Rng};
use sinter_ir::DType::{self, *};
use sinter_ir::op::binary::BinaryKind;
use sinter_ir::op::pad::PadMode;
use sinter_ir::op::*;
use sinter_ir::{Expr, Op, Sym, Tensor, ValueId};

const WIDTHS: [u32; 4] = [32, 128, 256, 512];
const TYPES: [DType; 14] = [F32, F32, F32, I64, F64, I32, F16, BF16, U8, Bool, I16, I4, F8E4M3FN, C64];

fn shape(rng: &mut Rng, rank: usize, lowest: usize) -> Vec<usize> {
    let most = [67, 40, 12, 7, 5][rank.min(4)];
    (0..rank).map(|_| if rng.below(6) == 0 { 1 } else { rng.dim(lowest, most) }).collect()
}

/// Elements of any type, all different as far as the type allows.
fn tensor(rng: &mut Rng, dtype: DType, shape: Vec<usize>) -> Tensor {
    let bits: Vec<usize> = (0..shape.iter().product()).collect();
    let raw: Vec<u8> = (0..(bits.len() * dtype.bits()).div_ceil(8)).map(|_| rng.next() as u8).collect();
    let raw = if dtype == Bool { raw.into_iter().map(|b| b & 1).collect() } else { raw };
    Tensor::from_bytes(dtype, shape.clone(), raw).unwrap().pick(shape, &bits).unwrap()
}

fn check(rng: &mut Rng, mut c: Case) {
    c.target.vector_bits = rng.pick(&WIDTHS);
    c.check();
}

/// Makes some dims of the first operand symbols; returns the dims as expressions.
fn loosen(rng: &mut Rng, c: &mut Case) -> Vec<Expr> {
    for axis in 0..c.types[0].dims.len() {
        if rng.below(3) == 0 {
            c.free(&[(0, axis)]);
        }
    }
    c.types[0].dims.clone()
}

/// An integer as a constant or as a symbol that happens to have this value.
fn loose(rng: &mut Rng, c: &mut Case, v: i64) -> Expr {
    if rng.below(3) > 0 {
        return v.into();
    }
    let s: Sym = c.symbol(v.max(0), 200);
    Expr::from(s) + (v - v.max(0)).into()
}

#[test]
fn transpose() {
    let mut rng = Rng::new(1);
    for _ in 0..120 {
        let rank = rng.dim(0, 5);
        let x = shape(&mut rng, rank, 0);
        let mut perm: Vec<usize> = (0..rank).collect();
        (1..rank).for_each(|i| perm.swap(i, rng.below(i + 1)));
        let dtype = rng.pick(&TYPES);
        let mut c = Case::new(Transpose { perm }, vec![tensor(&mut rng, dtype, x)]);
        loosen(&mut rng, &mut c);
        check(&mut rng, c);
    }
}

/// Runs of axes that change places, few or many rows, with element-wise ops on both sides.
#[test]
fn turned_matrices() {
    let mut rng = Rng::new(20);
    let mut turned = 0;
    for _ in 0..160 {
        let (r, s) = (rng.pick(&[2, 3, 4, 7, 15, 16, 17, 33, 48]), rng.pick(&[2, 3, 31, 64, 65, 100]));
        let split = |rng: &mut Rng, n: usize| {
            if n.is_multiple_of(4) && rng.flip() { vec![n / 4, 4] } else { vec![n] }
        };
        let (outer, rows, columns) = (vec![1; rng.below(2)], split(&mut rng, r), split(&mut rng, s));
        let outer = [outer, vec![rng.dim(1, 3)]].concat();
        let (k, m) = (outer.len(), outer.len() + rows.len());
        let x = [outer, rows, columns].concat();
        let perm: Vec<usize> = (0..k).chain(m..x.len()).chain(k..m).collect();
        let dtype = rng.pick(&[F32, F32, F16, U8, I32, Bool]);
        let mut c = if dtype == F32 && rng.flip() {
            let mut g = Body::default();
            let v = g.input(tensor(&mut rng, U8, x.clone()));
            let v = g.add(Cast { to: F32, saturate: true }, &[v]);
            let half = g.number(0.5, F32);
            let v = g.add(Binary { kind: BinaryKind::Mul }, &[v, half]);
            let v = g.add(Transpose { perm }, &[v]);
            let v = g.add(Binary { kind: BinaryKind::Sub }, &[v, half]);
            g.case(&[v])
        } else {
            Case::new(Transpose { perm }, vec![tensor(&mut rng, dtype, x.clone())])
        };
        if !matches!(c.op, Op::Group(_)) {
            loosen(&mut rng, &mut c);
        }
        c.target.vector_bits = rng.pick(&WIDTHS);
        let l = c.check();
        turned += usize::from(l.calls[0].kernel.name.starts_with("turn"));
    }
    assert!(turned > 80, "only {turned} went this way");
}

/// Blocks that go to their places: the result ends with few rows, and not the operand's columns are in front of them.
#[test]
fn shuffled_pixels() {
    let mut rng = Rng::new(21);
    for _ in 0..80 {
        let [h, w, channels] = [1, 1, 2].map(|least| rng.dim(least, 70));
        let h = h.div_ceil(16);
        let block = rng.pick(&[2, 3, 4, 5, 7, 8, 9]);
        let (dims, perm) = match rng.below(3) {
            0 => (vec![h, w, block, block, channels], vec![4, 0, 2, 1, 3]),
            1 => (vec![h, w, block, channels], vec![0, 3, 1, 2]),
            _ => (vec![block, block, channels.min(9), h, w], vec![2, 3, 0, 4, 1]),
        };
        let dtype = rng.pick(&[F32, F32, F16, U8, I32]);
        let mut c = Case::new(Transpose { perm }, vec![tensor(&mut rng, dtype, dims)]);
        loosen(&mut rng, &mut c);
        c.target.vector_bits = rng.pick(&WIDTHS);
        c.check();
    }
}

#[test]
fn broadcast_and_identity() {
    let mut rng = Rng::new(2);
    for _ in 0..80 {
        let rank = rng.dim(0, 4);
        let x = shape(&mut rng, rank, 0);
        let dtype = rng.pick(&TYPES);
        let mut c = Case::new(Identity {}, vec![tensor(&mut rng, dtype, x.clone())]);
        let own = loosen(&mut rng, &mut c);
        if rng.flip() {
            let mut dims: Vec<Expr> = (0..rng.below(2)).map(|_| rng.dim(0, 4).into()).collect();
            for d in own {
                let e = if d.is(1) {
                    let v = rng.dim(1, 9) as i64;
                    loose(&mut rng, &mut c, v)
                } else {
                    d
                };
                dims.push(e);
            }
            c.op = Op::from(Broadcast { dims });
        }
        check(&mut rng, c);
    }
}

#[test]
fn reshape() {
    let mut rng = Rng::new(3);
    for _ in 0..150 {
        let f: Vec<usize> = (0..rng.dim(1, 5)).map(|_| rng.pick(&[1, 2, 3, 4, 5, 8])).collect();
        // Both sides merge neighbouring factors in their own way.
        let merge = |rng: &mut Rng| {
            let mut out: Vec<Vec<usize>> = vec![];
            for i in 0..f.len() {
                match out.last_mut().filter(|_| rng.flip()) {
                    Some(g) => g.push(i),
                    None => out.push(vec![i]),
                }
            }
            out
        };
        let (from, to) = (merge(&mut rng), merge(&mut rng));
        let size = |g: &Vec<usize>| g.iter().map(|&i| f[i]).product::<usize>();
        let dtype = rng.pick(&TYPES);
        let x = tensor(&mut rng, dtype, from.iter().map(size).collect());
        let mut c = Case::new(Identity {}, vec![x]);
        let symbol = rng.below(2 * f.len());
        let factor: Vec<Expr> = (0..f.len())
            .map(|i| if i == symbol { c.symbol(f[i] as i64, 8).into() } else { f[i].into() })
            .collect();
        let dims = |g: &[Vec<usize>]| -> Vec<Expr> {
            g.iter().map(|g| g.iter().map(|&i| factor[i].clone()).fold(Expr::from(1), |a, b| a * b)).collect()
        };
        c.types[0].dims = dims(&from);
        let mut dims = dims(&to);
        if rng.flip() {
            dims.insert(rng.below(dims.len() + 1), 1.into());
        }
        c.op = Reshape { dims }.into();
        check(&mut rng, c);
    }
    Case::new(Reshape { dims: vec![0.into(), 7.into()] }, vec![tensor(&mut rng, F32, vec![3, 0])]).check();
}

#[test]
fn slice() {
    let mut rng = Rng::new(4);
    for _ in 0..200 {
        let rank = rng.dim(1, 4);
        let x = shape(&mut rng, rank, 1);
        let dtype = rng.pick(&TYPES);
        let mut c = Case::new(Identity {}, vec![tensor(&mut rng, dtype, x.clone())]);
        let own = loosen(&mut rng, &mut c);
        let mut op = Slice { starts: vec![], sizes: vec![], steps: vec![] };
        for (n, d) in x.into_iter().zip(own) {
            let step = rng.pick(&[1i64, 1, 1, 2, 3, -1, -2]);
            let start = if step > 0 { rng.below(n) as i64 } else { n as i64 - 1 };
            let room = if step > 0 { n as i64 - start } else { n as i64 };
            let size = rng.below(((room - 1) / step.abs() + 2) as usize) as i64;
            op.starts.push(match d.as_const() {
                None if step < 0 => d.clone() - 1.into(),
                _ => loose(&mut rng, &mut c, start),
            });
            op.sizes.push(loose(&mut rng, &mut c, size));
            op.steps.push(if step > 0 { loose(&mut rng, &mut c, step) } else { step.into() });
        }
        if op.steps.iter().any(|s| s.as_const().is_none() && c.symbols.range(s).0 <= 0 && s.is(0)) {
            continue;
        }
        c.op = op.into();
        check(&mut rng, c);
    }
}

#[test]
fn pad() {
    let mut rng = Rng::new(5);
    for _ in 0..200 {
        let rank = rng.dim(1, 4);
        let x = shape(&mut rng, rank, 1);
        let dtype = rng.pick(&TYPES[..13]);
        let fill = tensor(&mut rng, dtype, vec![]);
        let mut c = Case::new(Identity {}, vec![tensor(&mut rng, dtype, x.clone()), fill]);
        c.fixed[1] = rng.flip();
        loosen(&mut rng, &mut c);
        let mode =
            rng.pick(&[PadMode::Constant, PadMode::Constant, PadMode::Reflect, PadMode::Edge, PadMode::Wrap]);
        let mut op = Pad { mode, before: vec![], after: vec![] };
        for &n in &x {
            let crop = rng.below(n + 1) as i64;
            let amount = |rng: &mut Rng, least: i64| match rng.below(3) {
                0 => 0,
                1 => rng.below(9) as i64,
                _ => -(rng.below(1 + least as usize) as i64),
            };
            let (b, a) = (amount(&mut rng, crop), amount(&mut rng, n as i64 - crop));
            op.before.push(loose(&mut rng, &mut c, b));
            op.after.push(loose(&mut rng, &mut c, a));
        }
        c.op = op.into();
        check(&mut rng, c);
    }
}

#[test]
fn concat() {
    let mut rng = Rng::new(6);
    for _ in 0..100 {
        let rank = rng.dim(1, 4);
        let x = shape(&mut rng, rank, 0);
        let axis = rng.below(rank);
        let dtype = rng.pick(&TYPES);
        let parts: Vec<Tensor> = (0..rng.dim(1, 4))
            .map(|_| {
                let mut s = x.clone();
                s[axis] = rng.dim(0, 20);
                tensor(&mut rng, dtype, s)
            })
            .collect();
        let n = parts.len();
        let mut c = Case::new(Concat { axis }, parts);
        for a in 0..rank {
            match rng.below(3) {
                0 if a == axis => (0..n).for_each(|i| drop(c.free(&[(i, a)]))),
                0 => drop(c.free(&(0..n).map(|i| (i, a)).collect::<Vec<_>>())),
                _ => {}
            }
        }
        check(&mut rng, c);
    }
}

/// Parts of whole rows behind each other, among them results of element-wise ops.
#[test]
fn rows_are_joined() {
    let mut rng = Rng::new(21);
    let mut joined = 0;
    for _ in 0..80 {
        let lead: Vec<usize> = (0..rng.dim(1, 3)).map(|_| rng.dim(2, 12)).collect();
        let behind = if rng.below(3) == 0 { vec![rng.dim(1, 3)] } else { vec![] };
        let (axis, n) = (lead.len(), rng.dim(2, 9));
        let mut g = Body::default();
        let parts: Vec<ValueId> = (0..n)
            .map(|_| {
                let s = [lead.clone(), vec![rng.pick(&[1, 3, 8, 16, 33])], behind.clone()].concat();
                let v = g.input(tensor(&mut rng, U8, s));
                let v = g.add(Cast { to: F32, saturate: true }, &[v]);
                let k = g.number(0.5, F32);
                if rng.flip() { g.bin(BinaryKind::Mul, v, k) } else { v }
            })
            .collect();
        let y = g.add(Concat { axis }, &parts);
        let mut c = g.case(&[y]);
        c.target.vector_bits = rng.pick(&WIDTHS);
        joined += usize::from(c.check().calls.len() == n);
    }
    assert!(joined > 30, "only {joined} went this way");
}

/// Indices in range, some from the end.
fn indices(rng: &mut Rng, n: usize, shape: Vec<usize>) -> Tensor {
    let v: Vec<i64> = (0..shape.iter().product()).map(|_| rng.below(2 * n) as i64 - n as i64).collect();
    let dtype = rng.pick(&[I32, I64]);
    Tensor::from_i64(dtype, shape, &v).unwrap()
}

#[test]
fn gathers() {
    let mut rng = Rng::new(7);
    for round in 0..240 {
        let rank = rng.dim(1, 4);
        let x = shape(&mut rng, rank, 1);
        let axis = rng.below(rank);
        let dtype = rng.pick(&TYPES);
        let data = tensor(&mut rng, dtype, x.clone());
        let (op, index): (Op, Tensor) = match round % 3 {
            0 => {
                let at = rng.dim(0, 2);
                let at = shape(&mut rng, at, 0);
                (Gather { axis }.into(), indices(&mut rng, x[axis], at))
            }
            1 => {
                let mut at: Vec<usize> = x.iter().map(|&n| rng.dim(1, n)).collect();
                at[axis] = rng.dim(0, 9);
                (GatherElements { axis }.into(), indices(&mut rng, x[axis], at))
            }
            _ => {
                let batch_dims = rng.below(rank);
                let depth = rng.dim(1, rank - batch_dims);
                let mut at = x[..batch_dims].to_vec();
                at.extend((0..rng.below(2)).map(|_| rng.dim(0, 5)));
                at.push(depth);
                let n = x[batch_dims..batch_dims + depth].iter().min().unwrap();
                let i = indices(&mut rng, *n, at);
                let i = Tensor::from_i64(I64, i.shape().to_vec(), &i.to_i64().unwrap()).unwrap();
                (GatherNd { batch_dims }.into(), i)
            }
        };
        let mut c = Case::new(op, vec![data, index]);
        c.fixed[1] = rng.flip();
        if round % 3 == 0 {
            loosen(&mut rng, &mut c);
        }
        check(&mut rng, c);
    }
}

#[test]
fn indices_outside_the_axis_end_the_kernel() {
    let mut rng = Rng::new(8);
    for bad in [-6, 5, i64::MAX, i64::MIN] {
        let x = tensor(&mut rng, F32, vec![5, 3]);
        let mut c = Case::new(Gather { axis: 0 }, vec![x.clone(), Tensor::i64s(&[0, bad, 1])]);
        c.code = sinter_ir::tile::build::code::INDEX;
        check(&mut rng, c);
        let at = Tensor::from_i64(I64, vec![1, 3], &[0, 4, bad]).unwrap();
        let mut c = Case::new(GatherElements { axis: 0 }, vec![x, at]);
        c.code = sinter_ir::tile::build::code::INDEX;
        check(&mut rng, c);
    }
}

#[test]
fn sequences_are_reversed() {
    let mut rng = Rng::new(9);
    for _ in 0..60 {
        let (batch, time, inner) = (rng.dim(1, 5), rng.dim(1, 7), rng.dim(1, 20));
        let batch_axis = rng.below(2);
        let x = if batch_axis == 0 { vec![batch, time, inner] } else { vec![time, batch, inner] };
        let lens: Vec<i64> = (0..batch).map(|_| rng.below(time + 1) as i64).collect();
        let dtype = rng.pick(&TYPES);
        let x = tensor(&mut rng, dtype, x);
        let c = Case::new(
            ReverseSequence { batch_axis, time_axis: 1 - batch_axis },
            vec![x, Tensor::i64s(&lens)],
        );
        check(&mut rng, c);
    }
}

#[test]
fn numbers_from_nothing() {
    let mut rng = Rng::new(10);
    for dtype in [F32, I32, I64, F16, U8, F64, I8, U4] {
        for _ in 0..6 {
            let rank = rng.dim(1, 4);
            let dims = shape(&mut rng, rank, 0);
            let mut c = Case::new(Identity {}, vec![]);
            let dims = dims.into_iter().map(|d| loose(&mut rng, &mut c, d as i64)).collect();
            c.op = Iota { dtype, dims, axis: rng.below(rank) }.into();
            check(&mut rng, c);
        }
    }
    for n in 0..5 {
        let mut c = Case::new(Identity {}, vec![]);
        let values: Vec<Expr> = (0..n).map(|i| loose(&mut rng, &mut c, i * 7 - 3)).collect();
        c.op = FromDims { scalar: n == 1, values }.into();
        check(&mut rng, c);
    }
}

/// Transposes of several axes whose last one comes from elsewhere, between reshapes: channels and pixels that change places.
#[test]
fn turned_among_other_axes() {
    let mut rng = Rng::new(21);
    let mut turned = 0;
    for _ in 0..120 {
        let rank = rng.dim(3, 6);
        let x: Vec<usize> = (0..rank).map(|_| rng.pick(&[1, 2, 2, 3, 5, 8, 17, 24])).collect();
        if x.iter().product::<usize>() > 20_000 {
            continue;
        }
        let mut perm: Vec<usize> = (0..rank).collect();
        for i in (1..rank).rev() {
            perm.swap(i, rng.below(i + 1));
        }
        let dtype = rng.pick(&[F32, F32, U8, F16]);
        let exprs = |dims: &[usize]| dims.iter().map(|&d| Expr::from(d)).collect::<Vec<_>>();
        let mut g = Body::default();
        let flat = x.iter().product::<usize>();
        let v = g.input(tensor(&mut rng, dtype, vec![flat]));
        let v = g.add(Reshape { dims: exprs(&x) }, &[v]);
        let v = g.add(Transpose { perm }, &[v]);
        let v =
            if dtype == F32 && rng.flip() { g.add(Unary { kind: unary::UnaryKind::Neg }, &[v]) } else { v };
        let v = g.add(Reshape { dims: exprs(&[flat]) }, &[v]);
        let mut c = g.case(&[v]);
        c.target.vector_bits = rng.pick(&WIDTHS);
        let l = c.check();
        turned += usize::from(l.calls[0].kernel.name.starts_with("turn"));
    }
    assert!(turned > 40, "only {turned} went this way");
}

//! Register tiles of matrix products against the machine's peak: packed operands, one core, in cache.
//!
//! `cargo run -p sinter-backends --example micro [DIR]`: with DIR the code of every kernel is written there.

#![allow(unsafe_code, clippy::unwrap_used, clippy::disallowed_methods)]

use sinter_backends::{emit, target, x86};
use sinter_ir::DType;
use sinter_ir::program::{Loc, Port, Program, Step};
use sinter_ir::target::TargetDesc;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, Addr, BinOp, Bound, Elem, Inst, Kernel, LoopKind, Reg};
use sinter_runtime::{Aligned, Bundle, Image};
use std::time::Instant;

/// Bytes of an operand.
const BYTES: usize = 1 << 18;
/// Bytes of a result.
const TILE: usize = 1 << 12;

/// `mr` rows and `nv` vectors over `k` steps, `times` times over.
fn tile(mr: i64, nv: i64, lanes: u16, k: i64, unroll: i64, times: i64) -> Kernel {
    let mut b = KernelBuilder::new(format!("tile_{mr}x{}_k{k}", nv * i64::from(lanes)));
    let buf = |b: &mut KernelBuilder, name, access| b.buf(name, access, BYTES.into());
    let (x, y, c) =
        (buf(&mut b, "a", Access::Read), buf(&mut b, "b", Access::Read), buf(&mut b, "c", Access::ReadWrite));
    let nr = nv * i64::from(lanes);
    b.for_(Bound::Const(0), Bound::Const(times), 1, LoopKind::Serial, |b, _| {
        let at = |i: i64, v: i64| Addr::at(i * nr + v * i64::from(lanes));
        let acc: Vec<Reg> =
            (0..mr * nv).map(|i| b.load(Elem::F32, lanes, c, at(i / nv, i % nv), None)).collect();
        let (pa, pb) = (b.i64(0), b.i64(0));
        let (ra, rb) = (b.reg(Elem::I64, 1), b.reg(Elem::I64, 1));
        b.copy_to(ra, pa);
        b.copy_to(rb, pb);
        b.for_(Bound::Const(0), Bound::Const(k), unroll, LoopKind::Serial, |b, _| {
            for u in 0..unroll {
                let ys: Vec<Reg> = (0..nv)
                    .map(|v| {
                        let at = Addr::reg(rb).offset(u * nr + v * i64::from(lanes));
                        b.load(Elem::F32, lanes, y, at, None)
                    })
                    .collect();
                for i in 0..mr {
                    let s = b.load(Elem::F32, 1, x, Addr::reg(ra).offset(u * mr + i), None);
                    let s = b.splat(s, lanes);
                    for v in 0..nv {
                        let a = acc[(i * nv + v) as usize];
                        b.set(a, Inst::MulAdd(s, ys[v as usize], a));
                    }
                }
            }
            for (r, by) in [(ra, mr * unroll), (rb, nr * unroll)] {
                let by = b.i64(by);
                b.set(r, Inst::Bin(BinOp::Add, r, by));
            }
        });
        for i in 0..mr * nv {
            b.store(c, at(i / nv, i % nv), acc[i as usize], None);
        }
    });
    b.finish()
}

/// Independent multiply-adds on registers alone.
fn peak(lanes: u16, accs: usize, times: i64) -> Kernel {
    let mut b = KernelBuilder::new(format!("peak_{lanes}"));
    let buf = |b: &mut KernelBuilder, name, access| b.buf(name, access, BYTES.into());
    let (x, _, c) =
        (buf(&mut b, "a", Access::Read), buf(&mut b, "b", Access::Read), buf(&mut b, "c", Access::ReadWrite));
    let m = b.load(Elem::F32, lanes, x, Addr::at(0), None);
    let n = b.load(Elem::F32, lanes, x, Addr::at(64), None);
    let acc: Vec<Reg> = (0..accs).map(|_| b.load(Elem::F32, lanes, c, Addr::at(0), None)).collect();
    b.for_(Bound::Const(0), Bound::Const(times), 1, LoopKind::Serial, |b, _| {
        acc.iter().for_each(|a| b.set(*a, Inst::MulAdd(m, n, *a)));
    });
    for (i, a) in acc.iter().enumerate() {
        b.store(c, Addr::at(i as i64 * i64::from(lanes)), *a, None);
    }
    b.finish()
}

fn bundle(k: &Kernel, t: &TargetDesc) -> Bundle {
    let port = |name: &str, n: usize| Port {
        name: name.into(),
        dtype: DType::U8,
        dims: vec![n.into()],
        max_bytes: n as u64,
    };
    let p = Program {
        name: "k".into(),
        inputs: vec![port("a", BYTES), port("b", BYTES)],
        outputs: vec![port("c", TILE)],
        kernels: vec![k.clone()],
        steps: vec![Step::Call {
            kernel: 0,
            args: vec![Loc::Input(0), Loc::Input(1), Loc::Output(0)],
            sizes: vec![],
            label: "micro".into(),
        }],
        arena_bytes: 64,
        ..Program::default()
    };
    let e = emit(&p, t).unwrap();
    Bundle::load("k", &e.archive, Image::Heap(Aligned::copy_of(&e.weights).unwrap()), 1).unwrap()
}

/// Seconds of one run.
fn once(b: &mut Bundle, data: &[u8]) -> f64 {
    let start = Instant::now();
    // SAFETY: every buffer has the bytes that the program states.
    unsafe { b.run(&[data, data], &[BYTES as i64, BYTES as i64], &[TILE], 1) }.unwrap();
    start.elapsed().as_secs_f64()
}

fn main() {
    let dir = std::env::args().nth(1);
    let mut all: Vec<(String, Bundle, f64, bool)> = Vec::new();
    let mut add = |name: &str, lanes: u16, k: Kernel, flops: f64| {
        let t = target(name).unwrap();
        assert_eq!(x86::refuses(&k, t), None);
        let code = x86::emit(&k, t).unwrap();
        if let Some(dir) = &dir {
            std::fs::write(format!("{dir}/{}_{name}.bin", k.name), &code).unwrap();
        }
        let label = format!("{} {name} ({} bytes)", k.name, code.len());
        all.push((label, bundle(&k, t), flops, lanes == 0));
    };
    // Short runs, so that some are not interrupted.
    let times = 100_000;
    for (name, lanes, accs) in [("x86-64-v3", 8, 12), ("x86-64-v4", 16, 24)] {
        let flops = 2.0 * f64::from(lanes) * accs as f64 * times as f64;
        add(name, 0, peak(lanes, accs, times), flops);
    }
    for k in [256, 1024] {
        for (name, mr, nv, lanes) in [
            ("x86-64-v3", 6, 2, 8),
            ("x86-64-v3", 4, 3, 8),
            ("x86-64-v4", 8, 3, 16),
            ("x86-64-v4", 14, 2, 16),
            ("x86-64-v4", 12, 2, 16),
            ("x86-64-v4", 6, 4, 16),
        ] {
            let per = 2 * mr * nv * i64::from(lanes) * k;
            let times = 80_000_000 / per;
            add(name, lanes, tile(mr, nv, lanes, k, 4, times), (per * times) as f64);
        }
    }
    let mut best = vec![f64::INFINITY; all.len()];
    let data = vec![0u8; BYTES];
    for _ in 0..300 {
        for (i, (_, b, ..)) in all.iter_mut().enumerate() {
            best[i] = best[i].min(once(b, &data));
        }
    }
    let rate = |i: usize| all[i].2 / best[i] / 1e9;
    let top = (0..all.len()).filter(|i| all[*i].3).map(rate).fold(0.0, f64::max);
    for (i, (label, ..)) in all.iter().enumerate() {
        println!("{label:44} {:7.1} GFLOP/s {:5.1} %", rate(i), 100.0 * rate(i) / top);
    }
}

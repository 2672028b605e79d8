//! Caches of keys and values, and attention over them, against the evaluator.
#![allow(clippy::unwrap_used)]

mod kernels;

use kernels::{Case, Rng};
use sinter_ir::DType::{BF16, F16, F32, U8};
use sinter_ir::op::pages::{Page, Pages, SPAN};
use sinter_ir::op::{Append, AppendPages, CachedAttention};
use sinter_ir::{Expr, Op, Tensor};

/// Shape of a cache.
fn shape(heads: usize, slots: usize, size: usize, block: usize) -> Vec<usize> {
    if block == 1 { vec![heads, slots, size] } else { vec![heads, slots / block, size, block] }
}

#[test]
fn rows_of_every_slot() {
    let mut rng = Rng::new(1);
    for _ in 0..60 {
        let (heads, size, block) = (rng.dim(1, 3), rng.dim(1, 40), rng.pick(&[1, 4, 16]));
        let slots = block * rng.dim(1, 5);
        let dtype = rng.pick(&[F32, F16, BF16]);
        let cache = Tensor::zeros(dtype, shape(heads, slots, size, block)).unwrap();
        let rows = rng.tensor(dtype, vec![slots, heads, size]);
        // All slots are written, in a ring from anywhere on: nothing of what was there before is left.
        let ring = rng.flip();
        let op = Append { at: 0.into(), block: block as i64, ring, sinks: 0 };
        let mut c = Case::new(op.clone(), vec![cache, rows]);
        if ring {
            let at = c.symbol(rng.below(100) as i64, 200);
            c.op = Append { at: at.into(), ..op }.into();
        }
        c.exact = true;
        c.on_any_target(&mut rng);
        c.check();
    }
}

/// A random attention; `spans`: the number of slots is a multiple of those that lie together.
fn attention(rng: &mut Rng, ring: bool) -> Case {
    let block = rng.pick(&[1, 8, 16, 16, 16, 64]);
    let (kv, group) = (rng.dim(1, 3), rng.pick(&[1, 2, 3, 4, 5, 13]));
    let (size, width) = (rng.pick(&[1, 5, 16, 33, 64]), rng.pick(&[1, 7, 16, 32, 40, 64]));
    let n = rng.pick(&[1, 1, 2, 3, 7, 20]);
    let window = (ring || rng.flip()).then(|| rng.dim(1, 90));
    let past = rng.pick(&[0, 1, 15, 16, 40, 63, 64, 65, 130]);
    let least = if ring { n + window.unwrap_or(0) } else { n + past };
    let unit = if ring || rng.flip() { 64 } else { block };
    let slots = least.div_ceil(unit) * unit;
    let (keys, values) = (rng.pick(&[F32, F16, BF16]), rng.pick(&[F32, F16, BF16]));
    let rows = if ring { slots } else { least + rng.below(9) };
    let x = vec![
        rng.tensor(F32, vec![n, kv * group, size]),
        rng.tensor(keys, shape(kv, slots, size, block)),
        rng.tensor(values, vec![kv, rows, width]),
    ];
    let op = CachedAttention {
        past: Expr::default(),
        block: block as i64,
        scale: rng.pick(&[0.125, 1.0, 3.0]),
        softcap: rng.pick(&[None, Some(2.0)]),
        window: window.map(|w| w as i64),
        ring,
        narrow: false,
        pages: None,
    };
    let mut c = Case::new(op.clone(), x);
    let past = c.symbol(past as i64, 1000);
    c.op = CachedAttention { past: past.into(), ..op }.into();
    c.tolerance = 1e-4;
    c.on_any_target(rng);
    c
}

#[test]
fn lines_and_rings() {
    let mut rng = Rng::new(2);
    for i in 0..160 {
        let mut c = attention(&mut rng, i % 2 == 0);
        if rng.flip() {
            c.free(&[(0, 0)]);
        }
        c.check();
    }
}

/// Slots whose number follows from a symbol, as those of states do.
#[test]
fn open_caches() {
    let mut rng = Rng::new(3);
    for i in 0..40 {
        let mut c = attention(&mut rng, i % 2 == 0);
        let block = if c.inputs[1].rank() == 4 { c.inputs[1].shape()[3] } else { 1 };
        let slots = c.inputs[1].shape()[1] * block;
        if !slots.is_multiple_of(64) {
            continue;
        }
        let spans = c.symbol(slots as i64 / 64, 20);
        let all = Expr::from(spans) * 64.into();
        let per = slots / c.inputs[1].shape()[1];
        c.types[1].dims[1] = Expr::from(spans) * (64 / per as i64).into();
        if c.inputs[2].shape()[1] == slots {
            c.types[2].dims[1] = all;
        }
        c.check();
    }
}

/// Many rows as pairs of bf16, a single token without.
#[test]
fn narrow_products() {
    let mut rng = Rng::new(4);
    for i in 0..80 {
        let mut c = attention(&mut rng, i % 2 == 0);
        let Op::CachedAttention(op) = &c.op else { panic!() };
        c.op = CachedAttention { narrow: true, ..op.clone() }.into();
        let open = rng.flip();
        if open {
            c.free(&[(0, 0)]);
        }
        c.target.features.push("avx512bf16".into());
        c.target.vector_bits = c.target.vector_bits.max(128);
        // Scores of some tens, whose factors are off by 2^-9 of themselves.
        c.tolerance = 6e-2;
        let (q, k) = (c.inputs[0].shape().to_vec(), c.inputs[1].shape().to_vec());
        let vectors = k.len() == 4;
        let pairs = c.check().calls.iter().any(|k| k.kernel.name.contains("pairs"));
        assert_eq!(pairs, vectors && q[2] % 2 == 0 && (open || q[0] > 1), "{q:?} {k:?}");
    }
}

/// The ring of an `Append` begins behind the sinks: what is written there, and what of both.
#[test]
fn rows_of_sinks_and_a_ring() {
    let mut rng = Rng::new(4);
    for _ in 0..40 {
        let (heads, size, block) = (rng.dim(1, 3), rng.dim(1, 20), rng.pick(&[1, 16]));
        let sinks = block * rng.dim(1, 3);
        let slots = sinks + block * rng.dim(4, 6);
        // The memory of results is full of these: what is not written stays.
        let bytes = vec![0xa5; heads * slots * size * 2];
        let cache = Tensor::from_bytes(F16, shape(heads, slots, size, block), bytes).unwrap();
        let n = rng.dim(1, slots - sinks);
        let rows = rng.tensor(F16, vec![n, heads, size]);
        let op = Append { at: 0.into(), block: block as i64, ring: true, sinks: sinks as i64 };
        let mut c = Case::new(op.clone(), vec![cache, rows]);
        let at = c.symbol(rng.below(100) as i64, 200);
        c.op = Append { at: at.into(), ..op }.into();
        c.exact = true;
        c.on_any_target(&mut rng);
        c.check();
    }
}

fn pages(rng: &mut Rng, sinks: bool) -> Pages {
    let (bits, group) = (rng.pick(&[2, 3, 4, 8]), rng.pick(&[32, 64]));
    let sinks = if sinks { rng.pick(&[0, 64]) } else { 0 };
    Pages { bits, group, sinks, recent: rng.pick(&[0, 64]) }
}

/// What positions leave behind, whatever was there before.
#[test]
fn pages_of_any_span() {
    let mut rng = Rng::new(5);
    for i in 0..60 {
        let ring = i % 2 == 0;
        let g = pages(&mut rng, !ring);
        let (heads, depth, keys) = (rng.dim(1, 2), rng.pick(&[1, 4, 16, 24, 33, 64, 80]), rng.flip());
        let (past, n) = (rng.below(300), rng.dim(1, 130));
        let spans = (g.sinks + g.recent) as usize / 64 + n.div_ceil(64) + 1;
        let block = if keys { 16 } else { 1 };
        let dtype = rng.pick(&[F16, F16, F32, BF16]);
        let cache = rng.tensor(dtype, shape(heads, spans * 64, depth, block));
        let bytes = if keys { g.keys(depth).bytes() } else { g.values(depth).bytes() };
        let count = if ring { rng.dim(3, 5) } else { 8 };
        // The memory of results is full of these.
        let spare = if keys || ring { 0 } else { rng.below(64) };
        let places = vec![heads, count * 64 + spare, bytes / 64];
        let full = vec![0xa5; places.iter().product()];
        let old = Tensor::from_bytes(U8, places, full).unwrap();
        let op = AppendPages {
            past: (past as i64).into(),
            tokens: (n as i64).into(),
            pages: g,
            block: block as i64,
            ring,
        };
        let mut c = Case::new(op.clone(), vec![old, cache]);
        let (at, tokens) = (c.symbol(past as i64, 400), c.symbol(n as i64, 130));
        c.op = AppendPages { past: at.into(), tokens: tokens.into(), ..op }.into();
        c.exact = true;
        c.on_any_target(&mut rng);
        c.check();
    }
}

/// Pages of random matrices.
fn codes(rng: &mut Rng, page: Page, heads: usize, count: usize) -> Tensor {
    let mut bytes = vec![0; heads * count * page.bytes()];
    for to in bytes.chunks_mut(page.bytes()) {
        let values = rng.tensor(F32, vec![page.rows, page.columns]).to_f32().unwrap();
        page.encode(to, &|r, c| values[r * page.columns + c]);
    }
    Tensor::from_bytes(U8, vec![heads, count * 64, page.bytes() / 64], bytes).unwrap()
}

/// Queries of one or more spans over sinks, pages and the newest positions.
#[test]
fn attention_over_pages() {
    let mut rng = Rng::new(6);
    for i in 0..120 {
        let ring = i % 3 == 0;
        let g = pages(&mut rng, !ring);
        let (kv, group) = (rng.dim(1, 2), rng.pick(&[1, 2, 3, 4, 14]));
        let (size, width) = (rng.pick(&[1, 5, 16, 33, 64]), rng.pick(&[1, 7, 16, 32, 40, 64]));
        let n: usize = rng.pick(&[1, 1, 2, 3, 7, 70]);
        let window = (ring || rng.flip()).then(|| rng.dim(1, 200));
        let past = rng.pick(&[0, 1, 40, 63, 64, 65, 127, 128, 190, 260]);
        let spans = (g.sinks + g.recent) as usize / 64 + n.div_ceil(64) + 1;
        let seen = if ring { (n + window.unwrap_or(0)).div_ceil(64) + 1 } else { (past + n).div_ceil(64) };
        let floats = rng.pick(&[F32, F16, F16, BF16]);
        let x = vec![
            rng.tensor(F32, vec![n, kv * group, size]),
            rng.tensor(floats, shape(kv, spans * SPAN as usize, size, 16)),
            rng.tensor(floats, vec![kv, spans * SPAN as usize, width]),
            codes(&mut rng, g.keys(size), kv, seen),
            codes(&mut rng, g.values(width), kv, seen),
        ];
        let op = CachedAttention {
            past: Expr::default(),
            block: 16,
            scale: rng.pick(&[0.125, 1.0]),
            softcap: rng.pick(&[None, Some(2.0)]),
            window: window.map(|w| w as i64),
            ring,
            narrow: false,
            pages: Some(g),
        };
        let mut c = Case::new(op.clone(), x);
        let at = c.symbol(past as i64, 1000);
        c.op = CachedAttention { past: at.into(), ..op }.into();
        c.tolerance = 1e-4;
        c.on_any_target(&mut rng);
        if rng.flip() {
            c.free(&[(0, 0)]);
        }
        c.check();
    }
}

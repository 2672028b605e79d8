//! Random numbers by position: the formula of `sinter_ir::op::Random::value` in 64-bit integers and f64.

use super::{Puller, access, not_vector};
use crate::lower::index::{Idx, int, linear};
use sinter_ir::op::Random;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, Bound, CvtOp, Elem, LoopKind, Reg};
use sinter_ir::{DType, Result};

impl Puller<'_> {
    pub(super) fn random(&mut self, b: &mut KernelBuilder, op: &Random, idx: &[Idx]) -> Result<Reg> {
        let at = linear(b, idx, &op.dims)?;
        if at.step != 0 {
            return Err(not_vector());
        }
        let i = at.materialise(b);
        let num = |b: &mut KernelBuilder, v: f64| access::constant(b, Elem::F64, 1, v);
        let (mean, v) = if op.normal {
            let sum = b.reg(Elem::F64, 1);
            let zero = num(b, 0.0);
            b.copy_to(sum, zero);
            let twelve = int(b, 12);
            let first = b.mul(i, twelve);
            b.for_(Bound::Const(0), Bound::Const(12), 1, LoopKind::Serial, |b, k| {
                let i = b.add(first, k);
                let u = uniform(b, op.seed, i);
                let s = b.add(sum, u);
                b.copy_to(sum, s);
            });
            let six = num(b, 6.0);
            let centred = b.sub(sum, six);
            let deviation = num(b, op.b);
            (op.a, b.mul(deviation, centred))
        } else {
            let u = uniform(b, op.seed, i);
            let width = num(b, op.b - op.a);
            (op.a, b.mul(width, u))
        };
        let mean = num(b, mean);
        let v = b.add(mean, v);
        self.convert(b, DType::F64, op.dtype, v, true)
    }
}

/// SplitMix64 of seed and index, its upper 24 bits in [0, 1).
fn uniform(b: &mut KernelBuilder, seed: u64, i: Reg) -> Reg {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    // seed + (i + 1) * STEP, with the constants gathered.
    let (step, start) = (int(b, STEP as i64), int(b, seed.wrapping_add(STEP) as i64));
    let z = b.mul(i, step);
    let mut z = b.add(z, start);
    for (shift, factor) in [(30, 0xbf58_476d_1ce4_e5b9u64), (27, 0x94d0_49bb_1331_11eb)] {
        z = fold(b, z, shift);
        let f = int(b, factor as i64);
        z = b.mul(z, f);
    }
    let z = fold(b, z, 31);
    let s = int(b, 40);
    let top = b.bin(BinOp::ShrU, z, s);
    let v = b.cvt(CvtOp::SToF, Elem::F64, top);
    let unit = access::constant(b, Elem::F64, 1, 1.0 / f64::from(1u32 << 24));
    b.mul(v, unit)
}

fn fold(b: &mut KernelBuilder, z: Reg, shift: i64) -> Reg {
    let s = int(b, shift);
    let high = b.bin(BinOp::ShrU, z, s);
    b.bin(BinOp::Xor, z, high)
}

//! The phases of a transposed convolution: which taps they have, and the order of their packed weights.

use super::super::panel::Axis;
use crate::lower::contract::gemm::scaled;
use crate::lower::contract::pack;
use crate::lower::index::Idx;
use bytes::Bytes;
use sinter_ir::expr::product;
use sinter_ir::op::ConvTranspose;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{BinOp, Buf, CmpOp, Elem, Reg};
use sinter_ir::{Result, Tensor, TensorType};

/// Distances in the packed weights.
pub struct Strides {
    /// Between groups.
    pub group: i64,
    /// Between phases.
    pub phase: i64,
}

/// One axis under one phase.
pub struct Phase {
    /// What it reads.
    pub gather: Axis,
    /// First output position.
    pub first: Reg,
}

/// The phases of all axes.
pub struct Phases {
    /// Per axis and remainder: first tap, number of taps, and the shift of the position that tap 0 reads.
    axes: Vec<Vec<[i64; 3]>>,
    dilations: Vec<i64>,
    strides: Vec<i64>,
    kernel: Vec<usize>,
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Phases {
    /// Of an operation whose kernel has these dims.
    pub fn new(op: &ConvTranspose, kernel: &[usize]) -> Self {
        let axis = |i: usize| -> Vec<[i64; 3]> {
            let (s, d, n) = (op.strides[i] as i64, op.dilations[i] as i64, kernel[i] as i64);
            let every = s / gcd(s, d);
            let phase = |r: i64| match (0..n.min(every)).find(|t| (t * d - r).rem_euclid(s) == 0) {
                Some(t) => [t, (n - t + every - 1) / every, (r - t * d).div_euclid(s)],
                None => [0, 0, 0],
            };
            (0..s).map(phase).collect()
        };
        let i64s = |v: &[usize]| v.iter().map(|&x| x as i64).collect::<Vec<_>>();
        Self {
            axes: (0..kernel.len()).map(axis).collect(),
            dilations: i64s(&op.dilations),
            strides: i64s(&op.strides),
            kernel: kernel.to_vec(),
        }
    }
    /// Largest number of taps of a phase.
    pub fn most(&self) -> usize {
        self.axes.iter().map(|a| a.iter().map(|p| p[1] as usize).max().unwrap_or(0)).product()
    }
    /// Distance of a phase's taps.
    fn every(&self, i: usize) -> i64 {
        self.strides[i] / gcd(self.strides[i], self.dilations[i])
    }
    /// `[group][phase][m / mr][k][mr]`, k in the order (channel, taps..) of the phase, padded to the largest k.
    pub fn pack(&self, w: &Tensor, group: usize, mr: usize) -> Result<Bytes> {
        let (channels, per) = (w.shape()[0] / group.max(1), w.shape()[1]);
        let (all, taps) = (self.count(), self.kernel.iter().product::<usize>());
        let depth = channels * self.most();
        pack::panels(w, (group * all, depth, per), mr, |o, k, m| {
            let (g, phase) = (o / all, o % all);
            let (c, t) = self.tap(phase, k, channels)?;
            Some(((g * channels + c) * per + m) * taps + t)
        })
    }
    /// Number of phases.
    pub fn count(&self) -> usize {
        self.strides.iter().product::<i64>() as usize
    }
    /// Distances between the packed weights of groups with `channels` in and `per` out.
    pub fn distances(&self, channels: usize, per: usize, mr: usize) -> Strides {
        let panel = (per.div_ceil(mr) * mr * channels * self.most()) as i64;
        Strides { group: panel * self.count() as i64, phase: panel }
    }
    /// Where a tap belongs: the number of its phase, that phase's number of taps, and its place among them.
    pub fn place(&self, tap: usize) -> [i64; 3] {
        let (mut rest, mut at) = (tap, vec![0; self.kernel.len()]);
        for (a, &n) in at.iter_mut().zip(&self.kernel).rev() {
            *a = (rest % n) as i64;
            rest /= n;
        }
        at.iter().enumerate().fold([0, 1, 0], |[phase, count, place], (i, &t)| {
            let r = (t * self.dilations[i]).rem_euclid(self.strides[i]);
            let own = self.axes[i][r as usize][1];
            [phase * self.strides[i] + r, count * own, place * own + t / self.every(i)]
        })
    }
    /// Channel and tap of step k of a phase.
    fn tap(&self, phase: usize, k: usize, channels: usize) -> Option<(usize, usize)> {
        let (mut rest, mut own) = (phase, vec![[0; 3]; self.axes.len()]);
        for i in (0..own.len()).rev() {
            own[i] = self.axes[i][rest % self.axes[i].len()];
            rest /= self.axes[i].len();
        }
        let count: usize = own.iter().map(|p| p[1] as usize).product();
        let (channel, mut j) = (k.checked_div(count)?, k % count);
        let mut at = vec![0; own.len()];
        for i in (0..own.len()).rev() {
            let n = own[i][1] as usize;
            at[i] = own[i][0] as usize + (j % n) * self.every(i) as usize;
            j /= n;
        }
        let tap = at.iter().zip(&self.kernel).fold(0, |t, (a, n)| t * n + a);
        (channel < channels).then_some((channel, tap))
    }
    /// Per axis and remainder: number of taps, shift.
    pub fn table(&self) -> Bytes {
        self.axes
            .iter()
            .flatten()
            .flat_map(|p| [p[1], p[2]])
            .flat_map(i64::to_le_bytes)
            .collect::<Vec<u8>>()
            .into()
    }
    /// Row-major number of the remainders `(first output + before) mod stride`.
    pub fn number(&self, b: &mut KernelBuilder, remainders: &[Reg]) -> Reg {
        let mut n = b.i64(0);
        for (&r, &s) in remainders.iter().zip(&self.strides) {
            let up = scaled(b, n, s);
            n = b.add(up, r);
        }
        n
    }
    /// One axis for the outputs with remainder `r`.
    pub fn axis(
        &self,
        b: &mut KernelBuilder,
        table: Buf,
        i: usize,
        r: Reg,
        op: &ConvTranspose,
        (xt, yt): (&TensorType, &TensorType),
    ) -> Phase {
        let s = self.strides[i];
        let before: i64 = self.axes[..i].iter().map(|a| 2 * a.len() as i64).sum();
        let entry = |b: &mut KernelBuilder, n: i64| {
            b.load(Elem::I64, 1, table, Idx::reg(r).times(2).addr().offset(before + n), None)
        };
        let (taps, shift) = (entry(b, 0), entry(b, 1));
        // First output of the phase: the smallest o >= 0 with (o + before) mod s = r.
        let (pad, zero) = (b.dim(&op.pads_before[i]), b.i64(0));
        let (stride, d) = (b.i64(s), b.sub(r, pad));
        let m = b.bin(BinOp::RemS, d, stride);
        let negative = b.cmp(CmpOp::Lt, m, zero);
        let up = b.add(m, stride);
        let first = b.select(negative, up, m);
        let quotient = {
            let u = b.add(first, pad);
            let u = b.sub(u, r);
            b.bin(BinOp::DivS, u, stride)
        };
        let room = b.dim(&(yt.dims[2 + i].clone() + (s - 1).into()));
        let room = b.sub(room, first);
        let points = b.bin(BinOp::DivS, room, stride);
        let points = b.bin(BinOp::MaxS, points, zero);
        let gather = Axis {
            points,
            stride: 1,
            base: b.add(quotient, shift),
            dilation: -(self.dilations[i] / gcd(s, self.dilations[i])),
            taps,
            size: b.dim(&xt.dims[2 + i]),
            pitch: b.dim(&product(&xt.dims[3 + i..])),
        };
        Phase { gather, first }
    }
}

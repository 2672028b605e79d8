//! Kernels that differ only in constants of 32 bits become one kernel that reads them from the weights.
//!
//! Layers of one shape often end in a scale, clip or zero point of their own; a copy of the whole kernel for each would cost
//! kilobytes of code where a few bytes of data do.

use super::Assembler;
use super::kernels::{fingerprint, same};
use crate::plan::{Place, VStep};
use bytes::Bytes;
use sinter_ir::Result;
use sinter_ir::tile::{Access, Addr, Buf, Buffer, Elem, Inst, Kernel, Reg, Scalar, Stmt, Ty};
use std::collections::BTreeMap;

/// What becomes of a kernel: its index in the new table and the constants that its calls pass.
struct Merged {
    kernel: u32,
    consts: Option<Bytes>,
}

impl Assembler<'_> {
    /// Merges the kernels of the table; calls follow. Returns the new table.
    pub(super) fn merge(&mut self, kernels: Vec<Kernel>, steps: &mut [VStep]) -> Result<Vec<Kernel>> {
        let mut out: Vec<Kernel> = Vec::new();
        let mut fate: Vec<Option<Merged>> = kernels.iter().map(|_| None).collect();
        let groups = groups(&kernels);
        for group in groups {
            let kernel = out.len() as u32;
            let first = &kernels[group[0]];
            let values: Vec<Vec<u32>> = group.iter().map(|&k| constants(&kernels[k])).collect();
            let slots = slots(&values);
            let tables = values.iter().map(|v| table(v, &slots));
            for (&k, consts) in group.iter().zip(tables) {
                fate[k] = Some(Merged { kernel, consts });
            }
            out.push(if slots.iter().any(Option::is_some) {
                lift(first.clone(), &slots)
            } else {
                first.clone()
            });
            for &k in &group[1..] {
                self.report.fired("assemble/merged-kernel");
                for stat in self.report.kernels.iter_mut().filter(|s| s.kernel == kernels[k].name) {
                    stat.kernel.clone_from(&first.name);
                }
            }
        }
        self.follow(&fate, steps)?;
        Ok(out)
    }
    fn follow(&mut self, fate: &[Option<Merged>], steps: &mut [VStep]) -> Result<()> {
        for step in steps {
            match step {
                VStep::Call { kernel, args, sizes, label } => {
                    let Some(Some(m)) = fate.get(*kernel as usize) else { continue };
                    *kernel = m.kernel;
                    let consts: Option<Place> =
                        m.consts.as_ref().map(|c| self.weight(c, label)).transpose()?;
                    if let (Some(c), false) = (&m.consts, sizes.is_empty()) {
                        sizes.push(c.len().into());
                    }
                    args.extend(consts);
                }
                VStep::If { then, els, .. } => {
                    self.follow(fate, then)?;
                    self.follow(fate, els)?;
                }
                VStep::Loop { body, .. } => self.follow(fate, body)?,
                VStep::Copy { .. } | VStep::SetSym { .. } | VStep::ReadSym { .. } | VStep::Require { .. } => {
                }
            }
        }
        Ok(())
    }
}

/// Kernels that are equal up to constants of 32 bits, in the order of their first one.
fn groups(kernels: &[Kernel]) -> Vec<Vec<usize>> {
    let mut groups: Vec<(Kernel, Vec<usize>)> = Vec::new();
    let mut by_content: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (k, kernel) in kernels.iter().enumerate() {
        let mut skeleton = kernel.clone();
        visit(&mut skeleton, &mut |value| *value = 0);
        let bucket = by_content.entry(fingerprint(&skeleton)).or_default();
        match bucket.iter().find(|&&g| same(&groups[g].0, &skeleton)) {
            Some(&g) => groups[g].1.push(k),
            None => {
                bucket.push(groups.len());
                groups.push((skeleton, vec![k]));
            }
        }
    }
    groups.into_iter().map(|(_, members)| members).collect()
}

/// The bits of the constants of a kernel, in order.
fn constants(kernel: &Kernel) -> Vec<u32> {
    let mut out = Vec::new();
    visit(&mut kernel.clone(), &mut |value| out.push(*value));
    out
}

/// For each constant of the group its place in the table, when the members disagree on it.
fn slots(values: &[Vec<u32>]) -> Vec<Option<usize>> {
    let mut columns: Vec<Vec<u32>> = Vec::new();
    let slot = |i: usize| {
        let column: Vec<u32> = values.iter().map(|v| v[i]).collect();
        if column.iter().all(|c| *c == column[0]) {
            return None;
        }
        Some(columns.iter().position(|c| *c == column).unwrap_or_else(|| {
            columns.push(column);
            columns.len() - 1
        }))
    };
    (0..values[0].len()).map(slot).collect()
}

/// One member's table.
fn table(values: &[u32], slots: &[Option<usize>]) -> Option<Bytes> {
    let mut out: Vec<u32> = Vec::new();
    for (value, slot) in values.iter().zip(slots) {
        // Places are given in the order of their first use.
        if *slot == Some(out.len()) {
            out.push(*value);
        }
    }
    (!out.is_empty()).then(|| out.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// The kernel that reads the constants with a slot from a buffer of its own.
fn lift(mut kernel: Kernel, slots: &[Option<usize>]) -> Kernel {
    let buf = Buf(kernel.bufs.len() as u32);
    let count = slots.iter().flatten().max().map_or(0, |m| m + 1);
    kernel.bufs.push(Buffer { name: "consts".into(), access: Access::Read, bytes: (4 * count).into() });
    let mut next = slots.iter();
    replace(&mut kernel.body, &mut kernel.regs, &mut |dst, regs| {
        let slot = (*next.next()?)?;
        let load = Inst::Load { buf, at: Addr { offset: slot as i64, ..Addr::default() }, tail: None };
        let ty = regs[dst.0 as usize];
        if ty.lanes == 1 {
            return Some(vec![Stmt::Let { dst, inst: load }]);
        }
        let scalar = Reg(regs.len() as u32);
        regs.push(Ty { lanes: 1, ..ty });
        Some(vec![Stmt::Let { dst: scalar, inst: load }, Stmt::Let { dst, inst: Inst::Splat(scalar) }])
    });
    kernel
}

/// The bits of a constant of 32 bits.
fn bits(constant: Scalar, ty: Ty) -> Option<u32> {
    match constant {
        Scalar::F32(v) => Some(v.to_bits()),
        Scalar::Int(v) if ty.elem == Elem::I32 => Some(v as u32),
        _ => None,
    }
}

/// Calls `f` for the bits of every constant of 32 bits, in order.
fn visit(kernel: &mut Kernel, f: &mut dyn FnMut(&mut u32)) {
    fn walk(body: &mut [Stmt], regs: &[Ty], f: &mut dyn FnMut(&mut u32)) {
        for s in body {
            if let Stmt::Let { dst, inst: Inst::Const(c) } = s
                && let Some(mut value) = bits(*c, regs[dst.0 as usize])
            {
                f(&mut value);
                *c = match c {
                    Scalar::F32(_) => Scalar::F32(f32::from_bits(value)),
                    _ => Scalar::Int((value as i32).into()),
                };
            }
            s.blocks_mut().into_iter().for_each(|b| walk(b, regs, f));
        }
    }
    walk(&mut kernel.body, &kernel.regs, f);
}

/// What stands for the constant of a register; fresh registers may be added.
type Replacement<'a> = dyn FnMut(Reg, &mut Vec<Ty>) -> Option<Vec<Stmt>> + 'a;

/// Replaces constants of 32 bits, in order, where `f` gives other statements.
fn replace(body: &mut Vec<Stmt>, regs: &mut Vec<Ty>, f: &mut Replacement) {
    for mut s in std::mem::take(body) {
        if let Stmt::Let { dst, inst: Inst::Const(c) } = s
            && bits(c, regs[dst.0 as usize]).is_some()
            && let Some(other) = f(dst, regs)
        {
            body.extend(other);
            continue;
        }
        s.blocks_mut().into_iter().for_each(|b| replace(b, regs, f));
        body.push(s);
    }
}

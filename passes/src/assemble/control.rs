//! `If` and `Loop`: regions become nested steps; results and carried values get buffers outside of them.

use super::Assembler;
use super::scope::Scope;
use super::storage::Storage;
use crate::plan::{Place, VStep};
use sinter_ir::graph::SymKind;
use sinter_ir::op::loop_::CarriedSym;
use sinter_ir::op::{If, Loop};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, Addr, Bound, Elem, Kernel, LoopKind};
use sinter_ir::{DType, Diag, Expr, Graph, Node, Result, Sym, TensorType};
use std::collections::BTreeSet;

/// Whether a loop can collect slices of this type: they are copied as bytes.
pub(crate) fn can_collect(dtype: DType) -> Result<()> {
    if dtype.bits() < 8 {
        return Err(Diag::unsupported(format!("a loop that collects {dtype} values")));
    }
    Ok(())
}

impl Assembler<'_> {
    pub(super) fn if_(
        &mut self,
        op: &If,
        g: &Graph,
        node: &Node,
        storage: &Storage,
        scope: &Scope,
        steps: &mut Vec<VStep>,
    ) -> Result<()> {
        let mut places = self.places(g, &node.inputs, storage)?.into_iter();
        let cond = places.next().ok_or_else(|| Diag::bug("If without condition"))?;
        let captures: Vec<Place> = places.collect();
        let results: Vec<Option<Place>> =
            self.places(g, &node.outputs, storage)?.into_iter().map(Some).collect();
        let mut branch = |body: &Graph, then: bool| -> Result<Vec<VStep>> {
            let mut steps = Vec::new();
            self.region(body, &captures, &results, &mut scope.clone(), &mut steps)?;
            for d in &op.defs {
                let value = if then { &d.then_value } else { &d.else_value };
                steps.push(VStep::SetSym { sym: d.sym, value: value.clone() });
            }
            Ok(steps)
        };
        let then = branch(&op.then_body, true)?;
        let els = branch(&op.else_body, false)?;
        steps.push(VStep::If { cond, then, els });
        Ok(())
    }

    pub(super) fn loop_(
        &mut self,
        op: &Loop,
        g: &Graph,
        node: &Node,
        storage: &Storage,
        scope: &Scope,
        steps: &mut Vec<VStep>,
    ) -> Result<()> {
        let operands = self.places(g, &node.inputs, storage)?;
        let results = self.places(g, &node.outputs, storage)?;
        let [trip, first_cond, rest @ ..] = operands.as_slice() else {
            return Err(Diag::bug("Loop without trip count and condition"));
        };
        if rest.len() < op.carried || results.len() != op.carried + op.scanned {
            return Err(Diag::bug("Loop: operand counts do not fit"));
        }
        let (init, captures) = rest.split_at(op.carried);
        let (carried, scanned) = results.split_at(op.carried);
        // Carried values live in the results' buffers.
        for ((&dst, &src), &v) in carried.iter().zip(init).zip(&node.inputs[2..]) {
            if dst != src {
                steps.push(VStep::Copy { dst, src, bytes: Self::bytes(g.ty(v)) });
            }
        }
        let unbounded = g.as_const(node.inputs[0]).is_some_and(|t| t.bytes() == i64::MAX.to_le_bytes());
        let is_true =
            |g: &Graph, v| g.as_const(v).is_some_and(|t| t.bytes().first().is_some_and(|b| *b != 0));
        let endless = is_true(g, node.inputs[1]) && is_true(&op.body, op.body.outputs[0]);
        let cond = (!endless).then(|| self.arena("loop condition", 1));
        if let Some(dst) = cond {
            steps.push(VStep::Copy { dst, src: *first_cond, bytes: 1.into() });
        }
        let iter = self.arena("loop iteration", 8);
        steps.extend(op.shape_syms.iter().map(|c| VStep::SetSym { sym: c.sym, value: c.init.clone() }));

        let first_inner = self.buffers.all.len() as u32;
        let mut body = Vec::new();
        let mut inner = scope.clone();
        let symbols = self.symbols.clone();
        // The count is the number of iterations only behind the loop: constraints on it are checked there.
        let entering: Vec<Sym> = op.shape_syms.iter().map(|c| c.sym).collect();
        inner.define(&symbols, &entering, &mut body);
        let inputs = [&[iter], carried, captures].concat();
        let mut wanted = vec![None; op.body.outputs.len()];
        wanted[0] = cond;
        let outs = self.region(&op.body, &inputs, &wanted, &mut inner, &mut body)?;
        for ((&dst, &src), &v) in
            scanned.iter().zip(&outs[1 + op.carried..]).zip(&op.body.outputs[1 + op.carried..])
        {
            let kernel = self.append_kernel(op.count, op.body.ty(v))?;
            let kernel = self.kernels.add(kernel, self.report);
            let label = super::emit::label(node);
            body.push(VStep::Call { kernel, args: vec![src, dst], sizes: vec![], label });
        }
        let sizes = self.next_sizes(&op.shape_syms, &mut body);
        self.carry(&outs[1..1 + op.carried], carried, op, &sizes, &mut body)?;
        self.update_syms(&sizes, &mut body);
        steps.push(VStep::Loop {
            trip: (!unbounded).then_some(*trip),
            cond,
            iter,
            count: op.count,
            first_inner,
            body,
        });
        Ok(())
    }

    fn places(&mut self, g: &Graph, values: &[sinter_ir::ValueId], storage: &Storage) -> Result<Vec<Place>> {
        values.iter().map(|&v| storage.place(self, g, v)).collect()
    }

    /// Copies the next carried values into the carried buffers, all at once: a value that is itself in a
    /// carried buffer is saved first.
    fn carry(
        &mut self,
        next: &[Place],
        carried: &[Place],
        op: &Loop,
        sizes: &[CarriedSym],
        body: &mut Vec<VStep>,
    ) -> Result<()> {
        let own: BTreeSet<_> = carried.iter().map(|p| p.buf).collect();
        let mut copies = Vec::new();
        for ((&src, &dst), &v) in next.iter().zip(carried).zip(&op.body.outputs[1..]) {
            if src == dst {
                continue;
            }
            let mut ty = op.body.ty(v).clone();
            for d in &mut ty.dims {
                if let Some(i) = op.shape_syms.iter().position(|c| c.next == *d) {
                    *d = sizes[i].next.clone();
                }
            }
            let bytes = Self::bytes(&ty);
            let mut from = src;
            if own.contains(&src.buf) {
                let max = self.max_bytes(&ty)?;
                from = self.arena("saved carried value", max);
                body.push(VStep::Copy { dst: from, src, bytes: bytes.clone() });
            }
            copies.push(VStep::Copy { dst, src: from, bytes });
        }
        body.extend(copies);
        Ok(())
    }

    /// The carried symbols with their next values. Those that could leave their ranges become symbols of their own, with
    /// the same ranges, in front of the copies: what does not fit is noticed before it is written.
    fn next_sizes(&mut self, syms: &[CarriedSym], body: &mut Vec<VStep>) -> Vec<CarriedSym> {
        let mut out = syms.to_vec();
        for c in &mut out {
            let (own, next) = (self.symbols.range(&c.sym.into()), self.symbols.range(&c.next));
            if next.0 < own.0 || next.1 > own.1 {
                let size =
                    self.symbols.fresh(format!("size behind s{}", c.sym.0), own.0, own.1, SymKind::Run);
                body.push(VStep::SetSym { sym: size, value: c.next.clone() });
                c.next = size.into();
            }
        }
        out
    }

    /// Sets the carried symbols to their next values, all at once.
    fn update_syms(&mut self, syms: &[CarriedSym], body: &mut Vec<VStep>) {
        let changing: Vec<&CarriedSym> = syms.iter().filter(|c| c.next != Expr::from(c.sym)).collect();
        let own: BTreeSet<Sym> = changing.iter().map(|c| c.sym).collect();
        let mut late = Vec::new();
        for c in changing {
            if c.next.syms().iter().all(|s| *s == c.sym || !own.contains(s)) {
                late.push(VStep::SetSym { sym: c.sym, value: c.next.clone() });
                continue;
            }
            let (min, max) = self.symbols.range(&c.next);
            let saved = self.symbols.fresh(format!("next of s{}", c.sym.0), min, max, SymKind::Run);
            body.push(VStep::SetSym { sym: saved, value: c.next.clone() });
            late.push(VStep::SetSym { sym: c.sym, value: saved.into() });
        }
        body.extend(late);
    }

    /// Copies one scanned slice behind the `count` slices already there.
    fn append_kernel(&self, count: Sym, slice: &TensorType) -> Result<Kernel> {
        can_collect(slice.dtype)?;
        let bytes = Self::bytes(slice);
        let lanes = self.target.lanes(8);
        let mut k = KernelBuilder::new(format!(
            "append_{}",
            bytes.as_const().map_or_else(|| "dyn".to_owned(), |b| b.to_string())
        ));
        let src = k.buf("slice", Access::Read, bytes.clone());
        let all = k.buf("all", Access::Write, (Expr::from(count) + 1.into()) * bytes.clone());
        let base = k.dim(&(Expr::from(count) * bytes.clone()));
        let whole = bytes.div(&i64::from(lanes).into()) * i64::from(lanes).into();
        let hi = k.bound(&whole);
        k.for_(Bound::Const(0), hi.clone(), i64::from(lanes), LoopKind::Serial, |k, i| {
            let v = k.load(Elem::I8, lanes, src, Addr::reg(i), None);
            k.store(all, Addr::reg(base).plus(i, 1), v, None);
        });
        let end = k.bound(&bytes);
        k.for_(hi, end, 1, LoopKind::Serial, |k, i| {
            let v = k.load(Elem::I8, 1, src, Addr::reg(i), None);
            k.store(all, Addr::reg(base).plus(i, 1), v, None);
        });
        Ok(k.finish())
    }
}

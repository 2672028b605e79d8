//! One kernel for a group of them: numbers come from a table, sizes are computed from symbols and numbers.

use super::numbers::{INDEX, Kind, constant, dims, numbers};
use bytes::Bytes;
use sinter_ir::expr::Atom;
use sinter_ir::tile::{
    Access, Addr, BinOp, Bound, Buf, Buffer, Elem, Inst, Kernel, LoopKind, Reg, Scalar, Stmt, Ty,
};
use sinter_ir::{Expr, Sym};

/// Members of a group side by side: one entry per place, with what each of them has there.
pub(super) struct Columns {
    numbers: Vec<(Kind, Vec<i64>)>,
    dims: Vec<Vec<Expr>>,
}

impl Columns {
    pub fn of(members: &[&Kernel]) -> Self {
        let mut all = Self { numbers: vec![], dims: vec![] };
        for (i, kernel) in members.iter().enumerate() {
            let mut kernel = (*kernel).clone();
            let (mut n, mut d) = (0, 0);
            numbers(&mut kernel, &mut |kind, v| {
                if i == 0 {
                    all.numbers.push((kind, vec![]));
                }
                if let Some(column) = all.numbers.get_mut(n) {
                    column.1.push(*v);
                }
                n += 1;
            });
            dims(&mut kernel, &mut |e| {
                if i == 0 {
                    all.dims.push(vec![]);
                }
                if let Some(column) = all.dims.get_mut(d) {
                    column.push(e.clone());
                }
                d += 1;
            });
        }
        all
    }
}

/// Numbers that differ among the kernels of a group.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: Vec<(Kind, Vec<i64>)>,
}

/// Where a number is: the entry of a table, and what has to be added.
type Place = Option<(usize, i64)>;

impl Table {
    /// The place of a column of numbers; none where they do not differ.
    fn place(&mut self, kind: Kind, column: &[i64]) -> Place {
        if column.iter().all(|v| *v == column[0]) {
            return None;
        }
        // Integers that are an entry plus the same for everyone need none of their own.
        let delta = |entry: &(Kind, Vec<i64>)| {
            let d = column[0].wrapping_sub(entry.1[0]);
            let all = entry.1.iter().zip(column).all(|(e, c)| c.wrapping_sub(*e) == d);
            (entry.0 == kind && all && (d == 0 || kind == Kind::Int)).then_some(d)
        };
        let found = self.entries.iter().enumerate().find_map(|(i, e)| Some((i, delta(e)?)));
        Some(found.unwrap_or_else(|| {
            self.entries.push((kind, column.to_vec()));
            (self.entries.len() - 1, 0)
        }))
    }
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
    /// The table of one kernel: eight bytes per entry.
    pub fn bytes(&self, member: usize) -> Bytes {
        self.entries.iter().flat_map(|(_, column)| column[member].to_le_bytes()).collect()
    }
}

/// Symbols that stand for those of a group until these are chosen.
const PLACEHOLDERS: u32 = 1 << 30;

/// Which of a group's symbols a placeholder is.
pub(super) fn placeholder(s: Sym) -> Option<usize> {
    s.0.checked_sub(PLACEHOLDERS).map(|i| i as usize)
}

/// Rewrites the first kernel of a group to serve all.
pub(super) struct Lift<'a> {
    table: Table,
    places: std::vec::IntoIter<Place>,
    columns: std::slice::Iter<'a, Vec<Expr>>,
    /// The bound of the parallel loop.
    bound: Option<&'a Vec<Expr>>,
    /// Integers that are symbols.
    syms: Vec<Vec<Expr>>,
    range: &'a dyn Fn(&Expr) -> (i64, i64),
    regs: Vec<Ty>,
    /// Registers that hold the entries of the table.
    entries: Vec<Reg>,
}

impl<'a> Lift<'a> {
    /// Rewrites a kernel. Gives the table, which is its last buffer, and what each of its placeholders stands for.
    pub fn run(
        kernel: &mut Kernel,
        columns: &'a Columns,
        range: &'a dyn Fn(&Expr) -> (i64, i64),
    ) -> (Table, Vec<Vec<Expr>>) {
        let mut table = Table::default();
        let places: Vec<Place> = columns.numbers.iter().map(|(kind, c)| table.place(*kind, c)).collect();
        let bound = kernel.parallel.as_ref().and(columns.dims.last());
        let mut lift = Self {
            table,
            places: places.into_iter(),
            columns: columns.dims.iter(),
            bound,
            syms: vec![],
            range,
            regs: std::mem::take(&mut kernel.regs),
            entries: vec![],
        };
        lift.block(&mut kernel.body);
        if let (Some(bound), Some(e)) = (bound, &mut kernel.parallel) {
            *e = lift.whole(bound);
            let parallel = |s: &Stmt| matches!(s, Stmt::For { kind: LoopKind::Parallel, .. });
            if e.as_const().is_none()
                && let Some(at) = kernel.body.iter().position(parallel)
                && let Some(Stmt::For { hi: hi @ Bound::Const(_), .. }) = kernel.body.get_mut(at)
            {
                let dst = lift.reg(INDEX);
                *hi = Bound::Reg(dst);
                kernel.body.insert(at, Stmt::Let { dst, inst: Inst::Dim(e.clone()) });
            }
        }
        let buf = Buf(kernel.bufs.len() as u32);
        let mut start = vec![];
        for (i, &dst) in lift.entries.iter().enumerate() {
            // Entries of fewer bits are at the low end.
            let elements = 8 / i64::from(lift.regs[dst.0 as usize].elem.bytes());
            let at = Addr { offset: i as i64 * elements, ..Addr::default() };
            start.push(Stmt::Let { dst, inst: Inst::Load { buf, at, tail: None } });
        }
        kernel.body.splice(0..0, start);
        kernel.regs = lift.regs;
        if !lift.table.is_empty() {
            let bytes = lift.table.bytes(0).len().into();
            kernel.bufs.push(Buffer { name: "shape".into(), access: Access::Read, bytes });
        }
        (lift.table, lift.syms)
    }
    fn reg(&mut self, ty: Ty) -> Reg {
        self.regs.push(ty);
        Reg(self.regs.len() as u32 - 1)
    }
    fn set(&mut self, inst: Inst, before: &mut Vec<Stmt>) -> Reg {
        let dst = self.reg(INDEX);
        before.push(Stmt::Let { dst, inst });
        dst
    }
    fn block(&mut self, body: &mut Vec<Stmt>) {
        for mut s in std::mem::take(body) {
            match &mut s {
                Stmt::Let { dst, inst } => self.inst(*dst, inst, body),
                Stmt::Store { at, .. } => self.address(at, body),
                Stmt::For { lo, hi, kind: LoopKind::Serial, .. } => {
                    for b in [lo, hi] {
                        if matches!(b, Bound::Const(_))
                            && let Some(place) = self.next()
                        {
                            *b = Bound::Reg(self.value(place, body));
                        }
                    }
                }
                _ => {}
            }
            s.blocks_mut().into_iter().for_each(|b| self.block(b));
            body.push(s);
        }
    }
    fn inst(&mut self, dst: Reg, inst: &mut Inst, before: &mut Vec<Stmt>) {
        match inst {
            Inst::Const(c) => {
                let ty = self.regs[dst.0 as usize];
                if let Some((kind, _)) = constant(*c, ty)
                    && let Some(place) = self.next()
                {
                    let value = self.value(place, before);
                    *inst = match kind {
                        Kind::Bits(_) if ty.lanes > 1 => Inst::Splat(value),
                        _ => Inst::Copy(value),
                    };
                }
            }
            Inst::Load { at, .. } | Inst::LoadGather { at, .. } => self.address(at, before),
            Inst::Dim(_) => {
                if let Some(column) = self.columns.next() {
                    *inst = match self.bound == Some(column) {
                        true => Inst::Dim(self.whole(column)),
                        false => Inst::Copy(self.dim(column, before)),
                    };
                }
            }
            _ => {}
        }
    }
    /// The place of the next number.
    fn next(&mut self) -> Place {
        self.places.next().flatten()
    }
    /// A register with a number.
    fn value(&mut self, (entry, delta): (usize, i64), before: &mut Vec<Stmt>) -> Reg {
        while self.entries.len() <= entry {
            let elem = match self.table.entries[self.entries.len()].0 {
                Kind::Int => Elem::I64,
                Kind::Bits(elem) => elem,
            };
            let reg = self.reg(Ty { elem, lanes: 1 });
            self.entries.push(reg);
        }
        let value = self.entries[entry];
        if delta == 0 {
            return value;
        }
        let by = self.set(Inst::Const(Scalar::Int(delta)), before);
        self.set(Inst::Bin(BinOp::Add, value, by), before)
    }
    fn address(&mut self, at: &mut Addr, before: &mut Vec<Stmt>) {
        for (r, scale) in &mut at.terms {
            if let Some(place) = self.next() {
                let factor = self.value(place, before);
                (*r, *scale) = (self.set(Inst::Bin(BinOp::Mul, *r, factor), before), 1);
            }
        }
        if let Some((entry, delta)) = self.next() {
            at.terms.push((self.value((entry, 0), before), 1));
            at.offset = delta;
        }
    }
    /// An integer that is a symbol as a whole where it differs.
    fn whole(&mut self, column: &[Expr]) -> Expr {
        if column.iter().all(|e| *e == column[0]) {
            return column[0].clone();
        }
        let i = self.syms.iter().position(|c| c == column).unwrap_or_else(|| {
            self.syms.push(column.to_vec());
            self.syms.len() - 1
        });
        Sym(PLACEHOLDERS + i as u32).into()
    }
    /// A number of the members.
    fn number(&mut self, column: &[i64], before: &mut Vec<Stmt>) -> Reg {
        match self.table.place(Kind::Int, column) {
            Some(place) => self.value(place, before),
            None => self.set(Inst::Const(Scalar::Int(column[0])), before),
        }
    }
    /// A symbolic integer: computed from what differs, so that few symbols are enough.
    fn dim(&mut self, column: &[Expr], before: &mut Vec<Stmt>) -> Reg {
        let first = &column[0];
        let terms = first.terms().len();
        let alike = |e: &Expr| {
            let degrees = e.terms().iter().map(|(atoms, _)| atoms.len());
            e.terms().len() == terms && degrees.eq(first.terms().iter().map(|(atoms, _)| atoms.len()))
        };
        if terms == 0 && column.iter().all(alike) {
            let constants: Vec<i64> = column.iter().map(Expr::constant_term).collect();
            return self.number(&constants, before);
        }
        if column.iter().all(|e| e == first) || !column.iter().all(alike) {
            let whole = self.whole(column);
            return self.set(Inst::Dim(whole), before);
        }
        let constants: Vec<i64> = column.iter().map(Expr::constant_term).collect();
        let mut sum = None;
        for t in 0..terms {
            let mut product = None;
            for a in 0..first.terms()[t].0.len() {
                let atoms: Vec<&Atom> = column.iter().map(|e| &e.terms()[t].0[a]).collect();
                let atom = self.atom(&atoms, before);
                product = Some(match product {
                    Some(p) => self.set(Inst::Bin(BinOp::Mul, p, atom), before),
                    None => atom,
                });
            }
            let factors: Vec<i64> = column.iter().map(|e| e.terms()[t].1).collect();
            let factor = self.number(&factors, before);
            let term = match product {
                Some(p) => self.set(Inst::Bin(BinOp::Mul, p, factor), before),
                None => factor,
            };
            sum = Some(match sum {
                Some(s) => self.set(Inst::Bin(BinOp::Add, s, term), before),
                None => term,
            });
        }
        let constant = self.number(&constants, before);
        match sum {
            Some(s) => self.set(Inst::Bin(BinOp::Add, s, constant), before),
            None => constant,
        }
    }
    fn atom(&mut self, column: &[&Atom], before: &mut Vec<Stmt>) -> Reg {
        let all: Vec<Expr> = column.iter().map(|a| (*a).clone().into()).collect();
        let pair = |a: &Atom| match a {
            // Division rounds down where neither side is negative; sizes of one symbol are symbols themselves.
            Atom::Div(x, d)
                if (self.range)(x).0 >= 0 && d.as_const().is_some_and(|d| d > 0) && x.syms().len() > 1 =>
            {
                Some((BinOp::DivS, (**x).clone(), (**d).clone()))
            }
            Atom::Min(x, y) => Some((BinOp::MinS, (**x).clone(), (**y).clone())),
            Atom::Max(x, y) => Some((BinOp::MaxS, (**x).clone(), (**y).clone())),
            _ => None,
        };
        let pairs: Option<Vec<(BinOp, Expr, Expr)>> = column.iter().map(|a| pair(a)).collect();
        let differ = all.iter().any(|e| *e != all[0]);
        match pairs.filter(|p| differ && p.iter().all(|q| q.0 == p[0].0)) {
            Some(pairs) => {
                let (x, y): (Vec<Expr>, Vec<Expr>) = pairs.iter().map(|p| (p.1.clone(), p.2.clone())).unzip();
                let (x, y) = (self.dim(&x, before), self.dim(&y, before));
                self.set(Inst::Bin(pairs[0].0, x, y), before)
            }
            None => {
                let whole = self.whole(&all);
                self.set(Inst::Dim(whole), before)
            }
        }
    }
}

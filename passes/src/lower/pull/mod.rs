//! Values computed element by element from loads.
//!
//! [`Puller::at`] emits the value of an element at given indices: one scalar, or as many vector lanes as asked for,
//! running along the index with a lane step. What has no vector form says [`not_vector`], and the caller builds the
//! kernel again with one lane.

mod convert;
pub mod elementwise;
mod lookup;
pub use lookup::checked;
mod movement;
pub(crate) use movement::groups;
mod random;
mod reach;

use super::Arg;
use super::body::{Body, Params};
use super::index::{Idx, linear};
use super::{LowerCx, Precision, access};
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, Elem, Inst, Reg};
use sinter_ir::{DType, Diag, Expr, Fault, Op, Result, TensorType, ValueId};
use std::collections::BTreeMap;

const NOT_VECTOR: &str = "no vector form";

/// The error that asks for scalar code; never shown.
pub fn not_vector() -> Diag {
    Diag::bug(NOT_VECTOR)
}

/// Whether an error asks for scalar code.
pub fn is_not_vector(d: &Diag) -> bool {
    d.fault == Fault::Bug && d.message == NOT_VECTOR
}

/// Runs a kernel construction with vectors, then, where something has no vector form, with scalars.
pub fn vector_or_scalar<T>(lanes: u16, mut f: impl FnMut(u16) -> Result<T>) -> Result<T> {
    match f(lanes) {
        Err(d) if lanes > 1 && is_not_vector(&d) => f(1),
        other => other,
    }
}

/// Fixed values by number of lanes.
pub type Given = BTreeMap<(ValueId, u16), Reg>;
type Memo = BTreeMap<(ValueId, Vec<Idx>, u16), Reg>;

/// Elements of bf16 on their way from an operand to memory of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Raw {
    /// As numbers.
    #[default]
    No,
    /// Their bits, I16.
    Bits,
    /// An element and the one behind it in memory, I32: indices are even, and lanes two elements apart.
    Words,
}

/// Emits values of one body into one kernel.
pub struct Puller<'a> {
    /// Target and symbols.
    pub cx: &'a LowerCx<'a>,
    /// The graph.
    pub body: &'a Body,
    /// Kernel parameters.
    pub params: Params,
    /// All dims are taken as one: every operand has the result's dims or a single element.
    pub flat: bool,
    /// Lanes that count in vector loads of operands; all when none.
    pub tail: Option<Reg>,
    /// How bf16 operands are loaded that nothing computes with.
    pub raw: Raw,
    /// Whether all results become bf16, so that functions need no more digits.
    pub coarse: bool,
    given: Given,
    memo: Memo,
    /// Bounds of values, see [`reach`].
    reaches: BTreeMap<ValueId, Option<f64>>,
}

/// Values emitted so far: valid where the code that follows is dominated by theirs.
#[derive(Debug, Clone)]
pub struct Snapshot(Memo);

impl<'a> Puller<'a> {
    /// A puller for a body.
    pub fn new(cx: &'a LowerCx<'a>, body: &'a Body) -> Self {
        Self {
            cx,
            body,
            params: Params::default(),
            flat: false,
            tail: None,
            raw: Raw::No,
            coarse: cx.precision == Precision::Bf16
                && body.graph.outputs.iter().all(|&v| body.ty(v).dtype == DType::BF16),
            given: Given::new(),
            memo: Memo::new(),
            reaches: BTreeMap::new(),
        }
    }
    /// Fixes the value of a node result at the element being emitted (a root's accumulator).
    pub fn give(&mut self, b: &KernelBuilder, v: ValueId, r: Reg) {
        self.memo.clear();
        self.given.retain(|(x, _), _| *x != v);
        self.given.insert((v, b.ty(r).lanes), r);
    }
    /// The fixed values, to be changed.
    pub fn given(&mut self) -> &mut Given {
        self.memo.clear();
        &mut self.given
    }
    /// Forgets values that were emitted in a block that ends here.
    pub fn forget(&mut self) {
        self.memo.clear();
    }
    /// What has been emitted up to here.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.memo.clone())
    }
    /// Forgets what was emitted since.
    pub fn restore(&mut self, s: &Snapshot) {
        self.memo.clone_from(&s.0);
    }
    /// Type of a value.
    pub fn ty(&self, v: ValueId) -> &'a TensorType {
        self.body.graph.ty(v)
    }
    /// The buffer of an output of the node.
    pub fn output(&mut self, b: &mut KernelBuilder, i: usize) -> sinter_ir::tile::Buf {
        let ty = self.ty(self.body.graph.outputs[i]);
        self.params.buf(b, Arg::Output(i), Access::Write, ty)
    }
    /// The value at an element, in a compute register.
    pub fn at(&mut self, b: &mut KernelBuilder, v: ValueId, idx: &[Idx], lanes: u16) -> Result<Reg> {
        if let Some(&r) = self.given.get(&(v, lanes)) {
            return Ok(r);
        }
        if let Some(&r) = self.given.get(&(v, 1)) {
            return Ok(b.splat(r, lanes));
        }
        // Along an axis of one element no index advances, yet code for vectors is emitted: all lanes are the first.
        if let Some((_, &r)) = self.given.range((v, 0)..=(v, u16::MAX)).next() {
            let elem = b.ty(r).elem;
            let first = b.reg(elem, 1);
            b.set(first, Inst::Lane(r, 0));
            return Ok(b.splat(first, lanes));
        }
        // What does not vary by lane is computed once.
        if lanes > 1 && idx.iter().all(|i| i.step == 0) {
            let one = self.at(b, v, idx, 1)?;
            return Ok(b.splat(one, lanes));
        }
        let key = (v, idx.to_vec(), lanes);
        if let Some(&r) = self.memo.get(&key) {
            return Ok(r);
        }
        let r = self.emit(b, v, idx, lanes)?;
        self.memo.insert(key, r);
        Ok(r)
    }
    fn emit(&mut self, b: &mut KernelBuilder, v: ValueId, idx: &[Idx], lanes: u16) -> Result<Reg> {
        let ty = self.ty(v);
        if lanes > 1 && !access::vectorises(ty.dtype) {
            return Err(not_vector());
        }
        if let Some(r) = self.small_constant(b, v, lanes)? {
            return Ok(r);
        }
        let node = match self.body.graph.def(v) {
            Some(n) if self.body.input_index(v).is_none() => n,
            _ => return self.leaf(b, v, idx, lanes),
        };
        let x = &node.inputs;
        match &node.op {
            Op::Constant(_) => self.leaf(b, v, idx, lanes),
            Op::Unary(o) => self.unary(b, o.kind, x[0], idx, lanes),
            Op::Binary(o) => self.binary(b, o.kind, [x[0], x[1]], idx, lanes),
            Op::Compare(o) => self.compare(b, o.kind, [x[0], x[1]], idx, lanes),
            Op::Select(_) => self.select(b, [x[0], x[1], x[2]], idx, lanes),
            Op::MulAdd(_) => self.mul_add(b, [x[0], x[1], x[2]], idx, lanes),
            Op::Cast(o) => self.cast(b, o, x[0], idx, lanes),
            Op::Quantize(o) => self.quantize(b, o, x, v, idx, lanes),
            Op::Dequantize(o) => self.dequantize(b, o, x, idx, lanes),
            Op::Lookup(o) => self.lookup(b, o, x[0], idx, lanes),
            Op::Identity(_) => self.at(b, x[0], idx, lanes),
            Op::Bitcast(o) => self.bitcast(b, o.to, x[0], idx, lanes),
            Op::Transpose(o) => {
                let mut own = vec![Idx::default(); idx.len()];
                o.perm.iter().zip(idx).for_each(|(&p, i)| own[p] = i.clone());
                self.at(b, x[0], &own, lanes)
            }
            Op::Broadcast(_) => {
                let own = self.aligned(x[0], idx);
                self.at(b, x[0], &own, lanes)
            }
            Op::Reshape(o) => self.reshape(b, &o.dims, x[0], idx, lanes),
            Op::Slice(o) => {
                let mut own = Vec::with_capacity(idx.len());
                for ((i, start), step) in idx.iter().zip(&o.starts).zip(&o.steps) {
                    own.push(i.times_expr(b, step)?.plus_expr(b, start));
                }
                self.at(b, x[0], &own, lanes)
            }
            Op::Pad(o) => self.pad(b, o, [x[0], x[1]], idx, lanes),
            Op::Concat(o) => self.concat(b, o.axis, x, idx, lanes),
            Op::Gather(o) => self.gather(b, o.axis, [x[0], x[1]], idx, lanes),
            Op::GatherElements(o) => self.gather_elements(b, o.axis, [x[0], x[1]], idx, lanes),
            Op::GatherNd(o) => self.gather_nd(b, o.batch_dims, [x[0], x[1]], idx, lanes),
            Op::ReverseSequence(o) => self.reverse(b, o, [x[0], x[1]], idx, lanes),
            Op::Iota(o) => {
                let i = if self.flat && idx.len() == 1 { &idx[0] } else { &idx[o.axis] };
                self.number(b, i, o.dtype)
            }
            Op::FromDims(o) => self.dims_tensor(b, o, idx),
            Op::Random(o) => self.random(b, o, idx),
            other => Err(Diag::bug(format!("{} cannot be computed element by element", other.name()))),
        }
    }
    /// Constants of one element become immediates.
    fn small_constant(&mut self, b: &mut KernelBuilder, v: ValueId, lanes: u16) -> Result<Option<Reg>> {
        let Some(t) = self.body.const_of(v).filter(|t| t.len() == 1) else { return Ok(None) };
        let elem = access::compute(t.dtype())?;
        Ok(Some(match elem {
            Elem::F32 | Elem::F64 => access::constant(b, elem, lanes, t.to_f64()?[0]),
            Elem::B1 => access::constant(b, elem, lanes, t.to_i64()?[0] as f64),
            _ => access::whole(b, elem, lanes, t.to_i64()?[0]),
        }))
    }
    /// An element of a buffer.
    fn leaf(&mut self, b: &mut KernelBuilder, v: ValueId, idx: &[Idx], lanes: u16) -> Result<Reg> {
        let ty = self.ty(v);
        let at = if self.flat {
            if ty.numel().is(1) { Idx::default() } else { idx[0].clone() }
        } else {
            linear(b, idx, &ty.dims)?
        };
        let buf = self.params.value(b, self.body, v)?;
        match self.raw {
            Raw::Bits if lanes == 1 || at.step == 1 => {
                return Ok(b.load(Elem::I16, lanes, buf, at.addr(), self.tail.filter(|_| lanes > 1)));
            }
            Raw::Words if lanes == 1 || at.step == 2 => {
                let at = at.half(b);
                return Ok(b.load(Elem::I32, lanes, buf, at.addr(), self.tail.filter(|_| lanes > 1)));
            }
            Raw::Bits | Raw::Words => return Err(not_vector()),
            Raw::No => {}
        }
        access::load(b, ty.dtype, buf, &at, lanes, self.tail)
    }
    /// Indices of an operand under numpy broadcasting: aligned at the last dim, 0 where the operand has 1.
    pub fn aligned(&self, v: ValueId, idx: &[Idx]) -> Vec<Idx> {
        if self.flat {
            return idx.to_vec();
        }
        let dims = &self.ty(v).dims;
        let lead = idx.len().saturating_sub(dims.len());
        dims.iter().zip(&idx[lead..]).map(|(d, i)| if d.is(1) { Idx::default() } else { i.clone() }).collect()
    }
    /// An index as a number of a type.
    fn number(&mut self, b: &mut KernelBuilder, i: &Idx, dtype: sinter_ir::DType) -> Result<Reg> {
        if i.step != 0 {
            return Err(not_vector());
        }
        let r = i.materialise(b);
        self.convert(b, sinter_ir::DType::I64, dtype, r, false)
    }
    /// Emits code under a condition that both branches give a value to.
    pub fn either(
        &mut self,
        b: &mut KernelBuilder,
        cond: Reg,
        (elem, lanes): (Elem, u16),
        then: impl FnOnce(&mut Self, &mut KernelBuilder) -> Result<Reg>,
        els: impl FnOnce(&mut Self, &mut KernelBuilder) -> Result<Reg>,
    ) -> Result<Reg> {
        let out = b.reg(elem, lanes);
        let memo = self.memo.clone();
        let mut done = [Ok(()), Ok(())];
        let [first, second] = &mut done;
        // What one branch emitted is not there in the other.
        let me = std::cell::RefCell::new(self);
        b.if_(
            cond,
            |b| {
                let mut s = me.borrow_mut();
                *first = then(&mut s, b).map(|r| b.copy_to(out, r));
                s.memo = memo.clone();
            },
            |b| {
                let mut s = me.borrow_mut();
                *second = els(&mut s, b).map(|r| b.copy_to(out, r));
                s.memo = memo.clone();
            },
        );
        done.into_iter().collect::<Result<Vec<()>>>()?;
        Ok(out)
    }
    /// Dims of a value.
    pub fn dims(&self, v: ValueId) -> &'a [Expr] {
        &self.ty(v).dims
    }
}

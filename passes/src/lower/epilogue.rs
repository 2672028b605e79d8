//! What happens to a root's results: consumers computed on registers, group outputs stored.

use super::access;
use super::index::{Idx, linear};
use super::pull::Puller;
use sinter_ir::tile::Reg;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::{DType, Result, ValueId};

/// Stores every output of the group at an element (or lanes from it). The puller has been given the root's value.
pub fn store_outputs(
    b: &mut KernelBuilder,
    p: &mut Puller,
    idx: &[Idx],
    lanes: u16,
    tail: Option<Reg>,
) -> Result<()> {
    for i in 0..p.body.graph.outputs.len() {
        let v = p.body.graph.outputs[i];
        let r = p.at(b, v, idx, lanes)?;
        let r = b.splat(r, lanes);
        let buf = p.output(b, i);
        let ty = p.ty(v);
        let at = if p.flat { idx[0].clone() } else { linear(b, idx, &ty.dims)? };
        access::store(b, ty.dtype, buf, &at, r, tail)?;
    }
    Ok(())
}

/// The end of a root: takes its result elements one place at a time.
pub struct Epilogue<'a> {
    /// Computes the consumers.
    pub puller: Puller<'a>,
    /// The root's (first) result.
    pub root: ValueId,
}

impl<'a> Epilogue<'a> {
    /// For the body's root.
    pub fn new(puller: Puller<'a>) -> Result<Self> {
        let root = puller.body.root_node()?.outputs[0];
        Ok(Self { puller, root })
    }
    /// Element type of the root's result.
    pub fn dtype(&self) -> DType {
        self.puller.ty(self.root).dtype
    }
    /// Takes the value (compute register; see [`access::compute`]) of the result element at `idx`, or of `lanes`
    /// elements along the index with a lane step, of which the first `tail` count. Computes the consumers and stores
    /// the group's outputs. Beyond the tail nothing is read or written.
    pub fn emit(&mut self, b: &mut KernelBuilder, idx: &[Idx], value: Reg, tail: Option<Reg>) -> Result<()> {
        let lanes = b.ty(value).lanes;
        let value = access::result(b, self.dtype(), value);
        self.puller.tail = tail;
        self.puller.give(b, self.root, value);
        let done = store_outputs(b, &mut self.puller, idx, lanes, tail);
        self.puller.tail = None;
        self.puller.forget();
        done
    }
}

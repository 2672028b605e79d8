//! Constants of a model: tensors, or inputs that stand for weights whose data is not read.

use super::external::Store;
use super::importer::Importer;
use super::proto::TensorProto;
use super::scope::Item;
use super::tensor;
use sinter_ir::{Diag, Origin, Result, Tensor, TensorType, ValueId};

/// Tensors up to this many bytes may decide shapes: they are read even where weights are not wanted.
const ALWAYS_READ: usize = 1 << 14;

impl Importer<'_> {
    /// A constant of the model as a value.
    pub fn literal(&mut self, t: &TensorProto, origin: &Origin) -> Result<Item> {
        if self.options.skip_weights
            && let Some(ty) = large(t)?
        {
            check(t, &self.store)?;
            return Ok(self.unread_input(ty, t.clone()));
        }
        let tensor = tensor::read(t, &mut self.store)?;
        let op = sinter_ir::op::Constant { tensor }.into();
        let v = self.scope.top().graph.add1(&mut self.symbols, op, &[], origin)?;
        Ok(Item::Tensor(self.scope.depth(), v))
    }
    /// An input of the main graph that stands for a constant. It is visible everywhere, like any outer value.
    fn unread_input(&mut self, ty: TensorType, t: TensorProto) -> Item {
        let v = self.scope.levels[0].graph.add_input(ty, None);
        self.unread.insert(v, t);
        Item::Tensor(0, v)
    }
    /// The constant that a value of the innermost graph stands for.
    fn unread_of(&self, v: ValueId) -> Option<&TensorProto> {
        let mut v = v;
        for level in self.scope.levels.iter().skip(1).rev() {
            v = level.captures.iter().find(|(_, own)| *own == v)?.0;
        }
        self.unread.get(&v)
    }
    /// Whether a value stands for a constant that was not read.
    pub fn is_unread(&self, v: ValueId) -> bool {
        self.unread_of(v).is_some()
    }
    /// Reads a constant after all.
    pub fn read_now(&mut self, v: ValueId) -> Option<Result<Tensor>> {
        let t = self.unread_of(v)?.clone();
        Some(tensor::read(&t, &mut self.store))
    }
    /// A constant computed from one that was not read: its data does not matter either.
    pub fn unread_result(&mut self, ty: TensorType) -> Result<ValueId> {
        let Item::Tensor(level, v) = self.unread_input(ty, TensorProto::default()) else {
            return Err(Diag::bug("an input that is no tensor"));
        };
        self.scope.reach(&mut self.symbols, level, v)
    }
}

/// Type of a tensor that is too large to matter to shapes.
fn large(t: &TensorProto) -> Result<Option<TensorType>> {
    let (dtype, shape) = tensor::header(t)?;
    if dtype == sinter_ir::DType::Str || sinter_ir::tensor::storage_bytes(dtype, &shape)? <= ALWAYS_READ {
        return Ok(None);
    }
    Ok(Some(TensorType::new(dtype, shape.into_iter().map(Into::into).collect())))
}

/// Checks sizes without looking at data: bytes inside the model file are not touched, files beside it only measured.
fn check(t: &TensorProto, store: &Store) -> Result<()> {
    if tensor::is_external(t) {
        return store.measure(t);
    }
    tensor::read_inline(t).map(|_| ())
}

//! Large weights stay in their files until they are packed: constants that know how to be read.

use super::codes::Part;
use super::weights::{Weights, stacked, transposed, wide};
use bytes::Bytes;
use sinter_ir::tensor::Source;
use sinter_ir::{DType, Diag, Result, Tensor};
use std::sync::Arc;

/// Elements from which on a tensor is read late.
const LARGE: usize = 1 << 14;

/// How a constant follows from tensors of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// It is the tensor.
    Plain,
    /// The transposed matrix.
    Turned,
    /// Transposed matrices in f32, one behind the other: a new first axis.
    Stack,
    /// A part of a matrix in codes.
    Part(Part),
}

/// A constant made of tensors of a file.
#[derive(Debug)]
struct Late {
    weights: Arc<dyn Weights>,
    names: Vec<String>,
    form: Form,
}

impl Late {
    fn now(&self) -> Result<Tensor> {
        let load = |name: &String| self.weights.load(name).map_err(|d| d.at(name.clone()));
        let first = || self.names.first().ok_or_else(|| Diag::bug("a constant of no tensor")).and_then(load);
        match self.form {
            Form::Plain => first(),
            Form::Part(part) => {
                let name = self.names.first().ok_or_else(|| Diag::bug("a part of no tensor"))?;
                self.weights.part(name, part).map_err(|d| d.at(name.clone()))
            }
            Form::Turned => transposed(&first()?),
            Form::Stack => {
                let mut parts = Vec::with_capacity(self.names.len());
                for name in &self.names {
                    parts
                        .extend(matrices(&load(name)?)?.iter().map(turned_wide).collect::<Result<Vec<_>>>()?);
                }
                stacked(&parts)
            }
        }
    }
}

impl Source for Late {
    fn read(&self) -> Result<Bytes> {
        let bytes = self.now()?.shared_bytes();
        self.weights.release();
        Ok(bytes)
    }
    fn rows(&self, from: usize, to: usize) -> Option<Result<Bytes>> {
        let name = self.names.first().filter(|_| self.form == Form::Plain)?;
        let rows = self.weights.rows(name, from, to)?;
        self.weights.release();
        Some(rows.map_err(|d| d.at(name.clone())))
    }
    fn key(&self) -> Option<String> {
        // The address tells models apart: it stays theirs while one of their tensors is there.
        Some(format!("{:p} {:?} {:?}", Arc::as_ptr(&self.weights), self.form, self.names))
    }
    fn turned(&self) -> Option<Tensor> {
        if self.form != Form::Turned {
            return None;
        }
        let plain = Self { weights: self.weights.clone(), names: self.names.clone(), form: Form::Plain };
        let name = self.names.first()?;
        Tensor::deferred(self.weights.dtype(name)?, self.weights.dims(name)?, Arc::new(plain)).ok()
    }
}

/// Products with a matrix that is chosen while running take one type.
fn turned_wide(t: &Tensor) -> Result<Tensor> {
    transposed(&wide(t.clone())?)
}

/// The matrices of a tensor: itself, or those along its first axis.
fn matrices(t: &Tensor) -> Result<Vec<Tensor>> {
    let &[n, rows, columns] = t.shape() else { return Ok(vec![t.clone()]) };
    let bytes = t.shared_bytes();
    let one = bytes.len() / n.max(1);
    let part =
        |i: usize| Tensor::from_bytes(t.dtype(), vec![rows, columns], bytes.slice(i * one..(i + 1) * one));
    (0..n).map(part).collect()
}

/// The constant of a form; small ones are read at once. The tensors are there and have the dims that the form needs.
pub fn constant(weights: &Arc<dyn Weights>, names: Vec<String>, form: Form) -> Result<Tensor> {
    let name = names.first().ok_or_else(|| Diag::bug("a constant of no tensor"))?;
    let missing = || Diag::bug(format!("tensor {name} is not there"));
    let mut dims = weights.dims(name).ok_or_else(missing)?;
    let mut dtype = weights.dtype(name).ok_or_else(missing)?;
    match form {
        Form::Plain => {}
        Form::Part(part) => (dtype, dims) = weights.format(name).ok_or_else(missing)?.part(part),
        Form::Turned => dims.reverse(),
        Form::Stack => {
            let n = if dims.len() == 3 { dims.remove(0) } else { names.len() };
            dims.reverse();
            dims.insert(0, n);
            dtype = DType::F32;
        }
    }
    let large = dims.iter().product::<usize>() >= LARGE;
    let late = Late { weights: weights.clone(), names, form };
    if large { Tensor::deferred(dtype, dims, Arc::new(late)) } else { late.now() }
}

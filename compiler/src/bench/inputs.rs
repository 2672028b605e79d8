//! Inputs of a measurement: from a folder, or random.

use crate::data::{self, InputSpec, picture::Normalise};
use crate::dump;
use crate::frontend::onnx::{self, ImportOptions};
use crate::quantise::samples;
use crate::system;
use sinter_ir::{Diag, Result, Tensor};
use std::collections::BTreeMap;
use std::path::Path;

/// Seed of inputs that are not given.
const SEED: u64 = 1;

/// Endings that are looked for, in this order.
const ENDINGS: &[&str] = &["pb", "npy", "json"];

/// The inputs by name, in order: `input_N.pb`, `.npy` or `.json`, or the same with the input's name.
pub fn find(specs: &[InputSpec], dir: Option<&Path>) -> Result<Vec<(String, Tensor)>> {
    let one = |(i, spec): (usize, &InputSpec)| {
        let tensor = match dir {
            Some(dir) => read(dir, i, spec)?,
            None => data::random(spec, spec.smallest_shape(), SEED)?,
        };
        Ok((spec.name.clone(), tensor))
    };
    specs.iter().enumerate().map(one).collect()
}

fn read(dir: &Path, i: usize, spec: &InputSpec) -> Result<Tensor> {
    let stems = [format!("input_{i}"), spec.name.clone()];
    let names = stems.iter().flat_map(|s| ENDINGS.iter().map(move |e| format!("{s}.{e}")));
    let path = names.map(|n| dir.join(n)).find(|p| system::exists(p)).ok_or_else(|| {
        Diag::input(format!("{} holds neither input_{i} nor {}", dir.display(), spec.name))
            .help(format!("files may end in .{}", ENDINGS.join(", .")))
    })?;
    data::read(&path.to_string_lossy(), &system::read(&path)?, spec, &Normalise::default())
}

/// What the inputs of a model accept.
pub fn specs(model: &Path, options: &ImportOptions) -> Result<Vec<InputSpec>, Vec<Diag>> {
    if dump::is_dump(model) {
        return Ok(samples::specs(&dump::read(model).map_err(|d| vec![d])?.0));
    }
    let module = onnx::import(model, options)?.module;
    let names = onnx::input_names(model).map_err(|d| vec![d])?;
    let bound = |d: &sinter_ir::Expr| {
        let (lo, hi) = module.symbols.range(d);
        (usize::try_from(lo).unwrap_or(0), usize::try_from(hi).unwrap_or(usize::MAX))
    };
    let spec = |(name, v): (String, &sinter_ir::ValueId)| {
        let ty = module.graph.ty(*v);
        InputSpec { name, dtype: ty.dtype, dims: ty.dims.iter().map(bound).collect() }
    };
    Ok(names.into_iter().zip(&module.graph.inputs).map(spec).collect())
}

/// Dims that the inputs fix, in the form of `--dim`: everybody is told the shapes beforehand.
pub fn pinned(specs: &[InputSpec], inputs: &[(String, Tensor)]) -> BTreeMap<String, (i64, i64)> {
    let mut dims = BTreeMap::new();
    for (spec, (name, tensor)) in specs.iter().zip(inputs) {
        for (axis, (d, &n)) in spec.dims.iter().zip(tensor.shape()).enumerate() {
            if *d != (n, n) {
                dims.insert(format!("{name}.{axis}"), (n as i64, n as i64));
            }
        }
    }
    dims
}

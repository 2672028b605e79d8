//! Model inputs and their symbolic dims.

use super::importer::Importer;
use super::proto::{ValueInfoProto, tensor_shape_proto, type_proto};
use super::scope::Item;
use super::tensor;
use sinter_ir::{Diag, Expr, Result, SymKind, TensorType};
use std::sync::Arc;

impl Importer<'_> {
    /// Adds an input of the main graph.
    pub fn main_input(&mut self, input: &ValueInfoProto) -> Result<Item> {
        if let Some(tensor) = self.options.fixed.get(&input.name) {
            let op = sinter_ir::op::Constant { tensor: tensor.clone() }.into();
            let v = self.scope.top().graph.add1(&mut self.symbols, op, &[], &vec![])?;
            return Ok(Item::Tensor(self.scope.depth(), v));
        }
        let Some(type_proto::Value::TensorType(t)) = input.r#type.as_ref().and_then(|t| t.value.as_ref())
        else {
            return Err(Diag::unsupported("only tensor inputs are supported"));
        };
        let dtype = tensor::dtype(t.elem_type)?;
        let shape = t.shape.as_ref().ok_or_else(|| {
            Diag::unsupported("an input of unknown rank")
                .help("re-export the model with the input's rank fixed")
        })?;
        let ranges = super::dims::ranges(&input.name, dtype, shape, self.options);
        let mut dims = Vec::new();
        for (i, d) in shape.dim.iter().enumerate() {
            let own = format!("{}.{i}", input.name);
            let known = match &d.value {
                Some(tensor_shape_proto::dimension::Value::DimValue(v)) if *v > 0 => Some(*v),
                _ => None,
            };
            let symbol = match &d.value {
                Some(tensor_shape_proto::dimension::Value::DimParam(p)) if super::dims::is_name(p) => {
                    p.clone()
                }
                _ => own.clone(),
            };
            let asked = self.options.dims.get(&own).or_else(|| self.options.dims.get(&symbol)).copied();
            let (lo, hi) = match (known, asked) {
                (Some(v), Some((lo, hi))) if lo > v || hi < v => {
                    return Err(Diag::input(format!(
                        "dim {i} is {v} in the model, {lo}..{hi} was asked for"
                    )));
                }
                (Some(v), _) => (v, v),
                (None, Some(r)) => r,
                (None, None) => ranges[i],
            };
            if lo == hi {
                dims.push(Expr::from(lo));
                continue;
            }
            let same = self.symbols.table.iter().position(|s| s.name == symbol);
            let sym = match same {
                Some(p) => {
                    // Several inputs share the symbol: the tightest default wins.
                    let info = &mut self.symbols.table[p];
                    if asked.is_none() {
                        info.max = info.max.min(hi).max(info.min);
                    }
                    sinter_ir::Sym(p as u32)
                }
                None => self.symbols.fresh(symbol, lo, hi, SymKind::Input),
            };
            dims.push(sym.into());
        }
        let ty = TensorType::new(dtype, dims);
        self.symbols.check_types(std::slice::from_ref(&ty))?;
        let v = self.scope.top().graph.add_input(ty, Some(Arc::from(input.name.as_str())));
        Ok(Item::Tensor(self.scope.depth(), v))
    }
}

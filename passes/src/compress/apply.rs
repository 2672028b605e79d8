//! Finds large weights in a module and puts codes in their place.

use super::inputs::Inputs;
use super::recipe::Method;
use super::{Calibrated, Codes, Layer, LayerStat, Recipe, Scheme, hqq, mxfp4, rtn};
use crate::plan::weights::Store;
use crate::rebuild::Rebuild;
use crate::report::PassReport;
use bytes::Bytes;
use sinter_ir::graph::Origin;
use sinter_ir::op::binary::{Binary, BinaryKind};
use sinter_ir::op::quantized_matmul::{Activations, Offset};
use sinter_ir::op::{CachedAttention, Cast, Constant, Gather, QuantizedMatMul, QuantizedRows};
use sinter_ir::{DType, Diag, Graph, Module, Node, Op, Result, Tensor, ValueId};

/// Weights from which on a matrix is worth codes.
const WORTH: usize = 1 << 12;

/// Weights `[n, k]` in codes: every part a constant of the new graph.
#[derive(Debug, Clone, Copy)]
struct Made {
    codes: ValueId,
    scale: ValueId,
    zero: Option<ValueId>,
    minimum: Option<ValueId>,
    middle: i64,
    float: bool,
    block: usize,
}

impl Made {
    fn table(&self) -> Vec<f32> {
        if self.float { mxfp4::TABLE.to_vec() } else { vec![] }
    }
    fn offset(&self) -> Offset {
        match (self.zero, self.minimum) {
            (Some(_), _) => Offset::Zero,
            (_, Some(_)) => Offset::Minimum,
            _ => Offset::None,
        }
    }
}

/// Codes made so far: the weights, the scheme, and what they became.
type Known = Vec<(Tensor, Scheme, Codes)>;

struct Compress<'a, 's> {
    rb: Rebuild<'a>,
    recipe: Recipe,
    calibrated: Option<&'s Calibrated>,
    known: Known,
    store: Option<&'s mut (dyn Store + 's)>,
    /// End of what is in the store.
    end: u64,
    /// Constants of the new graph, by index in `known`.
    made: Vec<(usize, Made)>,
    /// Activations multiplied by factors of channels: what they were, the factors, what they are.
    smooth: Vec<(ValueId, Tensor, ValueId)>,
    /// Tables of rows that are looked up: they and products with them are the model's ends.
    tables: Vec<Tensor>,
}

/// Runs the pass on the main graph: codes that were calibrated, and those of rounding for what was not. They go to
/// `store`, or stay in memory.
pub fn run<'s>(
    module: &mut Module,
    recipe: Recipe,
    calibrated: Option<&'s Calibrated>,
    store: Option<&'s mut (dyn Store + 's)>,
    report: &mut PassReport,
) -> Result<()> {
    if recipe.calibrates() && calibrated.is_none() {
        let d = Diag::input(format!("--quantize {}: the method needs to see activations", recipe.weights));
        return Err(d.help("give a text to run the model on with --calibrate FILE"));
    }
    let g = std::mem::take(&mut module.graph);
    let tables = g.iter().filter_map(|(_, n)| table(&g, n)).collect();
    let rb = Rebuild::new(&g, &mut module.symbols, report);
    let mut c = Compress {
        rb,
        recipe,
        calibrated,
        known: vec![],
        store,
        end: 0,
        made: vec![],
        smooth: vec![],
        tables,
    };
    let last = g.outputs.first().copied();
    for (_, node) in g.iter() {
        if !c.node(&g, node, last)? {
            c.rb.copy(node)?;
        }
    }
    module.graph = c.rb.finish(true)?;
    Ok(())
}

/// The large table of floats whose rows a node looks up.
pub(super) fn table(g: &Graph, node: &Node) -> Option<Tensor> {
    let t = node.inputs.first().and_then(|v| g.constant(*v))?;
    (matches!(node.op, Op::Gather(Gather { axis: 0 })) && fits(t)).then(|| t.clone())
}

pub(super) fn fits(t: &Tensor) -> bool {
    t.rank() == 2 && t.len() >= WORTH && matches!(t.dtype(), DType::F32 | DType::F16 | DType::BF16)
}

/// The weights of a product, as rows of what is multiplied: `[n, k]`.
fn rows(t: &Tensor) -> Result<Tensor> {
    if let Some(turned) = t.turned() {
        return Ok(turned);
    }
    let op = sinter_ir::op::Transpose { perm: vec![1, 0] };
    let turned = Op::from(op).eval(&mut Default::default(), &[t.load()?])?;
    turned.into_iter().next().ok_or_else(|| Diag::bug("a transpose has a result"))
}

impl Compress<'_, '_> {
    /// Rewrites a node; `false`: it stays.
    fn node(&mut self, g: &Graph, node: &Node, last: Option<ValueId>) -> Result<bool> {
        match (&node.op, node.inputs.as_slice(), node.outputs.as_slice()) {
            (Op::MatMul(_), &[x, w], &[y]) => {
                let Some(t) = super::products::weights(g, w) else { return Ok(false) };
                if g.ty(x).dtype != DType::F32 || g.ty(x).rank() < 2 {
                    return Ok(false);
                }
                let weights = rows(t)?;
                let end = last == Some(y) || self.tables.contains(&weights);
                let scheme = if end { self.recipe.ends } else { self.recipe.weights };
                let name = g.value(w).name.clone();
                let done = self.calibrated.zip(name.as_deref()).and_then(|(c, n)| c.layers.get(n));
                if let Some(layer) = done.filter(|_| !end) {
                    let (x, m) = (self.smoothed(x, layer)?, self.place(layer.codes.clone())?);
                    self.rb.graph.set_name(m.codes, layer.stat.name.as_str().into());
                    self.rb.report.compressed.push(layer.stat.clone());
                    return self.product(node, x, y, m, end).map(|()| true);
                }
                let m = self.codes(&weights, scheme, name.as_deref().unwrap_or("weights"))?;
                let x = self.rb.get(x)?;
                self.product(node, x, y, m, end)?;
                Ok(true)
            }
            (Op::Gather(Gather { axis: 0 }), &[w, ids], &[y]) => {
                let Some(t) = g.constant(w).filter(|t| fits(t)) else { return Ok(false) };
                let scheme = self.recipe.ends;
                let name = g.value(w).name.clone();
                let m = self.codes(t, scheme, name.as_deref().unwrap_or("embedding"))?;
                self.lookup(g, node, ids, y, m)?;
                Ok(true)
            }
            (Op::CachedAttention(a), ..) if self.recipe.activations == Activations::Coarse => {
                let narrow = CachedAttention { narrow: true, ..a.clone() };
                self.rb.copy_as(node, narrow.into())?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Activations as codes want them.
    fn smoothed(&mut self, x: ValueId, layer: &Layer) -> Result<ValueId> {
        let new = self.rb.get(x)?;
        let Some(by) = &layer.inverse else { return Ok(new) };
        if let Some((.., done)) = self.smooth.iter().find(|s| s.0 == x && s.1 == *by) {
            return Ok(*done);
        }
        let c = self.rb.add1(Constant { tensor: by.clone() }, &[], &Origin::new())?;
        let done = self.rb.add1(Binary { kind: BinaryKind::Mul }, &[new, c], &Origin::new())?;
        self.rb.report.fired("compress/smooth");
        self.smooth.push((x, by.clone(), done));
        Ok(done)
    }

    /// `x W^T` with codes; `x` is one of the new graph.
    fn product(&mut self, node: &Node, x: ValueId, y: ValueId, m: Made, end: bool) -> Result<()> {
        let op = QuantizedMatMul {
            block: m.block,
            activations: if end { self.recipe.activations_at_end() } else { self.recipe.activations },
            offset: m.offset(),
            middle: m.middle,
            table: m.table(),
            nibbles: Inputs::of(&self.recipe).nibbles.filter(|_| !end),
        };
        let inputs: Vec<ValueId> = [x, m.codes, m.scale].into_iter().chain(m.zero.or(m.minimum)).collect();
        let new = self.rb.add1(op, &inputs, &node.origin)?;
        self.rb.bind(y, new);
        self.rb.report.fired("compress/product");
        Ok(())
    }

    /// Rows of codes, scaled.
    fn lookup(&mut self, g: &Graph, node: &Node, ids: ValueId, y: ValueId, m: Made) -> Result<()> {
        let (ids, origin) = (self.rb.get(ids)?, &node.origin);
        let offset = m.offset();
        let op = QuantizedRows { block: m.block, offset, middle: m.middle, table: m.table() };
        let inputs: Vec<ValueId> = [ids, m.codes, m.scale].into_iter().chain(m.zero.or(m.minimum)).collect();
        let rb = &mut self.rb;
        let rows = rb.add1(op, &inputs, origin)?;
        let dtype = g.ty(y).dtype;
        let rows = match dtype {
            DType::F32 => rows,
            to => rb.add1(Cast { to, saturate: true }, &[rows], origin)?,
        };
        rb.bind(y, rows);
        rb.report.fired("compress/embedding");
        Ok(())
    }

    /// Codes of weights, each matrix once, as constants of this graph.
    fn codes(&mut self, weights: &Tensor, scheme: Scheme, name: &str) -> Result<Made> {
        let found = self.known.iter().position(|(w, s, _)| w == weights && *s == scheme);
        let i = match found {
            Some(i) => i,
            None => {
                let made = match scheme.method {
                    Method::Hqq => hqq::quantise(&weights.load()?, &scheme),
                    _ => rtn::quantise(weights, &scheme),
                };
                let mut codes = made.map_err(|d| d.at(name.to_owned()))?;
                self.rb.report.compressed.push(LayerStat::new(name, &scheme, weights, &codes));
                codes.codes = self.keep(codes.codes)?;
                // Weights in memory are not held only to be compared.
                let key = if weights.is_deferred() { weights.clone() } else { Tensor::i64(0) };
                self.known.push((key, scheme, codes));
                self.known.len() - 1
            }
        };
        if let Some((_, m)) = self.made.iter().find(|m| m.0 == i) {
            return Ok(*m);
        }
        let Some((_, _, c)) = self.known.get(i).cloned() else { return Err(Diag::bug("codes")) };
        let made = self.constants(c)?;
        self.rb.graph.set_name(made.codes, name.into());
        self.made.push((i, made));
        Ok(made)
    }

    /// Codes as constants of the new graph, out of memory where there is a store.
    fn place(&mut self, mut c: Codes) -> Result<Made> {
        c.codes = self.keep(c.codes)?;
        self.constants(c)
    }

    fn constants(&mut self, c: Codes) -> Result<Made> {
        let mut add = |t: Tensor| self.rb.add1(Constant { tensor: t }, &[], &Origin::new());
        Ok(Made {
            codes: add(c.codes)?,
            scale: add(c.scale)?,
            zero: c.zero.map(&mut add).transpose()?,
            minimum: c.minimum.map(&mut add).transpose()?,
            middle: c.middle,
            float: c.float,
            block: c.block,
        })
    }

    /// The same tensor with its elements in the store.
    fn keep(&mut self, t: Tensor) -> Result<Tensor> {
        let Some(store) = self.store.as_mut() else { return Ok(t) };
        let (at, len) = (self.end, t.bytes().len());
        store.append(at, t.bytes())?;
        self.end += len.next_multiple_of(64) as u64;
        let all: Bytes = store.bytes()?;
        let lost = || Diag::bug("a store that lost what it was given");
        let part = all.get(at as usize..at as usize + len).map(|s| all.slice_ref(s)).ok_or_else(lost)?;
        Tensor::from_bytes(t.dtype(), t.shape().to_vec(), part)
    }
}

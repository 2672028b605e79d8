//! From the fused graph to a [`Program`]: lowers every node, gives every value a place, plans the arena.

mod control;
mod emit;
mod inplace;
mod kernels;
mod lift;
mod merge;
mod numbers;
mod ports;
mod prices;
mod scope;
mod shapes;
mod storage;
mod texts;

use crate::lower::choices::Choices;
use crate::lower::text::TextSpace;
use crate::lower::{LowerCx, Precision};
use crate::pipeline::LowerOptions;
use crate::plan::{self, BufId, Buffers, Home, Place, VStep, life, pack, weights::Store, weights::Weights};
use crate::report::{MemoryStat, PassReport};
pub(crate) use control::can_collect;
pub(crate) use emit::label;
use kernels::KernelTable;
use ports::Ports;
use prices::Prices;
use scope::Scope;
use sinter_ir::graph::SymKind;
use sinter_ir::program::{BufferLife, Program, Step};
use sinter_ir::target::TargetDesc;
use sinter_ir::{Diag, Expr, Module, Result, Sym, Symbols, Tensor, TensorType};
use std::collections::BTreeMap;

/// State of the assembly of one program.
pub(crate) struct Assembler<'a> {
    pub target: &'a TargetDesc,
    exact_convolutions: bool,
    pub choices: &'a Choices,
    pub symbols: Symbols,
    pub buffers: Buffers,
    pub kernels: KernelTable,
    pub report: &'a mut PassReport,
    weights: Weights<'a>,
    /// Constants that were not in memory when they got their places.
    late: Vec<(Tensor, Place)>,
    weight_bufs: BTreeMap<u64, BufId>,
    /// Where texts made while running go, and the buffer.
    texts: Option<(TextSpace, BufId)>,
    precision: Precision,
    share_shapes: bool,
    prices: Prices,
    /// Symbols that take the dims of shared kernels.
    shape_symbols: Vec<Sym>,
    /// Weights offsets by buffer; arena buffers are 0 until packed.
    offsets: Vec<u64>,
}

/// Lowers a module to a program for one target.
///
/// Packed constants go to `store`, or stay in memory.
pub fn run<'a>(
    module: &Module,
    target: &'a TargetDesc,
    options: &LowerOptions,
    choices: &'a Choices,
    store: Option<&'a mut dyn Store>,
    report: &'a mut PassReport,
) -> Result<Program> {
    let mut asm = Assembler {
        target,
        exact_convolutions: options.exact_convolutions,
        choices,
        symbols: module.symbols.clone(),
        buffers: Buffers::default(),
        kernels: KernelTable::new(
            crate::math::Primitives::of(target).with(options.precision),
            options.share_shapes,
        ),
        report,
        weights: Weights::new(store),
        late: Vec::new(),
        weight_bufs: BTreeMap::new(),
        texts: None,
        precision: options.precision,
        share_shapes: options.share_shapes,
        prices: Prices::new(&module.graph, &module.symbols, target.lanes(32), options.thrift),
        shape_symbols: Vec::new(),
        offsets: Vec::new(),
    };
    let g = &module.graph;
    let ports = Ports::new(&asm, module)?;
    let (input_places, wanted) = ports.places(&mut asm.buffers);
    let mut steps = Vec::new();
    let mut scope = Scope::new(&asm.symbols);
    let given: Vec<Sym> = (0..asm.symbols.table.len() as u32)
        .map(Sym)
        .filter(|s| asm.symbols.info(*s).is_some_and(|i| i.kind == SymKind::Input))
        .collect();
    let symbols = asm.symbols.clone();
    scope.define(&symbols, &given, &mut steps);
    asm.open_texts(g, options.text_bytes, &mut steps)?;
    asm.region(g, &input_places, &wanted, &mut scope, &mut steps)?;
    asm.finish(module, ports, steps)
}

impl Assembler<'_> {
    /// Storage bytes of a type at the largest dims.
    pub fn max_bytes(&self, ty: &TensorType) -> Result<u64> {
        let n = usize::try_from(self.symbols.max(&ty.numel())).ok().and_then(|n| ty.dtype.bytes_for(n));
        n.map(|b| b as u64).ok_or_else(|| Diag::limit(format!("{} is too large", self.symbols.show_type(ty))))
    }
    /// Storage bytes of a type.
    pub fn bytes(ty: &TensorType) -> Expr {
        (ty.numel() * Expr::from(ty.dtype.bits())).ceil_div(&8.into())
    }
    /// A fresh arena buffer.
    pub fn arena(&mut self, name: impl Into<String>, bytes: u64) -> Place {
        Place::start(self.buffers.add(name, bytes, Home::Arena))
    }
    /// The place of a constant in the weights section.
    pub fn weight(&mut self, data: &bytes::Bytes, name: &str) -> Result<Place> {
        let at = self.weights.add(data)?;
        let (buffers, offsets) = (&mut self.buffers, &mut self.offsets);
        let buf = *self.weight_bufs.entry(at).or_insert_with(|| {
            let b = buffers.add(name, data.len() as u64, Home::Weights);
            offsets.resize(b.0 as usize + 1, 0);
            offsets[b.0 as usize] = at;
            b
        });
        Ok(Place::start(buf))
    }
    /// The place of a tensor in the weights section; its elements may have to be read for it.
    pub fn constant(&mut self, tensor: &Tensor, name: &str) -> Result<Place> {
        if let Some((_, place)) = self.late.iter().find(|(t, _)| t == tensor) {
            return Ok(*place);
        }
        let place = self.weight(&tensor.load()?.shared_bytes(), name)?;
        if tensor.is_deferred() {
            self.late.push((tensor.clone(), place));
        }
        Ok(place)
    }
    pub fn lower_cx<'c>(&'c self, machine: &'c TargetDesc) -> LowerCx<'c> {
        LowerCx {
            target: machine,
            symbols: &self.symbols,
            texts: self.texts.map(|t| t.0),
            exact_convolutions: self.exact_convolutions,
            precision: self.precision,
            choices: self.choices,
        }
    }

    fn finish(mut self, module: &Module, ports: Ports, mut steps: Vec<VStep>) -> Result<Program> {
        let mut kernels = std::mem::take(&mut self.kernels).finish();
        if self.share_shapes {
            kernels = self.share(kernels, &mut steps)?;
        }
        let kernels = self.merge(kernels, &mut steps)?;
        let Assembler { symbols, buffers, report, weights, texts, mut offsets, .. } = self;
        offsets.resize(buffers.all.len(), 0);
        let mut lives = life::lives(&steps, buffers.all.len());
        if let Some((_, buf)) = texts {
            // Views into it may be anywhere, also in the outputs.
            let last = lives.iter().flatten().map(|l| l.last).max().unwrap_or(0);
            lives[buf.0 as usize] = Some(life::Life { first: 0, last });
        }
        // The array of symbol values is at the start of the arena.
        let base = pack::align(8 * symbols.table.len() as u64);
        let mut ids = Vec::new();
        let mut items = Vec::new();
        for (i, (buf, life)) in buffers.all.iter().zip(&lives).enumerate() {
            if let (Home::Arena, Some(life)) = (buf.home, life) {
                ids.push(i);
                items.push(pack::Item { bytes: buf.bytes.max(1), life: *life });
            }
        }
        let packing = pack::pack(&items);
        let mut timeline = Vec::with_capacity(items.len());
        for ((&id, item), &at) in ids.iter().zip(&items).zip(&packing.offsets) {
            offsets[id] = base + at;
            timeline.push(BufferLife {
                name: buffers.all[id].name.clone(),
                offset: base + at,
                bytes: item.bytes,
                first: item.life.first,
                last: item.life.last,
            });
        }
        let steps = locate_steps(&buffers, &offsets, steps);
        let program = Program {
            name: module.name.clone(),
            symbols,
            kernels,
            inputs: ports.inputs,
            outputs: ports.outputs,
            states: ports.states,
            steps,
            arena_bytes: base + packing.total,
            live_bytes: base + packing.bound,
            weights: weights.finish()?,
            timeline,
        };
        report.memory = MemoryStat {
            arena_bytes: program.arena_bytes,
            live_bytes: program.live_bytes,
            weight_bytes: program.weights_bytes(),
            kernels: program.kernels.len(),
        };
        Ok(program)
    }
}

fn locate_steps(buffers: &Buffers, offsets: &[u64], steps: Vec<VStep>) -> Vec<Step> {
    let at = |p| plan::locate(buffers, offsets, p);
    let nested = |s| locate_steps(buffers, offsets, s);
    let one = |step| match step {
        VStep::Call { kernel, args, sizes, label } => {
            Step::Call { kernel, args: args.into_iter().map(at).collect(), sizes, label }
        }
        VStep::Copy { dst, src, bytes } => Step::Copy { dst: at(dst), src: at(src), bytes },
        VStep::SetSym { sym, value } => Step::SetSym { sym, value },
        VStep::ReadSym { sym, from, index, dtype } => Step::ReadSym { sym, from: at(from), index, dtype },
        VStep::Require { a, b, why } => Step::Require { a, b, why },
        VStep::If { cond, then, els } => Step::If { cond: at(cond), then: nested(then), els: nested(els) },
        VStep::Loop { trip, cond, iter, count, body, .. } => {
            Step::Loop { trip: trip.map(at), cond: cond.map(at), iter: at(iter), count, body: nested(body) }
        }
    };
    steps.into_iter().map(one).collect()
}

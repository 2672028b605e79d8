//! Modules on this machine, with any of their values as outputs.

use super::samples::Samples;
use crate::driver;
use crate::manifest::Manifest;
use crate::session::Session;
use sinter_backends as backends;
use sinter_ir::graph::Origin;
use sinter_ir::op::Identity;
use sinter_ir::{Diag, Module, Result, Tensor, ValueId};
use sinter_passes::pipeline::{self, PipelineOptions};
use sinter_runtime::{Aligned, Image};

/// Bytes of values that one run may give: more are taken in several runs.
const ROOM: u64 = 256 << 20;

/// A session of a module, compiled as usual.
pub fn session(module: &Module, threads: usize) -> Result<Session, Vec<Diag>> {
    let one = |d: Diag| vec![d];
    let target = driver::native().map_err(one)?;
    let compiled = pipeline::run(module.clone(), &mut PipelineOptions::default(), target)?;
    let program = compiled.program.ok_or_else(|| one(Diag::bug("a module without a program")))?;
    let emitted = backends::emit(&program, target).map_err(one)?;
    let weights = Aligned::copy_of(&emitted.weights).map_err(|e| one(Diag::limit(e.to_string())))?;
    let manifest = Manifest::new(&program, target, 0);
    Session::new(manifest, &emitted.archive, Image::Heap(weights), threads).map_err(one)
}

/// A module that gives some of its values instead of its outputs.
fn showing(module: &Module, values: &[ValueId]) -> Result<Module> {
    let mut m = module.clone();
    let mut outputs = vec![];
    for (i, v) in values.iter().enumerate() {
        // Values have names of their own, and may be inputs.
        let new = m.graph.add1(&mut m.symbols, Identity {}.into(), &[*v], &Origin::new())?;
        m.graph.set_name(new, format!("shown{i}").into());
        outputs.push(new);
    }
    m.graph.outputs = outputs;
    m.output_names.clear();
    Ok(m)
}

/// Sets of values whose elements fit into memory together.
pub fn groups(module: &Module, values: &[Vec<ValueId>]) -> Vec<std::ops::Range<usize>> {
    let bytes = |v: &ValueId| {
        let ty = module.graph.ty(*v);
        module.symbols.max(&ty.numel()) as u64 * ty.dtype.bits() as u64 / 8
    };
    let (mut out, mut sum): (Vec<std::ops::Range<usize>>, u64) = (vec![], 0);
    for (i, set) in values.iter().enumerate() {
        let need: u64 = set.iter().map(bytes).sum();
        match out.last_mut().filter(|_| sum + need <= ROOM) {
            Some(last) => last.end = i + 1,
            None => {
                out.push(i..i + 1);
                sum = 0;
            }
        }
        sum += need;
    }
    out
}

/// A compiled module that shows values.
pub struct Shown(Session);

impl Shown {
    /// Compiles it.
    pub fn new(module: &Module, values: &[ValueId], threads: usize) -> Result<Self, Vec<Diag>> {
        let shown = showing(module, values).map_err(|d| vec![d])?;
        session(&shown, threads).map(Self)
    }
    /// The values for a sample.
    pub fn run(&mut self, samples: &Samples, i: usize) -> Result<Vec<Tensor>> {
        self.0
            .run(&samples.get(i)?)
            .map_err(|d| Diag { message: format!("{}: {}", samples.name(i), d.message), ..d })
    }
}

//! The program's borders: inputs, outputs, and the states that are both.

use super::Assembler;
use crate::plan::{Buffers, Home, Place};
use sinter_ir::program::Port;
use sinter_ir::{Module, Result, ValueId};

/// Ports of a program and what each value at the border of the main graph is.
pub(super) struct Ports {
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    pub states: Vec<Port>,
    /// Per input and per output of the graph: where it is; a state's output is where its input is.
    input_homes: Vec<Home>,
    output_homes: Vec<Option<Home>>,
}

impl Ports {
    pub fn new(asm: &Assembler, module: &Module) -> Result<Self> {
        let mut p = Self {
            inputs: vec![],
            outputs: vec![],
            states: vec![],
            input_homes: vec![],
            output_homes: vec![],
        };
        for (i, &v) in module.graph.inputs.iter().enumerate() {
            let is_state = module.states.iter().any(|s| s.input as usize == i);
            let (ports, home, what): (_, fn(u32) -> Home, _) = match is_state {
                true => (&mut p.states, Home::State, "state"),
                false => (&mut p.inputs, Home::Input, "input"),
            };
            p.input_homes.push(home(ports.len() as u32));
            let name = named(module.graph.value(v).name.as_deref(), what, ports.len());
            ports.push(port(asm, module, v, name)?);
        }
        for (i, &v) in module.graph.outputs.iter().enumerate() {
            if module.states.iter().any(|s| s.output as usize == i) {
                p.output_homes.push(None);
                continue;
            }
            p.output_homes.push(Some(Home::Output(p.outputs.len() as u32)));
            let name = named(module.output_name(i), "output", p.outputs.len());
            p.outputs.push(port(asm, module, v, name)?);
        }
        Ok(p)
    }
    /// Buffers of the graph's inputs, and of the outputs that are not states.
    pub fn places(&self, buffers: &mut Buffers) -> (Vec<Place>, Vec<Option<Place>>) {
        let mut place = |home: Home| {
            let port = match home {
                Home::State(i) => self.states.get(i as usize),
                Home::Input(i) => self.inputs.get(i as usize),
                Home::Output(i) => self.outputs.get(i as usize),
                Home::Arena | Home::Weights => None,
            };
            let (name, bytes) = port.map_or(("", 0), |p| (p.name.as_str(), p.max_bytes));
            Place::start(buffers.add(name, bytes, home))
        };
        let inputs = self.input_homes.iter().map(|h| place(*h)).collect();
        (inputs, self.output_homes.iter().map(|h| h.map(&mut place)).collect())
    }
}

/// A port's name: its own, or what it is and its number.
fn named(name: Option<&str>, what: &str, i: usize) -> String {
    name.map_or_else(|| format!("{what}{i}"), str::to_owned)
}

fn port(asm: &Assembler, module: &Module, v: ValueId, name: String) -> Result<Port> {
    let ty = module.graph.ty(v);
    Ok(Port { name, dtype: ty.dtype, dims: ty.dims.clone(), max_bytes: asm.max_bytes(ty)? })
}

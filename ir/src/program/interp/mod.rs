//! Reference interpreter of programs: the oracle of the emitters' `run`.
//!
//! Takes tensors, executes the steps with the kernels' own interpreter and gives tensors or the code that a
//! bundle would return. Anything that machine code would do wrong silently (an access outside a buffer, a
//! symbol without value, a copy onto itself) is an error here.

mod exec;
mod memory;
mod texts;

use super::{Port, Program};
use crate::tile::build::code;
use crate::tile::interp::{self as kernel, Space};
use crate::{DType, Diag, Result, Tensor, tensor};
use exec::{Machine, Stop};
use memory::Memory;

/// How to interpret.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Of the kernels; the steps are those of one call.
    pub kernel: kernel::Options,
    /// What fills arena and outputs beforehand. Results must not depend on it.
    pub fill: u8,
    /// Bytes to allocate at most.
    pub memory: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { kernel: kernel::Options::default(), fill: 0, memory: 1 << 30 }
    }
}

/// What a run gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// 0 for success, else what `run` of a bundle returns.
    pub code: i32,
    /// Outputs; empty unless the code is 0.
    pub outputs: Vec<Tensor>,
    /// What the run leaves in the states; empty unless the code is 0.
    pub states: Vec<Tensor>,
}

/// Runs a program without states.
pub fn run(p: &Program, inputs: &[Tensor], options: Options) -> Result<Outcome> {
    run_on(p, inputs, &[], options)
}

/// Runs a program on states as they are before the run.
pub fn run_on(p: &Program, inputs: &[Tensor], states: &[Tensor], options: Options) -> Result<Outcome> {
    check_ports(&p.inputs, inputs, "input")?;
    check_ports(&p.states, states, "state")?;
    let mut left = options.memory;
    let mut memory = |n: u64| {
        left =
            left.checked_sub(n).ok_or_else(|| Diag::limit("the program needs more memory than allowed"))?;
        let n = usize::try_from(n).map_err(|_| Diag::limit(format!("{n} bytes do not fit this machine")))?;
        Ok(vec![options.fill; n])
    };
    let mut arena = memory(p.arena_bytes)?;
    let mut outputs = p.outputs.iter().map(|o| memory(o.max_bytes)).collect::<Result<Vec<_>>>()?;
    let mut memories: Vec<Vec<u8>> = states.iter().map(|s| s.bytes().to_vec()).collect();
    let text_space = 1 + outputs.len() + states.len() + inputs.len() + p.weights.len();
    let (views, texts) = texts::views(inputs, text_space);
    let spaces = [Space::Write(&mut arena)]
        .into_iter()
        .chain(outputs.iter_mut().chain(&mut memories).map(|o| Space::Write(o)))
        .chain(inputs.iter().zip(&views).map(|(i, v)| Space::Read(texts::bytes(i, v))))
        .chain(p.weights.iter().map(|(_, w)| Space::Read(w)))
        .chain([Space::Read(&texts)])
        .collect();
    let mut m = Machine::new(p, Memory { p, spaces }, options.kernel);
    let stop = m.bind(inputs, states).and_then(|()| m.steps(&p.steps));
    match stop {
        Ok(()) => {}
        Err(Stop::Code(code)) => return Ok(Outcome { code, outputs: vec![], states: vec![] }),
        Err(Stop::Fault(d)) => return Err(*d),
    }
    let shapes = p.outputs.iter().map(|o| shape(&m, o)).collect::<Result<Vec<_>>>()?;
    let spaces = m.into_spaces();
    let outputs = p
        .outputs
        .iter()
        .zip(spaces.iter().skip(1))
        .zip(shapes)
        .map(|((port, data), shape)| {
            let n = tensor::storage_bytes(port.dtype, &shape)?;
            let data = data.bytes().get(..n);
            let data = data
                .ok_or_else(|| Diag::bug(format!("output {} is larger than its largest size", port.name)))?;
            match port.dtype {
                DType::Str => Tensor::from_strings(shape, texts::read(data, &spaces)?),
                dtype => Tensor::from_bytes(dtype, shape, data.to_vec()),
            }
        })
        .collect::<Result<Vec<_>>>()?;
    let after = states.iter().zip(spaces.iter().skip(1 + p.outputs.len()));
    let states = after
        .map(|(s, space)| Tensor::from_bytes(s.dtype(), s.shape().to_vec(), space.bytes().to_vec()))
        .collect::<Result<Vec<_>>>()?;
    Ok(Outcome { code: 0, outputs, states })
}

fn check_ports(ports: &[Port], tensors: &[Tensor], what: &str) -> Result<()> {
    if tensors.len() != ports.len() {
        return Err(Diag::input(format!("{} {what}s given, {} needed", tensors.len(), ports.len())));
    }
    for (port, t) in ports.iter().zip(tensors) {
        if t.dtype() != port.dtype || t.rank() != port.dims.len() {
            let got = format!("{}{:?}", t.dtype(), t.shape());
            return Err(Diag::input(format!(
                "{what} {} is {} of rank {}, got {got}",
                port.name,
                port.dtype,
                port.dims.len()
            )));
        }
    }
    Ok(())
}

fn shape(m: &Machine, o: &Port) -> Result<Vec<usize>> {
    let dims = o.dims.iter().map(|d| match m.value(d) {
        Ok(v) => {
            usize::try_from(v).map_err(|_| Diag::bug(format!("a dim of output {} is {v} in the end", o.name)))
        }
        Err(Stop::Fault(d)) => Err(*d),
        Err(Stop::Code(c)) => Err(Diag::bug(format!("a dim of output {} fails with code {c}", o.name))),
    });
    dims.collect()
}

impl Outcome {
    /// The outputs; an error for other codes than 0.
    pub fn ok(self) -> Result<Vec<Tensor>> {
        let what = match self.code {
            0 => return Ok(self.outputs),
            code::DIM => "an input dim is outside its range or differs from that of another input",
            code::CONSTRAINT => "dims or values that the model needs to be equal differ",
            code::INDEX => "an index in the data is outside its axis",
            code::VALUE => "a size computed while running is outside its range",
            code::TEXTS => "texts made while running need more space than planned for",
            code::ITERATIONS => "a loop runs longer than planned for",
            _ => "unknown code",
        };
        Err(Diag::input(format!("the program stops with code {}: {what}", self.code)))
    }
}

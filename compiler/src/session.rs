//! A loaded bundle, with tensors in and out.

use crate::manifest::Manifest;
use sinter_ir::{DType, Diag, Result, Tensor};
use sinter_runtime::remote::{Elements, Remote, Request};
use sinter_runtime::texts::{self, Texts};
use sinter_runtime::{Bound, Bundle, Image, Outputs, States};

/// A loaded bundle and what its manifest says.
pub struct Session {
    /// The manifest.
    pub manifest: Manifest,
    place: Place,
}

enum Place {
    /// In this process.
    Here(Bundle),
    /// In another one, perhaps of another processor.
    Remote(Remote),
}

fn load_error(e: &sinter_runtime::Error) -> Diag {
    Diag::input(e.to_string())
}

fn elsewhere(what: &str) -> Diag {
    Diag::unsupported(format!("{what} of a bundle in another process"))
}

impl Session {
    /// Loads code and weights.
    pub fn new(manifest: Manifest, archive: &[u8], weights: Image, threads: usize) -> Result<Self> {
        let bundle = Bundle::load(&manifest.name, archive, weights, threads).map_err(|e| load_error(&e))?;
        Ok(Self { manifest, place: Place::Here(bundle) })
    }
    /// Loads code and weights into another process.
    pub fn through(
        mut remote: Remote,
        manifest: Manifest,
        archive: &[u8],
        weights: &[u8],
        threads: usize,
    ) -> Result<Self> {
        remote.load(&manifest.name, archive, weights, threads).map_err(|e| load_error(&e))?;
        Ok(Self { manifest, place: Place::Remote(remote) })
    }
    /// The other process, for the next bundle.
    pub fn into_remote(self) -> Option<Remote> {
        match self.place {
            Place::Here(_) => None,
            Place::Remote(remote) => Some(remote),
        }
    }
    /// States for the beginning of a sequence with room for `capacity` positions.
    pub fn states(&mut self, capacity: i64) -> Result<States> {
        let states = match &mut self.place {
            Place::Here(bundle) => bundle.states(capacity),
            Place::Remote(remote) => remote.states(capacity),
        };
        states.map_err(|e| load_error(&e))
    }
    /// Runs a model on states.
    pub fn run_on(&mut self, states: &mut States, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.run_with(Some(states), inputs)
    }
    /// Must be called before code emitted for measuring runs; see [`sinter_runtime::Bundle::measure`].
    pub fn measure(&mut self, sites: usize) -> Result<()> {
        let Place::Here(bundle) = &mut self.place else { return Err(elsewhere("a stopwatch")) };
        bundle.measure(sites);
        Ok(())
    }
    /// Runs the model on tensors, checked against the signature.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.run_with(None, inputs)
    }
    fn run_with(&mut self, states: Option<&mut States>, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let Place::Remote(remote) = &mut self.place else {
            return self.with(states, inputs, |ready| ready.run()).map(|(_, outputs)| outputs);
        };
        let dims = given_dims(&self.manifest, inputs)?;
        let (sizes, rank) = output_sizes(&self.manifest);
        let elements = inputs.iter().map(|t| match t.dtype() {
            DType::Str => Elements::Texts(t.strings()),
            _ => Elements::Bytes(t.bytes()),
        });
        let elements: Vec<Elements> = elements.collect();
        let output_texts: Vec<bool> = self.manifest.outputs.iter().map(|o| o.dtype == DType::Str).collect();
        let request = Request {
            inputs: &elements,
            dims: &dims,
            output_bytes: &sizes,
            output_texts: &output_texts,
            output_dims: rank,
        };
        let answer = remote.run(&request, states).map_err(|e| load_error(&e))?;
        tensors(&self.manifest, answer.outputs, Some(answer.texts))
    }
    /// Checks tensors against the signature and lets `body` run the model on them as often as it likes, with nothing
    /// allocated in between. Gives its result and the outputs of its last run.
    pub fn with<R>(
        &mut self,
        states: Option<&mut States>,
        inputs: &[Tensor],
        body: impl FnOnce(&mut Ready) -> Result<R>,
    ) -> Result<(R, Vec<Tensor>)> {
        let dims = given_dims(&self.manifest, inputs)?;
        let texts: Vec<Texts> = inputs.iter().map(|t| Texts::of(t.strings())).collect();
        let slices: Vec<&[u8]> = inputs
            .iter()
            .zip(&texts)
            .map(|(t, s)| if t.dtype() == DType::Str { s.bytes() } else { t.bytes() })
            .collect();
        let (sizes, rank) = output_sizes(&self.manifest);
        let Self { place: Place::Here(bundle), manifest } = self else {
            return Err(elsewhere("a run that is held open"));
        };
        let mut ready = Ready(bind(bundle, states, &slices, &dims, &sizes, rank)?);
        let result = body(&mut ready)?;
        let out = ready.0.into_outputs();
        Ok((result, tensors(manifest, out, None)?))
    }
}

/// Dims of all inputs, checked against the signature.
fn given_dims(manifest: &Manifest, inputs: &[Tensor]) -> Result<Vec<i64>> {
    let ports = &manifest.inputs;
    if inputs.len() != ports.len() {
        return Err(Diag::input(format!("{} inputs given, the model needs {}", inputs.len(), ports.len())));
    }
    let mut dims = Vec::new();
    for (port, t) in ports.iter().zip(inputs) {
        let fits = t.rank() == port.range.len()
            && t.shape().iter().zip(&port.range).all(|(d, r)| (r.0..=r.1).contains(d));
        if t.dtype() != port.dtype || !fits {
            let got = format!("{}{:?}", t.dtype(), t.shape());
            return Err(Diag::input(format!(
                "input {} is needed, got {got}; accepted: {}",
                port.show(),
                port.spec().show()
            )));
        }
        dims.extend(t.shape().iter().map(|&d| d as i64));
    }
    Ok(dims)
}

/// Largest bytes of every output, and how many dims all outputs have.
fn output_sizes(manifest: &Manifest) -> (Vec<usize>, usize) {
    let sizes = manifest.outputs.iter().map(|o| usize::try_from(o.max_bytes).unwrap_or(usize::MAX)).collect();
    (sizes, manifest.outputs.iter().map(|o| o.range.len()).sum())
}

/// What a run left behind, as tensors. `texts`: those of all outputs, where they are not what the bytes point to.
fn tensors(manifest: &Manifest, out: Outputs, texts: Option<Vec<Vec<String>>>) -> Result<Vec<Tensor>> {
    let mut rest = out.dims.as_slice();
    let mut texts = texts.map(Vec::into_iter);
    let mut tensors = Vec::new();
    for (port, mut bytes) in manifest.outputs.iter().zip(out.bytes) {
        let (own, more) = rest.split_at(port.range.len());
        rest = more;
        let shape: Option<Vec<usize>> = own.iter().map(|&d| usize::try_from(d).ok()).collect();
        let shape = shape.ok_or_else(|| Diag::bug(format!("output {} has dims {own:?}", port.name)))?;
        let texts = texts.as_mut().and_then(Iterator::next);
        if let (DType::Str, Some(mut texts)) = (port.dtype, texts) {
            texts.truncate(shape.iter().product());
            tensors.push(Tensor::from_strings(shape, texts)?);
            continue;
        }
        let n = sinter_ir::tensor::storage_bytes(port.dtype, &shape)?;
        if n > bytes.len() {
            return Err(Diag::bug(format!("output {} is larger than its maximum", port.name)));
        }
        bytes.truncate(n);
        tensors.push(match port.dtype {
            DType::Str => Tensor::from_strings(shape, read_texts(&bytes))?,
            dtype => Tensor::from_bytes(dtype, shape, bytes)?,
        });
    }
    Ok(tensors)
}

/// A model with checked inputs.
pub struct Ready<'a>(Bound<'a>);

impl Ready<'_> {
    /// One run.
    pub fn run(&mut self) -> Result<()> {
        self.0.run().map_err(|e| load_error(&e))
    }
    /// See [`sinter_runtime::Bound::measured`].
    pub fn measured(&mut self) -> Vec<[u64; 2]> {
        self.0.measured()
    }
    /// See [`sinter_runtime::Bound::symbols`].
    pub fn symbols(&self, count: usize) -> Vec<i64> {
        self.0.symbols(count)
    }
}

#[allow(unsafe_code)]
fn bind<'a>(
    bundle: &'a mut Bundle,
    states: Option<&'a mut States>,
    inputs: &[&'a [u8]],
    dims: &[i64],
    sizes: &[usize],
    rank: usize,
) -> Result<Bound<'a>> {
    // SAFETY: the caller has checked against the manifest that every tensor holds the bytes that its dtype and shape
    // say, and the sizes are the bundle's own.
    unsafe { bundle.bind(states, inputs, dims, sizes, rank) }.map_err(|e| load_error(&e))
}

/// Strings of an output of the run that has just ended.
#[allow(unsafe_code)]
fn read_texts(views: &[u8]) -> Vec<String> {
    // SAFETY: called between a run and the next one, while its inputs and the bundle are borrowed by the caller.
    unsafe { texts::read(views) }
}

//! A bundle in this process.

#![allow(unsafe_code)]

use crate::archive;
use crate::code::Code;
use crate::memory::{Aligned, Image};
use crate::pool::Pool;
use crate::states::States;
use sinter_abi::{ABI_VERSION, context, error_text};
use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;

/// What went wrong: loading, or a code from the bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The files are not a bundle that this runtime can load.
    Load(String),
    /// A function of the bundle returned this code.
    Code(i32),
    /// The call does not fit the bundle's signature.
    Call(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(why) | Self::Call(why) => f.write_str(why),
            Self::Code(c) => write!(f, "{} (code {c})", error_text(*c)),
        }
    }
}

impl std::error::Error for Error {}

/// What a run gives: bytes per output and its dims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outputs {
    /// Output buffers at their largest size; the dims tell how much of it counts.
    pub bytes: Vec<Vec<u8>>,
    /// All dims of all outputs.
    pub dims: Vec<i64>,
}

type Init = unsafe extern "C" fn(*mut c_void, *const c_void, *mut c_void) -> i32;
type Run = unsafe extern "C" fn(*mut c_void, *const *const c_void, *const *mut c_void, *mut i64) -> i32;
type StateBytes = unsafe extern "C" fn(i64) -> u64;
type Sizes = unsafe extern "C" fn(*mut u64);
type Version = unsafe extern "C" fn() -> u32;

/// The functions of a bundle, as its header declares them.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Functions {
    /// `NAME_abi_version`.
    pub abi_version: Version,
    /// `NAME_sizes`.
    pub sizes: Sizes,
    /// `NAME_init`.
    pub init: Init,
    /// `NAME_run`.
    pub run: Run,
    /// `NAME_state_bytes`; models without states have none.
    pub state_bytes: Option<StateBytes>,
}

/// A loaded bundle with its memory: one per thread of use.
pub struct Bundle {
    // Fields that others point into come last, so that they are dropped last.
    ctx: Box<[u64; context::PROFILED_BYTES / 8]>,
    run: Run,
    state_bytes: Option<StateBytes>,
    inputs: usize,
    outputs: usize,
    arena: Aligned,
    weights: Image,
    pool: Option<Box<Pool>>,
    /// What measured code notes down.
    profile: Vec<[u64; 2]>,
    /// The functions are in it, unless they are linked into the program.
    code: Option<Code>,
}

impl Bundle {
    /// Loads a bundle's archive and weights; `threads` above 1 starts a pool.
    pub fn load(name: &str, archive: &[u8], weights: Image, threads: usize) -> Result<Self, Error> {
        let bad = |e: String| Error::Load(format!("lib{name}.a: {e}"));
        let text = archive::text(archive).map_err(bad)?;
        let code = Code::map(&text.bytes).map_err(|e| bad(e.to_string()))?;
        let entry = |suffix: &str| {
            let full = format!("{name}_{suffix}");
            let at = text.entries.get(&full).and_then(|&o| code.at(o));
            at.ok_or_else(|| bad(format!("no function {full}")))
        };
        // SAFETY: the archive was checked to be one relocation-free code section; its functions have the types of
        // ABI 1, which `abi_version` confirms before any other is called. Only bundles with states have the last.
        let functions = unsafe {
            Functions {
                abi_version: std::mem::transmute::<*const u8, Version>(entry("abi_version")?),
                sizes: std::mem::transmute::<*const u8, Sizes>(entry("sizes")?),
                init: std::mem::transmute::<*const u8, Init>(entry("init")?),
                run: std::mem::transmute::<*const u8, Run>(entry("run")?),
                state_bytes: entry("state_bytes")
                    .ok()
                    .map(|at| std::mem::transmute::<*const u8, StateBytes>(at)),
            }
        };
        Self::start(functions, Some(code), weights, threads)
    }
    /// A bundle whose archive is linked into the program.
    ///
    /// # Safety
    /// The functions must be those of one bundle.
    pub unsafe fn linked(functions: Functions, weights: Image, threads: usize) -> Result<Self, Error> {
        Self::start(functions, None, weights, threads)
    }
    fn start(f: Functions, code: Option<Code>, weights: Image, threads: usize) -> Result<Self, Error> {
        let Functions { abi_version, sizes, init, run, state_bytes } = f;
        // SAFETY: takes nothing, touches nothing.
        let abi = unsafe { abi_version() };
        if abi != ABI_VERSION {
            return Err(Error::Load(format!("the code has ABI {abi}, this runtime knows {ABI_VERSION}")));
        }
        let mut size = [0u64; 4];
        // SAFETY: writes four words.
        unsafe { sizes(size.as_mut_ptr()) };
        let [arena, weight_bytes, inputs, outputs] = size.map(|s| usize::try_from(s).unwrap_or(usize::MAX));
        if weights.bytes().len() != weight_bytes {
            return Err(Error::Load(format!(
                "weights have {} bytes, the code wants {weight_bytes}",
                weights.bytes().len()
            )));
        }
        let mut arena = Aligned::dense(arena).map_err(|e| Error::Load(format!("arena: {e}")))?;
        let mut ctx = Box::new([0u64; context::PROFILED_BYTES / 8]);
        let pool = (threads > 1).then(|| Box::new(Pool::new(threads)));
        if let Some(p) = &pool {
            ctx[context::PARALLEL_FOR as usize / 8] = Pool::parallel_for as *const () as u64;
            ctx[context::POOL as usize / 8] = std::ptr::from_ref::<Pool>(p) as u64;
        }
        // SAFETY: context, weights and arena have the sizes that the bundle stated and live as long as self.
        let status = unsafe {
            init(
                ctx.as_mut_ptr().cast(),
                weights.bytes().as_ptr().cast(),
                arena.bytes_mut().as_mut_ptr().cast(),
            )
        };
        if status != 0 {
            return Err(Error::Code(status));
        }
        Ok(Self { ctx, run, state_bytes, inputs, outputs, arena, weights, pool, profile: Vec::new(), code })
    }
    /// Makes room for what code emitted for measuring notes down, and must be called before such code runs: `sites`
    /// is the number of its kernel calls and copies.
    pub fn measure(&mut self, sites: usize) {
        self.profile = vec![[0; 2]; sites];
        self.ctx[context::PROFILE as usize / 8] = self.profile.as_mut_ptr() as u64;
    }
    /// Threads that a run uses.
    pub fn threads(&self) -> usize {
        self.pool.as_ref().map_or(1, |p| p.threads())
    }
    /// Bytes of the arena.
    pub fn arena_bytes(&self) -> usize {
        self.arena.bytes().len()
    }
    /// Bytes of the states for a capacity; `None`: the model has no states, or the capacity is outside its range.
    pub fn state_bytes(&self, capacity: i64) -> Option<usize> {
        // SAFETY: computes from its argument only.
        let bytes = self.state_bytes.map(|f| unsafe { f(capacity) });
        bytes.and_then(|b| usize::try_from(b).ok()).filter(|b| *b > 0)
    }
    /// States for the beginning of a sequence.
    pub fn states(&self, capacity: i64) -> Result<States, Error> {
        let bytes = self.state_bytes(capacity);
        States::new(bytes.ok_or_else(|| Error::Call(format!("no states of capacity {capacity}")))?, capacity)
    }
    /// Lets the context point to states, or to none for a model without.
    fn take(&mut self, states: Option<&mut States>) -> Result<(), Error> {
        let (at, capacity) = match (states, self.state_bytes) {
            (None, None) => (0, 0),
            (Some(s), Some(_)) if self.state_bytes(s.capacity()) == Some(s.bytes().len()) => {
                (s.bytes_mut().as_mut_ptr() as u64, s.capacity() as u64)
            }
            _ => return Err(Error::Call("the states are not those of this model".into())),
        };
        self.ctx[context::STATES as usize / 8] = at;
        self.ctx[context::CAPACITY as usize / 8] = capacity;
        Ok(())
    }
    /// Runs the model once; see [`Bundle::bind`].
    ///
    /// # Safety
    /// As for [`Bundle::bind`].
    pub unsafe fn run(
        &mut self,
        inputs: &[&[u8]],
        dims: &[i64],
        output_bytes: &[usize],
        output_dims: usize,
    ) -> Result<Outputs, Error> {
        // SAFETY: the caller's promise.
        let mut bound = unsafe { self.bind(None, inputs, dims, output_bytes, output_dims) }?;
        bound.run()?;
        Ok(bound.into_outputs())
    }
    /// Hash of the weights, from their header: tells models apart.
    pub fn weights_hash(&self) -> u64 {
        sinter_runtime_core::weights_info(self.weights.bytes()).map_or(0, |i| i.hash)
    }
    /// One run on memory of the caller's: allocates nothing. `dims` are all dims of all inputs, followed by room for
    /// those of all outputs. The run changes the states, also where it fails.
    ///
    /// # Safety
    /// As for [`Bundle::bind`], and every output must have room for its largest size.
    pub unsafe fn call(
        &mut self,
        states: Option<&mut States>,
        inputs: &[*const c_void],
        outputs: &[*mut c_void],
        dims: &mut [i64],
    ) -> Result<(), Error> {
        if inputs.len() != self.inputs || outputs.len() != self.outputs {
            return Err(Error::Call(format!(
                "{} inputs and {} outputs are needed",
                self.inputs, self.outputs
            )));
        }
        self.take(states)?;
        // SAFETY: the caller's promise; context, weights and arena are owned here.
        let status = unsafe {
            (self.run)(self.ctx.as_mut_ptr().cast(), inputs.as_ptr(), outputs.as_ptr(), dims.as_mut_ptr())
        };
        if status == 0 { Ok(()) } else { Err(Error::Code(status)) }
    }
    /// Prepares runs on the same inputs: nothing is allocated or copied in between. `dims` are all dims of all inputs
    /// in order and must describe `inputs`; `output_bytes` are the largest sizes of the outputs and `output_dims` the
    /// number of all their dims, from the manifest. Runs change the states, also where they fail.
    ///
    /// # Safety
    /// Inputs must have the bytes that `dims` and the bundle's element types say, and `output_bytes` must be the
    /// bundle's own maxima.
    pub unsafe fn bind<'a>(
        &'a mut self,
        states: Option<&'a mut States>,
        inputs: &[&'a [u8]],
        dims: &[i64],
        output_bytes: &[usize],
        output_dims: usize,
    ) -> Result<Bound<'a>, Error> {
        if inputs.len() != self.inputs || output_bytes.len() != self.outputs {
            return Err(Error::Call(format!(
                "{} inputs and {} outputs are needed",
                self.inputs, self.outputs
            )));
        }
        let mut bytes = Vec::new();
        for &n in output_bytes {
            let mut out = Vec::new();
            out.try_reserve_exact(n)
                .map_err(|_| Error::Call(format!("no memory for an output of {n} bytes")))?;
            out.resize(n, 0);
            bytes.push(out);
        }
        let ins = inputs.iter().map(|i| i.as_ptr().cast()).collect();
        let outs = bytes.iter_mut().map(|o: &mut Vec<u8>| o.as_mut_ptr().cast()).collect();
        let mut all = dims.to_vec();
        all.resize(dims.len() + output_dims, 0);
        self.take(states)?;
        Ok(Bound { bundle: self, _borrowed: PhantomData, ins, outs, bytes, dims: all, given: dims.len() })
    }
}

/// A bundle with its inputs and room for its outputs, ready to run any number of times.
pub struct Bound<'a> {
    bundle: &'a mut Bundle,
    /// Inputs and states, which the pointers lead to.
    _borrowed: PhantomData<(&'a [u8], &'a mut States)>,
    ins: Vec<*const c_void>,
    outs: Vec<*mut c_void>,
    bytes: Vec<Vec<u8>>,
    dims: Vec<i64>,
    given: usize,
}

impl Bound<'_> {
    /// One run.
    pub fn run(&mut self) -> Result<(), Error> {
        let Bundle { ctx, run, weights, code, .. } = &mut *self.bundle;
        // SAFETY: whoever made this promised that inputs and sizes fit; everything is borrowed or owned here, the
        // output buffers are never resized.
        let status = unsafe {
            run(ctx.as_mut_ptr().cast(), self.ins.as_ptr(), self.outs.as_ptr(), self.dims.as_mut_ptr())
        };
        let _ = (weights, code);
        if status == 0 { Ok(()) } else { Err(Error::Code(status)) }
    }
    /// Ticks and visits of every site since this was last called; see [`Bundle::measure`].
    pub fn measured(&mut self) -> Vec<[u64; 2]> {
        let sites = &mut self.bundle.profile;
        let ticks = sites.clone();
        sites.fill([0; 2]);
        ticks
    }
    /// Symbols of the last run, which are the first thing in the arena.
    pub fn symbols(&self, count: usize) -> Vec<i64> {
        let words = self.bundle.arena.bytes().as_chunks::<8>().0;
        words.iter().take(count).map(|w| i64::from_ne_bytes(*w)).collect()
    }
    /// What the last run wrote.
    pub fn into_outputs(mut self) -> Outputs {
        Outputs { dims: self.dims.split_off(self.given), bytes: self.bytes }
    }
}

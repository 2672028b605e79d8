//! Bundles that run in another process: on another processor, behind an emulator, or on a device behind a pipe.
//!
//! [`serve`] is the other side: it loads what it is sent, machine code and all, so it answers those only whom the
//! process that starts it trusts. Texts travel with their letters, and the states of a model with every run.

#![allow(unsafe_code)]

use crate::bundle::{Bundle, Error, Outputs};
use crate::memory::{Aligned, Image};
use crate::states::States;
use crate::texts::{self, Texts};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use wire::{get, get_all, get_bytes, get_texts, put, put_all, put_bytes, put_texts};

mod wire;

const LOAD: u64 = 1;
const RUN: u64 = 2;
const STATES: u64 = 3;

const DONE: u64 = 0;
const CODE: u64 = 1;
const LOAD_ERROR: u64 = 2;
const CALL_ERROR: u64 = 3;

/// Elements of an input.
#[derive(Debug, Clone)]
pub enum Elements<'a> {
    /// As they lie in memory.
    Bytes(&'a [u8]),
    /// Strings.
    Texts(&'a [String]),
}

impl Elements<'_> {
    fn put(&self, to: &mut impl Write) -> io::Result<()> {
        put(to, u64::from(matches!(self, Self::Texts(_))))?;
        match self {
            Self::Bytes(bytes) => put_bytes(to, bytes),
            Self::Texts(texts) => put_texts(to, texts),
        }
    }
}

/// One run: as for [`Bundle::bind`], and which outputs are texts.
#[derive(Debug)]
pub struct Request<'a> {
    /// Elements of all inputs.
    pub inputs: &'a [Elements<'a>],
    /// Dims of all inputs.
    pub dims: &'a [i64],
    /// Largest bytes of every output.
    pub output_bytes: &'a [usize],
    /// Which outputs are texts.
    pub output_texts: &'a [bool],
    /// Number of dims of all outputs.
    pub output_dims: usize,
}

/// What a run gives.
#[derive(Debug)]
pub struct Answer {
    /// Bytes and dims; of texts the bytes are empty.
    pub outputs: Outputs,
    /// For every output its texts: as many as it has at most.
    pub texts: Vec<Vec<String>>,
}

/// A connection to a process that [serves](serve).
#[derive(Debug)]
pub struct Remote {
    child: Child,
    to: BufWriter<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Remote {
    /// Starts the process.
    pub fn start(mut command: Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (to, from) = pipes.ok_or_else(|| io::Error::other("no pipes"))?;
        Ok(Self { child, to: BufWriter::new(to), from: BufReader::new(from) })
    }
    /// Loads a bundle in place of the one before; see [`Bundle::load`].
    pub fn load(&mut self, name: &str, archive: &[u8], weights: &[u8], threads: usize) -> Result<(), Error> {
        let to = &mut self.to;
        let mut ask = || {
            put(to, LOAD)?;
            for part in [name.as_bytes(), archive, weights] {
                put_bytes(to, part)?;
            }
            put(to, threads as u64)?;
            to.flush()
        };
        ask().map_err(|e| self.lost(&e))?;
        self.status()
    }
    /// States for the beginning of a sequence; see [`Bundle::states`].
    pub fn states(&mut self, capacity: i64) -> Result<States, Error> {
        let to = &mut self.to;
        let mut ask = || {
            put(to, STATES)?;
            put(to, capacity as u64)?;
            to.flush()
        };
        ask().map_err(|e| self.lost(&e))?;
        self.status()?;
        let bytes = get(&mut self.from).map_err(|e| self.lost(&e))?;
        States::new(usize::try_from(bytes).unwrap_or(usize::MAX), capacity)
    }
    /// Runs it; see [`Bundle::bind`]. Where a run fails, the states are as they were.
    pub fn run(&mut self, request: &Request, mut states: Option<&mut States>) -> Result<Answer, Error> {
        let to = &mut self.to;
        let mut ask = || {
            put(to, RUN)?;
            put(to, request.inputs.len() as u64)?;
            request.inputs.iter().try_for_each(|e| e.put(to))?;
            put_all(to, request.dims.iter().map(|&d| d as u64))?;
            put_all(to, request.output_bytes.iter().map(|&n| n as u64))?;
            put_all(to, request.output_texts.iter().map(|&t| u64::from(t)))?;
            put(to, request.output_dims as u64)?;
            put(to, u64::from(states.is_some()))?;
            if let Some(states) = &states {
                put(to, states.capacity() as u64)?;
                put_bytes(to, states.bytes())?;
            }
            to.flush()
        };
        ask().map_err(|e| self.lost(&e))?;
        self.status()?;
        let from = &mut self.from;
        let mut answer = || {
            let (mut bytes, mut texts) = (vec![], vec![]);
            for is_text in request.output_texts {
                bytes.push(if *is_text { vec![] } else { get_bytes(from)? });
                texts.push(if *is_text { get_texts(from)? } else { vec![] });
            }
            let dims = get_all(from)?.into_iter().map(|d| d as i64).collect();
            if let Some(states) = &mut states {
                from.read_exact(states.bytes_mut())?;
            }
            Ok(Answer { outputs: Outputs { bytes, dims }, texts })
        };
        answer().map_err(|e| self.lost(&e))
    }
    /// An error that says how the process ended, when it has.
    fn lost(&mut self, e: &io::Error) -> Error {
        let how = match e.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => self.child.wait().ok(),
            _ => None,
        };
        let how = how.map_or_else(|| e.to_string(), |status| status.to_string());
        Error::Call(format!("the process that runs the bundle is gone: {how}"))
    }
    fn status(&mut self) -> Result<(), Error> {
        let from = &mut self.from;
        let mut answer = || Ok((get(from)?, get_bytes(from)?));
        let (status, text) = answer().map_err(|e| self.lost(&e))?;
        let why = || String::from_utf8_lossy(&text).into_owned();
        match status {
            DONE => Ok(()),
            CODE => Err(Error::Code(why().parse().unwrap_or(-1))),
            CALL_ERROR => Err(Error::Call(why())),
            _ => Err(Error::Load(why())),
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers a [`Remote`] until it hangs up.
pub fn serve(from: impl Read, to: impl Write) -> io::Result<()> {
    let (mut from, mut to) = (BufReader::new(from), BufWriter::new(to));
    let mut bundle: Option<Bundle> = None;
    loop {
        match get(&mut from) {
            Ok(LOAD) => {
                let name = String::from_utf8_lossy(&get_bytes(&mut from)?).into_owned();
                let (archive, weights) = (get_bytes(&mut from)?, get_bytes(&mut from)?);
                let threads = get(&mut from)? as usize;
                let loaded = Aligned::copy_of(&weights)
                    .map_err(|e| Error::Load(e.to_string()))
                    .and_then(|w| Bundle::load(&name, &archive, Image::Heap(w), threads));
                status(&mut to, loaded.as_ref().err())?;
                bundle = loaded.ok();
            }
            Ok(RUN) => {
                let count = get(&mut from)?;
                let given = (0..count).map(|_| Given::get(&mut from)).collect::<io::Result<Vec<_>>>()?;
                let dims: Vec<i64> = get_all(&mut from)?.into_iter().map(|d| d as i64).collect();
                let sizes: Vec<usize> = get_all(&mut from)?.into_iter().map(|n| n as usize).collect();
                let is_text = get_all(&mut from)?;
                let rank = get(&mut from)? as usize;
                let mut states = received(&mut from)?;
                let views: Vec<Texts> = given.iter().map(|g| Texts::of(&g.texts)).collect();
                let inputs = given.iter().zip(&views);
                let inputs: Vec<&[u8]> =
                    inputs.map(|(g, v)| if g.is_text { v.bytes() } else { g.bytes.as_slice() }).collect();
                let run = |b: &mut Bundle| {
                    // SAFETY: the other side keeps what `bind` asks of it, as it does for bundles of its own.
                    let mut bound = unsafe { b.bind(states.as_mut(), &inputs, &dims, &sizes, rank) }?;
                    bound.run()?;
                    Ok(bound.into_outputs())
                };
                let out = bundle.as_mut().ok_or_else(unloaded).and_then(run);
                status(&mut to, out.as_ref().err())?;
                if let Ok(out) = out {
                    for (bytes, is_text) in out.bytes.iter().zip(is_text) {
                        match is_text {
                            0 => put_bytes(&mut to, bytes)?,
                            // SAFETY: the run has just ended, its inputs are alive; what it did not write is zeros,
                            // which are empty texts.
                            _ => put_texts(&mut to, &unsafe { texts::read(bytes) })?,
                        }
                    }
                    put_all(&mut to, out.dims.iter().map(|&d| d as u64))?;
                    to.write_all(states.as_ref().map_or(&[], States::bytes))?;
                }
            }
            Ok(STATES) => {
                let capacity = get(&mut from)? as i64;
                let states = bundle.as_ref().ok_or_else(unloaded).and_then(|b| b.states(capacity));
                status(&mut to, states.as_ref().err())?;
                if let Ok(states) = states {
                    put(&mut to, states.bytes().len() as u64)?;
                }
            }
            Ok(other) => return Err(io::Error::other(format!("request {other}"))),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(e) => return Err(e),
        }
        to.flush()?;
    }
}

/// An input that has arrived.
struct Given {
    is_text: bool,
    bytes: Vec<u8>,
    texts: Vec<String>,
}

impl Given {
    fn get(from: &mut impl Read) -> io::Result<Self> {
        let is_text = get(from)? != 0;
        Ok(match is_text {
            false => Self { is_text, bytes: get_bytes(from)?, texts: vec![] },
            true => Self { is_text, bytes: vec![], texts: get_texts(from)? },
        })
    }
}

fn received(from: &mut impl Read) -> io::Result<Option<States>> {
    if get(from)? == 0 {
        return Ok(None);
    }
    let capacity = get(from)? as i64;
    let bytes = get_bytes(from)?;
    let mut states = States::new(bytes.len(), capacity).map_err(io::Error::other)?;
    states.bytes_mut().copy_from_slice(&bytes);
    Ok(Some(states))
}

fn unloaded() -> Error {
    Error::Call("no bundle is loaded".into())
}

fn status(to: &mut impl Write, error: Option<&Error>) -> io::Result<()> {
    let (status, text) = match error {
        None => (DONE, String::new()),
        Some(Error::Code(code)) => (CODE, code.to_string()),
        Some(Error::Load(why)) => (LOAD_ERROR, why.clone()),
        Some(Error::Call(why)) => (CALL_ERROR, why.clone()),
    };
    put(to, status)?;
    put_bytes(to, text.as_bytes())
}

//! Bundles that run in another process: on another processor, behind an emulator, or on a device behind a pipe.
//!
//! [`serve`] is the other side: it loads what it is sent, machine code and all, so it answers those only whom the
//! process that starts it trusts. Numbers are little-endian, lengths 64 bits in front of what they count.

#![allow(unsafe_code)]

use crate::bundle::{Bundle, Error, Outputs};
use crate::memory::{Aligned, Image};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const LOAD: u64 = 1;
const RUN: u64 = 2;

const DONE: u64 = 0;
const CODE: u64 = 1;
const LOAD_ERROR: u64 = 2;
const CALL_ERROR: u64 = 3;

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
    /// Runs it; see [`Bundle::run`].
    pub fn run(
        &mut self,
        inputs: &[&[u8]],
        dims: &[i64],
        output_bytes: &[usize],
        output_dims: usize,
    ) -> Result<Outputs, Error> {
        let to = &mut self.to;
        let mut ask = || {
            put(to, RUN)?;
            put(to, inputs.len() as u64)?;
            inputs.iter().try_for_each(|b| put_bytes(to, b))?;
            put_all(to, dims.iter().map(|&d| d as u64))?;
            put_all(to, output_bytes.iter().map(|&n| n as u64))?;
            put(to, output_dims as u64)?;
            to.flush()
        };
        ask().map_err(|e| self.lost(&e))?;
        self.status()?;
        let from = &mut self.from;
        let mut answer = || {
            let bytes = output_bytes.iter().map(|_| get_bytes(from)).collect::<io::Result<_>>()?;
            let dims = get_all(from)?.into_iter().map(|d| d as i64).collect();
            Ok(Outputs { bytes, dims })
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
                let inputs = (0..count).map(|_| get_bytes(&mut from)).collect::<io::Result<Vec<_>>>()?;
                let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
                let dims: Vec<i64> = get_all(&mut from)?.into_iter().map(|d| d as i64).collect();
                let sizes: Vec<usize> = get_all(&mut from)?.into_iter().map(|n| n as usize).collect();
                let rank = get(&mut from)? as usize;
                let out = match bundle.as_mut() {
                    // SAFETY: the other side keeps what `run` asks of it, as it does for bundles of its own.
                    Some(b) => unsafe { b.run(&inputs, &dims, &sizes, rank) },
                    None => Err(Error::Call("no bundle is loaded".into())),
                };
                status(&mut to, out.as_ref().err())?;
                if let Ok(out) = out {
                    out.bytes.iter().try_for_each(|b| put_bytes(&mut to, b))?;
                    put_all(&mut to, out.dims.iter().map(|&d| d as u64))?;
                }
            }
            Ok(other) => return Err(io::Error::other(format!("request {other}"))),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(e) => return Err(e),
        }
        to.flush()?;
    }
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

fn put(to: &mut impl Write, v: u64) -> io::Result<()> {
    to.write_all(&v.to_le_bytes())
}

fn put_bytes(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    put(to, bytes.len() as u64)?;
    to.write_all(bytes)
}

fn put_all(to: &mut impl Write, values: impl ExactSizeIterator<Item = u64>) -> io::Result<()> {
    put(to, values.len() as u64)?;
    values.into_iter().try_for_each(|v| put(to, v))
}

fn get(from: &mut impl Read) -> io::Result<u64> {
    let mut b = [0; 8];
    from.read_exact(&mut b)?;
    Ok(u64::from_le_bytes(b))
}

fn get_bytes(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let n = get(from)?;
    let mut out = Vec::new();
    from.take(n).read_to_end(&mut out)?;
    if out.len() as u64 == n { Ok(out) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn get_all(from: &mut impl Read) -> io::Result<Vec<u64>> {
    (0..get(from)?).map(|_| get(from)).collect()
}

//! The C interface: opaque sessions, texts as pointer and length, results as codes with a text.
//!
//! [`header`] makes the header from [`functions::FUNCTIONS`], which a test holds against the functions themselves.

#![allow(unsafe_code)]

mod functions;
mod header;
mod linked;

pub use functions::*;
pub use header::header;

use crate::bundle::BundleModel;
use crate::error::{Error, Kind, Result};
use crate::files::{self, Opening};
use crate::sample::Settings;
use crate::session::{Finish, Options, Session};
use crate::template::{Context, Message};
use std::ffi::{CStr, c_char, c_void};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::ptr;

/// A session of the C interface.
pub struct SinterLlm {
    session: Session<BundleModel>,
    /// The chat so far.
    messages: Vec<Message>,
    /// Text of the last error, with a zero behind it.
    error: Vec<u8>,
}

/// How to answer; zeros stand for the checkpoint's recommendation, see [`header`].
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct SinterLlmOptions {
    /// Bytes of this struct, as the caller's header has it: fields are only ever added.
    pub size: u64,
    /// Most tokens of the answer; 0: no bound.
    pub max_tokens: u64,
    /// Which random numbers.
    pub seed: u64,
    /// Texts that end the answer, `stop_count` of them, each ended by a zero.
    pub stops: *const *const c_char,
    /// Number of `stops`.
    pub stop_count: u64,
    /// Below 0: the best token. 0: as recommended.
    pub temperature: f32,
    /// 0: as recommended; below 0: all.
    pub top_k: i32,
    /// 0: as recommended.
    pub top_p: f32,
    /// 0: as recommended.
    pub min_p: f32,
    /// 0: as recommended.
    pub repetition_penalty: f32,
    /// As it is.
    pub presence_penalty: f32,
    /// As it is.
    pub frequency_penalty: f32,
    /// Not 0: go on behind tokens that end texts.
    pub ignore_eos: i32,
}

/// Shows a piece of the answer: UTF-8, not ended by a zero. Gives 0 to go on.
pub type Show = unsafe extern "C" fn(user: *mut c_void, text: *const c_char, size: u64) -> i32;

/// Codes of results below 0; 0 and more are counts or reasons.
fn code(kind: Kind) -> i32 {
    match kind {
        Kind::Input => -1,
        Kind::Unsupported => -2,
        Kind::Limit => -3,
        Kind::Output => -4,
        Kind::Model => -5,
    }
}

/// Code of a defect.
const BUG: i32 = -70;

/// Numbers of [`Finish`].
fn finish(f: Finish) -> i32 {
    match f {
        Finish::End => 0,
        Finish::Stop => 1,
        Finish::Length => 2,
        Finish::Full => 3,
        Finish::Cancelled => 4,
    }
}

/// A text of the caller's.
///
/// # Safety
/// Null, or ended by a zero and alive for the call.
unsafe fn text<'a>(p: *const c_char, what: &str) -> Result<&'a str> {
    if p.is_null() {
        return Err(Error::input(format!("{what} is null")));
    }
    // SAFETY: not null; the caller's promise.
    let bytes = unsafe { CStr::from_ptr(p) };
    bytes.to_str().map_err(|_| Error::input(format!("{what} is no UTF-8")))
}

/// Runs the body on a session; errors and panics become codes, and never cross the border.
///
/// # Safety
/// Null, or a session that no other thread uses.
unsafe fn on(llm: *mut SinterLlm, body: impl FnOnce(&mut SinterLlm) -> Result<i32>) -> i32 {
    // SAFETY: the caller's promise.
    let Some(s) = (unsafe { llm.as_mut() }) else { return code(Kind::Input) };
    match catch_unwind(AssertUnwindSafe(|| body(s))) {
        Ok(Ok(n)) => n,
        Ok(Err(e)) => {
            s.error = e.to_string().into_bytes();
            s.error.push(0);
            code(e.kind)
        }
        Err(_) => {
            s.error = b"a defect of the runtime\0".to_vec();
            BUG
        }
    }
}

/// Options of the caller's over those that the checkpoint recommends.
///
/// # Safety
/// Null, or options whose `size` is right and whose `stops` are `stop_count` texts.
unsafe fn options(s: &SinterLlm, given: *const SinterLlmOptions) -> Result<Options> {
    let d = Settings::of(&s.session.language().info.generation);
    if given.is_null() {
        return Ok(Options { settings: d, ..Options::default() });
    }
    // SAFETY: not null; every version of the struct begins with its size.
    let size = unsafe { ptr::addr_of!((*given).size).read() };
    if size != size_of::<SinterLlmOptions>() as u64 {
        return Err(Error::input(format!("options.size is {size}, not {}", size_of::<SinterLlmOptions>())));
    }
    // SAFETY: it has the size of this version.
    let g = unsafe { given.read() };
    let over = |v: f32, d: f32| if v == 0.0 { d } else { v };
    let settings = Settings {
        temperature: if g.temperature < 0.0 { 0.0 } else { over(g.temperature, d.temperature) },
        top_k: match g.top_k {
            0 => d.top_k,
            k => u32::try_from(k).unwrap_or(0),
        },
        top_p: over(g.top_p, d.top_p),
        min_p: over(g.min_p, d.min_p),
        repetition_penalty: over(g.repetition_penalty, d.repetition_penalty),
        presence_penalty: g.presence_penalty,
        frequency_penalty: g.frequency_penalty,
        seed: g.seed,
    };
    let mut stops = vec![];
    if !g.stops.is_null() {
        for i in 0..usize::try_from(g.stop_count).unwrap_or(0) {
            // SAFETY: the caller's promise: that many texts.
            stops.push(unsafe { text(*g.stops.add(i), "a stop sequence") }?.to_owned());
        }
    }
    let max_tokens = usize::try_from(g.max_tokens).ok().filter(|n| *n > 0);
    Ok(Options { max_tokens, settings, stops, ignore_eos: g.ignore_eos != 0, own_text: false })
}

/// Speaks to the callback.
fn answer(s: &mut SinterLlm, o: &Options, show: Option<Show>, user: *mut c_void) -> Result<i32> {
    let mut all = String::new();
    let chat = o.own_text;
    let outcome = s.session.generate(o, |part| {
        if chat {
            all.push_str(part);
        }
        // SAFETY: the caller's function, with a text that lives for the call.
        let more = show.map_or(0, |f| unsafe { f(user, part.as_ptr().cast(), part.len() as u64) });
        if more == 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    if chat {
        s.messages.push(Message::new("assistant", &all));
    }
    Ok(finish(outcome.finish))
}

/// Gives a new session, or an error where there is no session to keep its text: it is written to `error`.
///
/// # Safety
/// `out` points to a pointer; `error` to `error_size` bytes, or is null.
unsafe fn make(
    out: *mut *mut SinterLlm,
    error: *mut c_char,
    error_size: u64,
    body: impl FnOnce() -> Result<Session<BundleModel>>,
) -> i32 {
    let made = catch_unwind(AssertUnwindSafe(body));
    let (text, code) = match made {
        Ok(Ok(session)) if !out.is_null() => {
            let s = Box::new(SinterLlm { session, messages: vec![], error: vec![0] });
            // SAFETY: not null; the caller's promise.
            unsafe { out.write(Box::into_raw(s)) };
            return 0;
        }
        Ok(Ok(_)) => ("out is null".to_owned(), code(Kind::Input)),
        Ok(Err(e)) => (e.to_string(), code(e.kind)),
        Err(_) => ("a defect of the runtime".to_owned(), BUG),
    };
    let room = usize::try_from(error_size).unwrap_or(0);
    if !error.is_null() && room > 0 {
        // Cut between characters.
        let n = (0..text.len().min(room - 1) + 1).rev().find(|&n| text.is_char_boundary(n)).unwrap_or(0);
        // SAFETY: n + 1 bytes fit by the caller's promise.
        unsafe {
            ptr::copy_nonoverlapping(text.as_ptr(), error.cast(), n);
            error.add(n).write(0);
        }
    }
    if !out.is_null() {
        // SAFETY: not null; the caller's promise.
        unsafe { out.write(ptr::null_mut()) };
    }
    code
}

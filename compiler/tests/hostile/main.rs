//! Models made to hurt: absurd sizes, cycles, recursion, deep nesting, wrong types. Each is refused with an error
//! that names the cause, or compiled, in bounded time, memory and stack.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod attributes;
#[path = "../importer/build.rs"]
#[allow(dead_code)]
mod build;
#[path = "../common/mod.rs"]
mod common;
mod graphs;
#[path = "../common/guard.rs"]
mod guard;
mod large;
mod sizes;

use sinter::frontend::onnx::proto::ModelProto;
use sinter::frontend::onnx::{self, ImportOptions};
use sinter_ir::{Diag, Fault};
use sinter_passes::pipeline::{self, PipelineOptions};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: guard::Counting = guard::Counting;

/// Nothing here may take longer, on a machine that does other things as well.
const TIME: Duration = Duration::from_secs(60);
/// Held at most beyond three times the file.
const BYTES: usize = 256 << 20;
/// Stack of the thread that compiles: what threads get by default.
const STACK: usize = 2 << 20;

/// Compiles up to emission; also checks time and memory.
fn compile(file: Vec<u8>) -> Result<(), Vec<Diag>> {
    let size = file.len();
    let work = move || {
        let start = Instant::now();
        let (done, held) = guard::peak(|| {
            let module = onnx::import_bytes(file.into(), None, "hostile", &ImportOptions::default())?.module;
            let target = sinter_backends::target("x86-64-v3").unwrap();
            let compiled = pipeline::run(module, &mut PipelineOptions::default(), target)?;
            let problems = sinter_backends::legalise(&compiled.program.unwrap(), target);
            if problems.is_empty() { Ok(()) } else { Err(problems) }
        });
        (done, held, start.elapsed())
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(work).unwrap();
    let (done, held, time) = thread.join().unwrap();
    assert!(held <= 3 * size + BYTES, "{size} bytes of file, {held} bytes of memory");
    assert!(time <= TIME, "{time:?}");
    done
}

/// The file is refused with a problem of this kind that says why.
fn refused(file: Vec<u8>, fault: Fault, why: &str) {
    match compile(file) {
        Ok(()) => panic!("accepted; expected: {why}"),
        Err(d) => {
            assert!(d.iter().all(|d| d.fault != Fault::Bug), "{d:?}");
            assert!(
                d.iter().any(|d| d.fault == fault && d.message.contains(why)),
                "`{why}` is not in {d:#?}"
            );
        }
    }
}

fn refused_model(m: &ModelProto, fault: Fault, why: &str) {
    refused(build::encode(m), fault, why);
}

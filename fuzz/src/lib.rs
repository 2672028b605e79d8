//! What the fuzz targets call: bytes in, and a panic where anything but a result or a typed error comes out.

use bytes::Bytes;
use sinter::frontend::llm::hf::safetensors::SafeTensors;
use sinter::frontend::llm::{self, gguf, hf};
use sinter::frontend::onnx::{self, ImportOptions};
use sinter_ir::graph::text::ConstTable;
use sinter_ir::op::quantized_matmul::Activations;
use sinter_ir::{Diag, Fault, Module, Op};
use sinter_passes::pipeline::{self, PipelineOptions};

/// The parser reads text: a longer one is not more interesting.
const MAX_TEXT: usize = 1 << 16;

/// A file is never the fault of the compiler.
fn typed(diags: &[Diag]) {
    assert!(!diags.is_empty(), "an error without a message");
    for d in diags {
        assert!(d.fault != Fault::Bug, "{d}");
    }
}

/// Imports a model and takes it through all passes and the check before emission.
pub fn import(file: &[u8]) {
    let file = Bytes::copy_from_slice(file);
    match onnx::import_bytes(file, None, "fuzz", &ImportOptions::default()) {
        Ok(imported) => compile(imported.module),
        Err(diags) => typed(&diags),
    }
}

fn compile(module: Module) {
    let target = sinter_backends::target("x86-64-v3").expect("in the table");
    match pipeline::run(module, &mut PipelineOptions::default(), target) {
        Ok(compiled) => {
            let program = compiled.program.expect("not stopped before the end");
            let problems = sinter_backends::legalise(&program, target);
            if !problems.is_empty() {
                typed(&problems);
            }
        }
        Err(diags) => typed(&diags),
    }
}

/// Reads every tensor of a file.
pub fn safetensors(file: &[u8]) {
    let file = match SafeTensors::parse(Bytes::copy_from_slice(file)) {
        Ok(f) => f,
        Err(d) => return typed(&[d]),
    };
    for name in file.names() {
        let t = file.load(name).expect("it was listed").expect("it was checked");
        assert_eq!(t.shape(), file.dims(name).expect("it was listed"));
    }
}

/// Opens a file, makes the graph of it, of codes and of floats, and reads all weights.
pub fn gguf(file: &[u8]) {
    match gguf::of_bytes(&Bytes::copy_from_slice(file), "fuzz".into()) {
        Ok(c) => checkpoint(&c),
        Err(d) => typed(&[d]),
    }
}

/// A checkpoint of one safetensors file: its config.json, a zero byte, the file.
pub fn checkpoint_files(both: &[u8]) {
    let both = Bytes::copy_from_slice(both);
    let Some(end) = both.iter().position(|b| *b == 0) else { return };
    match hf::of_bytes(&both.slice(..end), &both.slice(end + 1..)) {
        Ok(c) => checkpoint(&c),
        Err(d) => typed(&[d]),
    }
}

fn checkpoint(c: &llm::Checkpoint) {
    for stored in [None, Some(Activations::Blocks)] {
        let module = match llm::build(c, &ImportOptions { stored, ..ImportOptions::default() }) {
            Ok((module, _)) => module,
            Err(diags) => {
                typed(&diags);
                continue;
            }
        };
        for (_, node) in module.graph.iter() {
            let Op::Constant(constant) = &node.op else { continue };
            if let Err(d) = constant.tensor.load() {
                typed(&[d]);
            }
        }
    }
}

/// Parses the text of a module; what is accepted must print to a text that is accepted and prints the same.
pub fn graph_text(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    if text.len() > MAX_TEXT {
        return;
    }
    let module = match Module::from_text(text, &Bytes::new()) {
        Ok(m) => m,
        Err(d) => return typed(&[d]),
    };
    let mut table = ConstTable::default();
    let printed = module.to_text(&mut table);
    let side = Bytes::from(table.to_bytes());
    let again = match Module::from_text(&printed, &side) {
        Ok(m) => m,
        Err(d) => panic!("printed text is refused: {d}\n{printed}"),
    };
    assert_eq!(again.to_text(&mut ConstTable::default()), printed);
}

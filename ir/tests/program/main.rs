//! Programs: text, verifier and interpreter on a program with every kind of step.

mod interp;
mod text;
mod verify;

use sinter_ir::graph::text::NoConsts;
use sinter_ir::program::Program;

/// A program with every kind of step.
const SAMPLE: &str = include_str!("sample.txt");

fn parse(text: &str) -> Program {
    Program::from_text(text, &NoConsts).unwrap_or_else(|d| panic!("{d}\n{text}"))
}

/// The sample's text with one piece replaced, which must be there exactly once.
fn with(from: &str, to: &str) -> String {
    assert_eq!(SAMPLE.matches(from).count(), 1, "`{from}` is not unique in the sample");
    SAMPLE.replace(from, to)
}

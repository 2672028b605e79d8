//! What the sample computes, every code it can end with, and defects that the interpreter stops at.

use super::{SAMPLE, parse, with};
use sinter_ir::diag::Fault;
use sinter_ir::program::interp::{Options, run};
use sinter_ir::tile::build::code;
use sinter_ir::{DType, Result, Tensor};

fn inputs(x: &[i64], k: i64, twice: bool) -> [Tensor; 3] {
    let i64s = |v: &[i64]| Tensor::from_i64(DType::I64, vec![v.len()], v).expect("tensor");
    let flag = Tensor::from_bytes(DType::Bool, vec![], vec![u8::from(twice)]).expect("tensor");
    [i64s(x), i64s(&[k]), flag]
}

/// Outputs and code of a variation of the sample.
fn outcome(text: &str, x: &[i64], k: i64, twice: bool) -> Result<(i32, Vec<Vec<i64>>)> {
    let o = run(&parse(text), &inputs(x, k, twice), Options { fill: 0xa5, ..Options::default() })?;
    Ok((o.code, o.outputs.iter().map(|t| t.to_i64().expect("integers")).collect()))
}

#[test]
fn branches_loops_and_found_sizes() {
    assert_eq!(outcome(SAMPLE, &[1, -50], 2, true), Ok((0, vec![vec![42, -60], vec![42]])));
    assert_eq!(outcome(SAMPLE, &[1, -5], 2, false), Ok((0, vec![vec![31, 25], vec![31, 25]])));
    assert_eq!(outcome(SAMPLE, &[-11], 0, false), Ok((0, vec![vec![-1], vec![]])));
    let stopped = with("0000000001\"", "0000000000\"");
    assert_eq!(outcome(&stopped, &[1], 0, false), Ok((0, vec![vec![11], vec![11]])));
}

#[test]
fn codes() {
    let of = |text: &str, x: &[i64], k| outcome(text, x, k, true).map(|o| o.0);
    assert_eq!(of(SAMPLE, &[0; 9], 1), Ok(code::DIM));
    assert_eq!(of(SAMPLE, &[], 1), Ok(code::DIM));
    assert_eq!(of(SAMPLE, &[0], 5), Ok(code::VALUE));
    assert_eq!(of(SAMPLE, &[0, 67], 1), Ok(code::INDEX));
    assert_eq!(of(&with("0000000001\"", "0000000000\""), &[0], 1), Ok(code::CONSTRAINT));
    assert_eq!(of(&with(" trip input1", ""), &[0], 1), Ok(code::ITERATIONS));
    assert_eq!(
        of(&with("s3 \"positive\" run 0..8", "s3 \"positive\" run 0..1"), &[0, 0], 1),
        Ok(code::VALUE)
    );
    let e = run(&parse(SAMPLE), &inputs(&[0; 9], 1, true), Options::default()).and_then(|o| o.ok());
    assert!(e.expect_err("code 1").message.contains("code 1: an input dim"));
}

#[test]
fn wrong_inputs_are_the_callers_fault() {
    let p = parse(SAMPLE);
    let [x, k, twice] = inputs(&[1], 1, true);
    for wrong in
        [vec![x.clone(), k.clone()], vec![x.clone(), twice.clone(), k.clone()], vec![x, k.clone(), k]]
    {
        assert_eq!(run(&p, &wrong, Options::default()).expect_err("wrong inputs").fault, Fault::Input);
    }
    let small = Options { memory: 400, ..Options::default() };
    assert_eq!(run(&p, &inputs(&[1], 1, true), small).expect_err("too small").fault, Fault::Limit);
}

#[test]
fn defects_are_stopped_at() {
    for (text, what) in [
        (
            with("(arena+64, arena+128) ; \"twice", "(arena+64, arena+312) ; \"twice"),
            "needs 8*s0 bytes, 8 given",
        ),
        (with("(arena+64, arena+128) ; \"twice", "(arena+64, input0) ; \"twice"), "constant memory"),
        (with("(arena+64, arena+128) ; \"twice", "(arena+64, arena+999) ; \"twice"), "does not exist"),
        (with("  readsym s1 = i64 input1 index 0\n", ""), "before s1 has a value"),
        (with("input1 index 0", "input1 index 1"), "read outside"),
        (with("copy arena+192 = weights+8 bytes 1", "copy arena+64 = arena+65 bytes 2"), "2 bytes overlap"),
        (with("copy arena+192 = weights+8 bytes 1", "copy arena+64 = weights+8 bytes 2"), "do not fit"),
        (
            with("copy arena+192 = weights+8 bytes 1", "copy weights+0 = arena+64 bytes 1"),
            "cannot be written",
        ),
    ] {
        let d = outcome(&text, &[1, 2], 1, true).expect_err(what);
        assert!(d.fault == Fault::Bug && d.message.contains(what), "{what}: {d}");
    }
}

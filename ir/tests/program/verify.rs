//! The verifier accepts the sample and names what is wrong with its variations.

use super::{SAMPLE, parse, with};
use sinter_ir::diag::Fault;
use sinter_ir::program::verify::verify;

#[test]
fn the_sample_is_sound() {
    assert_eq!(verify(&parse(SAMPLE)), vec![]);
}

/// The text parses, and a problem of the program contains `what`.
fn refused(text: &str, what: &str) {
    let found = verify(&parse(text));
    assert!(found.iter().all(|d| d.fault == Fault::Bug), "{found:?}");
    assert!(found.iter().any(|d| d.message.contains(what)), "expected: {what}, found: {found:?}");
}

#[test]
fn tables() {
    refused(&with("setsym s3 r0", "setsym s3 r5"), "r5 is b1, expected i64");
    let twice = SAMPLE.replace("\"double\"", "\"count\"");
    refused(&twice, "two kernels are called count");
    refused(&with("weights 0:", "weights 8:"), "weights+8 is not aligned to 64 bytes");
    refused(&with("arena 320", "arena 300"), "an arena of 300 bytes");
    refused(&with("live 257", "live 321"), "for 321 live ones");
    refused(&with("s1 \"k\" run 0..4", "s1 \"k\" run 4..0"), "symbol k has the empty range 4..0");
    refused(
        &with("output \"y\" i64[s0] max 64", "output \"y\" i64[s0] max 60"),
        "can have 64 bytes, 60 are stated",
    );
    refused(&with("\"h\" at 64", "\"h\" at 32"), "buffer h is planned badly");
    refused(&with("\"i\" at 256: 8", "\"i\" at 256: 80"), "buffer i is planned badly");
    refused(&with("in 6..9", "in 16..19"), "which does not exist");
}

#[test]
fn locations() {
    refused(
        &with("add2 (Add)\"", "x\"\n  call 1 \"double\" (arena+129, arena+64) ; \"m\""),
        "not aligned to 8 bytes",
    );
    refused(
        &with("(arena+64, arena+128) ; \"twice", "(arena+64, arena+312) ; \"twice"),
        "in no buffer that is live",
    );
    refused(
        &with("(arena+64, arena+128) ; \"twice", "(arena+64, weights+0) ; \"twice"),
        "exceed their buffer",
    );
    refused(&with("(arena+64, arena+128) ; \"twice", "(arena+64, input0) ; \"twice"), "input0 is written");
    refused(
        &with("(arena+64, arena+128) ; \"twice", "(arena+64, input7) ; \"twice"),
        "input7 is in no buffer",
    );
    refused(&with("(arena+64, arena+128) ; \"twice", "(arena+64) ; \"twice"), "takes 2 buffers, 1 given");
    refused(
        &with("copy arena+192 = weights+8 bytes 1", "copy arena+192 = weights+8 bytes 2"),
        "2 bytes at weights+8",
    );
    refused(&with("\"h\" at 64: 64", "\"h\" at 64: 56"), "64 bytes at arena+64 exceed");
    refused(&with("input \"k\" i64[1] max 8", "input \"k\" i32[1] max 4"), "8 bytes at input1 exceed");
    refused(
        &with("(input0, weights+0, arena+64)", "(weights+0, weights+0, arena+64)"),
        "exceed their buffer",
    );
}

#[test]
fn lives() {
    refused(&with("\"y\" at 128", "\"y\" at 96"), "buffer y overwrites h, which is live");
    refused(
        &with("\"h\" at 64: 64 bytes in 1..9", "\"h\" at 64: 64 bytes in 1..8"),
        "buffer h of the loop at 6 ends",
    );
    refused(
        &with("\"h\" at 64: 64 bytes in 1..9", "\"h\" at 64: 64 bytes in 2..9"),
        "in no buffer that is live",
    );
    refused(&with("in 3..15", "in 3..14"), "in no buffer that is live");
    // Memory may be shared by buffers that are not live together.
    let shared = with(
        "\"i\" at 256: 8 bytes in 6..9",
        "\"i\" at 256: 8 bytes in 6..9\nbuffer \"z\" at 64: 1 bytes in 10..11",
    );
    assert_eq!(verify(&parse(&shared)), vec![]);
}

#[test]
fn contents() {
    let unwritten = "are read, not all are written";
    refused(
        &with("  call 0 \"add\" (input0, weights+0, arena+64) ; \"add1 (Add)\"\n", "  setsym s4 = 0\n"),
        unwritten,
    );
    // Only one branch writes.
    refused(
        &with("    copy arena+128 = arena+64 bytes 8*s0\n  }\n  copy", "    setsym s4 = 0\n  }\n  copy"),
        unwritten,
    );
    refused(&with("  copy arena+192 = weights+8 bytes 1\n", "  setsym s4 = 0\n"), unwritten);
    refused(
        &with("  copy output0 = arena+128 bytes 8*s0\n", "  setsym s4 = 0\n"),
        "output0 `y` is not written in full",
    );
    // What a dead buffer left behind is not what the next one holds.
    let reused = with("in 6..9", "in 6..9\nbuffer \"z\" at 192: 1 bytes in 15..15")
        .replace("copy output1 = arena+128 bytes 8*min(s0, s3)", "copy output1 = arena+192 bytes 1");
    refused(&reused, "1 bytes at arena+192 are read");
    refused(&with("copy arena+192 = weights+8 bytes 1", "copy arena+64 = arena+65 bytes 2"), "overlap");
    refused(&with("(arena+128, weights+0, arena+64)", "(arena+124, weights+0, arena+128)"), "overlap");
}

#[test]
fn symbols() {
    let early = "is used before it has a value";
    refused(&with("  readsym s1 = i64 input1 index 0\n", "  setsym s4 = 0\n"), &format!("s1 {early}"));
    refused(&with("input \"x\" i64[s0]", "input \"x\" i64[s0 + 1]"), &format!("s0 {early}"));
    refused(&with("  setsym s3 r0\n", ""), &format!("s3 {early}"));
    refused(&with("setsym s4 = s2 + s3", "setsym s4 = s4 + s3"), &format!("s4 {early}"));
    refused(&with("setsym s4 = s2 + s3", "setsym s5 = s2 + s3"), "s5 does not exist");
    refused(&with("readsym s1 = i64", "readsym s1 = u8"), "a symbol is read from u8");
    // Only one branch defines.
    let one = with("; \"twice (Mul)\"", "; \"twice (Mul)\"\n    setsym s4 = 1")
        .replace("setsym s4 = s2 + s3", "setsym s4 = s4 + s3");
    refused(&one, &format!("s4 {early}"));
}

/// Inside its loop a count stays below its largest value: slices may be appended up to it.
#[test]
fn counts_are_smaller_inside() {
    let append = |bytes: &str| {
        let kernel = format!(
            "kernel \"append\" {{\n  buf b0 \"all\" write {bytes}\n  r0: i64 = dim s2\n  store b0[r0], r0\n}}\nrun {{"
        );
        with("run {", &kernel)
            .replace("; \"add2 (Add)\"", "; \"add2 (Add)\"\n    call 3 \"append\" (arena+320) ; \"scan\"")
            .replace("arena 320", "arena 384")
            .replace("buffer \"h\" at 64: 64 bytes in 1..9", "buffer \"h\" at 64: 64 bytes in 1..10")
            .replace("in 3..15", "in 3..16")
            .replace("in 5..9", "in 5..10")
            .replace("in 6..9", "in 6..10\nbuffer \"all\" at 320: 40 bytes in 6..10")
    };
    assert_eq!(verify(&parse(&append("8*s2 + 8"))), vec![]);
    refused(&append("8*s2 + 16"), "48 bytes at arena+320 exceed");
}

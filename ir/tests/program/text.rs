//! Exact round trips, errors with lines, no panics.

use super::{SAMPLE, parse, with};
use sinter_ir::diag::Fault;
use sinter_ir::graph::text::{ConstTable, NoConsts};
use sinter_ir::program::Program;
use sinter_ir::program::verify::verify;

#[test]
fn the_sample_reads_back_as_it_is() {
    let p = parse(SAMPLE);
    assert_eq!(p.dump_text(), SAMPLE);
    assert_eq!(parse(&p.dump_text()), p);
    assert_eq!((p.kernels.len(), p.steps.len(), p.timeline.len()), (3, 11, 4));
}

#[test]
fn large_weights_go_to_a_table_or_are_left_out() {
    let mut p = parse(SAMPLE);
    p.weights.push((64, (0..200u8).collect::<Vec<_>>().into()));
    let mut table = ConstTable::default();
    let text = p.to_text(&mut table);
    assert!(text.contains("weights 64: 200 bytes @0\n"), "{text}");
    assert_eq!(Program::from_text(&text, &table), Ok(p.clone()));
    assert!(Program::from_text(&text, &NoConsts).is_err());
    let text = p.dump_text();
    assert!(text.contains("weights 64: 200 bytes elided\n"), "{text}");
    let zeros = parse(&text);
    assert_eq!(zeros.weights[1].1, vec![0; 200]);
    assert_eq!(zeros.weights[0], p.weights[0]);
    assert_eq!((zeros.dump_text(), verify(&zeros)), (text, vec![]));
}

#[test]
fn errors_name_the_line() {
    for (text, line, what) in [
        (with("sinter-program 1", "sinter-program 2"), 1, "expected `sinter-program 1`"),
        (with("arena 320 live", "arena -1 live"), 14, "number in range"),
        (with("weights 0: 9", "weights 0: 10"), 15, "9 bytes in front of this are not 10"),
        (with("x\"0a00", "x\"0g00"), 15, "bad hexadecimal digit"),
        (with("call 2 \"count\"", "call 1 \"count\""), 73, "kernel 1 is not called"),
        (with("readsym s1 = i64", "readsym s1 = i65"), 60, "unknown element type"),
        (with("copy output0 = arena+128 bytes", "copy output0 = arena-128 bytes"), 76, "expected a location"),
        (with("setsym s4 = s2 + s3", "setsym s4 = s2 + "), 74, "bad expression"),
        (with("setsym s4 = s2 + s3", "jump s4"), 74, "expected a step"),
        (with("call 2 \"count\" (arena+128)", "call 2 \"count\" (arena+128 arena+0)"), 73, "expected `,`"),
        (with("r6: i64 = zext r5", "r6: i64 = zext"), 55, "expected `r`"),
        (format!("{SAMPLE}run"), 79, "expected the end"),
    ] {
        let d = Program::from_text(&text, &NoConsts).expect_err(&text);
        assert_eq!(d.fault, Fault::Input, "{d}");
        let at = format!("line {line}: ");
        assert!(d.message.starts_with(&at) && d.message.contains(what), "{what}, line {line}: {d}");
    }
    let huge = with("weights 0: 9 bytes x\"0a0000000000000001\"", "weights 0: 99999999999 bytes elided");
    assert_eq!(Program::from_text(&huge, &NoConsts).expect_err("huge").fault, Fault::Limit);
    let deep = with("  setsym s4 = s2 + s3\n", &"if input2 {\n".repeat(100_000));
    assert!(Program::from_text(&deep, &NoConsts).expect_err("deep").message.contains("nest deeper"));
}

/// Every mutation of a good text is refused, or gives a program that survives a round trip and the verifier.
#[test]
fn mutated_texts_never_panic() {
    let mut state = 3u64;
    let mut below = |n: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n.max(1)
    };
    let pieces: Vec<&str> = SAMPLE.split_inclusive([' ', '\n', '+']).collect();
    let (mut accepted, mut unsound) = (0, 0);
    for _ in 0..20_000 {
        let mut p = pieces.clone();
        let (i, j) = (below(p.len()), below(p.len()));
        match below(4) {
            0 => p.swap(i, j),
            1 => p[i] = p[j],
            2 => p[i] = ["18446744073709551615 ", "-1 ", "arena+", "\"", "{ ", "} ", "s9\n"][below(7)],
            _ => {
                p.remove(i);
            }
        }
        if let Ok(p) = Program::from_text(&p.concat(), &NoConsts) {
            accepted += 1;
            assert_eq!(parse(&p.dump_text()), p);
            unsound += usize::from(!verify(&p).is_empty());
        }
    }
    assert!(accepted > 1000 && unsound > 50, "{accepted} accepted, {unsound} of them unsound");
}

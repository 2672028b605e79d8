//! Kernels on strings in the interpreter, which knows where memory ends: texts that are cut or no UTF-8, and the bounds
//! of the space for new ones.
#![allow(clippy::unwrap_used)]

mod kernels;

use sinter_ir::eval::EvalCx;
use sinter_ir::graph::SymKind;
use sinter_ir::op::{StringCase, StringConcat, StringEqual, StringFind, StringSplit};
use sinter_ir::tile::build::code;
use sinter_ir::tile::interp::{Options, Space, View, base, bytes_at, run_in};
use sinter_ir::{DType, Op, Symbols, Tensor, TensorType};
use sinter_passes::lower::text::{SLACK, TextSpace};
use sinter_passes::lower::{Arg, LowerCx, NodeView, Precision, lower};

/// What a kernel gave: its code, and the results' bytes; those of strings as the strings themselves.
struct Ran {
    code: i32,
    texts: Vec<Vec<u8>>,
    raw: Vec<u8>,
}

/// Runs an op on 1-D strings, `space` bytes being there for new ones. Every operand's bytes end where its space ends.
fn run(op: impl Into<Op>, inputs: &[Vec<&[u8]>], space: u64, mut symbols: Symbols) -> Ran {
    let op = op.into();
    let used = symbols.fresh("used", 0, space as i64, SymKind::Run);
    let types: Vec<TensorType> =
        inputs.iter().map(|v| TensorType::new(DType::Str, vec![v.len().into()])).collect();
    let types: Vec<&TensorType> = types.iter().collect();
    let outs = op.infer(&mut symbols, &types).unwrap();
    let target = kernels::target();
    let texts = Some(TextSpace { used, bytes: space });
    let choices = Default::default();
    let precision = Precision::F32;
    let cx = LowerCx {
        target: &target,
        symbols: &symbols,
        choices: &choices,
        texts,
        exact_convolutions: false,
        precision,
    };
    let consts = vec![None; inputs.len()];
    let view = NodeView { op: &op, inputs: types, consts, outputs: outs.iter().collect() };
    let lowered = lower(&cx, &view).unwrap();
    let [call] = lowered.calls.as_slice() else { panic!("one kernel") };
    // Spaces: the buffers in the kernel's order, then the strings of each operand.
    let bufs = call.args.len();
    let mut memory: Vec<Vec<u8>> = Vec::new();
    for arg in &call.args {
        memory.push(match *arg {
            Arg::Input(i) => {
                let mut at = base(bufs + i);
                let view = |s: &&[u8]| {
                    let v = [at.to_le_bytes(), (s.len() as u64).to_le_bytes()].concat();
                    at += s.len() as u64;
                    v
                };
                inputs[i].iter().flat_map(view).collect()
            }
            Arg::Output(i) => {
                let n = symbols.range(&outs[i].numel()).1 as usize;
                vec![0xa5; n * outs[i].dtype.bits() / 8]
            }
            Arg::Packed(i) => lowered.packed[i].to_vec(),
            Arg::Texts => vec![0xa5; (space + SLACK) as usize],
            Arg::Scratch(_) => panic!("no scratch"),
        });
    }
    let views: Vec<View> =
        memory.iter().enumerate().map(|(i, m)| View { space: i, offset: 0, len: m.len() }).collect();
    let given: Vec<Vec<u8>> = inputs.iter().map(|v| v.concat()).collect();
    let mut spaces: Vec<Space> = memory.iter_mut().map(|m| Space::Write(m)).collect();
    spaces.extend(given.iter().map(|g| Space::Read(g)));
    let mut syms = vec![0; symbols.table.len()];
    let code = run_in(&call.kernel, &mut spaces, &views, &mut syms, 0..1, Options::default()).unwrap();
    let place = call.args.iter().position(|a| *a == Arg::Output(0)).unwrap();
    let raw = spaces[place].bytes().to_vec();
    let mut texts = vec![];
    if code == 0 && outs[0].dtype == DType::Str {
        let n = outs[0].numel().eval(&|s| syms.get(s.0 as usize).copied()).unwrap() as usize;
        for v in raw.as_chunks::<16>().0.iter().take(n) {
            let word = |b: &[u8]| u64::from_le_bytes(b.try_into().unwrap());
            texts.push(bytes_at(&spaces, word(&v[..8]), word(&v[8..])).unwrap().to_vec());
        }
    }
    Ran { code, texts, raw }
}

/// Sequences that end early, wrong continuations, lone ones, bytes that never occur: copied as they are, and nothing
/// behind the string is read.
#[test]
fn bytes_that_are_no_utf8_stay() {
    let odd: [&[u8]; 9] = [
        b"\xc3",
        b"ab\xe2\x82",
        b"\xf0\x9f\x98",
        b"\xc3a\xc3",
        b"\x80\xbfx",
        b"\xff\xfe\xc0",
        b"\xe2a\x82b",
        b"\xf5\x80\x80\x80",
        "aß\u{250}".as_bytes(),
    ];
    let want: [&[u8]; 9] = [
        b"\xc3",
        b"AB\xe2\x82",
        b"\xf0\x9f\x98",
        b"\xc3A\xc3",
        b"\x80\xbfX",
        b"\xff\xfe\xc0",
        b"\xe2A\x82B",
        b"\xf5\x80\x80\x80",
        "Aß\u{2c6f}".as_bytes(),
    ];
    for (text, want) in odd.into_iter().zip(want) {
        // The last string of its space: one byte further is nowhere.
        let r = run(StringCase { upper: true }, &[vec![b"x", text]], 64, Symbols::default());
        assert_eq!(r.code, 0);
        assert_eq!(r.texts, [b"X", want], "{text:?}");
    }
}

/// Exactly enough space is enough; one byte less is the error, in whichever letter it happens.
#[test]
fn space_is_used_to_the_last_byte() {
    let words: Vec<&[u8]> = vec!["ß\u{10428}".as_bytes(), b"", "né\u{250}".as_bytes()];
    let upper = StringCase { upper: true };
    let each =
        |s: &[u8]| std::str::from_utf8(s).unwrap().chars().map(|c| upper.map(c).len_utf8()).sum::<usize>();
    let need = words.iter().map(|s| each(s)).sum::<usize>() as u64;
    for space in 0..need + 3 {
        let r = run(upper.clone(), std::slice::from_ref(&words), space, Symbols::default());
        assert_eq!(r.code, if space < need { code::TEXTS } else { 0 }, "{space} of {need}");
        let joined = run(StringConcat {}, &[words.clone(), words.clone()], space, Symbols::default());
        let size = 2 * words.iter().map(|w| w.len() as u64).sum::<u64>();
        assert_eq!(joined.code, if space < size { code::TEXTS } else { 0 }, "{space} of {size}");
    }
}

/// Strings that do not change take no space.
#[test]
fn unchanged_strings_keep_their_views() {
    let r = run(StringCase { upper: false }, &[vec![b"abc", b"", b"d e"]], 3, Symbols::default());
    assert_eq!((r.code, r.texts), (0, vec![b"abc".to_vec(), vec![], b"d e".to_vec()]));
}

#[test]
fn comparisons_look_no_further_than_the_ends() {
    let (a, b): (Vec<&[u8]>, Vec<&[u8]>) =
        (vec![b"", b"a", b"ab", b"ab", b"\xff"], vec![b"", b"", b"abc", b"ab", b"\x7f"]);
    let r = run(StringEqual {}, &[a.clone(), b], 0, Symbols::default());
    assert_eq!(r.raw, [1, 0, 0, 1, 0]);
    let words = ["", "a", "aa", "ab", "abc", "b"].map(str::to_owned).to_vec();
    let r = run(StringFind { words }, &[a], 0, Symbols::default());
    let found: Vec<i64> = r.raw.as_chunks().0.iter().map(|c| i64::from_le_bytes(*c)).collect();
    assert_eq!(found, [0, 1, 3, 3, -1]);
}

/// The parts are those of the evaluator, for delimiters that overlap themselves and texts that end within one.
#[test]
fn parts_of_strings() {
    let rows: Vec<&[u8]> = vec![b"aaa", b"", b" a aab ", b"aa", b"baab", b"a", b"\t x\n"];
    for delimiter in ["", "a", "aa", "aab", " "] {
        for max in [None, Some(0), Some(1), Some(2)] {
            let mut symbols = Symbols::default();
            let count = symbols.fresh("parts", 0, 16, SymKind::Run);
            let op = StringSplit { delimiter: delimiter.into(), max, count };
            let strings = rows.iter().map(|r| String::from_utf8(r.to_vec()).unwrap()).collect();
            let x = Tensor::from_strings(vec![rows.len()], strings).unwrap();
            let want = Op::from(op.clone()).eval(&mut EvalCx::default(), &[x]).unwrap();
            let got = run(op, std::slice::from_ref(&rows), 0, symbols);
            let want: Vec<Vec<u8>> = want[0].strings().iter().map(|s| s.as_bytes().to_vec()).collect();
            assert_eq!((got.code, got.texts), (0, want), "{delimiter:?} {max:?}");
        }
    }
    // More parts than planned for.
    let mut symbols = Symbols::default();
    let count = symbols.fresh("parts", 0, 2, SymKind::Run);
    let op = StringSplit { delimiter: "a".into(), max: None, count };
    assert_eq!(run(op, &[vec![b"xax", b"xaxax"]], 0, symbols).code, code::RANGE);
}

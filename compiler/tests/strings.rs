//! String operators: machine code against the evaluator, and both against what is known.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use common::model::{int, int_tensor, ints, module, names, node, port, text, text_tensor, with};
use sinter::frontend::onnx::proto::{GraphProto, NodeProto, TensorProto};
use sinter_ir::{DType, Module, Tensor};

const STR: i32 = 8;

fn texts(dims: &[usize], v: &[&str]) -> Tensor {
    Tensor::from_strings(dims.to_vec(), v.iter().map(|s| (*s).to_owned()).collect()).unwrap()
}

fn code(dtype: DType) -> i32 {
    match dtype {
        DType::Str => STR,
        DType::F32 => 1,
        DType::I64 => 7,
        DType::Bool => 9,
        DType::I8 => 3,
        DType::U32 => 12,
        DType::U64 => 13,
        d => panic!("{d}"),
    }
}

/// A model of nodes whose inputs `x0`, `x1`, .. are like the given tensors.
fn model(
    nodes: Vec<NodeProto>,
    constants: &[TensorProto],
    inputs: &[Tensor],
    outputs: &[&str],
) -> GraphProto {
    let input = |(i, t): (usize, &Tensor)| port(&format!("x{i}"), code(t.dtype()), Some(t.shape()));
    GraphProto {
        node: nodes,
        initializer: constants.to_vec(),
        input: inputs.iter().enumerate().map(input).collect(),
        output: outputs.iter().map(|o| port(o, STR, None)).collect(),
        ..Default::default()
    }
}

fn both(m: Module, inputs: &[Tensor]) -> Vec<Tensor> {
    let want = sinter_ir::eval::module(&m, inputs).unwrap_or_else(|d| panic!("{d}"));
    let got = common::native(m, inputs).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(got, want);
    want
}

/// Runs a model both ways; gives the evaluator's results.
fn check(
    nodes: Vec<NodeProto>,
    constants: &[TensorProto],
    inputs: &[Tensor],
    outputs: &[&str],
) -> Vec<Tensor> {
    let graph = model(nodes, constants, inputs, outputs);
    both(module(graph, 20).unwrap_or_else(|d| panic!("{d:?}")), inputs)
}

/// Letters of one to four bytes, some whose other case has another size or is several letters.
const WORDS: [&str; 12] =
    ["", "a", "Monday", "MONDAY", "äÖü", "ﬀ straße", "ıİſK", "ⱥȺ", "日本語", "𐐀𐐨 𞤀", "Ω≈ç√", "ǅ ﬁ  x"];

#[test]
fn case_changes_keep_to_the_simple_mapping() {
    for action in ["UPPER", "LOWER"] {
        let x = texts(&[12], &WORDS);
        let n = text(node("StringNormalizer", &["x0"], "y"), "case_change_action", action);
        let y = check(vec![n], &[], &[x], &["y"]);
        let one_for_one =
            y[0].strings().iter().zip(WORDS).all(|(a, b)| a.chars().count() == b.chars().count());
        assert!(one_for_one, "{:?}", y[0]);
        assert_eq!(y[0].strings()[3], if action == "UPPER" { "MONDAY" } else { "monday" });
    }
    // Every letter there is.
    let all: Vec<String> = (0..0x11_0000u32)
        .step_by(64)
        .map(|first| (first..first + 64).filter_map(char::from_u32).collect())
        .collect();
    let n = all.len();
    let m = module(
        model(
            vec![text(node("StringNormalizer", &["x0"], "y"), "case_change_action", "UPPER")],
            &[],
            &[Tensor::from_strings(vec![n], all.clone()).unwrap()],
            &["y"],
        ),
        20,
    );
    both(m.unwrap(), &[Tensor::from_strings(vec![n], all).unwrap()]);
}

#[test]
fn stop_words_go_and_something_stays() {
    for sensitive in [0, 1] {
        for shape in [vec![4], vec![1, 4]] {
            let n = names(node("StringNormalizer", &["x0"], "y"), "stopwords", &["Monday", "ÄÖÜ", "zz"]);
            let n = int(n, "is_case_sensitive", sensitive);
            let y = check(vec![n], &[], &[texts(&shape, &["monday", "äöü", "Monday", "x"])], &["y"]);
            let kept: &[&str] = if sensitive == 1 { &["monday", "äöü", "x"] } else { &["x"] };
            assert_eq!(y[0].strings(), kept);
            assert_eq!(y[0].rank(), shape.len());
        }
    }
    let n = names(node("StringNormalizer", &["x0"], "y"), "stopwords", &["a"]);
    assert_eq!(check(vec![n], &[], &[texts(&[1, 2], &["a", "A"])], &["y"])[0], texts(&[1, 1], &[""]));
}

/// Ops that only move elements, constants among them, one model for all.
#[test]
fn strings_are_moved_like_numbers() {
    let x = texts(&[2, 3], &["a", "bb", "", "dddd", "é", "f"]);
    let c = Tensor::from_i64(DType::Bool, vec![2, 1], &[1, 0]).unwrap();
    let constants = [
        text_tensor("k", &[3], &["constant", "", "strings"]),
        int_tensor("shape", &[2], &[3, 2]),
        int_tensor("at", &[2], &[2, -3]),
        int_tensor("pairs", &[2, 2], &[0, 2, 1, 1]),
        int_tensor("tuples", &[2, 2], &[1, 0, 0, 2]),
        int_tensor("four", &[3], &[4, 2, 3]),
        int_tensor("first", &[1], &[1]),
        int_tensor("end", &[1], &[-4]),
        int_tensor("axis", &[1], &[1]),
        int_tensor("back", &[1], &[-1]),
    ];
    let nodes = vec![
        node("Reshape", &["x0", "shape"], "reshaped"),
        ints(node("Transpose", &["x0"], "turned"), "perm", &[1, 0]),
        node("Expand", &["x0", "four"], "spread"),
        node("Slice", &["x0", "first", "end", "axis", "back"], "sliced"),
        int(node("Gather", &["x0", "at"], "gathered"), "axis", 1),
        int(node("GatherElements", &["x0", "pairs"], "picked"), "axis", 1),
        node("GatherND", &["x0", "tuples"], "tupled"),
        node("Where", &["x1", "x0", "k"], "chosen"),
        int(node("Concat", &["x0", "chosen", "x0"], "joined"), "axis", 0),
        node("Identity", &["k"], "constant"),
        node("Identity", &["x0"], "same"),
    ];
    let outputs = [
        "reshaped", "turned", "spread", "sliced", "gathered", "picked", "tupled", "chosen", "joined",
        "constant", "same",
    ];
    let y = check(nodes, &constants, &[x, c], &outputs);
    assert_eq!(y[7], texts(&[2, 3], &["a", "bb", "", "constant", "", "strings"]));
    assert_eq!(y[9], texts(&[3], &["constant", "", "strings"]));
}

#[test]
fn comparisons_and_joins_broadcast() {
    let (a, b) = (texts(&[2, 3], &["a", "", "ab", "abc", "é", "b"]), texts(&[3], &["a", "x", "ab"]));
    let nodes = vec![node("Equal", &["x0", "x1"], "same"), node("StringConcat", &["x1", "x0"], "joined")];
    let y = check(nodes, &[], &[a, b], &["same", "joined"]);
    assert_eq!(y[0].bytes(), [1, 0, 1, 0, 0, 0]);
    assert_eq!(y[1].strings(), ["aa", "x", "abab", "aabc", "xé", "abb"]);
}

#[test]
fn splits_follow_python() {
    let rows = texts(&[2, 3], &["a b  c ", "", "  ", "x", "\t one\n two three", "é ö"]);
    let parts = |delimiter: Option<&str>, max: Option<i64>| {
        let mut n = node("StringSplit", &["x0"], "parts,counts");
        if let Some(d) = delimiter {
            n = text(n, "delimiter", d);
        }
        if let Some(m) = max {
            n = int(n, "maxsplit", m);
        }
        check(vec![n], &[], std::slice::from_ref(&rows), &["parts", "counts"])
    };
    let y = parts(None, None);
    assert_eq!(y[1].to_i64().unwrap(), [3, 0, 0, 1, 3, 2]);
    let y = parts(None, Some(1));
    assert_eq!(&y[0].strings()[..2], ["a", "b  c "]);
    assert_eq!(&y[0].strings()[8..10], ["one", "two three"]);
    let y = parts(Some(" "), None);
    assert_eq!(y[1].to_i64().unwrap(), [5, 1, 3, 1, 4, 2]);
    for (delimiter, max) in [("  ", None), ("é", Some(0)), ("o", Some(2)), (" t", None)] {
        parts(Some(delimiter), max);
    }
}

#[test]
fn integers_as_strings() {
    let cast = |t: Tensor| {
        let n = int(node("Cast", &["x0"], "y"), "to", i64::from(STR));
        check(vec![n], &[], &[t], &["y"]).remove(0)
    };
    let numbers = [0, 7, -1, 10, -1000, 99, i64::MAX, i64::MIN, 1_000_000_000_000_000_000];
    let y = cast(Tensor::i64s(&numbers));
    let want: Vec<String> = numbers.iter().map(i64::to_string).collect();
    assert_eq!(y.strings(), want);
    let y = cast(Tensor::from_i64(DType::U64, vec![3], &[-1, 0, i64::MIN]).unwrap());
    assert_eq!(y.strings(), ["18446744073709551615", "0", "9223372036854775808"]);
    let y = cast(Tensor::from_i64(DType::I8, vec![2, 1], &[-128, 127]).unwrap());
    assert_eq!(y.strings(), ["-128", "127"]);
    let y = cast(Tensor::from_i64(DType::U32, vec![1], &[4_294_967_295]).unwrap());
    assert_eq!(y.strings(), ["4294967295"]);
}

#[test]
fn dictionaries_of_strings_and_numbers() {
    let encoder = |n: NodeProto| NodeProto { domain: "ai.onnx.ml".into(), ..n };
    let x = texts(&[2, 3], &["b", "a", "", "zz", "ab", "b"]);
    let n = names(node("LabelEncoder", &["x0"], "y"), "keys_strings", &["zz", "b", "ab", "b"]);
    let n = with(n, "values_floats", |a| a.floats = vec![1.0, 2.0, 3.0, 4.0]);
    let n = with(n, "default_float", |a| a.f = 0.5);
    let y = check(vec![encoder(n)], &[], std::slice::from_ref(&x), &["y"]);
    assert_eq!(y[0].to_f64().unwrap(), [2.0, 0.5, 0.5, 1.0, 3.0, 2.0]);
    let numbers = Tensor::i64s(&[7, -1, 0, 7]);
    let n = ints(node("LabelEncoder", &["x0"], "y"), "keys_int64s", &[0, 7]);
    let n = names(n, "values_strings", &["none", "seven"]);
    let y = check(vec![encoder(n)], &[], &[numbers], &["y"]);
    assert_eq!(y[0].strings(), ["seven", "_Unused", "none", "seven"]);
}

#[test]
fn patterns_and_vocabularies() {
    let x = texts(&[4], &["ab12", "é", "a-1", ""]);
    let y =
        check(vec![text(node("RegexFullMatch", &["x0"], "y"), "pattern", r"[a-z]*\d*")], &[], &[x], &["y"]);
    assert_eq!(y[0].bytes(), [1, 0, 0, 1]);
    let x = texts(&[2, 4], &["the", "cat", "the", "dog", "dog", "the", "cat", "cat"]);
    let n =
        names(node("TfIdfVectorizer", &["x0"], "y"), "pool_strings", &["cat", "the", "cat", "the", "dog"]);
    let n = ints(ints(n, "ngram_counts", &[0, 1]), "ngram_indexes", &[2, 0, 1]);
    let n = int(int(int(n, "min_gram_length", 1), "max_gram_length", 2), "max_skip_count", 1);
    let n = with(text(n, "mode", "TFIDF"), "weights", |a| a.floats = vec![1.0, 10.0, 0.5]);
    // "the cat": 1 and 2 (one with a gap); "the dog": 1 and 0; cat: 1 and 2, weighed by 1.
    let y = check(vec![n], &[], &[x], &["y"]);
    assert_eq!(y[0].to_f64().unwrap(), [10.0, 0.5, 1.0, 20.0, 0.0, 2.0]);
}

/// Branches hand over strings of their own; a loop makes its string longer each time.
#[test]
fn control_flow_carries_strings() {
    let branch = |n: NodeProto, constants: &[TensorProto]| {
        let output = vec![port(&n.output[0], STR, None)];
        GraphProto { node: vec![n], initializer: constants.to_vec(), output, ..Default::default() }
    };
    let then = branch(node("Identity", &["k"], "then"), &[text_tensor("k", &[1], &["constant"])]);
    let els = branch(text(node("StringNormalizer", &["x0"], "els"), "case_change_action", "UPPER"), &[]);
    let choice = with(node("If", &["x1"], "chosen"), "then_branch", |a| a.g = Some(then));
    let choice = with(choice, "else_branch", |a| a.g = Some(els));
    let body = GraphProto {
        node: vec![
            node("StringConcat", &["carried", "chosen"], "longer"),
            node("Identity", &["go"], "on"),
            node("Identity", &["longer"], "each"),
        ],
        input: vec![port("i", 7, Some(&[])), port("go", 9, Some(&[])), port("carried", STR, Some(&[1]))],
        output: vec![
            port("on", 9, Some(&[])),
            port("longer", STR, Some(&[1])),
            port("each", STR, Some(&[1])),
        ],
        ..Default::default()
    };
    let constants = [int_tensor("three", &[], &[3])];
    let times = with(node("Loop", &["three", "", "x0"], "last,all"), "body", |a| a.g = Some(body));
    for (cond, end) in [(1, "äconstantconstantconstant"), (0, "äÄÄÄ")] {
        let cond = Tensor::from_i64(DType::Bool, vec![], &[cond]).unwrap();
        let nodes = vec![choice.clone(), times.clone()];
        let y = check(nodes, &constants, &[texts(&[1], &["ä"]), cond], &["last", "all"]);
        assert_eq!(y[0].strings(), [end]);
        assert_eq!(y[1].shape(), [3, 1]);
    }
}

/// Space for strings is bounded: a run that needs more says so, and the next one works.
#[test]
fn too_long_strings_are_an_error() {
    let x = |n: usize| texts(&[2], &["x", &"y".repeat(n)]);
    let n = text(node("StringNormalizer", &["x0"], "y"), "case_change_action", "UPPER");
    for n in [node("StringConcat", &["x0", "x0"], "y"), n] {
        let graph = model(vec![n], &[], &[x(1)], &["y"]);
        let m = module(graph, 20).unwrap();
        let e = common::native(m.clone(), &[x(5000)]).unwrap_err();
        assert!(e.contains("more space") && e.contains("code 10"), "{e}");
        both(m, &[x(1500)]);
    }
}

/// A session that failed, or ran before, starts with all its space again.
#[test]
fn every_run_starts_with_all_space() {
    let x = |n: usize| texts(&[1], &[&"ß y".repeat(n)]);
    let n = text(node("StringNormalizer", &["x0"], "y"), "case_change_action", "UPPER");
    let m = module(model(vec![n], &[], &[x(1)], &["y"]), 20).unwrap();
    let mut session = common::session(m.clone()).unwrap();
    for n in [900, 2000, 1, 900, 900, 0] {
        match session.run(&[x(n)]) {
            Ok(y) => assert_eq!(y, sinter_ir::eval::module(&m, &[x(n)]).unwrap()),
            Err(e) => assert!(n == 2000 && e.to_string().contains("more space"), "{e}"),
        }
    }
}

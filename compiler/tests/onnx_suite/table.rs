//! testdata/SUPPORT.md: what passes, what does not and why, and which operators are read.

use super::common;
use super::outcome::{FOLDERS, Outcome, Runner, outcomes};
use sinter::frontend::onnx::op;
use std::collections::BTreeMap;
use std::fmt::Write;

const HEAD: &str = "# Operators and the ONNX backend suite

Written by `BLESS=1 cargo test -p sinter --test onnx_suite`; the test fails when this file is out of date. *Evaluator*
is the reference evaluator, *native* is machine code for x86-64.
";

/// Evaluator and native counts.
type Counts = [usize; 2];
const RUNNERS: [Runner; 2] = [Runner::Evaluator, Runner::Native];

/// Operators with random results.
const RANDOM: [&str; 6] =
    ["Bernoulli", "Dropout", "Multinomial", "RandomNormalLike", "RandomUniform", "RandomUniformLike"];

/// What a failure has in common with others: no names of nodes and tensors, no sizes.
fn kind(o: &Outcome, error: &str) -> String {
    let line = error.lines().next().unwrap_or("");
    if line.starts_with("output ") {
        let random = o.operators.iter().any(|op| RANDOM.contains(&op.as_str()));
        let narrow = ["(f16)", "(bf16)"].iter().any(|t| line.contains(t));
        return match (line.contains(": element "), random, narrow) {
            (true, true, _) => "random values, of which ONNX does not say how they are made".into(),
            (true, _, true) => {
                "16-bit values that are rounded more often, or less, than the expected ones".into()
            }
            (true, ..) => "other values".into(),
            _ => line.to_owned(),
        };
    }
    let Some((_, rest)) = line.split_once(": ") else { return line.to_owned() };
    let (op, message) = match rest.strip_prefix("node ").and_then(|r| r.split_once(')')) {
        // `node NAME (OP) of TYPES: MESSAGE`
        Some((label, rest)) => {
            (label.rsplit_once('(').map(|l| l.1), rest.split_once(": ").map_or(rest, |r| r.1))
        }
        None => (None, rest),
    };
    if let Some(name) = message.strip_prefix("operator ") {
        return format!("no {}", name.split(' ').next().unwrap_or(name));
    }
    let text = match op {
        Some(op) if !message.starts_with(op) => format!("{op}: {message}"),
        _ => message.to_owned(),
    };
    // Large numbers differ from case to case.
    let words = text.split_inclusive(|c: char| !c.is_ascii_digit());
    words
        .map(|w| {
            if w.len() > 4 {
                format!("#{}", w.trim_start_matches(|c: char| c.is_ascii_digit()))
            } else {
                w.into()
            }
        })
        .collect()
}

fn passes(list: &[Outcome]) -> usize {
    list.iter().filter(|o| o.error.is_none()).count()
}

fn count_suites(out: &mut String, all: &[(&str, [&[Outcome]; 2])]) {
    *out += "\n## Cases that pass\n\n| folder | cases | evaluator | native |\n|---|---:|---:|---:|\n";
    for (folder, [e, n]) in all {
        writeln!(out, "| {folder} | {} | {} | {} |", e.len(), passes(e), passes(n)).unwrap();
    }
}

fn count_reasons(out: &mut String, all: &[(&str, [&[Outcome]; 2])]) {
    let mut reasons: BTreeMap<String, Counts> = BTreeMap::new();
    for (_, runs) in all {
        for (i, run) in runs.iter().enumerate() {
            for (o, e) in run.iter().filter_map(|o| Some((o, o.error.as_ref()?))) {
                reasons.entry(kind(o, e)).or_default()[i] += 1;
            }
        }
    }
    *out += "\n## Cases that do not pass, by reason\n\nThe cases themselves are in `ignore/`.\n\n";
    *out += "| reason | evaluator | native |\n|---|---:|---:|\n";
    let mut rows: Vec<(String, Counts)> = reasons.into_iter().collect();
    rows.sort_by_key(|(_, c)| std::cmp::Reverse(c.iter().sum::<usize>()));
    for (reason, [e, n]) in rows {
        writeln!(out, "| {} | {e} | {n} |", reason.replace('|', "\\|")).unwrap();
    }
}

fn count_operators(out: &mut String, all: &[(&str, [&[Outcome]; 2])]) {
    let mut ops: BTreeMap<&str, (usize, Counts)> = BTreeMap::new();
    for (_, runs) in all {
        for (i, o) in runs.iter().enumerate().flat_map(|(i, run)| run.iter().map(move |o| (i, o))) {
            for name in &o.operators {
                let row = ops.entry(name).or_default();
                row.0 += usize::from(i == 0);
                row.1[i] += usize::from(o.error.is_none());
            }
        }
    }
    *out += "\n## Cases that pass, by operator\n\nEvery case counts for all operators in its model.\n\n";
    *out += "| operator | cases | evaluator | native |\n|---|---:|---:|---:|\n";
    for (name, (cases, [e, n])) in ops {
        writeln!(out, "| {name} | {cases} | {e} | {n} |").unwrap();
    }
}

/// Oldest and newest opset of a domain among the cases that pass as machine code.
fn opsets_seen(domain: &str, all: &[(&str, [&[Outcome]; 2])]) -> Option<(i64, i64)> {
    let prefix = format!("{domain}:");
    let passing = all.iter().flat_map(|(_, runs)| runs[1]).filter(|o| o.error.is_none());
    let using = passing.filter(|o| o.operators.iter().any(|op| op.starts_with(&prefix)));
    let seen: Vec<i64> = using.filter_map(|o| o.opsets.get(domain).copied()).collect();
    Some((*seen.iter().min()?, *seen.iter().max()?))
}

fn list_operators(out: &mut String, all: &[(&str, [&[Outcome]; 2])]) {
    let mut domains: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in op::names() {
        let (domain, name) = name.split_once(':').unwrap_or(("ai.onnx", name));
        domains.entry(domain).or_default().push(name);
    }
    *out += "\n## Operators that are read\n\n| domain | opsets | operators |\n|---|---|---|\n";
    for (domain, names) in domains {
        let (oldest, newest) = match domain {
            "ai.onnx" => (op::OLDEST_OPSET, op::NEWEST_OPSET),
            // Only one version exists where no case says otherwise.
            _ => opsets_seen(domain, all).unwrap_or((1, 1)),
        };
        let opsets = if oldest == newest { oldest.to_string() } else { format!("{oldest} to {newest}") };
        writeln!(out, "| {domain} | {opsets} | {} ({}) |", names.join(", "), names.len()).unwrap();
    }
}

#[test]
fn table_is_up_to_date() {
    let mut all = vec![];
    for folder in FOLDERS {
        let [Some(e), Some(n)] = RUNNERS.map(|r| outcomes(folder, r)) else {
            return common::skip("ONNX backend suite not found");
        };
        all.push((folder, [e, n]));
    }
    let mut text = HEAD.to_owned();
    count_suites(&mut text, &all);
    count_reasons(&mut text, &all);
    list_operators(&mut text, &all);
    count_operators(&mut text, &all);
    let file = common::root().join("testdata/SUPPORT.md");
    if std::env::var("BLESS").is_ok() {
        std::fs::write(&file, &text).unwrap();
    }
    let old = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = text.lines().zip(old.lines().chain(std::iter::repeat(""))).find(|(a, b)| a != b);
    assert!(text == old, "testdata/SUPPORT.md is out of date, BLESS=1 rewrites it; first: {differs:?}");
}

#[test]
fn reasons_have_no_names_and_large_numbers() {
    let outcome = |operator: &str| Outcome {
        case: String::new(),
        operators: [operator.to_owned()].into(),
        opsets: BTreeMap::new(),
        error: None,
    };
    let same = |a: &str, b: &str| assert_eq!(kind(&outcome("Add"), a), b);
    same("not supported yet: node y (Foo) of f32[2]: operator ai.x.Foo (opset 3)", "no ai.x.Foo");
    same("not supported yet: node y (Resize) of f32[2]: open dims", "Resize: open dims");
    same("limit exceeded: tensor of 12345 bytes, rank 3", "tensor of # bytes, rank 3");
    same("not supported yet: node a (Equal) of str[2]: machine code on str elements\n  help: x", {
        "Equal: machine code on str elements"
    });
    same("output 0 (f32): element 3: got 1, expected 2", "other values");
    same("output 0 (f32): got f32[2], expected f32[3]", "output 0 (f32): got f32[2], expected f32[3]");
    assert!(
        kind(&outcome("Bernoulli"), "output 0 (f32): element 3: got 1, expected 2").starts_with("random")
    );
}

//! RegexFullMatch: the expression becomes an automaton at compile time.

use crate::frontend::onnx::node::NodeCx;
use crate::frontend::onnx::scope::Item;
use regex_automata::Anchored;
use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use sinter_ir::op::StringMatch;
use sinter_ir::{Diag, Result};
use std::collections::BTreeMap;

/// Largest automaton.
const MAX_STATES: usize = 1 << 14;
/// Memory that building one may take.
const MAX_BYTES: usize = 64 << 20;

/// Whether whole strings match.
pub fn build(cx: &mut NodeCx) -> Result<Vec<Item>> {
    let x = cx.input(0)?;
    let automaton = automaton(&cx.text("pattern", ""))?;
    let y = cx.emit(automaton, &[x])?;
    cx.one(y)
}

/// The automaton of an RE2 expression that accepts whole strings.
fn automaton(pattern: &str) -> Result<StringMatch> {
    let config = dense::Config::new()
        .start_kind(StartKind::Anchored)
        .dfa_size_limit(Some(MAX_BYTES))
        .determinize_size_limit(Some(MAX_BYTES));
    let dfa = dense::Builder::new().configure(config).build(&format!(r"\A(?:{})\z", ascii_classes(pattern)));
    let bad = |e: &dyn std::fmt::Display| Diag::input(format!("regular expression `{pattern}`: {e}"));
    let dfa = dfa.map_err(|e| match e.is_size_limit_exceeded() {
        true => Diag::limit(format!("the automaton of `{pattern}` needs more than {MAX_BYTES} bytes")),
        false => bad(&innermost(&e)),
    })?;
    let start = dfa.start_state(&start::Config::new().anchored(Anchored::Yes)).map_err(|e| bad(&e))?;
    let mut numbers = BTreeMap::from([(start, 0usize)]);
    let mut states = vec![start];
    let mut rows: Vec<Vec<u16>> = Vec::new();
    while let Some(&state) = states.get(rows.len()) {
        let mut number = |to: StateID| {
            *numbers.entry(to).or_insert_with(|| {
                states.push(to);
                states.len() - 1
            }) as u16
        };
        rows.push((0..=255).map(|byte| number(dfa.next_state(state, byte))).collect());
        if states.len() > MAX_STATES {
            return Err(Diag::limit(format!(
                "the automaton of `{pattern}` has more than {MAX_STATES} states"
            )));
        }
    }
    let accepts = states.iter().map(|&s| dfa.is_match_state(dfa.next_eoi_state(s))).collect();
    let (classes, first) = classes(&rows);
    let next = rows.iter().flat_map(|row| first.iter().map(|&b| row[b])).collect();
    Ok(StringMatch { classes, next, accepts })
}

/// The cause at the end of the chain: the one that names the place in the expression.
fn innermost<'e>(mut e: &'e (dyn std::error::Error + 'static)) -> &'e (dyn std::error::Error + 'static) {
    while let Some(source) = e.source() {
        e = source;
    }
    e
}

/// Bytes that no state tells apart get one class: the class of every byte, and the first byte of every class.
fn classes(rows: &[Vec<u16>]) -> (Vec<u8>, Vec<usize>) {
    let mut seen: BTreeMap<Vec<u16>, u8> = BTreeMap::new();
    let mut first = Vec::new();
    let of = (0..256).map(|byte| {
        let column: Vec<u16> = rows.iter().map(|r| r[byte]).collect();
        let next = seen.len() as u8;
        *seen.entry(column).or_insert_with(|| {
            first.push(byte);
            next
        })
    });
    (of.collect(), first)
}

/// RE2's `\w`, `\d`, `\s` and `\b` know ASCII only, those of the parser all of Unicode.
fn ascii_classes(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('w') => out.push_str("[0-9A-Za-z_]"),
            Some('W') => out.push_str("[^0-9A-Za-z_]"),
            Some('d') => out.push_str("[0-9]"),
            Some('D') => out.push_str("[^0-9]"),
            Some('s') => out.push_str(r"[\t\n\f\r ]"),
            Some('S') => out.push_str(r"[^\t\n\f\r ]"),
            Some('b') => out.push_str(r"(?-u:\b)"),
            Some('B') => out.push_str(r"(?-u:\B)"),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinter_ir::eval::EvalCx;
    use sinter_ir::{Op, Tensor};

    #[test]
    fn whole_strings_match_as_re2_says() {
        let cases: [(&str, &[&str], &[&str]); 6] = [
            ("a|ab", &["a", "ab"], &["", "abb", "b"]),
            (r"\w+", &["a_9"], &["é", "a b", ""]),
            (".", &["é", "x", "日"], &["", "xx", "\n"]),
            (r"[\W]\d{2}", &["-12", "é12"], &["a12", "-1"]),
            (r"x\b.*", &["x", "x y"], &["xy"]),
            ("(?i)straße", &["STRAßE", "strAße"], &["strasse"]),
        ];
        for (pattern, yes, no) in cases {
            let texts: Vec<String> = yes.iter().chain(no).map(|s| (*s).to_owned()).collect();
            let x = Tensor::from_strings(vec![texts.len()], texts).unwrap();
            let got = Op::from(automaton(pattern).unwrap()).eval(&mut EvalCx::default(), &[x]).unwrap();
            let want: Vec<u8> = yes.iter().map(|_| 1).chain(no.iter().map(|_| 0)).collect();
            assert_eq!(got[0].bytes(), want, "{pattern}");
        }
        assert!(automaton("(").unwrap_err().message.contains("unclosed"));
        assert!(automaton("(a|b)*a(a|b){40}").is_err());
    }
}

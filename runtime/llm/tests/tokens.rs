//! Tokens and texts against what the Python packages give, and round trips.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use serde_json::Value;
use sinter_llm::gguf::{TokenKind, Vocabulary};
use sinter_llm::{LanguageModel, Tokenizer};
use std::collections::BTreeSet;

fn ids(v: &Value) -> Vec<u32> {
    v.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as u32).collect()
}

/// Compares with stored tokens, and what tokens become with stored texts.
fn compare(t: &Tokenizer, cases: &Value, key: &str) {
    let cases = cases.as_array().unwrap();
    assert!(cases.len() >= 10);
    for c in cases {
        let text = c["text"].as_str().unwrap();
        assert_eq!(t.encode(text, false).unwrap(), ids(&c["ids"]), "{text:?}");
        let whole = t.encode(text, true).unwrap();
        assert_eq!(whole, ids(&c[key]), "{text:?}");
        assert_eq!(
            String::from_utf8_lossy(&t.decode(&whole, false)),
            c["decoded"].as_str().unwrap(),
            "{text:?}"
        );
    }
}

/// The vocabulary that sentencepiece has trained.
fn spm() -> (Vocabulary, Value) {
    let v = common::expected("spm.json");
    let numbers = |k: &str| v[k].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect::<Vec<_>>();
    let kinds = [TokenKind::Normal, TokenKind::Unknown, TokenKind::Control];
    let vocabulary = Vocabulary {
        model: "llama".into(),
        tokens: v["tokens"].as_array().unwrap().iter().map(|t| t.as_str().unwrap().to_owned()).collect(),
        scores: numbers("scores").iter().map(|s| *s as f32).collect(),
        kinds: numbers("kinds")
            .iter()
            .map(|k| *kinds.get(*k as usize - 1).unwrap_or(&TokenKind::Byte))
            .collect(),
        bos: Some(1),
        eos: Some(2),
        unknown: Some(0),
        ..Vocabulary::default()
    };
    (vocabulary, v["cases"].clone())
}

fn smollm2() -> Option<Tokenizer> {
    let v = Vocabulary::read(&common::smollm2()?).unwrap();
    Some(Tokenizer::from_json(&v.tokenizer_json().unwrap()).unwrap())
}

#[test]
fn stories260k() {
    let Some(t) = common::stories() else { return };
    assert_eq!((t.len(), t.is_special(1), t.is_special(5)), (512, true, false));
    compare(&t, &common::expected("stories260k.json"), "whole");
}

#[test]
fn smollm2_gguf() {
    let Some(t) = smollm2() else { return };
    compare(&t, &common::expected("smollm2.json"), "whole");
    assert_eq!(t.encode("The capital of France is", true).unwrap(), [504, 3575, 282, 4649, 314]);
    let mut m = LanguageModel::default();
    Vocabulary::read(&common::smollm2().unwrap()).unwrap().describe(&mut m);
    assert_eq!((m.bos, m.eos.as_slice(), m.special["eos_token"].as_str()), (Some(1), &[2][..], "<|im_end|>"));
    t.check_fits(49152).unwrap();
    let e = t.check_fits(49000).unwrap_err();
    assert_eq!(e.message, "the tokenizer has tokens up to 49151, the model knows 49000");
}

#[test]
fn pieces_with_scores() {
    let (v, cases) = spm();
    let t = Tokenizer::from_json(&v.tokenizer_json().unwrap()).unwrap();
    for c in cases.as_array().unwrap() {
        let text = c["text"].as_str().unwrap();
        let found = t.encode(text, false).unwrap();
        assert_eq!(found, ids(&c["ids"]), "{text:?}");
        assert_eq!(
            String::from_utf8_lossy(&t.decode(&found, false)),
            c["decoded"].as_str().unwrap(),
            "{text:?}"
        );
    }
    assert_eq!(t.encode("", true).unwrap(), [1]);
    let with_eos = Vocabulary { add_eos: Some(true), add_bos: Some(false), ..v.clone() };
    let t = Tokenizer::from_json(&with_eos.tokenizer_json().unwrap()).unwrap();
    assert_eq!(t.encode("", true).unwrap(), [2]);
    let no_space = Vocabulary { add_space_prefix: Some(false), ..v };
    let t = Tokenizer::from_json(&no_space.tokenizer_json().unwrap()).unwrap();
    let spaced = t.encode(" girl", false).unwrap();
    assert_eq!((t.decode(&spaced, false), t.encode("", false).unwrap()), (b" girl".to_vec(), vec![]));
}

/// Characters of every plane and the edges of UTF-8, and all texts beside the checkout, come back as they were.
#[test]
fn round_trips() {
    let planes: Vec<String> = (0..=16u32)
        .flat_map(|p| {
            [0u32, 1, 0x7f, 0x80, 0x7ff, 0x800, 0x3041, 0xd7ff, 0xe000, 0xfffd, 0xfffe, 0xffff]
                .map(|c| p << 16 | c)
        })
        .filter_map(char::from_u32)
        .map(|c| format!("{c}x {c}{c}"))
        .collect();
    let (v, _) = spm();
    let mut all = vec![Tokenizer::from_json(&v.tokenizer_json().unwrap()).unwrap()];
    all.extend(common::stories());
    all.extend(smollm2());
    let files = ["text/wikitext2-test.txt", "text/calibration_en.txt"].map(common::shared);
    // Marks that are written out in a text are tokens and no text.
    let text = |f: &std::path::PathBuf| String::from_utf8(common::read(f)).unwrap().replace("<unk>", "unk");
    let texts: Vec<String> = files.iter().flatten().map(text).collect();
    for t in &all {
        let back = |text: &str| t.decode(&t.encode(text, true).unwrap(), false) == text.as_bytes();
        // SmolLM2 has no tokens for bytes that occur only in characters beyond plane 3, and drops them.
        let bytes: BTreeSet<u8> =
            (0..t.len() as u32).filter_map(|i| <[u8; 1]>::try_from(t.piece(i)).ok()).map(|b| b[0]).collect();
        let known = |text: &&String| text.bytes().all(|b| bytes.contains(&b));
        assert!(planes.iter().filter(known).count() >= 60);
        for text in planes.iter().filter(known).chain([&String::new()]) {
            assert!(back(text), "{text:?}: {:?}", t.encode(text, true));
        }
        for text in &texts {
            for line in text.split_inclusive('\n').take(400) {
                assert!(back(line), "{line:?}");
            }
        }
    }
}

/// Tokens one at a time give the text of all at once; what continues a text keeps its leading space.
#[test]
fn streams() {
    let Some(t) = common::stories() else { return };
    let text = "Once upon a time 😀 there was é.";
    let tokens = t.encode(text, false).unwrap();
    let mut stream = t.stream(false);
    let mut out = String::new();
    for &id in &tokens {
        out += std::str::from_utf8(stream.push(t.piece(id))).unwrap();
    }
    assert_eq!(out, text);
    let mut more = t.stream(true);
    assert_eq!(more.push(t.piece(tokens[0])), b" Once");
    assert_eq!(t.piece(u32::MAX), b"");
}

#[test]
fn files_that_are_no_tokenizers() {
    for (text, want) in [
        ("", "tokenizer.json: EOF"),
        ("[]", "tokenizer.json: "),
        ("{}", "tokenizer.json: there is no decoder"),
        (r#"{"decoder": {"type": "ByteLevel"}}"#, "tokenizer.json: "),
        (r#"{"decoder": {"type": "CTC"}}"#, "tokenizer.json: decoder CTC"),
    ] {
        let e = Tokenizer::from_json(text.as_bytes()).unwrap_err();
        assert!(e.message.starts_with(want), "{text}: {e}");
    }
    let unknown = Vocabulary {
        pre: Some("nobody".into()),
        model: "gpt2".into(),
        tokens: vec!["a".into()],
        ..Vocabulary::default()
    };
    assert!(unknown.tokenizer_json().unwrap_err().message.contains("`nobody`"));
}

//! The usual kind of `tokenizer.json`, read in one go.
//!
//! The library reads a model of unknown kind through a copy of everything in memory, once per kind that it might be. A
//! file whose model says that it is BPE, as those of models that generate text do, needs none of that. Whatever is
//! unusual about a file is left to the library, errors included.

use super::blob::{Blob, Part};
use super::bpe::{Bpe, Options, Sizes, Vocab, tables};
use super::inner::Inner;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use tokenizers::{AddedToken, Tokenizer, TokenizerImpl};

#[derive(Deserialize)]
struct File<'a> {
    version: String,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    #[serde(borrow)]
    model: Model<'a>,
}

#[derive(Deserialize)]
struct Model<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    unk_token: Option<String>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    fuse_unk: Option<bool>,
    #[serde(default)]
    byte_fallback: Option<bool>,
    #[serde(default)]
    ignore_merges: Option<bool>,
    vocab: Vocab,
    #[serde(borrow)]
    merges: Vec<Merge<'a>>,
}

/// A text of the file; its own bytes, where nothing in it is escaped.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Vocab {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Tokens;
        impl<'de> Visitor<'de> for Tokens {
            type Value = Vocab;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("tokens with their numbers")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocab, A::Error> {
                let mut v = Vocab::default();
                while let Some((text, id)) = map.next_entry::<Text, u32>()? {
                    v.0.push((text.0.into_owned(), id));
                }
                Ok(v)
            }
        }
        d.deserialize_map(Tokens)
    }
}

/// `"a b"` or `["a", "b"]`.
enum Merge<'a> {
    Line(Cow<'a, str>),
    Pair(Cow<'a, str>, Cow<'a, str>),
}

impl Merge<'_> {
    /// Nothing for a line of other than two words: there is no such token.
    fn parts(&self) -> (&str, &str) {
        match self {
            Merge::Line(l) => l.split_once(' ').unwrap_or_default(),
            Merge::Pair(a, b) => (a, b),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Merge<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Pair;
        impl<'de> Visitor<'de> for Pair {
            type Value = Merge<'de>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("two tokens")
            }
            fn visit_borrowed_str<E>(self, s: &'de str) -> Result<Self::Value, E> {
                Ok(Merge::Line(s.into()))
            }
            fn visit_str<E>(self, s: &str) -> Result<Self::Value, E> {
                Ok(Merge::Line(s.to_owned().into()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let none = || A::Error::custom("no two tokens");
                let Text(a) = seq.next_element()?.ok_or_else(none)?;
                let Text(b) = seq.next_element()?.ok_or_else(none)?;
                match seq.next_element::<Text>()? {
                    None => Ok(Merge::Pair(a, b)),
                    Some(_) => Err(none()),
                }
            }
        }
        d.deserialize_any(Pair)
    }
}

/// What is round the model.
#[derive(Serialize, Deserialize)]
pub(super) struct Frame {
    version: String,
    added_tokens: Vec<AddedToken>,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
    /// Those of the model.
    pub options: Options,
}

impl Frame {
    /// What makes text of tokens.
    pub fn decoder(&self) -> &Value {
        &self.decoder
    }
}

/// Reads a file of the usual kind, and what its decoder is; `None`: it is another one, or damaged.
pub(super) fn read(bytes: &[u8]) -> Option<(Inner, Value)> {
    let (frame, sizes, model) = parse(bytes)?;
    let decoder = frame.decoder.clone();
    Some((assemble(frame, sizes, &mut Part::of(model))?, decoder))
}

/// The two parts of a file of the usual kind: what is round the model, and its tables.
pub(super) fn parse(bytes: &[u8]) -> Option<(Frame, Sizes, Blob)> {
    let File { version, added_tokens, normalizer, pre_tokenizer, post_processor, decoder, model } =
        serde_json::from_slice(bytes).ok()?;
    let affixes = [&model.continuing_subword_prefix, &model.end_of_word_suffix];
    if model.kind != "BPE"
        || super::has_step(&normalizer, "Precompiled")
        || affixes.into_iter().flatten().any(|a| !a.is_empty())
    {
        return None;
    }
    let options = Options {
        unknown: model.unk_token,
        fuse_unknown: model.fuse_unk.unwrap_or_default(),
        byte_fallback: model.byte_fallback.unwrap_or_default(),
        ignore_merges: model.ignore_merges.unwrap_or_default(),
    };
    let (sizes, model) = tables(model.vocab, model.merges.iter().map(Merge::parts))?;
    let frame = Frame { version, added_tokens, normalizer, pre_tokenizer, post_processor, decoder, options };
    Some((frame, sizes, Arc::new(model)))
}

/// The library round a model, whose tables are taken from the front of a part.
pub(super) fn assemble(frame: Frame, sizes: Sizes, model: &mut Part) -> Option<Inner> {
    let bpe = Bpe::new(model, sizes, &frame.options)?;
    let Frame { version, added_tokens, normalizer, pre_tokenizer, post_processor, .. } = frame;
    let around = json!({
        "version": version, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": post_processor,
        "decoder": null, "model": { "type": "BPE", "vocab": {}, "merges": [] },
    });
    let made = super::guarded(|| {
        let around = Tokenizer::from_bytes(around.to_string())?;
        let mut t = TokenizerImpl::new(bpe);
        t.with_normalizer(around.get_normalizer().cloned())?;
        t.with_pre_tokenizer(around.get_pre_tokenizer().cloned());
        t.with_post_processor(around.get_post_processor().cloned());
        // Their numbers follow from the model: they come after it.
        t.add_tokens(added_tokens)?;
        Ok(t)
    });
    Some(Inner::Tables(Box::new(made.ok()?)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tables;
    use super::*;

    /// Letters, words of them, bytes and a mark for what is unknown.
    fn file(merges: Value, options: Value) -> Value {
        let mut texts: Vec<String> =
            ["?", "a", "b", "é", "ab", "aba", "abab", "bé", "éa"].map(String::from).into();
        if options["byte_fallback"] == json!(true) {
            texts.extend((0..=255).map(|b| format!("<0x{b:02X}>")));
        }
        let vocab: serde_json::Map<String, Value> =
            texts.into_iter().enumerate().map(|(i, t)| (t, json!(i))).collect();
        let mut model = json!({"type": "BPE", "dropout": null, "vocab": vocab, "merges": merges});
        model.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null,
            "post_processor": null, "decoder": {"type": "Fuse"}, "model": model,
            "added_tokens": [{"id": 9, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true}],
        })
    }

    /// All words of up to seven of these letters.
    fn words() -> impl Iterator<Item = String> {
        let letter = |n: usize| ["a", "b", "é", "x", "<end>"][n % 5];
        (0..5usize.pow(7))
            .step_by(7)
            .map(move |n| (0..n % 8).map(|i| letter(n / 5usize.pow(i as u32))).collect())
    }

    #[test]
    fn encodes_as_the_library_does() {
        let lines = json!(["a b", "b é", "ab a", "é a", "ab ab"]);
        let pairs = json!([["ab", "ab"], ["é", "a"], ["a", "b"], ["ab", "a"], ["b", "é"], ["é", "a"]]);
        let unknown = json!({"unk_token": "?"});
        let kinds = [
            json!({}),
            unknown.clone(),
            json!({"unk_token": "?", "fuse_unk": true}),
            json!({"byte_fallback": true, "ignore_merges": true}),
        ];
        for (merges, options) in [lines, pairs].iter().flat_map(|m| kinds.iter().map(move |k| (m, k))) {
            let text = file(merges.clone(), options.clone()).to_string();
            let (fast, whole) =
                (read(text.as_bytes()).unwrap().0, Tokenizer::from_bytes(text.as_bytes()).unwrap());
            let made = tables::of_json(text.as_bytes()).unwrap();
            let (made, pieces) = tables::read(text.as_bytes(), Arc::new(made)).unwrap();
            let end = made.token("<end>").unwrap();
            assert_eq!((pieces.get(3), pieces.get(end)), ("é".as_bytes(), &b"<end>"[..]));
            assert!(pieces.is_special(end) && !pieces.is_special(3));
            for w in words() {
                let b = whole.encode_fast(w.as_str(), true).unwrap();
                for ours in [&fast, &made] {
                    assert_eq!(ours.encode(&w, true).unwrap().get_ids(), b.get_ids(), "{w} {options}");
                }
            }
            for id in 0..300 {
                assert_eq!(fast.text(id).map(Cow::into_owned), whole.id_to_token(id));
            }
            assert_eq!(
                (fast.token("<end>"), fast.token("aba"), fast.token("c")),
                (whole.token_to_id("<end>"), Some(5), None)
            );
        }
    }

    #[test]
    fn tables_are_for_their_own_file_and_may_be_damaged() {
        let text = file(json!(["a b", "ab a"]), json!({"unk_token": "?"})).to_string();
        let made = tables::of_json(text.as_bytes()).unwrap();
        assert!(tables::read(format!("{text} ").as_bytes(), Arc::new(made.clone())).is_none());
        for cut in 0..made.len() {
            assert!(tables::read(text.as_bytes(), Arc::new(made[..cut].to_vec())).is_none(), "{cut}");
        }
        // Nothing of it makes reading panic.
        for (at, with) in (16..made.len()).flat_map(|at| [0, 1, 127, 255].map(|with| (at, with))) {
            let mut bad = made.clone();
            bad[at] = with;
            if let Some((inner, pieces)) = tables::read(text.as_bytes(), Arc::new(bad)) {
                let _ = inner.encode("ab?abéx", true);
                (0..300).for_each(|id| drop((inner.text(id), pieces.get(id))));
                assert!(pieces.longest() < made.len());
            }
        }
    }

    #[test]
    fn what_is_unusual_is_left_to_the_library() {
        for merges in [json!(["a b c"]), json!([["a"]]), json!([["a", "b", "c"]]), json!(["a x"]), json!(3)] {
            assert!(read(file(merges, json!({})).to_string().as_bytes()).is_none());
        }
        let odd = [
            json!({"type": "WordPiece"}),
            json!({"end_of_word_suffix": "</w>"}),
            json!({"unk_token": "no"}),
            json!({"vocab": {"a": 0, "b": 0}}),
            json!({"vocab": {"a": u32::MAX}}),
        ];
        for options in odd {
            assert!(read(file(json!([]), options).to_string().as_bytes()).is_none());
        }
        assert!(read(file(json!([]), json!({})).to_string().as_bytes()).is_some());
    }
}

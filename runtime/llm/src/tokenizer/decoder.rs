//! What the `decoder` of a `tokenizer.json` does to the content of one token, and to the beginning of a text.

use crate::error::{Error, Result};
use serde_json::Value;
use std::borrow::Cow;

/// Most steps of a decoder, and how deep they may be nested.
const MAX_STEPS: usize = 64;
const MAX_DEPTH: usize = 8;

/// What happens to the beginning of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lead {
    /// Nothing.
    Keep,
    /// Up to this many of this character go.
    Strip(char, usize),
    /// All spaces of the first token go.
    NoSpaces,
}

/// What happens to the content of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Characters stand for bytes.
    ByteLevel,
    /// `<0x0A>` is a byte.
    ByteFallback,
    /// Replaces a text.
    Replace(String, String),
}

/// A whole decoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules {
    steps: Vec<Step>,
    pub lead: Lead,
    /// The texts of tokens are one from here on.
    fused: bool,
}

/// Reads a decoder.
pub(super) fn rules(v: &Value) -> Result<Rules> {
    let mut r = Rules { steps: vec![], lead: Lead::Keep, fused: false };
    if v.is_null() {
        return Err(Error::unsupported("there is no decoder: tokens cannot be joined to a text"));
    }
    add(&mut r, v, 0)?;
    Ok(r)
}

fn text<'a>(v: &'a Value, key: &str) -> Result<&'a str> {
    v.get(key)
        .and_then(Value::as_str)
        .ok_or_else(|| Error::input(format!("decoder: `{key}` is missing or no text")))
}

fn count(v: &Value, key: &str) -> Result<usize> {
    let n = v.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    n.ok_or_else(|| Error::input(format!("decoder: `{key}` is missing or no count")))
}

fn add(r: &mut Rules, v: &Value, depth: usize) -> Result<()> {
    let kind = text(v, "type")?;
    let not = |what: &str| Err(Error::unsupported(format!("decoder {kind}{what}")));
    if depth > MAX_DEPTH || r.steps.len() >= MAX_STEPS {
        return Err(Error::limit(format!("decoder: more than {MAX_STEPS} steps or {MAX_DEPTH} levels")));
    }
    let step = match kind {
        "Sequence" => {
            let list = v.get("decoders").and_then(Value::as_array);
            let list = list.ok_or_else(|| Error::input("decoder: `decoders` is missing or no list"))?;
            return list.iter().try_for_each(|d| add(r, d, depth + 1));
        }
        "Fuse" => {
            r.fused = true;
            return Ok(());
        }
        "Strip" => {
            let (content, start, stop) = (text(v, "content")?, count(v, "start")?, count(v, "stop")?);
            let mut chars = content.chars();
            let (Some(c), None) = (chars.next(), chars.next()) else {
                return Err(Error::input(format!("decoder: Strip of {content:?}, not of one character")));
            };
            if stop != 0 || !r.fused || r.lead != Lead::Keep {
                return not(" of the ends of texts or of single tokens");
            }
            if start > 0 {
                r.lead = Lead::Strip(c, start);
            }
            return Ok(());
        }
        "ByteLevel" => Step::ByteLevel,
        "ByteFallback" => Step::ByteFallback,
        "Replace" => {
            let pattern = v.get("pattern").and_then(|p| p.get("String")).and_then(Value::as_str);
            let Some(pattern) = pattern.filter(|p| !p.is_empty()) else {
                return not(" of anything but a text");
            };
            Step::Replace(pattern.to_owned(), text(v, "content")?.to_owned())
        }
        "Metaspace" => {
            let never = v.get("prepend_scheme").and_then(Value::as_str) == Some("never");
            let old = v.get("add_prefix_space").and_then(Value::as_bool) == Some(false);
            if !never && !old {
                r.lead = Lead::NoSpaces;
            }
            Step::Replace(text(v, "replacement")?.to_owned(), " ".to_owned())
        }
        _ => return not(""),
    };
    if r.fused {
        return not(" behind Fuse");
    }
    r.steps.push(step);
    Ok(())
}

impl Rules {
    /// Appends the bytes of a token.
    pub fn add(&self, content: &str, out: &mut Vec<u8>) {
        let mut s = Cow::Borrowed(content);
        for step in &self.steps {
            match step {
                Step::Replace(from, to) => {
                    if s.contains(from.as_str()) {
                        s = s.replace(from, to).into();
                    }
                }
                Step::ByteFallback => {
                    if let Some(b) = fallback(&s) {
                        return out.push(b);
                    }
                }
                Step::ByteLevel => {
                    let before = out.len();
                    if s.chars().all(|c| byte_of(c).map(|b| out.push(b)).is_some()) {
                        return;
                    }
                    // A token with other characters stands for itself.
                    out.truncate(before);
                    break;
                }
            }
        }
        out.extend_from_slice(s.as_bytes());
    }
}

/// The byte of `<0x0A>`.
fn fallback(s: &str) -> Option<u8> {
    let hex = s.strip_prefix("<0x")?.strip_suffix('>')?;
    (hex.len() == 2).then(|| u8::from_str_radix(hex, 16).ok())?
}

/// The byte that a character stands for at byte level: printable characters stand for themselves, the others are moved
/// to U+0100 and on, in order.
fn byte_of(c: char) -> Option<u8> {
    let code = u32::from(c);
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => u8::try_from(code).ok(),
        0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        0x121..=0x142 => u8::try_from(code - 0x121 + 0x7f).ok(),
        0x143 => Some(0xad),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_byte_has_one_character() {
        let mut bytes: Vec<u8> = (0..=0x143u32).filter_map(|c| byte_of(char::from_u32(c)?)).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!((byte_of('Ġ'), byte_of('Ċ'), byte_of('a')), (Some(b' '), Some(b'\n'), Some(b'a')));
    }

    impl Rules {
        fn bytes(&self, content: &str) -> Vec<u8> {
            let mut out = vec![];
            self.add(content, &mut out);
            out
        }
    }

    #[test]
    fn pieces_of_the_usual_decoders() {
        let spm = json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
        let r = rules(&spm).unwrap();
        assert_eq!(r.lead, Lead::Strip(' ', 1));
        assert_eq!(
            (r.bytes("▁a▁b"), r.bytes("<0x0A>"), r.bytes("<0xZZ>")),
            (b" a b".to_vec(), vec![10], b"<0xZZ>".to_vec())
        );
        let r = rules(&json!({"type": "ByteLevel"})).unwrap();
        assert_eq!(
            (r.bytes("Ġcaf\u{c3}\u{a9}"), r.bytes("a b")),
            (" café".as_bytes().to_vec(), b"a b".to_vec())
        );
        assert_eq!(rules(&json!({"type": "Metaspace", "replacement": "▁"})).unwrap().lead, Lead::NoSpaces);
    }

    #[test]
    fn what_cannot_be_streamed_is_refused() {
        let strip = json!({"type": "Strip", "content": "x", "start": 1, "stop": 0});
        for bad in [json!(null), json!({"type": "WordPiece"}), strip, json!({"type": 3}), json!([])] {
            assert!(rules(&bad).is_err(), "{bad}");
        }
    }
}

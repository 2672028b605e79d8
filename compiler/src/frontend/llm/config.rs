//! A model's `config.json`, or what a GGUF file's metadata says in the same words.

use serde_json::Value;
use sinter_ir::{Diag, Result};

/// Numbers and names of a model. Missing or wrong entries are errors that name the key.
#[derive(Debug, Clone)]
pub struct Config(Value);

/// Largest number that a size may be: products of two sizes must stay far from overflow.
const MAX_SIZE: i64 = 1 << 28;

impl Config {
    /// From JSON.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let value: Value = serde_json::from_slice(&finite(bytes))
            .map_err(|e| Diag::input(format!("config.json is not JSON: {e}")))?;
        Self::of(value)
    }
    /// From an object.
    pub fn of(value: Value) -> Result<Self> {
        match value.is_object() {
            true => Ok(Self(value)),
            false => Err(Diag::input("config.json is not an object")),
        }
    }
    /// The entry, unless it is missing or null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|v| !v.is_null())
    }
    /// A part that is an object.
    pub fn part(&self, key: &str) -> Option<Config> {
        self.get(key).filter(|v| v.is_object()).map(|v| Config(v.clone()))
    }
    /// The parts that are objects, by whatever names.
    pub fn entries(&self) -> Option<Vec<Config>> {
        let all = self.0.as_object()?.values().filter(|v| v.is_object());
        Some(all.map(|v| Config(v.clone())).collect())
    }
    fn wrong(key: &str, want: &str, have: &Value) -> Diag {
        Diag::input(format!("config.json: `{key}` is {have}, {want} is needed"))
    }
    /// A size if it is there: at least 1.
    pub fn opt_size(&self, key: &str) -> Result<Option<i64>> {
        let Some(v) = self.get(key) else { return Ok(None) };
        let n = v.as_i64().filter(|n| (1..=MAX_SIZE).contains(n));
        n.map(Some).ok_or_else(|| Self::wrong(key, &format!("a number from 1 to {MAX_SIZE}"), v))
    }
    /// A size under the first of these keys that is there.
    pub fn size(&self, keys: &[&str]) -> Result<i64> {
        for key in keys {
            if let Some(n) = self.opt_size(key)? {
                return Ok(n);
            }
        }
        Err(Diag::input(format!("config.json: `{}` is missing", keys.join("` or `"))))
    }
    /// A size, or what it is when it is missing.
    pub fn size_or(&self, key: &str, default: i64) -> Result<i64> {
        Ok(self.opt_size(key)?.unwrap_or(default))
    }
    /// A number that may be 0 or more, or what it is when it is missing.
    pub fn count_or(&self, key: &str, default: i64) -> Result<i64> {
        let Some(v) = self.get(key) else { return Ok(default) };
        let n = v.as_i64().filter(|n| (0..=MAX_SIZE).contains(n));
        n.ok_or_else(|| Self::wrong(key, "a number", v))
    }
    /// A number if it is there.
    pub fn opt_float(&self, key: &str) -> Result<Option<f64>> {
        let Some(v) = self.get(key) else { return Ok(None) };
        v.as_f64().filter(|f| f.is_finite()).map(Some).ok_or_else(|| Self::wrong(key, "a number", v))
    }
    /// A number, or what it is when it is missing.
    pub fn float_or(&self, key: &str, default: f64) -> Result<f64> {
        Ok(self.opt_float(key)?.unwrap_or(default))
    }
    /// Numbers.
    pub fn floats(&self, key: &str) -> Result<Vec<f64>> {
        let Some(v) = self.get(key) else {
            return Err(Diag::input(format!("config.json: `{key}` is missing")));
        };
        let all = v.as_array().and_then(|a| a.iter().map(Value::as_f64).collect());
        all.ok_or_else(|| Self::wrong(key, "a list of numbers", v))
    }
    /// A flag, or what it is when it is missing.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool> {
        let Some(v) = self.get(key) else { return Ok(default) };
        v.as_bool().ok_or_else(|| Self::wrong(key, "true or false", v))
    }
    /// A text, or what it is when it is missing.
    pub fn text(&self, key: &str, default: &str) -> Result<String> {
        let Some(v) = self.get(key) else { return Ok(default.to_owned()) };
        v.as_str().map(str::to_owned).ok_or_else(|| Self::wrong(key, "a text", v))
    }
    /// A list of texts, if it is there.
    pub fn opt_texts(&self, key: &str) -> Result<Option<Vec<String>>> {
        let Some(v) = self.get(key) else { return Ok(None) };
        let all = v.as_array().and_then(|a| a.iter().map(|t| t.as_str().map(str::to_owned)).collect());
        all.map(Some).ok_or_else(|| Self::wrong(key, "a list of texts", v))
    }
    /// A list of whole numbers, if it is there.
    pub fn opt_numbers(&self, key: &str) -> Result<Option<Vec<i64>>> {
        let Some(v) = self.get(key) else { return Ok(None) };
        let all = v.as_array().and_then(|a| a.iter().map(Value::as_i64).collect());
        all.map(Some).ok_or_else(|| Self::wrong(key, "a list of whole numbers", v))
    }
}

/// Python writes numbers that JSON does not have; they become null.
fn finite(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let (mut rest, mut inside) = (bytes, false);
    while let Some((&b, tail)) = rest.split_first() {
        let word = [b"-Infinity".as_slice(), b"Infinity", b"NaN"].into_iter().find(|w| rest.starts_with(w));
        if let (Some(w), false) = (word, inside) {
            out.extend_from_slice(b"null");
            rest = &rest[w.len()..];
            continue;
        }
        if let (b'\\', true, Some((&next, after))) = (b, inside, tail.split_first()) {
            out.extend([b, next]);
            rest = after;
            continue;
        }
        inside ^= b == b'"';
        out.push(b);
        rest = tail;
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn wrong_entries_name_their_key() {
        let c = Config::parse(br#"{"a": 3, "b": -1, "c": "x", "d": null, "e": [1, "y"], "f": 1e400}"#);
        assert!(c.is_err(), "1e400 is no JSON number");
        let c = Config::parse(br#"{"a": 3, "b": -1, "c": "x", "d": null, "e": [1, "y"]}"#).unwrap();
        assert_eq!(c.size(&["z", "a"]).unwrap(), 3);
        assert_eq!((c.size_or("d", 7).unwrap(), c.flag("d", true).unwrap()), (7, true));
        for e in [c.size(&["b"]), c.size(&["c"]), c.size(&["y", "z"]), c.count_or("b", 0)] {
            let text = e.unwrap_err().to_string();
            assert!(text.contains('`'), "{text}");
        }
        let odd = Config::parse(br#"{"l": [0.0, Infinity], "t": "NaN \" Infinity", "n": NaN}"#).unwrap();
        assert_eq!((odd.text("t", "").unwrap().as_str(), odd.get("n")), ("NaN \" Infinity", None));
        assert!(odd.floats("l").is_err());
        assert!(c.floats("e").is_err() && c.opt_texts("e").is_err() && c.floats("z").is_err());
        assert!(Config::parse(b"[1]").is_err() && Config::parse(b"").is_err());
    }
}

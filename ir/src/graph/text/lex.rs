//! Cursor over the text of a module.

use crate::{Diag, Result};
use serde_json::Value;

/// A position in the text. White space, line ends included, only separates.
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }
    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }
    /// An error at the current line.
    pub fn error(&self, what: impl std::fmt::Display) -> Diag {
        let line = self.text.get(..self.at).unwrap_or("").matches('\n').count() + 1;
        let here: String = self.rest().trim_start().chars().take_while(|c| *c != '\n').take(24).collect();
        Diag::input(format!("line {line}: {what}, found `{here}`"))
    }
    /// Puts the line on errors of other parsers.
    pub fn at_line<T>(&self, r: Result<T>) -> Result<T> {
        let line = self.text.get(..self.at).unwrap_or("").matches('\n').count() + 1;
        r.map_err(|d| Diag { message: format!("line {line}: {}", d.message), ..d })
    }
    /// Whether only white space is left.
    pub fn at_end(&mut self) -> bool {
        self.skip_space();
        self.rest().is_empty()
    }
    /// Whether this text follows.
    pub fn sees(&mut self, s: &str) -> bool {
        self.skip_space();
        self.rest().starts_with(s)
    }
    /// Takes this text if it follows.
    pub fn eat(&mut self, s: &str) -> bool {
        let hit = self.sees(s);
        self.at += if hit { s.len() } else { 0 };
        hit
    }
    /// Takes this text.
    pub fn expect(&mut self, s: &str) -> Result<()> {
        if self.eat(s) { Ok(()) } else { Err(self.error(format!("expected `{s}`"))) }
    }
    /// Takes everything up to a delimiter, and the delimiter.
    pub fn until(&mut self, delimiter: &str) -> Result<&'a str> {
        let rest = self.rest();
        let n = rest.find(delimiter).ok_or_else(|| self.error(format!("expected `{delimiter}`")))?;
        self.at += n + delimiter.len();
        Ok(rest.get(..n).unwrap_or("").trim())
    }
    /// Takes letters, digits and underscores.
    pub fn word(&mut self) -> Result<&'a str> {
        self.skip_space();
        let rest = self.rest();
        let n = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        if n == 0 {
            return Err(self.error("expected a word"));
        }
        self.at += n;
        Ok(rest.get(..n).unwrap_or(""))
    }
    /// Takes a number.
    pub fn number<T: std::str::FromStr>(&mut self) -> Result<T> {
        self.skip_space();
        let rest = self.rest();
        let sign = usize::from(rest.starts_with('-'));
        let digits = rest.get(sign..).unwrap_or("");
        let n = sign + digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let v = rest.get(..n).unwrap_or("").parse().map_err(|_| self.error("expected a number in range"))?;
        self.at += n;
        Ok(v)
    }
    /// Takes one JSON value.
    pub fn json(&mut self) -> Result<Value> {
        self.skip_space();
        let mut values = serde_json::Deserializer::from_str(self.rest()).into_iter::<Value>();
        let v = match values.next() {
            Some(Ok(v)) => v,
            Some(Err(e)) => return Err(self.error(format!("bad JSON ({e})"))),
            None => return Err(self.error("expected JSON")),
        };
        self.at += values.byte_offset();
        Ok(v)
    }
    /// Takes a JSON string.
    pub fn string(&mut self) -> Result<String> {
        match self.json()? {
            Value::String(s) => Ok(s),
            _ => Err(self.error("expected a string before this")),
        }
    }
}

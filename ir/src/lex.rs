//! Cursor over the text forms of all levels.

use crate::{Diag, Expr, Result, TensorType};
use serde_json::Value;

/// A position in the text. White space, line ends included, only separates.
pub(crate) struct Cursor<'a> {
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
    fn line_of(&self, at: usize) -> usize {
        self.text.get(..at).unwrap_or("").matches('\n').count() + 1
    }
    /// An error at the current line.
    pub fn error(&self, what: impl std::fmt::Display) -> Diag {
        let here: String = self.rest().trim_start().chars().take_while(|c| *c != '\n').take(24).collect();
        Diag::input(format!("line {}: {what}, found `{here}`", self.line_of(self.at)))
    }
    /// Puts the line on errors of other parsers.
    pub fn at_line<T>(&self, r: Result<T>) -> Result<T> {
        self.at_line_of(self.at, r)
    }
    fn at_line_of<T>(&self, at: usize, r: Result<T>) -> Result<T> {
        r.map_err(|d| Diag { message: format!("line {}: {}", self.line_of(at), d.message), ..d })
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
    /// Takes this whole word if it follows.
    pub fn eat_word(&mut self, s: &str) -> bool {
        let hit = self.peek_word() == s;
        self.at += if hit { s.len() } else { 0 };
        hit
    }
    /// The letters, digits and underscores that follow.
    pub fn peek_word(&mut self) -> &'a str {
        self.skip_space();
        let rest = self.rest();
        let n = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        rest.get(..n).unwrap_or("")
    }
    /// Takes letters, digits and underscores.
    pub fn word(&mut self) -> Result<&'a str> {
        let w = self.peek_word();
        if w.is_empty() {
            return Err(self.error("expected a word"));
        }
        self.at += w.len();
        Ok(w)
    }
    /// Takes the number of something named by a letter and a number, `r12`.
    pub fn id(&mut self, letter: char) -> Result<u32> {
        let digits = self.peek_word().strip_prefix(letter).unwrap_or("");
        match digits.parse() {
            Ok(n) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                self.at += 1 + digits.len();
                Ok(n)
            }
            _ => Err(self.error(format!("expected `{letter}` and a number"))),
        }
    }
    /// Takes a number in decimal notation.
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
    /// Takes everything up to a delimiter, and the delimiter.
    pub fn until(&mut self, delimiter: &str) -> Result<&'a str> {
        let rest = self.rest();
        let n = rest.find(delimiter).ok_or_else(|| self.error(format!("expected `{delimiter}`")))?;
        self.at += n + delimiter.len();
        Ok(rest.get(..n).unwrap_or("").trim())
    }
    /// Takes a symbolic integer that a delimiter ends.
    pub fn expr(&mut self, delimiter: &str) -> Result<Expr> {
        let start = self.at;
        let text = self.until(delimiter)?;
        self.at_line_of(start, text.parse())
    }
    /// Takes an element type and dims, `f32[s0, 3]`.
    pub fn tensor_type(&mut self) -> Result<TensorType> {
        let dtype = self.word()?;
        let dtype = self.at_line(dtype.parse())?;
        self.expect("[")?;
        let list = self.until("]")?;
        let (mut dims, mut start, mut open) = (Vec::new(), 0, 0i32);
        for (i, b) in list.bytes().chain([b',']).enumerate() {
            match b {
                b'(' => open += 1,
                b')' => open -= 1,
                b',' if open == 0 && !list.is_empty() => {
                    dims.push(self.at_line(list.get(start..i).unwrap_or("").parse())?);
                    start = i + 1;
                }
                _ => {}
            }
        }
        if open != 0 {
            return Err(self.error("unbalanced parentheses in the dims before this"));
        }
        Ok(TensorType::new(dtype, dims))
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

/// A string as [`Cursor::string`] reads it.
pub(crate) fn quoted(s: &str) -> String {
    Value::from(s).to_string()
}

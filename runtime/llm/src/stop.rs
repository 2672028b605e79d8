//! Stop sequences in a stream of bytes: what may be the beginning of one waits until it is decided.

use crate::error::{Error, Result};

/// Most stop sequences, and bytes of one.
pub const MAX_STOPS: usize = 64;
/// Bytes of a stop sequence at most.
pub const MAX_STOP_BYTES: usize = 4096;

/// Looks for stop sequences. Allocates nothing after construction.
#[derive(Debug, Clone)]
pub struct Stops {
    stops: Vec<Vec<u8>>,
    /// What the last push gave, then what waits.
    buffer: Vec<u8>,
    given: usize,
    found: bool,
}

impl Stops {
    /// `longest`: bytes that are pushed at once at most.
    pub fn new(stops: &[String], longest: usize) -> Result<Self> {
        if let Some(s) = stops.iter().find(|s| s.is_empty() || s.len() > MAX_STOP_BYTES) {
            let n = s.len();
            return Err(Error::input(format!(
                "a stop sequence has {n} bytes, it must have 1 to {MAX_STOP_BYTES}"
            )));
        }
        if stops.len() > MAX_STOPS {
            return Err(Error::limit(format!(
                "{} stop sequences, at most {MAX_STOPS} are looked for",
                stops.len()
            )));
        }
        let held = stops.iter().map(String::len).max().unwrap_or(0);
        let stops = stops.iter().map(|s| s.as_bytes().to_vec()).collect();
        Ok(Self { stops, buffer: Vec::with_capacity(longest + held), given: 0, found: false })
    }
    /// Bytes of the longest stop sequence.
    pub fn longest(&self) -> usize {
        self.stops.iter().map(Vec::len).max().unwrap_or(0)
    }
    /// Whether a stop sequence was found.
    pub fn found(&self) -> bool {
        self.found
    }
    /// Adds bytes; gives those that belong to the text for certain. Nothing comes after a stop sequence.
    pub fn push(&mut self, bytes: &[u8]) -> &[u8] {
        self.buffer.drain(..self.given);
        self.given = 0;
        if self.found {
            return &[];
        }
        self.buffer.extend_from_slice(bytes);
        let first = |s: &Vec<u8>| self.buffer.windows(s.len()).position(|w| w == s);
        if let Some(at) = self.stops.iter().filter_map(first).min() {
            self.found = true;
            self.buffer.truncate(at);
            self.given = at;
        } else {
            self.given = self.buffer.len() - self.held();
        }
        self.buffer.get(..self.given).unwrap_or(&[])
    }
    /// What waited at the end: the text has no more.
    pub fn rest(&mut self) -> &[u8] {
        self.buffer.drain(..self.given);
        self.given = self.buffer.len();
        &self.buffer
    }
    /// Bytes at the end that a stop sequence may begin with.
    fn held(&self) -> usize {
        let most = self.stops.iter().map(|s| s.len() - 1).max().unwrap_or(0).min(self.buffer.len());
        let begins = |n: usize| {
            let tail = self.buffer.get(self.buffer.len() - n..).unwrap_or(&[]);
            self.stops.iter().any(|s| s.starts_with(tail))
        };
        (1..=most).rev().find(|&n| begins(n)).unwrap_or(0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn run(stops: &[&str], parts: &[&str]) -> (Vec<String>, String, bool) {
        let stops: Vec<String> = stops.iter().map(|s| (*s).to_owned()).collect();
        let mut s = Stops::new(&stops, 8).unwrap();
        let given = parts.iter().map(|p| String::from_utf8(s.push(p.as_bytes()).to_vec()).unwrap()).collect();
        let rest = String::from_utf8(s.rest().to_vec()).unwrap();
        (given, rest, s.found())
    }

    #[test]
    fn across_borders() {
        let v = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect::<Vec<String>>();
        assert_eq!(run(&["END"], &["a", "bE", "N", "Dc"]), (v(&["a", "b", "", ""]), String::new(), true));
        assert_eq!(run(&["END"], &["xEN", "EN", "E"]), (v(&["x", "EN", "EN"]), "E".into(), false));
        // The earliest counts, then the one that is complete first.
        assert_eq!(run(&["cd", "bcx"], &["ab", "cd"]), (v(&["a", "b"]), String::new(), true));
        assert_eq!(run(&[], &["ab", "cd"]), (v(&["ab", "cd"]), String::new(), false));
        assert_eq!(run(&["aab"], &["a", "a", "a", "b"]), (v(&["", "", "a", ""]), String::new(), true));
    }

    /// Cut anywhere, the text in front of the stop sequence comes out, and nothing else.
    #[test]
    fn any_cut() {
        let (text, stop) = ("ababac, abacab", "abac");
        for a in 0..text.len() {
            for b in a..text.len() {
                let (given, rest, found) = run(&[stop], &[&text[..a], &text[a..b], &text[b..]]);
                assert_eq!((given.concat() + &rest, found), ("ab".into(), true), "{a} {b}");
            }
        }
    }

    #[test]
    fn bounds() {
        assert!(Stops::new(&[String::new()], 8).is_err());
        assert!(Stops::new(&vec!["x".to_owned(); MAX_STOPS + 1], 8).is_err());
        assert!(Stops::new(&["y".repeat(MAX_STOP_BYTES + 1)], 8).is_err());
    }
}

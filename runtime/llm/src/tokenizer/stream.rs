//! Tokens to text as they come: characters whose bytes are spread over tokens wait until they are whole.

use super::decoder::Lead;

/// Bytes of a character at most, less one.
const HELD: usize = 3;

/// Text in the making. Allocates nothing after construction.
#[derive(Debug, Clone)]
pub struct Stream {
    /// What the last push gave, then what waits.
    buffer: Vec<u8>,
    /// Bytes of the buffer that were given.
    given: usize,
    lead: Lead,
    longest: usize,
}

impl Stream {
    /// `longest`: bytes of the longest token.
    pub(super) fn new(lead: Lead, longest: usize) -> Self {
        Self { buffer: Vec::with_capacity(longest + HELD), given: 0, lead, longest: longest + HELD }
    }
    /// Bytes that one push gives at most.
    pub fn longest(&self) -> usize {
        self.longest
    }
    /// Adds the bytes of a token; gives all bytes that are whole characters, or can never become one, in order.
    pub fn push(&mut self, piece: &[u8]) -> &[u8] {
        self.buffer.drain(..self.given);
        match self.lead {
            Lead::Keep => self.buffer.extend_from_slice(piece),
            Lead::NoSpaces => {
                self.buffer.extend(piece.iter().filter(|b| **b != b' '));
                self.lead = Lead::Keep;
            }
            Lead::Strip(c, n) => {
                let mut utf8 = [0; 4];
                let c8 = c.encode_utf8(&mut utf8).as_bytes();
                let (mut rest, mut left) = (piece, n);
                while left > 0
                    && let Some(tail) = rest.strip_prefix(c8)
                {
                    (rest, left) = (tail, left - 1);
                }
                self.buffer.extend_from_slice(rest);
                self.lead = if rest.is_empty() && left > 0 { Lead::Strip(c, left) } else { Lead::Keep };
            }
        }
        self.given = self.buffer.len() - unfinished(&self.buffer);
        self.buffer.get(..self.given).unwrap_or(&[])
    }
    /// What waited at the end: the beginning of a character.
    pub fn rest(&mut self) -> &[u8] {
        self.buffer.drain(..self.given);
        self.given = self.buffer.len();
        &self.buffer
    }
}

/// Bytes at the end that are the beginning of a character and not all of it.
pub(crate) fn unfinished(bytes: &[u8]) -> usize {
    let tail = bytes.get(bytes.len().saturating_sub(HELD)..).unwrap_or(&[]);
    // The last byte that can begin a character.
    let Some(at) = tail.iter().rposition(|b| b & 0xc0 != 0x80) else { return 0 };
    let last = tail.get(at..).unwrap_or(&[]);
    match std::str::from_utf8(last) {
        Err(e) if e.error_len().is_none() => last.len(),
        _ => 0,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn characters_wait_until_they_are_whole() {
        let text = "aé€😀z";
        for size in 1..=4 {
            let mut s = Stream::new(Lead::Keep, 4);
            let mut all = vec![];
            for piece in text.as_bytes().chunks(size) {
                let part = s.push(piece).to_vec();
                assert!(std::str::from_utf8(&part).is_ok(), "{size}: {part:?}");
                all.extend(part);
            }
            all.extend(s.rest());
            assert_eq!(all, text.as_bytes());
        }
    }

    #[test]
    fn bytes_that_are_no_text_pass() {
        // A lone continuation, a cut character followed by ASCII, an overlong form, a byte that never begins one.
        for bad in [&[0x80, b'a'][..], &[0xe2, 0x82, b'a'], &[0xc0, 0xaf], &[0xff], &[0xf4, 0x90]] {
            let mut s = Stream::new(Lead::Keep, 4);
            let mut all = vec![];
            for b in bad {
                all.extend_from_slice(s.push(&[*b]));
            }
            assert_eq!(all, bad);
        }
        let mut s = Stream::new(Lead::Keep, 4);
        assert_eq!(s.push(&[0xe2, 0x82]), b"");
        assert_eq!(s.rest(), [0xe2, 0x82]);
        assert_eq!(s.rest(), b"");
    }

    #[test]
    fn leading_spaces() {
        let mut s = Stream::new(Lead::Strip(' ', 2), 8);
        let parts: Vec<Vec<u8>> =
            [" ", "", "  a", " b"].iter().map(|p| s.push(p.as_bytes()).to_vec()).collect();
        assert_eq!(parts.concat(), b" a b");
        let mut s = Stream::new(Lead::NoSpaces, 8);
        assert_eq!([s.push(b"  a").to_vec(), s.push(b" b").to_vec()].concat(), b"a b");
    }
}

//! The metadata of a GGUF file that is known to be good.

use sinter_llm::gguf::Metadata;
use std::collections::BTreeMap;

enum Meta {
    Number(f64),
    Text(String),
    Flag(bool),
    List(Vec<Meta>),
}

/// Metadata by key.
pub struct File(BTreeMap<String, Meta>);

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) = self.0.split_first_chunk().unwrap();
        self.0 = rest;
        *head
    }
    fn text(&mut self) -> String {
        let n = u64::from_le_bytes(self.take()) as usize;
        let (head, rest) = self.0.split_at(n);
        self.0 = rest;
        String::from_utf8(head.to_vec()).unwrap()
    }
    fn value(&mut self, kind: u32) -> Meta {
        Meta::Number(match kind {
            0 => u8::from_le_bytes(self.take()).into(),
            1 => i8::from_le_bytes(self.take()).into(),
            2 => u16::from_le_bytes(self.take()).into(),
            3 => i16::from_le_bytes(self.take()).into(),
            4 => u32::from_le_bytes(self.take()).into(),
            5 => i32::from_le_bytes(self.take()).into(),
            6 => f32::from_le_bytes(self.take()).into(),
            7 => return Meta::Flag(self.take::<1>()[0] != 0),
            8 => return Meta::Text(self.text()),
            9 => {
                let kind = u32::from_le_bytes(self.take());
                let n = u64::from_le_bytes(self.take());
                return Meta::List((0..n).map(|_| self.value(kind)).collect());
            }
            10 => u64::from_le_bytes(self.take()) as f64,
            11 => i64::from_le_bytes(self.take()) as f64,
            12 => f64::from_le_bytes(self.take()),
            _ => panic!("metadata of type {kind}"),
        })
    }
}

impl File {
    /// Reads the head of a file.
    pub fn read(bytes: &[u8]) -> Self {
        let mut r = Reader(bytes);
        assert_eq!((&r.take::<4>(), u32::from_le_bytes(r.take())), (b"GGUF", 3));
        let _tensors: [u8; 8] = r.take();
        let n = u64::from_le_bytes(r.take());
        let entry = |r: &mut Reader| (r.text(), u32::from_le_bytes(r.take()));
        Self(
            (0..n)
                .map(|_| {
                    let (key, kind) = entry(&mut r);
                    (key, r.value(kind))
                })
                .collect(),
        )
    }
}

impl Metadata for File {
    fn text(&self, key: &str) -> Option<String> {
        match self.0.get(key)? {
            Meta::Text(t) => Some(t.clone()),
            _ => None,
        }
    }
    fn number(&self, key: &str) -> Option<f64> {
        match self.0.get(key)? {
            Meta::Number(n) => Some(*n),
            _ => None,
        }
    }
    fn flag(&self, key: &str) -> Option<bool> {
        match self.0.get(key)? {
            Meta::Flag(b) => Some(*b),
            _ => None,
        }
    }
    fn texts(&self, key: &str) -> Option<Vec<String>> {
        let Meta::List(l) = self.0.get(key)? else { return None };
        l.iter().map(|m| if let Meta::Text(t) = m { Some(t.clone()) } else { None }).collect()
    }
    fn numbers(&self, key: &str) -> Option<Vec<f64>> {
        let Meta::List(l) = self.0.get(key)? else { return None };
        l.iter().map(|m| if let Meta::Number(n) = m { Some(*n) } else { None }).collect()
    }
}

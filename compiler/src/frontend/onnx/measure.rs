//! How much memory a file will take as messages, measured before it is decoded.
//!
//! An empty message is two bytes in the file and hundreds in memory, so a small file of nothing but structure could
//! take all memory there is. The walk follows the fields that hold messages and names, and adds up what the
//! decoder will make of them; whether the file is well-formed is left to the decoder.

use super::proto::{
    AttributeProto, FunctionProto, GraphProto, NodeProto, SparseTensorProto, StringStringEntryProto,
    TensorProto, TypeProto, ValueInfoProto, tensor_shape_proto::Dimension,
};
use sinter_ir::{Diag, Result};

/// Structure may take this much beyond the size of the file; lists that grow take up to three times as much for a
/// moment.
const STRUCTURE_BYTES: u64 = 80 << 20;
/// Deeper messages are refused by the decoder.
const MAX_DEPTH: usize = 100;
/// What a list element costs beside itself.
const SLOT: usize = 16;

/// Kinds of messages that may come in masses.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    Info,
    Type,
    Shape,
    Dim,
    Function,
    Entry,
    /// Anything else with known fields below it: training data, annotations.
    Other,
}

/// What a length-delimited field holds.
enum Field {
    Message(Kind),
    /// A name or bytes, one of several.
    Text,
    /// Taken as it is; numbers become at most eight times as long.
    Plain,
}

fn field(kind: Kind, number: u64) -> Field {
    use Field::{Message, Plain, Text};
    match (kind, number) {
        (Kind::Model, 7) => Message(Kind::Graph),
        (Kind::Model, 8 | 14 | 26) => Message(Kind::Entry),
        (Kind::Model, 20) => Message(Kind::Other),
        (Kind::Model, 25) => Message(Kind::Function),
        (Kind::Graph, 1) | (Kind::Function, 7) => Message(Kind::Node),
        (Kind::Graph, 5) => Message(Kind::Tensor),
        (Kind::Graph, 15) => Message(Kind::Sparse),
        (Kind::Graph, 11..=13) | (Kind::Function, 12) => Message(Kind::Info),
        (Kind::Graph, 14) => Message(Kind::Other),
        (Kind::Graph, 16) | (Kind::Function, 9 | 14) => Message(Kind::Entry),
        (Kind::Function, 11) | (Kind::Node, 5) => Message(Kind::Attribute),
        (Kind::Function, 4..=6) | (Kind::Node, 1 | 2) => Text,
        (Kind::Node, 9) | (Kind::Info, 4) | (Kind::Tensor, 13 | 16) => Message(Kind::Entry),
        (Kind::Node, 10) => Message(Kind::Other),
        (Kind::Attribute, 5 | 10) | (Kind::Sparse, 1 | 2) => Message(Kind::Tensor),
        (Kind::Attribute, 6 | 11) => Message(Kind::Graph),
        (Kind::Attribute, 22 | 23) => Message(Kind::Sparse),
        (Kind::Attribute, 14 | 15) | (Kind::Info, 2) => Message(Kind::Type),
        (Kind::Attribute, 9) | (Kind::Tensor, 6) => Text,
        // Tensors and sequences in types: their shapes lie one message deeper.
        (Kind::Type, 1 | 4 | 5 | 8 | 9) => Message(Kind::Type),
        (Kind::Type, 2) => Message(Kind::Shape),
        (Kind::Shape, 1) => Message(Kind::Dim),
        (Kind::Other, _) => Message(Kind::Other),
        _ => Plain,
    }
}

fn size(kind: Kind) -> usize {
    match kind {
        Kind::Model | Kind::Shape => 0,
        Kind::Graph => size_of::<GraphProto>(),
        Kind::Node => size_of::<NodeProto>(),
        Kind::Attribute => size_of::<AttributeProto>(),
        Kind::Tensor => size_of::<TensorProto>(),
        Kind::Sparse => size_of::<SparseTensorProto>(),
        Kind::Info => size_of::<ValueInfoProto>(),
        Kind::Type => size_of::<TypeProto>(),
        Kind::Dim => size_of::<Dimension>(),
        Kind::Function => size_of::<FunctionProto>(),
        Kind::Entry | Kind::Other => size_of::<StringStringEntryProto>(),
    }
}

/// Refuses files whose structure would take much more memory than the file itself.
pub fn check(file: &[u8]) -> Result<()> {
    let mut left = STRUCTURE_BYTES + file.len() as u64;
    match walk(file, Kind::Model, 0, &mut left) {
        Some(()) => Ok(()),
        None => Err(Diag::limit(format!(
            "{} bytes of file have structure that takes more than {} MB",
            file.len(),
            (STRUCTURE_BYTES + file.len() as u64) >> 20
        ))),
    }
}

/// `None` when nothing is left; stops where the bytes make no sense.
fn walk(mut bytes: &[u8], kind: Kind, depth: usize, left: &mut u64) -> Option<()> {
    if depth > MAX_DEPTH {
        return Some(());
    }
    while let Some(tag) = varint(&mut bytes) {
        match tag & 7 {
            0 => {
                varint(&mut bytes);
            }
            1 => skip(&mut bytes, 8),
            5 => skip(&mut bytes, 4),
            2 => {
                let Some(n) = varint(&mut bytes).and_then(|n| usize::try_from(n).ok()) else {
                    return Some(());
                };
                let Some((inside, rest)) = bytes.split_at_checked(n) else { return Some(()) };
                bytes = rest;
                match field(kind, tag >> 3) {
                    Field::Message(k) => {
                        take(left, (size(k) + SLOT) as u64)?;
                        walk(inside, k, depth + 1, left)?;
                    }
                    Field::Text => take(left, (size_of::<String>() + SLOT + n) as u64)?,
                    Field::Plain => {}
                }
            }
            _ => return Some(()),
        }
    }
    Some(())
}

fn take(left: &mut u64, n: u64) -> Option<()> {
    *left = left.checked_sub(n)?;
    Some(())
}

fn skip(bytes: &mut &[u8], n: usize) {
    *bytes = bytes.get(n..).unwrap_or_default();
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut v = 0u64;
    for shift in (0..70).step_by(7) {
        let (&b, rest) = bytes.split_first()?;
        *bytes = rest;
        v |= u64::from(b & 127).checked_shl(shift).unwrap_or(0);
        if b < 128 {
            return Some(v);
        }
    }
    None
}

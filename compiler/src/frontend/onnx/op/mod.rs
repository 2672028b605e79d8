//! Operators, one file per family. Adding one: a file with an `OPS` table and its line below.

use super::node::Build;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Oldest opset of the default domain that is read: before 7, attributes that later opsets dropped are understood.
pub const OLDEST_OPSET: i64 = 1;
/// Newest opset of the default domain that is known.
pub const NEWEST_OPSET: i64 = 28;

macro_rules! families {
    ($($name:ident),* $(,)?) => {
        $(mod $name;)*
        /// `(operator, builder)` tables; com.microsoft operators carry their domain as prefix.
        const FAMILIES: &[&[(&str, Build)]] = &[$($name::OPS),*];
    };
}

mod fourier;

families![
    activation, arithmetic, attention, blocks, control, conv, einsum, embed, experts, fused, gradient, group,
    heads, image, index, linalg, logic, loss, matmul, misc, ml, movement, normalize, optimizer, pool,
    qlinear, quantize, random, recurrent, reduce, resize, scan, select, sequence, shape, slice, spectrum,
    state, text, window
];

fn table() -> &'static BTreeMap<&'static str, Build> {
    static TABLE: OnceLock<BTreeMap<&'static str, Build>> = OnceLock::new();
    TABLE.get_or_init(|| FAMILIES.iter().flat_map(|f| f.iter().copied()).collect())
}

pub use gradient::named_tensors;

/// Name of an operator in the tables: `Conv`, `com.microsoft:BiasGelu`.
pub fn full_name(domain: &str, name: &str) -> String {
    match domain {
        "" | "ai.onnx" => name.to_owned(),
        _ => format!("{domain}:{name}"),
    }
}

/// The builder of an operator.
pub fn find(domain: &str, name: &str) -> Option<Build> {
    table().get(full_name(domain, name).as_str()).copied()
}

/// Whether any operator of a domain can be imported.
pub fn knows(domain: &str) -> bool {
    let prefix = format!("{domain}:");
    domain.is_empty() || table().keys().any(|k| k.starts_with(&prefix))
}

/// All operators that can be imported, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    table().keys().copied()
}

//! What `--quantize` can say.

use sinter_ir::op::quantized_matmul::Activations;
use sinter_ir::{Diag, Result};
use std::fmt;

/// Weights that share a scale, where nothing else is said.
const GROUP: usize = 32;

/// How one matrix becomes codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheme {
    /// Bits of a code: 4 or 8.
    pub bits: u32,
    /// Weights of a row that share a scale; 0: the whole row.
    pub group: usize,
    /// Whether blocks have zero points of their own.
    pub asymmetric: bool,
    /// Whether scales are tried for the least squared error, instead of holding the largest weight.
    pub search: bool,
}

/// What is done to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// For matrices of products.
    pub weights: Scheme,
    /// For embeddings and the product that gives logits: they suffer more from few bits.
    pub ends: Scheme,
    /// What activations of products with such weights become.
    pub activations: Activations,
}

/// Help for a recipe that cannot be read.
const GRAMMAR: &str = "w4 or w8, then as needed a8 or a16 (activations), g32, g64, g128 or gall (weights that share a scale), \
                       -asym (zero points), -mse (scales by least error): w4, w8, w4g128, w4a16g64-asym";

impl Recipe {
    /// Reads a recipe; `none` is no recipe.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        if text == "none" {
            return Ok(None);
        }
        let wrong = |why: String| Diag::input(format!("--quantize {text}: {why}")).help(GRAMMAR);
        let (head, marks) = text.split_once('-').unwrap_or((text, ""));
        let (mut bits, mut group, mut activations) = (None, None, Activations::Blocks);
        let mut rest = head;
        while let Some(key) = rest.chars().next() {
            let body = rest.get(key.len_utf8()..).unwrap_or_default();
            let end =
                body.find(|c| matches!(c, 'w' | 'a' | 'g') && !body.starts_with("all")).unwrap_or(body.len());
            let (value, next) = body.split_at(end);
            match (key, value) {
                ('w', "4") => bits = Some(4),
                ('w', "8") => bits = Some(8),
                ('w', other) => return Err(wrong(format!("weights of {other} bits are not supported"))),
                ('a', "8") => activations = Activations::Blocks,
                ('a', "16" | "32") => activations = Activations::Float,
                ('a', other) => return Err(wrong(format!("activations of {other} bits are not supported"))),
                ('g', "all") => group = Some(0),
                ('g', n) => match n.parse() {
                    Ok(n @ (16 | 32 | 64 | 128 | 256)) => group = Some(n),
                    _ => return Err(wrong(format!("groups of {n} weights are not supported"))),
                },
                (other, _) => return Err(wrong(format!("`{other}` means nothing"))),
            }
            rest = next;
        }
        let bits = bits.ok_or_else(|| wrong("it does not say how many bits weights have".into()))?;
        let group = group.unwrap_or(GROUP);
        let mut weights = Scheme { bits, group, asymmetric: false, search: false };
        for mark in marks.split('-').filter(|m| !m.is_empty()) {
            match mark {
                "asym" => weights.asymmetric = true,
                "sym" => weights.asymmetric = false,
                "mse" => weights.search = true,
                other => return Err(wrong(format!("`{other}` means nothing"))),
            }
        }
        if group == 0 && activations == Activations::Blocks {
            activations = Activations::Rows;
        }
        let ends =
            Scheme { bits: 8, group: if group == 0 { 0 } else { GROUP }, asymmetric: false, search: false };
        Ok(Some(Self { weights, ends, activations }))
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}g", self.bits)?;
        if self.group == 0 {
            write!(f, "all")?
        } else {
            write!(f, "{}", self.group)?
        }
        let marks = [(self.asymmetric, "-asym"), (self.search, "-mse")];
        marks.iter().filter(|m| m.0).try_for_each(|m| f.write_str(m.1))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn recipes_say_what_users_expect() {
        let of = |t: &str| Recipe::parse(t).unwrap().unwrap();
        assert_eq!(of("w4").weights.to_string(), "w4g32");
        assert_eq!(of("w4").ends.to_string(), "w8g32");
        assert_eq!(of("w4g128").weights, Scheme { group: 128, ..of("w4").weights });
        assert_eq!(of("w4a16g64-asym-mse").weights.to_string(), "w4g64-asym-mse");
        assert_eq!(of("w4a16").activations, Activations::Float);
        assert_eq!(of("w8gall").activations, Activations::Rows);
        assert_eq!(of("w8gall").weights.to_string(), "w8gall");
        assert_eq!(Recipe::parse("none").unwrap(), None);
        for wrong in ["", "w3", "w4g33", "4", "w4x", "w4-magic", "g32", "a8", "w4a4", "wall", "w4g"] {
            assert!(Recipe::parse(wrong).is_err(), "{wrong}");
        }
    }
}

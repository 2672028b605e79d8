//! What `--quantize int8...` can say.

use super::ranges::Calibrator;
use sinter_ir::{Diag, Result};
use std::fmt;

/// How a float model becomes one of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StaticRecipe {
    /// How the ranges of activations are chosen.
    pub ranges: Calibrator,
    /// Whether the mean error of every channel is taken out of its bias.
    pub correct: bool,
    /// Whether channels of neighbouring layers are evened out first.
    pub equalise: bool,
    /// Whether products may be summed in 16 bits: activations of 7 bits, and weights whose neighbours are not large
    /// together. None: where a target can use it.
    pub narrow: Option<bool>,
}

/// Help for a recipe that cannot be read.
const GRAMMAR: &str = "int8, then as needed how ranges are chosen (minmax, percentile, entropy or mse, the default), what is \
                       left out (nobias: no correction of biases; noequalise: channels as they are) and how wide sums are \
                       (narrow: activations of 7 bits, which AVX2 multiplies faster; wide: all 8; default: by target): int8, \
                       int8-entropy-nobias, int8-wide";

impl StaticRecipe {
    /// Reads a recipe; none where the text means something else.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        let mut words = text.split('-');
        if words.next() != Some("int8") {
            return Ok(None);
        }
        let wrong = |why: String| Diag::input(format!("--quantize {text}: {why}")).help(GRAMMAR);
        let mut recipe = Self { ranges: Calibrator::default(), correct: true, equalise: true, narrow: None };
        let mut ranges = None;
        for word in words {
            match (Calibrator::ALL.iter().find(|c| c.name() == word), word) {
                (Some(c), _) => {
                    if ranges.replace(*c).is_some() {
                        return Err(wrong("ranges are chosen in one way".into()));
                    }
                }
                (None, "nobias") => recipe.correct = false,
                (None, "noequalise") => recipe.equalise = false,
                (None, "narrow" | "wide") => {
                    if recipe.narrow.replace(word == "narrow").is_some() {
                        return Err(wrong("sums are narrow or wide".into()));
                    }
                }
                _ => return Err(wrong(format!("`{word}` means nothing"))),
            }
        }
        recipe.ranges = ranges.unwrap_or_default();
        Ok(Some(recipe))
    }
}

impl fmt::Display for StaticRecipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "int8-{}", self.ranges.name())?;
        let without = [(self.correct, "-nobias"), (self.equalise, "-noequalise")];
        without.iter().filter(|w| !w.0).try_for_each(|w| f.write_str(w.1))?;
        self.narrow.map_or(Ok(()), |narrow| f.write_str(if narrow { "-narrow" } else { "-wide" }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn words_in_any_order_and_refusals() {
        let of = |t: &str| StaticRecipe::parse(t).unwrap().map(|r| r.to_string());
        assert_eq!(of("int8").as_deref(), Some("int8-mse"));
        assert_eq!(of("int8-nobias-entropy").as_deref(), Some("int8-entropy-nobias"));
        assert_eq!(of("int8-minmax-noequalise-nobias").as_deref(), Some("int8-minmax-nobias-noequalise"));
        assert_eq!(of("int8-narrow-minmax").as_deref(), Some("int8-minmax-narrow"));
        assert_eq!(of("int8-wide").as_deref(), Some("int8-mse-wide"));
        assert_eq!(of("w8"), None);
        assert_eq!(of("none"), None);
        for wrong in ["int8-", "int8-kl", "int8-mse-minmax", "int8-wide-narrow"] {
            assert!(StaticRecipe::parse(wrong).is_err(), "{wrong}");
        }
    }
}

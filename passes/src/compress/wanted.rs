//! Where weights in codes come from: the file as it is, or a recipe.

use super::Recipe;
use sinter_ir::Result;
use sinter_ir::op::quantized_matmul::Activations;

/// What to do with the weights of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Matrices that are stored in codes stay so, others floats; what activations are in products with the former.
    Stored(Activations),
    /// All become floats.
    Floats,
    /// All become floats, then codes.
    Codes(Recipe),
}

impl Wanted {
    /// Reads what `--quantize` says: `stored` (with `-a16`: activations stay floats), `none`, or a recipe.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "stored" | "stored-a8" => Ok(Self::Stored(Activations::Blocks)),
            "stored-a8c" => Ok(Self::Stored(Activations::Coarse)),
            "stored-a16" | "stored-a32" => Ok(Self::Stored(Activations::Float)),
            other => Ok(Recipe::parse(other)?.map_or(Self::Floats, Self::Codes)),
        }
    }
    /// What activations become in products with what is stored in codes, and what is done to floats.
    pub fn parts(self) -> (Option<Activations>, Option<Recipe>) {
        match self {
            Self::Stored(activations) => (Some(activations), None),
            Self::Floats => (None, None),
            Self::Codes(recipe) => (None, Some(recipe)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn stored_none_or_a_recipe() {
        assert_eq!(Wanted::parse("none").unwrap(), Wanted::Floats);
        assert_eq!(Wanted::parse("stored").unwrap(), Wanted::Stored(Activations::Blocks));
        assert_eq!(Wanted::parse("stored-a16").unwrap(), Wanted::Stored(Activations::Float));
        assert_eq!(Wanted::parse("w4").unwrap(), Wanted::Codes(Recipe::parse("w4").unwrap().unwrap()));
        assert!(Wanted::parse("stored-w4").is_err());
    }
}

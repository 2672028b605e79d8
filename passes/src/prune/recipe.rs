//! What `--prune` can say.

use super::mask::Pattern;
use sinter_ir::{Diag, Result};
use std::fmt;

/// How weights that become zero are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The smallest.
    Magnitude,
    /// Those with the least to say, given the size of what they are multiplied with.
    Wanda,
    /// Those that the others can make up for, and the others do.
    SparseGpt,
}

/// What goes as a whole: the graph becomes smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Channels between the products of a feed-forward part.
    Ffn,
    /// Heads of attention, with the query heads that share one.
    Heads,
    /// Channels of convolutions.
    Channels,
}

/// One thing to do to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Weights of products become zero.
    Weights(Method, Pattern),
    /// At least so many percent of the units of every layer go.
    Units(Unit, u32),
    /// So many layers go.
    Layers(usize),
}

/// What is done to a model, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Each sees what the one before left.
    pub steps: Vec<Step>,
}

const METHODS: [(&str, Method); 3] =
    [("magnitude", Method::Magnitude), ("wanda", Method::Wanda), ("sparsegpt", Method::SparseGpt)];
const UNITS: [(&str, Unit); 3] = [("ffn", Unit::Ffn), ("heads", Unit::Heads), ("channels", Unit::Channels)];

/// Help for a recipe that cannot be read.
const GRAMMAR: &str = "magnitude, wanda or sparsegpt with a pattern behind: 50 (percent of the weights become zero), 2:4 (two of \
                       four neighbours), block32x1-50 (percent of the blocks of 32 rows by one column); or what goes as a whole: \
                       ffn-30, heads-25, channels-30 (percent), layers-2 (a number). Several with `+` between: ffn-30+wanda-50";

impl Step {
    /// Whether it wants to see what a model makes of a text.
    pub fn needs_data(&self) -> bool {
        !matches!(self, Self::Weights(Method::Magnitude, _) | Self::Units(Unit::Channels, _))
    }
    fn parse(text: &str) -> Result<Self, String> {
        let (what, how) = text.split_once('-').ok_or_else(|| format!("`{text}` does not say how much"))?;
        if let Some((_, m)) = METHODS.iter().find(|m| m.0 == what) {
            return Ok(Self::Weights(*m, pattern(how)?));
        }
        if let Some((_, u)) = UNITS.iter().find(|u| u.0 == what) {
            return Ok(Self::Units(*u, percent(how)?));
        }
        match (what, how.parse()) {
            ("layers", Ok(n @ 1..=1000)) => Ok(Self::Layers(n)),
            ("layers", _) => Err(format!("`{how}` is no number of layers")),
            _ => Err(format!("`{what}` is no way of pruning")),
        }
    }
}

fn percent(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is no percentage from 1 to 99");
    text.parse().ok().filter(|p| (1..=99).contains(p)).ok_or_else(wrong)
}

fn pattern(text: &str) -> Result<Pattern, String> {
    if let Some((zeros, of)) = text.split_once(':') {
        let few = (zeros.parse().ok(), of.parse::<usize>().ok().filter(|n| matches!(n, 2 | 4 | 8 | 16 | 32)));
        return match few {
            (Some(zeros), Some(of)) if zeros > 0 && zeros < of => Ok(Pattern::Few { zeros, of }),
            _ => Err(format!("`{text}`: zeros of 2, 4, 8, 16 or 32 neighbours, as in 2:4")),
        };
    }
    let Some(block) = text.strip_prefix("block") else { return Ok(Pattern::Part(percent(text)?)) };
    let wrong = || format!("`{text}`: expected rows x columns and percent, as in block32x1-50");
    let (dims, part) = block.split_once('-').ok_or_else(wrong)?;
    let (rows, columns) = dims.split_once('x').ok_or_else(wrong)?;
    let size = |t: &str| t.parse().ok().filter(|n: &usize| n.is_power_of_two() && *n <= 128);
    let (rows, columns) = size(rows).zip(size(columns)).ok_or_else(|| {
        format!("blocks of {rows} by {columns}: numbers of rows and columns are powers of two up to 128")
    })?;
    Ok(Pattern::Blocks { rows, columns, percent: percent(part)? })
}

impl Recipe {
    /// Reads a recipe; `none` is no recipe.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        if text == "none" {
            return Ok(None);
        }
        let wrong = |why: String| Diag::input(format!("--prune {text}: {why}")).help(GRAMMAR);
        let steps = text.split('+').map(|s| Step::parse(s).map_err(wrong)).collect::<Result<_>>()?;
        Ok(Some(Self { steps }))
    }
    /// Whether a step of it wants to see what a model makes of a text.
    pub fn needs_data(&self) -> bool {
        self.steps.iter().any(Step::needs_data)
    }
    /// Whether weights become zero that codes have to leave alone.
    pub fn makes_zeros(&self) -> bool {
        self.steps.iter().any(|s| matches!(s, Step::Weights(..)))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weights(m, pattern) => {
                let name = METHODS.iter().find(|n| n.1 == *m).map_or("", |n| n.0);
                write!(f, "{name}-{pattern}")
            }
            Self::Units(u, percent) => {
                write!(f, "{}-{percent}", UNITS.iter().find(|n| n.1 == *u).map_or("", |n| n.0))
            }
            Self::Layers(n) => write!(f, "layers-{n}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn recipes_say_what_users_expect() {
        let all = "magnitude-50+wanda-2:4+sparsegpt-block32x1-60+ffn-30+heads-25+channels-10+layers-2";
        let r = Recipe::parse(all).unwrap().unwrap();
        let shown: Vec<String> = r.steps.iter().map(Step::to_string).collect();
        assert_eq!(shown.join("+"), all);
        assert_eq!(r.steps[1], Step::Weights(Method::Wanda, Pattern::Few { zeros: 2, of: 4 }));
        assert!(r.needs_data() && r.makes_zeros());
        assert!(!Recipe::parse("magnitude-50").unwrap().unwrap().needs_data());
        assert!(!Recipe::parse("ffn-30").unwrap().unwrap().makes_zeros());
        assert_eq!(Recipe::parse("none").unwrap(), None);
        let wrong = ["", "wanda", "wanda-0", "wanda-100", "wanda-4:4", "wanda-1:3", "wanda-0:4", "ffn-2:4"];
        for wrong in wrong.into_iter().chain([
            "layers-0",
            "magic-50",
            "wanda-block3x1-50",
            "ffn-30+",
            "wanda-block32x1",
        ]) {
            assert!(Recipe::parse(wrong).is_err(), "{wrong}");
        }
    }
}

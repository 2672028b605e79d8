//! How caches hold keys and values: what `--kv-cache` says, and what a recipe says behind `kv`.

use sinter_ir::op::pages::{Pages, SPAN};
use sinter_ir::{DType, Diag, Result};
use std::fmt;
use std::str::FromStr;

/// How caches hold keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvCache {
    /// As floats.
    Floats(DType),
    /// The first and the newest positions as f16, the others as codes of so many bits.
    Codes(u32),
}

/// The names.
pub const NAMES: &[(&str, KvCache)] = &[
    ("f32", KvCache::Floats(DType::F32)),
    ("f16", KvCache::Floats(DType::F16)),
    ("bf16", KvCache::Floats(DType::BF16)),
    ("int8", KvCache::Codes(8)),
    ("int4", KvCache::Codes(4)),
    ("int3", KvCache::Codes(3)),
    ("int2", KvCache::Codes(2)),
];

impl KvCache {
    /// Type of what stays float.
    pub fn floats(self) -> DType {
        match self {
            KvCache::Floats(dtype) => dtype,
            KvCache::Codes(_) => DType::F16,
        }
    }
    /// What becomes codes; a layer that forgets has no use for the first positions.
    pub fn pages(self, forgets: bool) -> Option<Pages> {
        let KvCache::Codes(bits) = self else { return None };
        // Few bits: more scales. With more of them they would only cost room.
        let group = if bits < 4 { 32 } else { 64 };
        Some(Pages { bits, group, sinks: if forgets { 0 } else { SPAN }, recent: SPAN })
    }
    /// Takes the part of a recipe that is about caches away: `w4-kv4` is `w4` with caches of 4 bits.
    pub fn of_recipe(recipe: &str) -> Result<(&str, Option<Self>)> {
        let Some((front, bits)) = recipe.rsplit_once("kv") else { return Ok((recipe, None)) };
        let front = front.strip_suffix('-').unwrap_or(front);
        let front = if front.is_empty() { "none" } else { front };
        let cache = match bits {
            "16" => Some(KvCache::Floats(DType::F16)),
            n => n.parse().ok().map(KvCache::Codes).filter(|c| NAMES.iter().any(|(_, known)| known == c)),
        };
        let cache = cache.ok_or_else(|| {
            Diag::input(format!("--quantize {recipe}: caches of {bits} bits are not supported"))
                .help("kv16, kv8, kv4, kv3 or kv2 at the end: w4-kv4")
        })?;
        Ok((front, Some(cache)))
    }
}

impl FromStr for KvCache {
    type Err = String;
    fn from_str(s: &str) -> std::result::Result<Self, String> {
        let found = NAMES.iter().find(|(name, _)| *name == s).map(|(_, c)| *c);
        let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
        found.ok_or_else(|| format!("known are {}", names.join(", ")))
    }
}

impl fmt::Display for KvCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAMES.iter().find(|(_, c)| c == self).map_or("", |(name, _)| name))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_and_recipes() {
        for (name, cache) in NAMES {
            assert_eq!(name.parse::<KvCache>().unwrap(), *cache);
            assert_eq!(cache.to_string(), *name);
            assert!(cache.pages(false).is_none_or(|p| p.check().is_ok()));
        }
        assert!("int5".parse::<KvCache>().is_err());
        assert_eq!(KvCache::of_recipe("w4g128").unwrap(), ("w4g128", None));
        assert_eq!(KvCache::of_recipe("w4a8-kv4").unwrap(), ("w4a8", Some(KvCache::Codes(4))));
        assert_eq!(KvCache::of_recipe("w4a8kv8").unwrap(), ("w4a8", Some(KvCache::Codes(8))));
        assert_eq!(KvCache::of_recipe("kv2").unwrap(), ("none", Some(KvCache::Codes(2))));
        assert_eq!(KvCache::of_recipe("none-kv16").unwrap(), ("none", Some(KvCache::Floats(DType::F16))));
        assert!(KvCache::of_recipe("w4-kv5").is_err() && KvCache::of_recipe("w4-kv").is_err());
    }
}

//! What `--quantize` can say.

use serde::{Deserialize, Serialize};
use sinter_ir::op::quantized_matmul::Activations;
use sinter_ir::{Diag, Result};
use std::fmt;

/// Weights that share a scale, where nothing else is said.
const GROUP: usize = 32;

/// Bits and groups that products may get where they differ.
const MIXED_BITS: [u32; 6] = [2, 3, 4, 5, 6, 8];
const MIXED_GROUPS: [usize; 3] = [32, 64, 128];

/// How codes are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Method {
    /// The nearest ones.
    #[default]
    Rtn,
    /// Few errors that are large, by moving the zero of a block.
    Hqq,
    /// Least error of outputs, columns one after the other.
    Gptq,
    /// Strong channels spared, by scales and shrunk ranges.
    Awq,
    /// Scales and ranges of AWQ, codes of GPTQ.
    AwqGptq,
}

const METHODS: [(&str, Method); 5] = [
    ("rtn", Method::Rtn),
    ("hqq", Method::Hqq),
    ("gptq", Method::Gptq),
    ("awq", Method::Awq),
    ("awq-gptq", Method::AwqGptq),
];

impl Method {
    /// Whether it wants to know what weights are multiplied with.
    pub fn needs_data(self) -> bool {
        self.scales() || self.goes_on()
    }
    /// Whether channels are scaled.
    pub fn scales(self) -> bool {
        matches!(self, Method::Awq | Method::AwqGptq)
    }
    /// Whether errors go to columns that are still to come, and the model's later products see them.
    pub fn goes_on(self) -> bool {
        matches!(self, Method::Gptq | Method::AwqGptq)
    }
}

/// How one matrix becomes codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Scheme {
    /// How codes are chosen.
    pub method: Method,
    /// Bits of a code: 2, 3, 4, 5, 6 or 8.
    pub bits: u32,
    /// Weights of a row that share a scale; 0: the whole row.
    pub group: usize,
    /// Whether blocks have zero points of their own.
    pub asymmetric: bool,
    /// Whether scales are tried for the least squared error, instead of holding the largest weight.
    pub search: bool,
    /// Whether codes are numbers with an exponent and scales powers of two: mxfp4.
    #[serde(default)]
    pub float: bool,
}

impl Scheme {
    /// Weights of a row of `k` that share a scale.
    pub fn block(&self, k: usize) -> usize {
        let whole = k.max(1);
        if self.group == 0 { whole } else { self.group.min(whole) }
    }
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
    /// Whether those are rounded to 4 bits instead of 8, but for the ends.
    pub four: bool,
    /// Whether channels of activations are made equally large first.
    pub smooth: bool,
    /// In which basis a language model is rounded.
    pub basis: Basis,
    /// Whether products get bits by what the model loses, `weights` being what they get on average.
    pub mixed: Option<Mixed>,
}

/// What groups of products may become where they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mixed {
    /// Weights that share a scale, where the recipe says so.
    pub group: Option<usize>,
}

/// In which basis a language model is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Basis {
    /// Its own.
    #[default]
    Own,
    /// Rotated by Hadamard transforms.
    Hadamard,
    /// Rotated, by what makes few bits do.
    Learned,
    /// Rotated by Hadamard transforms where the architecture can be, else its own.
    Fitting,
}

impl Recipe {
    /// Whether codes are made by what the model makes of a text.
    pub fn calibrates(&self) -> bool {
        self.mixed.is_some() || self.weights.method.needs_data() || self.smooth
    }
    /// What activations of the product that gives logits become: there, coarse ones show most. With SmoothQuant they
    /// stay floats, as its authors leave that product alone.
    pub fn activations_at_end(&self) -> Activations {
        match self.activations {
            _ if self.smooth => Activations::Float,
            Activations::Rows => Activations::Blocks,
            other => other,
        }
    }
    /// Neighbouring activations that share a scale; 0: all of a token, or none.
    pub fn grain(&self) -> usize {
        if self.activations.per_block() { self.weights.group } else { 0 }
    }
    /// Whether anything is made by what the model makes of a text.
    pub fn looks(&self) -> bool {
        self.calibrates() || self.basis == Basis::Learned
    }
    /// What a product's weights may become.
    pub fn candidates(&self) -> Vec<Scheme> {
        let Some(mixed) = self.mixed else { return vec![self.weights] };
        let groups = mixed.group.map_or(MIXED_GROUPS.to_vec(), |g| vec![g]);
        let all = groups.into_iter().flat_map(|group| MIXED_BITS.map(|bits| (group, bits)));
        all.map(|(group, bits)| Scheme { group, bits, ..self.weights }).collect()
    }
}

/// Help for a recipe that cannot be read.
const GRAMMAR: &str = "rotate (Hadamard transforms) or spin (learned rotations) for language models, smooth (SmoothQuant), a \
                       method if it is not rounding (gptq, awq, both, or hqq), bits of weights (w2, w3, w4, w5, w6, w8, mxfp4: numbers with an exponent, or auto: by \
                       what the model loses), then as needed a8, a8c, a4 or a16 (activations), token (one scale for all activations of a token, as with \
                       gall), g16, g32, g64, g128 or gall (weights that share a scale), asym or sym (zero points), mse (scales \
                       by least error), e8, e6, e5 or e4 (bits of embeddings and the product that gives logits), with `-` between or without: w4, gptq-w4-g128, awq-w3-g64-a16, smooth-w8a8, \
                       rotate-gptq-w4a4-token";

/// What a recipe says so far.
#[derive(Default)]
struct Words {
    method: Option<Method>,
    bits: Option<u32>,
    group: Option<usize>,
    /// Bits.
    activations: Option<u32>,
    /// Bits.
    ends: Option<u32>,
    coarse: bool,
    token: bool,
    smooth: bool,
    basis: Option<Basis>,
    asymmetric: Option<bool>,
    search: bool,
    float: bool,
    mixed: bool,
}

impl Words {
    fn word(&mut self, word: &str) -> Result<(), String> {
        if let Some((_, m)) = METHODS.iter().find(|m| m.0 == word) {
            let both = [Some(Method::Awq), Some(Method::Gptq)];
            if self.method != Some(*m) && both.contains(&self.method) && both.contains(&Some(*m)) {
                self.method = Some(Method::AwqGptq);
                return Ok(());
            }
            return set(&mut self.method, *m, word);
        }
        match word {
            "asym" => set(&mut self.asymmetric, true, word),
            "sym" => set(&mut self.asymmetric, false, word),
            "mse" => {
                self.search = true;
                Ok(())
            }
            "token" => {
                self.token = true;
                Ok(())
            }
            "smooth" => {
                self.smooth = true;
                Ok(())
            }
            "rotate" => set(&mut self.basis, Basis::Hadamard, word),
            "spin" => set(&mut self.basis, Basis::Learned, word),
            "mxfp4" => {
                self.float = true;
                set(&mut self.bits, 4, word)
            }
            "auto" => {
                self.mixed = true;
                set(&mut self.bits, 4, word)
            }
            "" => Err("there is nothing between two `-`".into()),
            _ => self.numbers(word),
        }
    }
    /// Letters with numbers behind them, one after the other.
    fn numbers(&mut self, mut rest: &str) -> Result<(), String> {
        while let Some(key) = rest.chars().next() {
            let body = rest.get(key.len_utf8()..).unwrap_or_default();
            let end = body.find(|c| matches!(c, 'w' | 'a' | 'g' | 'e') && !body.starts_with("all"));
            let (value, next) = body.split_at(end.unwrap_or(body.len()));
            match (key, value) {
                ('w', "2" | "3" | "4" | "5" | "6" | "8") => {
                    set(&mut self.bits, value.parse().unwrap_or(4), "w")?
                }
                ('w', other) => return Err(format!("weights of {other} bits are not supported")),
                ('a', "4" | "8" | "16" | "32") => {
                    set(&mut self.activations, value.parse().unwrap_or(8), "a")?
                }
                ('a', "8c") => {
                    self.coarse = true;
                    set(&mut self.activations, 8, "a")?
                }
                ('a', other) => return Err(format!("activations of {other} bits are not supported")),
                ('e', "4" | "5" | "6" | "8") => set(&mut self.ends, value.parse().unwrap_or(8), "e")?,
                ('e', other) => return Err(format!("embeddings of {other} bits are not supported")),
                ('g', "all") => set(&mut self.group, 0, "g")?,
                ('g', "16" | "32" | "64" | "128" | "256") => {
                    set(&mut self.group, value.parse().unwrap_or(GROUP), "g")?;
                }
                ('g', n) => return Err(format!("groups of {n} weights are not supported")),
                _ => return Err(format!("`{rest}` means nothing")),
            }
            rest = next;
        }
        Ok(())
    }
}

fn set<T>(place: &mut Option<T>, value: T, word: &str) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("`{word}` comes after another of its kind")),
    }
}

impl Recipe {
    /// Reads a recipe; `none` is no recipe.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        if text == "none" {
            return Ok(None);
        }
        let wrong = |why: String| Diag::input(format!("--quantize {text}: {why}")).help(GRAMMAR);
        let mut words = Words::default();
        for word in text.split('-') {
            words.word(word).map_err(wrong)?;
        }
        let bits = words.bits.ok_or_else(|| wrong("it does not say how many bits weights have".into()))?;
        let method = words.method.unwrap_or(if words.mixed { Method::Gptq } else { Method::Rtn });
        if words.mixed && (method == Method::Hqq || words.smooth) {
            return Err(wrong("auto is for rounding, gptq and awq, without smooth".into()));
        }
        let group = words.group.unwrap_or(GROUP);
        // HQQ is all about where zero is.
        let asymmetric = !words.float && (method == Method::Hqq || method.scales());
        let asymmetric = words.asymmetric.unwrap_or(asymmetric);
        if method == Method::Hqq && !asymmetric {
            return Err(wrong("hqq moves the zero of blocks: it cannot be symmetric".into()));
        }
        if words.float && (asymmetric || words.search || !matches!(group, 32)) {
            return Err(wrong(
                "mxfp4 has scales for 32 weights that are powers of two, and no zero points".into(),
            ));
        }
        if words.smooth && !matches!(method, Method::Rtn | Method::Gptq) {
            return Err(wrong("smooth and the method both scale channels or move zeros: choose one".into()));
        }
        let weights = Scheme { method, bits, group, asymmetric, search: words.search, float: words.float };
        let activations = match words.activations {
            Some(16 | 32) if words.token => return Err(wrong("floats have no scale per token".into())),
            Some(16 | 32) => Activations::Float,
            _ if group == 0 || words.token => Activations::Rows,
            // Weights of few bits have lost more than coarse activations add.
            None if bits <= 4 => Activations::Coarse,
            _ if words.coarse => Activations::Coarse,
            _ => Activations::Blocks,
        };
        let four = words.activations == Some(4);
        // What is best on average, where nothing is said.
        let usual = if words.mixed && words.method.is_none() { Basis::Fitting } else { Basis::Own };
        let (smooth, basis) = (words.smooth, words.basis.unwrap_or(usual));
        if smooth && activations == Activations::Float {
            return Err(wrong("activations that stay floats need no smoothing".into()));
        }
        let ends = Scheme { bits: words.ends.unwrap_or(8), group: GROUP, ..Scheme::default() };
        let mixed = words.mixed.then_some(Mixed { group: words.group });
        Ok(Some(Self { weights, ends, activations, four, smooth, basis, mixed }))
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = METHODS.iter().find(|m| m.1 == self.method && m.1 != Method::Rtn) {
            write!(f, "{name}-")?;
        }
        if self.float {
            return f.write_str("mxfp4");
        }
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
        assert_eq!(of("w4").activations, Activations::Coarse);
        assert_eq!(of("w5").activations, Activations::Blocks);
        assert_eq!(of("w4a8").activations, Activations::Blocks);
        assert_eq!(of("w4a8c").activations, Activations::Coarse);
        assert_eq!(of("w4a8c-gall").activations, Activations::Rows);
        assert_eq!(of("w8gall").activations, Activations::Rows);
        assert_eq!(of("w8gall").weights.to_string(), "w8gall");
        assert_eq!((of("w8gall").ends.group, of("w8gall").activations_at_end()), (32, Activations::Blocks));
        assert_eq!(of("w8gall-a16").activations_at_end(), Activations::Float);
        assert_eq!((of("w4a4").activations, of("w4a4").four), (Activations::Blocks, true));
        assert_eq!(of("w4a4-token"), Recipe { activations: Activations::Rows, ..of("w4a4") });
        assert_eq!(of("w4a8c"), of("w4"));
        assert_eq!(of("w4e6").ends, Scheme { bits: 6, ..of("w4").ends });
        assert_eq!(of("w4-g64-e5-a16").ends.to_string(), "w5g32");
        assert_eq!((of("mxfp4").weights.to_string(), of("mxfp4").weights.bits), ("mxfp4".into(), 4));
        assert_eq!(of("rotate-gptq-mxfp4-a16").weights.to_string(), "gptq-mxfp4");
        assert!(of("awq-mxfp4").weights.float && !of("mxfp4").ends.float);
        let smooth = of("smooth-w8a8");
        assert_eq!((smooth.weights.group, smooth.activations), (32, Activations::Blocks));
        assert_eq!(of("smooth-w8a8-gall").activations, Activations::Rows);
        assert_eq!(smooth.activations_at_end(), Activations::Float);
        assert!(smooth.smooth && smooth.calibrates() && !of("spin-w4").calibrates());
        assert_eq!(of("rotate-gptq-w4a4"), Recipe { basis: Basis::Hadamard, ..of("gptq-w4a4") });
        assert_eq!(Recipe::parse("none").unwrap(), None);
        let wrong = [
            "",
            "w7",
            "w4g33",
            "4",
            "w4x",
            "w4-magic",
            "g32",
            "a8",
            "w4a2",
            "w4e7",
            "w4e6-e8",
            "mxfp4-g64",
            "hqq-mxfp4",
            "mxfp4-asym",
            "mxfp4-w4",
            "wall",
            "smooth-auto",
            "auto-w4",
            "hqq-auto",
            "w4a16-token",
            "w4g",
            "gptq",
            "w4-w8",
        ];
        for wrong in wrong.into_iter().chain([
            "gptq-awq-gptq-w4",
            "gptq-gptq-w4",
            "smooth-awq-w4",
            "smooth-w8a16",
            "spin-rotate-w4",
            "hqq-w4-sym",
            "-w4",
            "w4g32-g64",
        ]) {
            assert!(Recipe::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn methods_and_words_in_any_order() {
        let of = |t: &str| Recipe::parse(t).unwrap().unwrap();
        assert_eq!(of("gptq-w4-g128").weights.to_string(), "gptq-w4g128");
        assert_eq!(of("gptq-w4-g128"), of("w4g128-gptq-sym"));
        assert_eq!(of("awq-w3-g64-a16").activations, Activations::Float);
        assert_eq!(of("awq-w3-g64-a16").weights.to_string(), "awq-w3g64-asym");
        assert_eq!(of("hqq-w2-g32").weights.to_string(), "hqq-w2g32-asym");
        assert_eq!(of("rtn-w4"), of("w4"));
        assert_eq!(of("gptq-awq-w4").weights.to_string(), "awq-gptq-w4g32-asym");
        assert_eq!(of("awq-gptq-w4"), of("gptq-awq-w4"));
        assert_eq!((of("auto").weights, of("auto").basis), (of("gptq-w4").weights, Basis::Fitting));
        assert_eq!((of("awq-auto").basis, of("rotate-auto").basis), (Basis::Own, Basis::Hadamard));
        assert_eq!((of("auto").candidates().len(), of("gptq-auto-g64").candidates().len()), (18, 6));
        assert!(of("rtn-auto").calibrates() && !of("w4").calibrates());
        assert!(of("gptq-w4").weights.method.needs_data() && !of("hqq-w4").weights.method.needs_data());
    }
}

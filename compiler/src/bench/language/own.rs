//! Our own turns, and where their time goes.

use super::{Contender, Phase, Profiles};
use crate::bench::peaks::Peaks;
use crate::bench::profile;
use crate::bench::sites::Measured;
use crate::session::Session;
use crate::system::Clock;
use sinter_ir::{DType, Diag, Result, Tensor};
use sinter_llm::Model;
use sinter_llm::bundle::BundleModel;

/// A model that is ready.
pub struct Own {
    model: BundleModel,
    tokens: Vec<u32>,
    /// Tokens before those that are generated, and the caches that hold them.
    depth: usize,
    deep: Option<(Vec<u8>, Vec<f32>)>,
}

/// So many tokens that follow no pattern, always the same.
pub fn tokens(count: usize, vocabulary: usize) -> Vec<u32> {
    let mut x = 0x9e37_79b9_u64;
    let mut next = || {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((x >> 33) % vocabulary.max(1) as u64) as u32
    };
    (0..count).map(|_| next()).collect()
}

impl Own {
    /// With room for what the phases need.
    pub fn new(model: BundleModel, phases: [Phase; 2], depth: usize) -> Result<Self> {
        let [read, generate] = phases.map(Phase::tokens);
        let most = read.max(depth + generate);
        if model.capacity() < most {
            let room = model.capacity();
            return Err(Diag::limit(format!("{most} tokens do not fit the cache, which holds {room}"))
                .help("give smaller --prompt-tokens and --generate-tokens"));
        }
        let tokens = tokens(most, model.vocab());
        Ok(Self { model, tokens, depth, deep: None })
    }
    /// Begins behind so many tokens: where they were read before, from a copy of the caches.
    fn begin(&mut self, depth: usize) -> sinter_llm::Result<()> {
        if let Some((memory, logits)) = self.deep.as_ref().filter(|_| depth > 0) {
            return self.model.restore(memory, logits, depth);
        }
        self.model.rewind(0)?;
        let before = self.tokens.get(..depth).unwrap_or(&[]);
        before.chunks(self.model.chunk().max(1)).try_for_each(|c| self.model.forward(c))?;
        if depth > 0 {
            self.deep = Some((self.model.memory().to_vec(), self.model.logits().to_vec()));
        }
        Ok(())
    }
}

impl Contender for Own {
    fn time(&mut self, phase: Phase) -> Result<f64> {
        let failed = |e: sinter_llm::Error| Diag::input(e.message);
        let (size, depth) = match phase {
            Phase::Read(_) => (self.model.chunk().max(1), 0),
            Phase::Generate(_) => (1, self.depth),
        };
        self.begin(depth).map_err(failed)?;
        let tokens = self.tokens.get(depth..depth + phase.tokens()).unwrap_or(&[]);
        let clock = Clock::start();
        tokens.chunks(size).try_for_each(|c| self.model.forward(c)).map_err(failed)?;
        Ok(clock.seconds())
    }
}

/// Profiles one chunk in the middle of the prompt and one token in the middle of what is generated.
pub fn profiles(
    session: &mut Session,
    m: &Measured,
    peaks: &Peaks,
    phases: [Phase; 2],
    (chunk, depth): (usize, usize),
) -> Result<Profiles> {
    session.measure(m.sites.len())?;
    let [read, generate] = phases.map(Phase::tokens);
    let capacity = i64::try_from(read.max(depth + generate)).unwrap_or(i64::MAX);
    let mut one = |count: usize, position: usize| {
        let vocabulary = session.manifest.outputs.first().and_then(|o| o.range.last()).map_or(1, |r| r.0);
        let ids: Vec<f64> = tokens(count, vocabulary).into_iter().map(f64::from).collect();
        let inputs = [
            Tensor::from_f64(DType::I32, vec![count], &ids)?,
            Tensor::from_f64(DType::I64, vec![1], &[position as f64])?,
        ];
        let mut states = session.states(capacity)?;
        let collect = |ready: &mut crate::session::Ready| profile::collect(ready, m, peaks.clone(), true);
        session.with(Some(&mut states), &inputs, collect).map(|(p, _)| p)
    };
    let chunk = chunk.min(read);
    let read = one(chunk, (read - chunk) / 2)?;
    let generate = one(1, depth + generate / 2)?;
    let bytes_per_token = generate.sites.iter().map(|s| s.bytes).sum();
    let memory_floor = peaks.read.last().map(|l| bytes_per_token / l.rate);
    Ok(Profiles { read, generate, bytes_per_token, memory_floor })
}

//! Pieces of a model on this machine: compiled by the usual pipeline, equal ones once, and run on windows of text.

use crate::driver;
use crate::manifest::Manifest;
use crate::session::Session;
use sinter_backends as backends;
use sinter_ir::{DType, Diag, Module, Result, Tensor};
use sinter_passes::compress::segments::{Feed, Segment};
use sinter_passes::compress::stats::Statistics;
use sinter_passes::pipeline::{self, PipelineOptions};
use sinter_runtime::{Aligned, Image};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Weights in the place of the model's, by name: `[k, n]` of f32.
pub type Instead = BTreeMap<String, Tensor>;

/// What a piece gave, for every window.
pub type Stream = Vec<Tensor>;

/// Is told the numbers of stream and window, and what a piece gave.
pub type Told<'a> = dyn FnMut(usize, usize, &[Tensor]) -> Result<()> + 'a;

/// Runs pieces one after the other.
pub struct Runner {
    threads: usize,
    /// Inputs of the model for every window.
    given: Vec<Vec<Tensor>>,
    /// What the last piece gave, for every window.
    carried: Stream,
    /// Tokens of a window.
    window: usize,
    /// Shared by all that run the same model.
    machines: Rc<RefCell<Machines>>,
}

/// What pieces became, and weights of the one that ran last.
#[derive(Default)]
struct Machines {
    made: Vec<(Module, Session)>,
    /// By name, with what they were read from: that may mean to decode and to rotate them, and a piece is run many times
    /// before the next one's turn.
    weights: BTreeMap<String, (Tensor, Tensor)>,
}

/// Sums of a tap.
struct Sums {
    gram: Vec<f64>,
    size: Vec<f64>,
    sample: Vec<f32>,
}

/// Rows of all windows together that are kept, at most.
pub const SAMPLE: usize = 512;

impl Sums {
    fn new(k: usize) -> Self {
        Self { gram: vec![0.0; k * k], size: vec![0.0; k], sample: vec![] }
    }
    /// Keeps so many rows of a window, evenly spread: others of every window, for first tokens are not like others.
    fn rows(&mut self, x: &Tensor, window: usize, kept: usize) {
        let k = self.size.len().max(1);
        let values: Vec<f32> = x.bytes().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let step = (values.len() / k / kept.max(1)).max(1);
        for (i, row) in values.chunks_exact(k).enumerate() {
            if i % step == window % step && i / step < kept {
                self.sample.extend_from_slice(row);
            }
        }
    }
}

/// Rows of a window that are kept.
pub fn kept(windows: usize, window: usize) -> usize {
    (SAMPLE / windows.max(1)).clamp(1, window.max(1))
}

fn add(sums: &mut [f64], t: &Tensor) {
    let values = t.bytes().as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b)));
    sums.iter_mut().zip(values).for_each(|(s, v)| *s += v);
}

impl Runner {
    /// For windows of token ids, all of one length.
    pub fn new(windows: &[&[u32]], threads: usize) -> Result<Self> {
        let one = |w: &&[u32]| {
            let bytes: Vec<u8> = w.iter().flat_map(|t| (*t as i32).to_le_bytes()).collect();
            Ok(vec![Tensor::from_bytes(DType::I32, vec![w.len()], bytes)?, Tensor::i64s(&[0])])
        };
        let given = windows.iter().map(one).collect::<Result<_>>()?;
        let window = windows.first().map_or(0, |w| w.len());
        Ok(Self { threads, given, carried: vec![], window, machines: Rc::default() })
    }
    /// The same for some of the windows, and no more than so many tokens of each.
    pub fn fewer(&self, windows: usize, tokens: usize) -> Result<Self> {
        let window = self.window.min(tokens);
        let cut = |given: &Vec<Tensor>| match given.as_slice() {
            [ids, position] => {
                let ids = Tensor::from_bytes(DType::I32, vec![window], ids.bytes()[..4 * window].to_vec())?;
                Ok(vec![ids, position.clone()])
            }
            _ => Err(Diag::bug("a window is token ids and a position")),
        };
        let step = self.given.len().div_ceil(windows).max(1);
        let given = self.given.iter().step_by(step).map(cut).collect::<Result<_>>()?;
        Ok(Self { threads: self.threads, given, carried: vec![], window, machines: self.machines.clone() })
    }
    /// Token ids of a window.
    pub fn ids(&self, window: usize) -> Result<Vec<i64>> {
        let ids = self.given.get(window).and_then(|g| g.first());
        ids.ok_or_else(|| Diag::bug("a window without tokens"))?.to_i64()
    }
    /// What the last piece gave, for every window.
    pub fn carried(&self) -> &[Tensor] {
        &self.carried
    }
    /// Goes on behind a piece that gave this.
    pub fn resume(&mut self, carried: Stream) {
        self.carried = carried;
    }
    /// Moments of what the products of a piece read. Goes on to the next piece where `go_on`.
    pub fn measure(
        &mut self,
        s: &Segment,
        go_on: bool,
        step: &dyn Fn(usize),
    ) -> Result<Vec<Statistics>, Vec<Diag>> {
        let one = |d: Diag| vec![d];
        let mut sums: Vec<Sums> = s.taps.iter().map(|t| Sums::new(t.k)).collect();
        let kept = kept(self.given.len(), self.window);
        let next = usize::from(s.goes_on());
        self.each(&s.module, &s.feeds, &Instead::new(), go_on && next > 0, &mut |i, outputs| {
            for (sums, out) in sums.iter_mut().zip(outputs.get(next..).unwrap_or(&[]).chunks(3)) {
                if let [gram, size, rows] = out {
                    add(&mut sums.gram, gram);
                    add(&mut sums.size, size);
                    sums.rows(rows, i, kept);
                }
            }
            step(i + 1);
        })?;
        let rows = (self.given.len() * self.window) as u64;
        let mean = |v: Vec<f64>| v.into_iter().map(|v| (v / rows as f64) as f32).collect();
        let all = sums.into_iter().zip(&s.taps).map(|(sums, t)| {
            let name = t.products.first().map(|p| p.name.clone()).unwrap_or_default();
            let all = Statistics::new(rows, mean(sums.gram), mean(sums.size)).map_err(|d| d.at(name))?;
            Ok(all.seen(sums.sample))
        });
        all.collect::<Result<_>>().map_err(one)
    }
    /// Goes on to the next piece, with other weights.
    pub fn pass(&mut self, s: &Segment, instead: &Instead) -> Result<(), Vec<Diag>> {
        match &s.plain {
            Some((m, feeds)) if s.goes_on() => self.each(m, feeds, instead, true, &mut |_, _| {}),
            _ => Ok(()),
        }
    }
    /// Runs a piece on all windows; its first output is kept for the next one where `keep`.
    fn each(
        &mut self,
        module: &Module,
        feeds: &[Feed],
        instead: &Instead,
        keep: bool,
        f: &mut dyn FnMut(usize, &[Tensor]),
    ) -> Result<(), Vec<Diag>> {
        let mut streams = [std::mem::take(&mut self.carried)];
        let done = self.streams((module, feeds), instead, &mut streams, keep, &mut |_, i, out| {
            f(i, out);
            Ok(())
        });
        let [carried] = streams;
        self.carried = carried;
        done
    }
    /// Runs a piece with other weights on several streams, each what the piece before gave for all windows. What it gives
    /// takes their place where `keep`, and is told with the numbers of stream and window. Weights are read once.
    pub fn many(
        &mut self,
        s: &Segment,
        instead: &Instead,
        streams: &mut [Stream],
        keep: bool,
        f: &mut Told,
    ) -> Result<(), Vec<Diag>> {
        match &s.plain {
            Some((m, feeds)) => self.streams((m, feeds), instead, streams, keep, f),
            None => Ok(()),
        }
    }
    fn streams(
        &mut self,
        (module, feeds): (&Module, &[Feed]),
        instead: &Instead,
        streams: &mut [Stream],
        keep: bool,
        f: &mut Told,
    ) -> Result<(), Vec<Diag>> {
        let one = |d: Diag| vec![d];
        let missing = || one(Diag::bug("a piece without what it reads"));
        let mut machines = self.machines.borrow_mut();
        let constants = machines.constants(feeds, instead).map_err(one)?;
        let at = machines.machine(module, self.threads)?;
        let (_, session) = machines.made.get_mut(at).ok_or_else(missing)?;
        for (n, stream) in streams.iter_mut().enumerate() {
            for (i, given) in self.given.iter().enumerate() {
                let mut inputs = vec![];
                for (feed, constant) in feeds.iter().zip(&constants) {
                    inputs.push(match (feed, constant) {
                        (Feed::State, _) => continue,
                        (Feed::Carried, _) => stream.get(i).cloned(),
                        (Feed::Given(n), _) => given.get(*n).cloned(),
                        (_, constant) => constant.clone(),
                    });
                }
                let inputs: Option<Vec<Tensor>> = inputs.into_iter().collect();
                let inputs = inputs.ok_or_else(missing)?;
                let outputs = match module.states.is_empty() {
                    true => session.run(&inputs),
                    false => session
                        .states(self.window as i64)
                        .and_then(|mut states| session.run_on(&mut states, &inputs)),
                };
                let outputs = outputs.map_err(one)?;
                f(n, i, &outputs).map_err(one)?;
                if let (true, Some(next)) = (keep, outputs.into_iter().next()) {
                    match stream.get_mut(i) {
                        Some(place) => *place = next,
                        None => stream.push(next),
                    }
                }
            }
        }
        Ok(())
    }
}

impl Machines {
    /// Constants of a piece, in memory.
    fn constants(&mut self, feeds: &[Feed], instead: &Instead) -> Result<Vec<Option<Tensor>>> {
        let own = |name: &String| feeds.iter().any(|f| matches!(f, Feed::Weights(n, _) if n == name));
        self.weights.retain(|name, _| own(name));
        let mut all = vec![];
        for f in feeds {
            all.push(match f {
                Feed::Constant(t, dtype) => Some(typed(t, *dtype)?),
                Feed::Weights(name, t) => Some(match (instead.get(name), self.weights.get(name)) {
                    (Some(other), _) => other.clone(),
                    (None, Some((from, read))) if from == t => read.clone(),
                    _ => {
                        let read = typed(t, DType::F32)?;
                        self.weights.insert(name.clone(), (t.clone(), read.clone()));
                        read
                    }
                }),
                Feed::Carried | Feed::Given(_) | Feed::State => None,
            });
        }
        Ok(all)
    }
    /// The compiled form of a module.
    fn machine(&mut self, module: &Module, threads: usize) -> Result<usize, Vec<Diag>> {
        let one = |d: Diag| vec![d];
        if let Some(i) = self.made.iter().position(|m| m.0 == *module) {
            return Ok(i);
        }
        let target = driver::native().map_err(one)?;
        let compiled = pipeline::run(module.clone(), &mut PipelineOptions::default(), target)?;
        let program = compiled.program.ok_or_else(|| one(Diag::bug("a piece without a program")))?;
        let emitted = backends::emit(&program, target).map_err(one)?;
        let weights = Aligned::copy_of(&emitted.weights).map_err(|e| one(Diag::limit(e.to_string())))?;
        let manifest = Manifest::new(&program, target, 0);
        let session = Session::new(manifest, &emitted.archive, Image::Heap(weights), threads);
        self.made.push((module.clone(), session.map_err(one)?));
        Ok(self.made.len() - 1)
    }
}

/// A tensor in memory, in another type.
fn typed(t: &Tensor, dtype: DType) -> Result<Tensor> {
    let t = t.load()?;
    if t.dtype() == dtype { Ok(t) } else { Tensor::from_f32(dtype, t.shape().to_vec(), &t.to_f32()?) }
}

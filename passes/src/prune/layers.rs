//! Whole layers go: what comes into one is what comes out of it.

use crate::compress::segments::borders;
use crate::rebuild::Rebuild;
use crate::report::PassReport;
use sinter_ir::{Diag, Module, Result, State, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// A layer of a language model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its number in the names of its weights.
    pub number: u32,
    /// What comes in, where that is one value.
    pub before: Option<ValueId>,
    /// What comes out, where that is one value.
    pub behind: Option<ValueId>,
}

/// The number in a name like `model.layers.7.mlp.up_proj.weight`.
pub fn number(name: &str) -> Option<u32> {
    name.split('.').find_map(|part| part.parse().ok())
}

/// The layers of a model, in order: pieces between which one value is all that is known, joined by the numbers in the names
/// of their weights.
pub fn blocks(module: &Module) -> Vec<Block> {
    let mut out: Vec<Block> = vec![];
    let mut before = None;
    for (names, behind) in borders(module) {
        let number = names.iter().find_map(|n| number(n));
        match (out.last_mut(), number) {
            (Some(b), Some(n)) if b.number == n => b.behind = behind,
            (_, Some(n)) => out.push(Block { number: n, before, behind }),
            (_, None) => {}
        }
        before = behind;
    }
    out
}

/// How much a layer changes what goes through it: one minus the mean cosine between rows before and behind it.
pub fn influence(before: &[f32], behind: &[f32], width: usize) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let width = width.max(1);
    let cosine = |(a, b): (&[f32], &[f32])| {
        let norm = (dot(a, a) * dot(b, b)).sqrt();
        if norm > 0.0 { dot(a, b) / norm } else { 1.0 }
    };
    let all: Vec<f64> = before.chunks_exact(width).zip(behind.chunks_exact(width)).map(cosine).collect();
    1.0 - all.iter().sum::<f64>() / all.len().max(1) as f64
}

/// Takes layers out of a module, and the states that only they have.
pub fn drop(module: &mut Module, numbers: &[u32], report: &mut PassReport) -> Result<()> {
    if numbers.is_empty() {
        return Ok(());
    }
    let all = blocks(module);
    let mut instead: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    for n in numbers {
        let ends = all.iter().find(|b| b.number == *n).and_then(|b| b.behind.zip(b.before));
        let (behind, before) = ends.ok_or_else(|| {
            Diag::unsupported(format!("layer {n} has no end where one value is all that is known"))
        })?;
        instead.insert(behind, before);
    }
    let mut g = std::mem::take(&mut module.graph);
    let live = live(&g, &module.states, &instead);
    let (mut states, mut dead_inputs, mut dead_outputs) = (vec![], BTreeSet::new(), BTreeSet::new());
    for s in &module.states {
        let input = g.inputs.get(s.input as usize).ok_or_else(|| Diag::bug("a state without an input"))?;
        if live.contains(input) {
            states.push(*s);
        } else {
            dead_inputs.insert(s.input);
            dead_outputs.insert(s.output);
        }
    }
    let shifted = |at: u32, dead: &BTreeSet<u32>| at - dead.range(..at).count() as u32;
    let states = states
        .iter()
        .map(|s| State { input: shifted(s.input, &dead_inputs), output: shifted(s.output, &dead_outputs) })
        .collect();
    g.outputs = g
        .outputs
        .iter()
        .enumerate()
        .filter(|(i, _)| !dead_outputs.contains(&(*i as u32)))
        .map(|o| *o.1)
        .collect();
    let mut rb = Rebuild::empty(&g, &mut module.symbols, report);
    for (_, v) in g.inputs.iter().enumerate().filter(|(i, _)| !dead_inputs.contains(&(*i as u32))) {
        let new = rb.graph.add_input(g.ty(*v).clone(), g.value(*v).name.clone());
        rb.bind(*v, new);
    }
    for (_, n) in g.iter() {
        if let Some((behind, before)) = n.outputs.iter().find_map(|v| instead.get_key_value(v)) {
            let new = rb.get(*before)?;
            rb.bind(*behind, new);
        } else if n.outputs.is_empty() || n.outputs.iter().any(|v| live.contains(v)) {
            rb.copy(n)?;
        }
    }
    (0..numbers.len()).for_each(|_| rb.report.fired("prune/layer"));
    let graph = rb.finish(true)?;
    (module.graph, module.states) = (graph, states);
    Ok(())
}

/// Values that results need when some values stand for others; states are written where they are read.
fn live(g: &sinter_ir::Graph, states: &[State], instead: &BTreeMap<ValueId, ValueId>) -> BTreeSet<ValueId> {
    let written = |i: &usize| states.iter().any(|s| s.output as usize == *i);
    let mut rest: Vec<ValueId> =
        g.outputs.iter().enumerate().filter(|(i, _)| !written(i)).map(|o| *o.1).collect();
    rest.extend(g.iter().filter(|(_, n)| n.outputs.is_empty()).flat_map(|(_, n)| n.inputs.clone()));
    let mut live = BTreeSet::new();
    loop {
        while let Some(v) = rest.pop() {
            match instead.get(&v) {
                Some(before) => rest.push(*before),
                None if live.insert(v) => {
                    rest.extend(g.def(v).iter().flat_map(|n| n.inputs.iter().chain(&n.outputs)))
                }
                None => {}
            }
        }
        let read = states.iter().filter(|s| g.inputs.get(s.input as usize).is_some_and(|v| live.contains(v)));
        rest.extend(read.filter_map(|s| g.outputs.get(s.output as usize)).filter(|v| !live.contains(v)));
        if rest.is_empty() {
            return live;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use sinter_ir::op::binary::{Binary, BinaryKind};
    use sinter_ir::op::unary::{Unary, UnaryKind};
    use sinter_ir::op::{Constant, Gather, MatMul, WriteSlice};
    use sinter_ir::{DType, Graph, Op, Symbols, Tensor, TensorType, eval};

    const WIDTH: usize = 64;

    /// Layers that add to a stream and write what they made to a state of their own.
    fn model(layers: &[u32]) -> Module {
        let (mut g, mut s) = (Graph::default(), Symbols::default());
        let ids = g.add_input(TensorType::new(DType::I64, vec![5.into()]), Some("ids".into()));
        let state = |g: &mut Graph, l: &u32| {
            let ty = TensorType::new(DType::F32, vec![5.into(), WIDTH.into()]);
            g.add_input(ty, Some(format!("state {l}").into()))
        };
        let states: Vec<ValueId> = layers.iter().map(|l| state(&mut g, l)).collect();
        let weights = |g: &mut Graph, s: &mut Symbols, name: String, rows: usize, seed: usize| {
            let v: Vec<f32> =
                (0..rows * WIDTH).map(|i| ((i * 31 + seed * 7) % 97) as f32 / 97.0 - 0.5).collect();
            let tensor = Tensor::f32s(vec![rows, WIDTH], &v).unwrap();
            let c = g.add1(s, Constant { tensor }.into(), &[], &vec![]).unwrap();
            g.set_name(c, name.into());
            c
        };
        let add = |g: &mut Graph, s: &mut Symbols, op: Op, x: &[ValueId]| g.add1(s, op, x, &vec![]).unwrap();
        let table = weights(&mut g, &mut s, "embed".into(), 96, 1);
        let mut x = add(&mut g, &mut s, Gather { axis: 0 }.into(), &[table, ids]);
        let mut written = vec![];
        for (l, state) in layers.iter().zip(states) {
            let w = weights(&mut g, &mut s, format!("model.layers.{l}.w"), WIDTH, 3 + *l as usize);
            let h = add(&mut g, &mut s, MatMul::default().into(), &[x, w]);
            let h = add(&mut g, &mut s, Unary { kind: UnaryKind::Tanh }.into(), &[h]);
            let h = add(&mut g, &mut s, WriteSlice { axis: 0, at: 0.into() }.into(), &[state, h]);
            written.push(h);
            x = add(&mut g, &mut s, Binary { kind: BinaryKind::Add }.into(), &[x, h]);
        }
        let w = weights(&mut g, &mut s, "head".into(), WIDTH, 2);
        let y = add(&mut g, &mut s, MatMul::default().into(), &[x, w]);
        g.outputs = std::iter::once(y).chain(written).collect();
        let states = (1..=layers.len() as u32).map(|i| State { input: i, output: i }).collect();
        Module { name: "toy".into(), symbols: s, graph: g, states, ..Module::default() }
    }

    fn results(m: &Module) -> Vec<Tensor> {
        let mut inputs = vec![Tensor::i64s(&[0, 95, 7, 7, 31])];
        inputs.extend(m.states.iter().map(|_| Tensor::zeros(DType::F32, vec![5, WIDTH]).unwrap()));
        eval::module(m, &inputs).unwrap()
    }

    #[test]
    fn a_model_without_layers_is_the_one_that_never_had_them() {
        let all = model(&[0, 1, 2, 3]);
        let numbers: Vec<u32> = blocks(&all).iter().map(|b| b.number).collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
        for gone in [vec![1], vec![2], vec![1, 2]] {
            let mut m = all.clone();
            drop(&mut m, &gone, &mut PassReport::default()).unwrap();
            assert_eq!(m.verify(), []);
            let left: Vec<u32> = (0..4).filter(|l| !gone.contains(l)).collect();
            assert_eq!(results(&m), results(&model(&left)), "{gone:?}");
            let name = |v: &ValueId| m.graph.value(*v).name.as_deref().unwrap().to_owned();
            let states: Vec<String> = m.graph.inputs[1..].iter().map(name).collect();
            assert_eq!(states, left.iter().map(|l| format!("state {l}")).collect::<Vec<_>>());
        }
        // What looks up the words belongs to the first, what gives the results may belong to the last.
        for n in [0, 3, 7] {
            assert!(drop(&mut all.clone(), &[n], &mut PassReport::default()).is_err());
        }
    }

    #[test]
    fn a_layer_that_does_nothing_has_no_influence() {
        let x = [1.0, 2.0, -1.0, 0.5];
        assert!(influence(&x, &x, 2).abs() < 1e-12);
        let scaled = x.map(|v| 3.0 * v);
        assert!(influence(&x, &scaled, 2).abs() < 1e-12);
        assert!((influence(&[1.0, 0.0], &[0.0, 1.0], 2) - 1.0).abs() < 1e-12);
        assert!((influence(&[1.0, 0.0, 1.0, 0.0], &[0.0, 1.0, 1.0, 0.0], 2) - 0.5).abs() < 1e-12);
        assert_eq!(number("model.layers.17.mlp.up_proj.weight"), Some(17));
        assert_eq!(number("lm_head.weight"), None);
    }
}

//! Families of units: those that go through the same weights.

use super::labels::Labels;
use super::shrink::Removed;
use crate::prune::recipe::Unit;
use crate::prune::{PruneStat, Pruned, Step};
use sinter_ir::{Graph, Module, Op, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// What a unit has in a matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// The user's name of the weights.
    pub name: String,
    /// The constant.
    pub value: ValueId,
    /// The axis along which units lie.
    pub axis: usize,
    /// Whether it reads units, or makes them.
    pub reads: bool,
    /// Indices of every unit.
    pub indices: Vec<Vec<usize>>,
}

/// Units of which any may go.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// What they are.
    pub unit: Unit,
    /// Their number.
    pub len: usize,
    /// Weights of contractions that make or read them.
    pub sides: Vec<Side>,
    /// Why none of them can go.
    pub pinned: Option<String>,
}

impl Family {
    /// Contractions that read units.
    pub fn readers(&self) -> impl Iterator<Item = &Side> {
        self.sides.iter().filter(|s| s.reads)
    }
    /// Notes that some units go.
    pub fn remove(&self, g: &Graph, step: &Step, gone: &[usize], out: &mut Pruned) {
        let of = |s: &Side| -> Vec<usize> {
            gone.iter().filter_map(|u| s.indices.get(*u)).flatten().copied().collect()
        };
        // One side tells the others.
        if let Some(s) = self.sides.first() {
            out.units.push(Removed { name: s.name.clone(), axis: s.axis, indices: of(s) });
        }
        for s in &self.sides {
            let before: Vec<u64> = g
                .constant(s.value)
                .map(|t| t.shape().iter().map(|d| *d as u64).collect())
                .unwrap_or_default();
            let mut after = before.clone();
            if let Some(d) = after.get_mut(s.axis) {
                *d -= of(s).len() as u64;
            }
            let matrix = |mut dims: Vec<u64>| {
                // Rows of weights are what a result is made with.
                if dims.len() == 2 {
                    dims.reverse();
                }
                dims
            };
            let lost = of(s).len() as f64 * 100.0 / before.get(s.axis).copied().unwrap_or(1).max(1) as f64;
            let zeros = (lost * 100.0).round() / 100.0;
            let (before, after) = (matrix(before), matrix(after));
            let (name, step) = (s.name.clone(), step.to_string());
            // A matrix may lose both inputs and outputs.
            match out.stats.iter_mut().find(|o| o.name == name) {
                Some(o) => {
                    let dims =
                        o.after.iter().zip(&before).zip(&after).map(|((o, b), a)| *o + a - b).collect();
                    o.after = dims;
                    let size = |d: &[u64]| d.iter().product::<u64>() as f64;
                    o.zeros = ((1.0 - size(&o.after) / size(&o.before).max(1.0)) * 1e4).round() / 100.0;
                }
                None => {
                    out.stats.push(PruneStat { name, step, before, after, zeros, ..PruneStat::default() })
                }
            }
        }
    }
}

/// What a unit has in each matrix.
type Places = BTreeMap<(ValueId, usize), Vec<usize>>;
/// Matrices of units, and how much they have in each.
type Key = Vec<(ValueId, usize, usize)>;

/// Weights of contractions, by constant: whether their axis reads channels, or makes them.
fn contractions(g: &Graph) -> BTreeMap<(ValueId, usize), bool> {
    let mut out = BTreeMap::new();
    for (_, n) in g.iter() {
        let Some(&w) = n.inputs.get(1).filter(|w| g.constant(**w).is_some()) else { continue };
        match &n.op {
            Op::MatMul(_) if g.ty(w).rank() == 2 => out.extend([((w, 0), true), ((w, 1), false)]),
            Op::Conv(c) if c.group == 1 => out.extend([((w, 1), true), ((w, 0), false)]),
            Op::ConvTranspose(_) => out.extend([((w, 0), true), ((w, 1), false)]),
            _ => {}
        }
    }
    out
}

/// All families of a module, in the order of their first weights; those that cannot go too.
pub fn families(module: &Module, l: &Labels) -> Vec<Family> {
    let g = &module.graph;
    let known = contractions(g);
    let mut units: BTreeMap<u32, Places> = BTreeMap::new();
    for ((v, axis), labels) in l.axes.iter().filter(|a| known.contains_key(a.0)) {
        for (i, label) in labels.iter().enumerate() {
            units.entry(l.root(*label)).or_default().entry((*v, *axis)).or_default().push(i);
        }
    }
    // Units with the same matrices, and as much in them, are a family.
    let mut found: BTreeMap<Key, Vec<(u32, Places)>> = BTreeMap::new();
    for (root, places) in units {
        let key = places.iter().map(|((v, a), i)| (*v, *a, i.len())).collect();
        found.entry(key).or_default().push((root, places));
    }
    let mut out = vec![];
    for (key, mut units) in found {
        let makes = key.iter().any(|(v, a, _)| known.get(&(*v, *a)) == Some(&false));
        let reads = key.iter().any(|(v, a, _)| known.get(&(*v, *a)) == Some(&true));
        if !makes {
            continue;
        }
        let pinned = units.iter().find_map(|(r, _)| l.why_not(*r)).map(str::to_owned);
        let pinned = pinned.or_else(|| (!reads).then(|| "nothing that is known reads them".to_owned()));
        // In the order of the first matrix.
        units.sort_by(|a, b| a.1.values().next().cmp(&b.1.values().next()));
        let heads = units.iter().any(|(r, _)| l.is_head(*r));
        let convs = key.iter().any(|(v, ..)| g.ty(*v).rank() > 2);
        let unit = if heads {
            Unit::Heads
        } else if convs {
            Unit::Channels
        } else {
            Unit::Ffn
        };
        let side = |(v, a): (ValueId, usize)| Side {
            name: g.value(v).name.as_deref().unwrap_or_default().to_owned(),
            value: v,
            axis: a,
            reads: known.get(&(v, a)) == Some(&true),
            indices: units.iter().filter_map(|(_, p)| p.get(&(v, a)).cloned()).collect(),
        };
        let sides = key.iter().map(|(v, a, _)| side((*v, *a))).collect();
        out.push(Family { unit, len: units.len(), sides, pinned });
    }
    name_once(g, &mut out);
    out
}

/// Weights must be found again by their names.
fn name_once(g: &Graph, all: &mut [Family]) {
    let mut seen: BTreeMap<&str, BTreeSet<ValueId>> = BTreeMap::new();
    for (_, n) in g.iter().filter(|(_, n)| matches!(n.op, Op::Constant(_))) {
        for v in &n.outputs {
            if let Some(name) = g.value(*v).name.as_deref() {
                seen.entry(name).or_default().insert(*v);
            }
        }
    }
    for f in all {
        let bad = f.sides.iter().any(|s| seen.get(s.name.as_str()).is_none_or(|v| v.len() != 1));
        if bad && f.pinned.is_none() {
            f.pinned = Some("their weights have no name of their own".to_owned());
        }
    }
}

//! Labels of indices, and which of them are one.

use super::rules;
use sinter_ir::{Module, Op, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// Labels of all values of a graph.
#[derive(Debug, Default)]
pub struct Labels {
    /// Of the indices along an axis of a value.
    pub axes: BTreeMap<(ValueId, usize), Vec<u32>>,
    /// Parents in a forest whose trees are units.
    parent: Vec<u32>,
    /// Why units cannot go, by root.
    pinned: BTreeMap<u32, String>,
    /// Roots of units that are heads of attention.
    heads: BTreeSet<u32>,
}

impl Labels {
    /// Goes through the main graph of a module.
    pub fn of(module: &Module) -> Self {
        let g = &module.graph;
        let mut l = Self::default();
        for (_, n) in g.iter() {
            // Constants get labels where they are read.
            if !matches!(n.op, Op::Constant(_)) {
                rules::node(&mut l, g, n);
            }
        }
        l.check_constants(module);
        let states: Vec<usize> = module.states.iter().map(|s| s.output as usize).collect();
        for (i, v) in g.outputs.iter().enumerate().filter(|(i, _)| !states.contains(i)) {
            let name = g.value(*v).name.clone().unwrap_or_else(|| format!("output {i}").into());
            l.pin(*v, &format!("{name} is a result of the model"));
        }
        l
    }
    /// Constants that something reads without following their labels keep all they have.
    fn check_constants(&mut self, module: &Module) {
        let g = &module.graph;
        for (_, n) in g.iter() {
            let labelled =
                n.outputs.iter().any(|v| self.axes.range((*v, 0)..=(*v, usize::MAX)).next().is_some());
            for (i, v) in n.inputs.iter().enumerate().filter(|(_, v)| g.constant(**v).is_some()) {
                let weights = i == 1 && matches!(n.op, Op::MatMul(_) | Op::Conv(_) | Op::ConvTranspose(_));
                if !labelled && !weights {
                    self.pin(*v, &format!("{} needs all of a constant that they share", n.op.name()));
                }
            }
        }
    }
    /// A unit's label that stands for all of them.
    pub fn root(&self, mut label: u32) -> u32 {
        while let Some(up) = self.parent.get(label as usize).filter(|p| **p != label) {
            label = *up;
        }
        label
    }
    /// Why a unit cannot go.
    pub fn why_not(&self, root: u32) -> Option<&str> {
        self.pinned.get(&root).map(String::as_str)
    }
    /// Whether a unit is a head of attention.
    pub fn is_head(&self, root: u32) -> bool {
        self.heads.contains(&root)
    }
    /// New labels.
    pub(super) fn fresh(&mut self, n: usize) -> Vec<u32> {
        let first = self.parent.len() as u32;
        self.parent.extend(first..first + n as u32);
        (first..first + n as u32).collect()
    }
    /// Makes two labels one.
    pub(super) fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        let (low, high) = (a.min(b), a.max(b));
        if low == high {
            return;
        }
        if let Some(p) = self.parent.get_mut(high as usize) {
            *p = low;
        }
        if let Some(why) = self.pinned.remove(&high) {
            self.pinned.entry(low).or_insert(why);
        }
        if self.heads.remove(&high) {
            self.heads.insert(low);
        }
    }
    /// Makes labels one, each with the one at its place; `false` where there are more on one side.
    pub(super) fn join_all(&mut self, a: &[u32], b: &[u32]) -> bool {
        a.iter().zip(b).for_each(|(a, b)| self.join(*a, *b));
        a.len() == b.len()
    }
    /// The axis of a value that has labels, where it is one only.
    pub(super) fn axis(&self, v: ValueId) -> Option<(usize, Vec<u32>)> {
        let mut all = self.axes.range((v, 0)..=(v, usize::MAX));
        let first = all.next()?;
        all.next().is_none().then(|| (first.0.1, first.1.clone()))
    }
    /// Gives an axis labels, or makes those that it has one with them; `false` where that does not fit.
    pub(super) fn set(&mut self, v: ValueId, axis: usize, labels: &[u32]) -> bool {
        match self.axes.get(&(v, axis)).cloned() {
            Some(there) => self.join_all(&there, labels),
            None => {
                self.axes.insert((v, axis), labels.to_vec());
                true
            }
        }
    }
    /// Nothing of a value can go.
    pub(super) fn pin(&mut self, v: ValueId, why: &str) {
        let all: Vec<u32> = self.axes.range((v, 0)..=(v, usize::MAX)).flat_map(|a| a.1.clone()).collect();
        self.pin_all(&all, why);
    }
    pub(super) fn pin_all(&mut self, labels: &[u32], why: &str) {
        let mut last = None;
        for l in labels {
            let root = self.root(*l);
            if last != Some(root) {
                self.pinned.entry(root).or_insert_with(|| why.to_owned());
            }
            last = Some(root);
        }
    }
    pub(super) fn mark_heads(&mut self, labels: &[u32]) {
        let roots: Vec<u32> = labels.iter().map(|l| self.root(*l)).collect();
        self.heads.extend(roots);
    }
}

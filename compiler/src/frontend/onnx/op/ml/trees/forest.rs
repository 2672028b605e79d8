//! Trees as the attributes describe them, with splits of one kind: at most a limit, or not.

use crate::frontend::onnx::node::NodeCx;
use crate::frontend::onnx::op::ml::{numbers, places};
use crate::frontend::onnx::op::text;
use crate::frontend::onnx::tensor;
use sinter_ir::{DType, Diag, Result};
use std::collections::{BTreeMap, BTreeSet};

/// Most splits on a way down.
const MAX_DEPTH: usize = 4096;

/// Something that a leaf says.
#[derive(Debug, Clone, Copy)]
pub struct Leaf {
    /// Of which target or class.
    pub target: usize,
    /// What.
    pub weight: f64,
}

/// A leaf or a split, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kid {
    /// Of the leaves.
    Leaf(usize),
    /// Of the splits.
    Split(usize),
}

/// Whether a feature is at most a limit.
#[derive(Debug, Clone, Copy)]
pub struct Split {
    /// Which feature.
    pub feature: usize,
    /// The limit.
    pub limit: f64,
    /// Where to go on: where it is not, where it is.
    pub kids: [Kid; 2],
    /// Whether NaN goes where features at most the limit go.
    pub missing: bool,
}

/// All trees.
#[derive(Debug, Default)]
pub struct Forest {
    /// Splits.
    pub splits: Vec<Split>,
    /// What leaves say.
    pub leaves: Vec<Vec<Leaf>>,
    /// Where trees begin.
    pub roots: Vec<Kid>,
    /// Most splits on a way down.
    pub depth: usize,
}

/// A split as the file has it.
struct Test {
    mode: Mode,
    feature: usize,
    limits: Vec<f64>,
    missing: bool,
    kids: [Kid; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Le,
    Lt,
    Ge,
    Gt,
    Eq,
    Ne,
}

impl Forest {
    /// Number of a leaf or split in tables of both, leaves first.
    pub fn index(&self, k: Kid) -> i64 {
        match k {
            Kid::Leaf(i) => i as i64,
            Kid::Split(i) => (self.leaves.len() + i) as i64,
        }
    }
    /// `TreeEnsembleClassifier` and `TreeEnsembleRegressor`. `what`: `class` or `target`.
    pub fn of_nodes(cx: &mut NodeCx, features: usize, what: &str, targets: usize) -> Result<Self> {
        let list = |name: &str| cx.int_list(name).unwrap_or_default();
        let (trees, ids) = (list("nodes_treeids"), list("nodes_nodeids"));
        let keys: Vec<(i64, i64)> = trees.iter().copied().zip(ids.iter().copied()).collect();
        let n = keys.len();
        let modes: Vec<String> = text::strings(cx, "nodes_modes");
        let inner = |i: usize| modes.get(i).is_some_and(|m| m != "LEAF");
        let mut forest = Self::default();
        let mut place: BTreeMap<(i64, i64), Kid> = BTreeMap::new();
        let (mut first, mut splits) = (BTreeSet::new(), 0);
        for (i, &key) in keys.iter().enumerate() {
            let kid = if inner(i) { Kid::Split(splits) } else { Kid::Leaf(forest.leaves.len()) };
            match kid {
                Kid::Split(_) => splits += 1,
                Kid::Leaf(_) => forest.leaves.push(vec![]),
            }
            if place.insert(key, kid).is_some() {
                return Err(Diag::input(format!("node {} of tree {} is there twice", key.1, key.0)));
            }
            if first.insert(key.0) {
                forest.roots.push(kid);
            }
        }
        let limits = numbers(cx, "nodes_values")?;
        let which = list("nodes_featureids");
        let (yes, no) = (list("nodes_truenodeids"), list("nodes_falsenodeids"));
        let missing = list("nodes_missing_value_tracks_true");
        if [trees.len(), ids.len(), modes.len(), limits.len(), which.len(), yes.len(), no.len()]
            .iter()
            .any(|&l| l != n)
        {
            return Err(Diag::input("the attributes nodes_* differ in length"));
        }
        let kid = |tree: i64, id: i64| {
            place
                .get(&(tree, id))
                .copied()
                .ok_or_else(|| Diag::input(format!("tree {tree} has no node {id}")))
        };
        let mut tests = vec![];
        for i in (0..n).filter(|&i| inner(i)) {
            tests.push(Test {
                mode: Mode::named(&modes[i])?,
                feature: feature(which[i], features)?,
                limits: vec![limits[i]],
                missing: missing.get(i) == Some(&1),
                kids: [kid(trees[i], no[i])?, kid(trees[i], yes[i])?],
            });
        }
        let (of, at) = (list(&format!("{what}_treeids")), list(&format!("{what}_nodeids")));
        let (ids, weights) =
            (places(cx, &format!("{what}_ids"), targets)?, numbers(cx, &format!("{what}_weights"))?);
        if [of.len(), at.len(), ids.len()].iter().any(|&l| l != weights.len()) {
            return Err(Diag::input(format!("the attributes {what}_* differ in length")));
        }
        for i in 0..weights.len() {
            // Weights of what is no leaf are never reached.
            if let Kid::Leaf(l) = kid(of[i], at[i])? {
                forest.leaves[l].push(Leaf { target: ids[i], weight: weights[i] });
            }
        }
        forest.grow(tests, cx.input(0).is_ok_and(|x| cx.dtype(x) == DType::F64))
    }
    /// `TreeEnsemble`.
    pub fn of_ensemble(cx: &mut NodeCx, features: usize, targets: usize) -> Result<Self> {
        let list = |name: &str| cx.int_list(name).unwrap_or_default();
        let which = list("nodes_featureids");
        let n = which.len();
        let modes = match cx.attr("nodes_modes").and_then(|a| a.t.as_ref()) {
            Some(t) => tensor::read_inline(t)?.to_i64()?,
            None => vec![],
        };
        let limits = numbers(cx, "nodes_splits")?;
        let (yes, no) = (list("nodes_truenodeids"), list("nodes_falsenodeids"));
        let (yes_leaf, no_leaf) = (list("nodes_trueleafs"), list("nodes_falseleafs"));
        let missing = list("nodes_missing_value_tracks_true");
        if [modes.len(), limits.len(), yes.len(), no.len(), yes_leaf.len(), no_leaf.len()]
            .iter()
            .any(|&l| l != n)
        {
            return Err(Diag::input("the attributes nodes_* differ in length"));
        }
        let ids = places(cx, "leaf_targetids", targets)?;
        let weights = numbers(cx, "leaf_weights")?;
        if ids.len() != weights.len() {
            return Err(Diag::input("leaf_targetids and leaf_weights differ in length"));
        }
        let leaves: Vec<Vec<Leaf>> =
            ids.iter().zip(&weights).map(|(&target, &weight)| vec![Leaf { target, weight }]).collect();
        let kid = |leaf: i64, i: i64| {
            let (end, kid): (usize, fn(usize) -> Kid) =
                if leaf != 0 { (leaves.len(), Kid::Leaf) } else { (n, Kid::Split) };
            let i = usize::try_from(i).ok().filter(|&i| i < end);
            i.map(kid).ok_or_else(|| Diag::input("a node that is not there follows another"))
        };
        let members = numbers(cx, "membership_values")?;
        let mut sets = members.split(|v| v.is_nan());
        let mut tests = vec![];
        for i in 0..n {
            let member = modes[i] == 6;
            let mode = [Mode::Le, Mode::Lt, Mode::Ge, Mode::Gt, Mode::Eq, Mode::Ne, Mode::Eq];
            let mode = usize::try_from(modes[i]).ok().and_then(|m| mode.get(m).copied());
            let limits = match member {
                true => sets.next().map(<[f64]>::to_vec).filter(|s| !s.is_empty()),
                false => Some(vec![limits[i]]),
            };
            tests.push(Test {
                mode: mode.ok_or_else(|| Diag::input(format!("nodes_modes: {}", modes[i])))?,
                feature: feature(which[i], features)?,
                limits: limits.ok_or_else(|| {
                    Diag::input("membership_values has fewer sets than there are nodes of that mode")
                })?,
                missing: missing.get(i) == Some(&1),
                kids: [kid(no_leaf[i], no[i])?, kid(yes_leaf[i], yes[i])?],
            });
        }
        let roots = list("tree_roots").into_iter().map(|r| kid(0, r)).collect::<Result<Vec<_>>>()?;
        let forest = Self { leaves, roots, ..Self::default() };
        forest.grow(tests, cx.input(0).is_ok_and(|x| cx.dtype(x) == DType::F64))
    }
    /// Splits of one kind. The first one of each test has the test's number. `wide`: features are f64.
    fn grow(mut self, tests: Vec<Test>, wide: bool) -> Result<Self> {
        if self.roots.is_empty() {
            return Err(Diag::input("there is no tree"));
        }
        let mut more = tests.len();
        let mut rest = vec![];
        for t in &tests {
            let mut chain = t.chain(wide);
            // Later splits of a test get numbers behind those of all tests.
            let base = more;
            let renumber = |k: Link| match k {
                Link::Out(k) => k,
                Link::Next(i) => Kid::Split(base + i - 1),
            };
            more += chain.len() - 1;
            let head = chain.remove(0);
            let build = |(limit, links, missing): (f64, [Link; 2], bool)| Split {
                feature: t.feature,
                limit,
                kids: links.map(renumber),
                missing,
            };
            self.splits.push(build(head));
            rest.extend(chain.into_iter().map(build));
        }
        self.splits.extend(rest);
        self.depth = self.measure()?;
        Ok(self)
    }
    /// Most splits on a way down; an error where ways go round.
    fn measure(&self) -> Result<usize> {
        let next = |i: usize| {
            self.splits[i].kids.into_iter().filter_map(|k| match k {
                Kid::Split(i) => Some(i),
                Kid::Leaf(_) => None,
            })
        };
        let n = self.splits.len();
        let mut parents = vec![0usize; n];
        (0..n).flat_map(next).for_each(|i| parents[i] += 1);
        let mut ready: Vec<usize> = (0..n).filter(|&i| parents[i] == 0).collect();
        let (mut depth, mut seen) = (vec![1usize; n], 0);
        while let Some(i) = ready.pop() {
            seen += 1;
            for kid in next(i) {
                depth[kid] = depth[kid].max(depth[i] + 1);
                parents[kid] -= 1;
                if parents[kid] == 0 {
                    ready.push(kid);
                }
            }
        }
        let most = depth.into_iter().max().unwrap_or(0);
        if seen < n || most > MAX_DEPTH {
            return Err(Diag::input(format!("trees go round, or are deeper than {MAX_DEPTH} splits")));
        }
        Ok(most)
    }
}

fn feature(i: i64, features: usize) -> Result<usize> {
    let place = usize::try_from(i).ok().filter(|&i| i < features);
    place.ok_or_else(|| Diag::input(format!("feature {i} of {features} decides a split")))
}

/// Where a split of a chain goes on.
#[derive(Debug, Clone, Copy)]
enum Link {
    Out(Kid),
    Next(usize),
}

impl Mode {
    fn named(name: &str) -> Result<Self> {
        Ok(match name {
            "BRANCH_LEQ" => Self::Le,
            "BRANCH_LT" => Self::Lt,
            "BRANCH_GTE" => Self::Ge,
            "BRANCH_GT" => Self::Gt,
            "BRANCH_EQ" => Self::Eq,
            "BRANCH_NEQ" => Self::Ne,
            m => return Err(Diag::input(format!("nodes_modes: `{m}`"))),
        })
    }
}

impl Test {
    /// As splits `(limit, [not, is], NaN is)`. What is below a limit is at most the number in front of it.
    fn chain(&self, wide: bool) -> Vec<(f64, [Link; 2], bool)> {
        let before = |v: f64| if wide { v.next_down() } else { f64::from((v as f32).next_down()) };
        let [no, yes] = self.kids.map(Link::Out);
        let limit = self.limits[0];
        match self.mode {
            Mode::Le => vec![(limit, [no, yes], self.missing)],
            Mode::Lt => vec![(before(limit), [no, yes], self.missing)],
            // The other way round NaN stays out of both.
            Mode::Ge => vec![(before(limit), [yes, no], !self.missing)],
            Mode::Gt => vec![(limit, [yes, no], !self.missing)],
            Mode::Eq | Mode::Ne => {
                let (hit, miss) = if self.mode == Mode::Eq { (yes, no) } else { (no, yes) };
                // NaN equals nothing. Where it is to follow `is`, it is let in here and is not below the limit either.
                let inside = self.missing && self.mode == Mode::Eq;
                let mut chain = vec![];
                for (i, &v) in self.limits.iter().enumerate() {
                    let next = if i + 1 < self.limits.len() { Link::Next(2 * i + 2) } else { miss };
                    chain.push((v, [next, Link::Next(2 * i + 1)], inside));
                    chain.push((before(v), [hit, next], false));
                }
                chain
            }
        }
    }
}

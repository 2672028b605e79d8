//! Smallest cut of a network: the cheapest way to give every node one of two labels.

use std::collections::VecDeque;

/// More than any sum of costs.
const INFINITE: u64 = u64::MAX / 4;

/// A choice between two labels per node, with costs of labels and of differences.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// Per node the arcs that leave it.
    out: Vec<Vec<usize>>,
    /// Arcs in pairs: `i ^ 1` is the reverse of `i`.
    to: Vec<usize>,
    room: Vec<u64>,
}

/// A node of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Var(usize);

/// The node that always has the second label.
pub(super) const YES: Var = Var(0);
/// The node that always has the first label.
pub(super) const NO: Var = Var(1);

impl Network {
    /// Without choices yet.
    pub fn new() -> Self {
        Self { out: vec![vec![], vec![]], ..Self::default() }
    }
    /// A new choice.
    pub fn var(&mut self) -> Var {
        self.out.push(vec![]);
        Var(self.out.len() - 1)
    }
    /// `cost` is paid when `a` is yes and `b` is no.
    pub fn differ(&mut self, a: Var, b: Var, cost: u64) {
        if a == b || cost == 0 {
            return;
        }
        for (from, to, room) in [(a, b, cost), (b, a, 0)] {
            self.out[from.0].push(self.to.len());
            self.to.push(to.0);
            self.room.push(room);
        }
    }
    /// `a` being yes makes `b` yes.
    pub fn implies(&mut self, a: Var, b: Var) {
        self.differ(a, b, INFINITE);
    }
    /// Which nodes are yes in the cheapest labelling; no where both are as cheap.
    pub fn solve(mut self) -> Vec<bool> {
        while let Some(level) = self.levels() {
            let mut next = vec![0; self.out.len()];
            while self.augment(&level, &mut next) {}
        }
        let mut yes = vec![false; self.out.len()];
        let mut queue = VecDeque::from([YES.0]);
        yes[YES.0] = true;
        while let Some(n) = queue.pop_front() {
            for &arc in &self.out[n] {
                if self.room[arc] > 0 && !std::mem::replace(&mut yes[self.to[arc]], true) {
                    queue.push_back(self.to[arc]);
                }
            }
        }
        yes
    }
    /// Whether a labelling gives a node a yes.
    pub fn is_yes(labels: &[bool], v: Var) -> bool {
        labels.get(v.0).copied().unwrap_or(false)
    }
    /// Distances from `YES` along arcs with room; none when `NO` cannot be reached.
    fn levels(&self) -> Option<Vec<usize>> {
        let mut level = vec![usize::MAX; self.out.len()];
        level[YES.0] = 0;
        let mut queue = VecDeque::from([YES.0]);
        while let Some(n) = queue.pop_front() {
            for &arc in &self.out[n] {
                let m = self.to[arc];
                if self.room[arc] > 0 && level[m] == usize::MAX {
                    level[m] = level[n] + 1;
                    queue.push_back(m);
                }
            }
        }
        (level[NO.0] != usize::MAX).then_some(level)
    }
    /// Sends as much as possible along one shortest path; `next` are the arcs to try first.
    fn augment(&mut self, level: &[usize], next: &mut [usize]) -> bool {
        let mut path: Vec<usize> = vec![];
        let mut at = YES.0;
        while at != NO.0 {
            match self.out[at].get(next[at]) {
                Some(&arc) if self.room[arc] > 0 && level[self.to[arc]] == level[at] + 1 => {
                    path.push(arc);
                    at = self.to[arc];
                }
                Some(_) => next[at] += 1,
                // A dead end: one step back.
                None => match path.pop() {
                    Some(arc) => {
                        at = self.to[arc ^ 1];
                        next[at] += 1;
                    }
                    None => return false,
                },
            }
        }
        let flow = path.iter().map(|&a| self.room[a]).min().unwrap_or(0);
        for arc in path {
            self.room[arc] -= flow;
            self.room[arc ^ 1] = self.room[arc ^ 1].saturating_add(flow);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every labelling of random small networks costs at least as much as the one found.
    #[test]
    fn labellings_are_cheapest() {
        let mut seed = 1u64;
        let mut random = |n: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % n
        };
        for _ in 0..300 {
            let mut net = Network::new();
            let n = 2 + random(6) as usize;
            let vars: Vec<Var> = [YES, NO].into_iter().chain((0..n).map(|_| net.var())).collect();
            let arcs: Vec<(usize, usize, u64)> = (0..3 * n)
                .map(|_| (random(n as u64 + 2) as usize, random(n as u64 + 2) as usize, random(9)))
                .collect();
            arcs.iter().for_each(|&(a, b, c)| net.differ(vars[a], vars[b], c));
            let cost = |yes: &dyn Fn(usize) -> bool| -> u64 {
                arcs.iter().filter(|(a, b, _)| yes(*a) && !yes(*b)).map(|a| a.2).sum()
            };
            let all = 0..1usize << n;
            let best = all.map(|m| cost(&|v| v == 0 || v > 1 && m >> (v - 2) & 1 == 1)).min();
            let labels = net.solve();
            assert!(labels[0] && !labels[1]);
            assert_eq!(Some(cost(&|v| labels[v])), best);
        }
    }

    #[test]
    fn ties_are_no() {
        let mut net = Network::new();
        let v = net.var();
        net.differ(YES, v, 3);
        net.differ(v, NO, 3);
        assert!(!Network::is_yes(&net.solve(), v));
    }
}

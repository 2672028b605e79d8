//! Mixed precision: how many bits every group of products gets, so that a budget of bytes or of loss is kept.
//!
//! Losses of groups add up (the linearity of the divergence in small errors of weights, HIGGS, arXiv 2411.17525,
//! theorem 1), so that this is a knapsack with one choice per group. It is solved on the lower convex hull of every
//! group's choices by taking the steps that save most loss per byte, best first; that is the optimum but for the last
//! step, after which smaller ones fill what is left.

use super::Scheme;

/// Loss of what overflows.
const UNKNOWN: f64 = 1e30;

/// What a group of products may become.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// How.
    pub scheme: Scheme,
    /// Bytes of its weights.
    pub bytes: u64,
    /// What the model loses by it.
    pub loss: f64,
    /// Part of the deviation of weights rounded to nearest by which outputs err as much as by the scheme's method.
    pub deviation: f32,
}

/// What must not be exceeded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// Bytes of all groups.
    Bytes(u64),
    /// Loss of all groups.
    Loss(f64),
}

/// Why there is no choice: the least that is possible.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Least {
    /// Fewest bytes.
    pub bytes: u64,
    /// Least loss.
    pub loss: f64,
}

/// From a choice of a group to the next one on its hull.
struct Step {
    group: usize,
    /// Position on the hull behind the step.
    to: usize,
    /// Loss that a byte saves.
    worth: f64,
}

/// The choice of every group, none of which is empty: the least loss within the bytes, or the fewest bytes within the loss.
pub fn choose(groups: &[Vec<Candidate>], limit: Limit) -> Result<Vec<Candidate>, Least> {
    let hulls: Vec<Vec<Candidate>> = groups.iter().map(|g| hull(g)).collect();
    let mut at = vec![0usize; hulls.len()];
    let total = |at: &[usize]| {
        let each = hulls.iter().zip(at).filter_map(|(h, i)| h.get(*i));
        each.fold((0u64, 0f64), |(b, l), c| (b + c.bytes, l + c.loss))
    };
    let mut steps: Vec<Step> = vec![];
    for (group, hull) in hulls.iter().enumerate() {
        steps.extend(hull.windows(2).enumerate().filter_map(|(i, pair)| match pair {
            [a, b] => Some(Step { group, to: i + 1, worth: (a.loss - b.loss) / (b.bytes - a.bytes) as f64 }),
            _ => None,
        }));
    }
    // On a hull steps are worth less and less: their order within a group is kept.
    steps.sort_by(|a, b| b.worth.total_cmp(&a.worth).then(a.group.cmp(&b.group)).then(a.to.cmp(&b.to)));
    let last: Vec<usize> = hulls.iter().map(|h| h.len().saturating_sub(1)).collect();
    let least = Least { bytes: total(&at).0, loss: total(&last).1 };
    for s in &steps {
        let mut next = at.clone();
        let Some(place) = next.get_mut(s.group).filter(|p| **p + 1 == s.to) else { continue };
        *place = s.to;
        match limit {
            Limit::Bytes(most) if total(&next).0 > most => {}
            Limit::Loss(most) if total(&at).1 <= most => break,
            _ => at = next,
        }
    }
    let (bytes, loss) = total(&at);
    let kept = match limit {
        Limit::Bytes(most) => bytes <= most,
        Limit::Loss(most) => loss <= most,
    };
    let chosen = hulls.iter().zip(&at).filter_map(|(h, i)| h.get(*i).copied()).collect();
    if kept { Ok(chosen) } else { Err(least) }
}

/// The same with no more than so many schemes among all groups: every one has kernels of its own. Those that are missed
/// least go first.
pub fn choose_few(groups: &[Vec<Candidate>], limit: Limit, kinds: usize) -> Result<Vec<Candidate>, Least> {
    let mut chosen = choose(groups, limit)?;
    loop {
        let mut used: Vec<Scheme> = vec![];
        for c in &chosen {
            if !used.contains(&c.scheme) {
                used.push(c.scheme);
            }
        }
        if used.len() <= kinds.max(1) {
            return Ok(chosen);
        }
        let cost = |chosen: &[Candidate]| match limit {
            Limit::Bytes(_) => chosen.iter().map(|c| c.loss).sum::<f64>(),
            Limit::Loss(_) => chosen.iter().map(|c| c.bytes as f64).sum(),
        };
        let without = |gone: &Scheme| {
            let left = |c: &&Candidate| used.contains(&c.scheme) && c.scheme != *gone;
            let groups: Vec<Vec<Candidate>> =
                groups.iter().map(|g| g.iter().filter(left).copied().collect()).collect();
            choose(&groups, limit).ok().filter(|c: &Vec<Candidate>| c.len() == groups.len())
        };
        let fewer = used.iter().filter_map(without);
        match fewer.min_by(|a, b| cost(a).total_cmp(&cost(b))) {
            Some(next) => chosen = next,
            // All of them are needed.
            None => return Ok(chosen),
        }
    }
}

/// The candidates worth having, by bytes: each loses less than any mixture of smaller and larger ones.
fn hull(candidates: &[Candidate]) -> Vec<Candidate> {
    // What cannot be said is as bad as can be.
    let said = |c: &Candidate| Candidate { loss: if c.loss.is_finite() { c.loss } else { UNKNOWN }, ..*c };
    let mut all: Vec<Candidate> = candidates.iter().map(said).collect();
    all.sort_by(|a, b| a.bytes.cmp(&b.bytes).then(a.loss.total_cmp(&b.loss)));
    let mut out: Vec<Candidate> = vec![];
    for c in all {
        if out.last().is_some_and(|last| c.loss >= last.loss) {
            continue;
        }
        let slope = |a: &Candidate, b: &Candidate| (a.loss - b.loss) / (b.bytes - a.bytes).max(1) as f64;
        while let [.., a, b] = out.as_slice()
            && slope(a, b) <= slope(b, &c)
        {
            out.pop();
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn candidate(bytes: u64, loss: f64) -> Candidate {
        Candidate { scheme: Scheme::default(), bytes, loss, deviation: 1.0 }
    }

    /// Losses that fall with bytes, some of them above the hull.
    fn random(seed: u64, groups: usize) -> Vec<Vec<Candidate>> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let group = |next: &mut dyn FnMut(u64) -> u64| {
            let size = next(40) + 1;
            (2..=5)
                .map(|bits| candidate(bits * size, (next(90) + 10) as f64 / f64::from(1u32 << (2 * bits))))
                .collect()
        };
        (0..groups).map(|_| group(&mut next)).collect()
    }

    fn all(groups: &[Vec<Candidate>]) -> Vec<(u64, f64)> {
        groups.iter().fold(vec![(0, 0.0)], |sums, g| {
            let add = |s: &(u64, f64)| g.iter().map(|c| (s.0 + c.bytes, s.1 + c.loss)).collect::<Vec<_>>();
            sums.iter().flat_map(add).collect()
        })
    }

    fn sum(chosen: &[Candidate]) -> (u64, f64) {
        chosen.iter().fold((0, 0.0), |s, c| (s.0 + c.bytes, s.1 + c.loss))
    }

    #[test]
    fn limits_are_kept_and_little_is_given_away() {
        for seed in 0..60 {
            let groups = random(seed, 5);
            let every = all(&groups);
            let (least, most) =
                (every.iter().map(|s| s.0).min().unwrap(), every.iter().map(|s| s.0).max().unwrap());
            for part in 0..=4 {
                let budget = least + (most - least) * part / 4;
                let chosen = sum(&choose(&groups, Limit::Bytes(budget)).unwrap());
                assert!(chosen.0 <= budget);
                // Never worse than the optimum for a budget that lacks the largest single step.
                let step = groups.iter().map(|g| g.last().unwrap().bytes - g[0].bytes).max().unwrap();
                let within = |b: u64| every.iter().filter(|s| s.0 <= b).map(|s| s.1).fold(f64::MAX, f64::min);
                if let Some(less) = budget.checked_sub(step).filter(|b| *b >= least) {
                    assert!(chosen.1 <= within(less) + 1e-9, "{seed} {part}: {chosen:?}");
                }
                let loss = within(budget);
                let back = sum(&choose(&groups, Limit::Loss(loss)).unwrap());
                assert!(back.1 <= loss + 1e-9 && back.0 <= budget + step, "{seed} {part}: {back:?}");
            }
        }
    }

    #[test]
    fn few_kinds_lose_little_and_keep_limits() {
        let kinds = |chosen: &[Candidate]| {
            chosen.iter().map(|c| c.scheme.bits).collect::<std::collections::BTreeSet<_>>().len()
        };
        for seed in 0..20 {
            let mut groups = random(seed, 9);
            for g in &mut groups {
                (2..).zip(g).for_each(|(bits, c)| c.scheme.bits = bits);
            }
            let range = |f: fn(&[Candidate]) -> Candidate| groups.iter().map(|g| f(g).bytes).sum::<u64>();
            let budget = (range(|g| g[0]) + range(|g| g[3])) / 2;
            let few = choose_few(&groups, Limit::Bytes(budget), 2).unwrap();
            assert!(kinds(&few) <= 2 && sum(&few).0 <= budget, "{seed}: {few:?}");
            // As good as the best pair.
            let pairs = (2..6u32).flat_map(|a| (2..a).map(move |b| (a, b))).filter_map(|(a, b)| {
                let only = |g: &Vec<Candidate>| {
                    g.iter().filter(|c| [a, b].contains(&c.scheme.bits)).copied().collect::<Vec<_>>()
                };
                let groups: Vec<_> = groups.iter().map(only).collect();
                choose(&groups, Limit::Bytes(budget)).ok().map(|c| sum(&c).1)
            });
            let best = pairs.fold(f64::MAX, f64::min);
            assert!(sum(&few).1 <= 1.5 * best, "{seed}: {:?} {best}", sum(&few));
            assert_eq!(kinds(&choose_few(&groups, Limit::Loss(sum(&few).1), 1).unwrap()), 1);
        }
    }

    #[test]
    fn the_dear_group_gets_the_bits() {
        let groups = [
            vec![candidate(10, 8.0), candidate(20, 1.0), candidate(40, 0.1)],
            vec![candidate(10, 0.8), candidate(20, 0.1), candidate(40, 0.01)],
        ];
        let of = |bytes| sum(&choose(&groups, Limit::Bytes(bytes)).unwrap());
        assert_eq!((of(20).0, of(30).0, of(60).0), (20, 30, 60));
        assert_eq!(of(30), (30, 1.8));
        assert_eq!(of(59), (40, 1.1));
    }

    #[test]
    fn what_cannot_be_says_what_can() {
        let groups =
            [vec![candidate(10, 8.0), candidate(20, 1.0)], vec![candidate(5, 2.0), candidate(9, 1.0)]];
        assert_eq!(choose(&groups, Limit::Bytes(14)), Err(Least { bytes: 15, loss: 2.0 }));
        assert_eq!(choose(&groups, Limit::Loss(1.5)), Err(Least { bytes: 15, loss: 2.0 }));
        assert_eq!(choose(&[], Limit::Bytes(0)), Ok(vec![]));
    }
}

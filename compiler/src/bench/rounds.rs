//! Interleaved rounds.

use super::Stats;
use sinter_ir::Result;

/// Someone who can run the model.
pub trait Runner {
    /// Runs the model `calls` times and gives the seconds of each.
    fn run(&mut self, calls: usize) -> Result<Vec<f64>>;
}

/// A turn lasts about this long: enough to find the caches as the model itself leaves them.
const TURN_SECONDS: f64 = 0.02;
/// Most runs of a turn.
const MOST_CALLS: usize = 2000;
/// Cores that were idle, and threads that share one, take a while to get to speed: so many turns do not count.
const WARM_TURNS: usize = 5;

/// One who takes part: a name and whether it still can.
pub struct Player<'a> {
    runner: &'a mut dyn Runner,
    calls: usize,
    times: Vec<f64>,
    failure: Option<String>,
}

impl<'a> Player<'a> {
    /// Someone who is ready.
    pub fn new(runner: &'a mut dyn Runner) -> Self {
        Self { runner, calls: 1, times: Vec::new(), failure: None }
    }
    /// A turn: runs to warm up, then those that count.
    fn turn(&mut self, alone: bool) -> Option<Vec<f64>> {
        if self.failure.is_some() {
            return None;
        }
        let warm = if alone { 1 } else { WARM_TURNS * self.calls };
        let times = self.runner.run(warm).and_then(|_| self.runner.run(self.calls));
        times.map_err(|d| self.failure = Some(d.message)).ok()
    }
    /// Its times, or why there are none.
    pub fn result(&self) -> (Option<Stats>, Option<String>) {
        match &self.failure {
            Some(why) => (None, Some(why.clone())),
            None => (Stats::of(&self.times), None),
        }
    }
}

/// Lets everyone run in turns. The order is turned round every time: nobody always follows the same one.
pub fn play(players: &mut [Player], rounds: usize) {
    let alone = players.len() < 2;
    // Two turns that do not count: the first finds out how many runs fill a turn.
    for _ in 0..2 {
        for p in players.iter_mut() {
            let Some(fastest) = p.turn(alone).and_then(|t| Stats::of(&t)).map(|s| s.min) else { continue };
            p.calls = ((TURN_SECONDS / fastest.max(1e-9)) as usize).clamp(1, MOST_CALLS);
        }
    }
    for round in 0..rounds {
        let n = players.len();
        for i in 0..n {
            let at = if round % 2 == 0 { i } else { n - 1 - i };
            if let Some(p) = players.get_mut(at)
                && let Some(times) = p.turn(alone)
            {
                p.times.extend(times);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinter_ir::Diag;

    struct Counts(usize, f64);
    impl Runner for Counts {
        fn run(&mut self, calls: usize) -> Result<Vec<f64>> {
            self.0 += calls;
            if self.0 > 50 { Err(Diag::limit("tired")) } else { Ok(vec![self.1; calls]) }
        }
    }

    #[test]
    fn one_who_fails_stops_alone() {
        let (mut slow, mut quick) = (Counts(0, 1.0), Counts(0, 0.001));
        let mut players = [Player::new(&mut slow), Player::new(&mut quick)];
        play(&mut players, 2);
        let (stats, failure) = players[0].result();
        // A run that takes a second fills a turn.
        assert_eq!((stats.map(|s| s.runs), failure), (Some(2), None));
        assert_eq!(players[1].result().1.as_deref(), Some("tired"));
    }
}

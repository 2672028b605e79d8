//! Accesses: inside a live buffer, large enough, aligned, writable, and written before.

use super::super::{BufferLife, Loc};
use super::Verifier;
use super::flow::State;
use std::collections::BTreeMap;

/// Buffers that are live at a step, by offset.
#[derive(Debug, Default)]
pub(super) struct Live<'a>(BTreeMap<u64, &'a BufferLife>);

impl<'a> Live<'a> {
    /// The last buffer that begins at or in front of an offset.
    fn around(&self, at: u64) -> Option<&'a BufferLife> {
        self.0.range(..=at).next_back().map(|(_, l)| *l)
    }
}

/// How a step uses a location.
#[derive(Debug, Clone, Copy)]
pub(super) struct Use {
    pub at: Loc,
    /// Smallest and largest number of bytes.
    pub bytes: (u64, u64),
    pub align: u64,
    /// Contents are needed.
    pub read: bool,
    pub write: bool,
}

impl Use {
    pub fn read(at: Loc, bytes: u64) -> Self {
        Self { at, bytes: (bytes, bytes), align: bytes.max(1), read: true, write: false }
    }
    /// Offset in a space that locations share.
    fn offset(&self) -> u64 {
        match self.at {
            Loc::Arena(o) | Loc::Weights(o) => o,
            Loc::Input(_) | Loc::Output(_) | Loc::State(_) => 0,
        }
    }
    /// Whether two uses surely have bytes in common.
    pub fn meets(&self, o: &Use) -> bool {
        let same_space = match (self.at, o.at) {
            (Loc::Arena(_), Loc::Arena(_)) => true,
            (Loc::Output(a), Loc::Output(b)) | (Loc::State(a), Loc::State(b)) => a == b,
            _ => false,
        };
        let (a, b) = (self.offset(), o.offset());
        same_space && a.max(b) < (a.saturating_add(self.bytes.0)).min(b.saturating_add(o.bytes.0))
    }
}

impl Verifier<'_> {
    /// Goes on to a step: buffers end and begin.
    pub(super) fn arrive(&mut self, at: u32, state: &mut State) {
        self.at = at;
        self.live.0.retain(|_, l| l.last >= at);
        while let Some(l) = self.coming.pop_front_if(|l| l.first <= at) {
            let end = l.end();
            if let Some(o) = self.live.around(end.saturating_sub(1)).filter(|o| o.end() > l.offset) {
                self.err(format_args!("buffer {} overwrites {}, which is live", l.name, o.name));
            }
            self.live.0.insert(l.offset, l);
            // What was there before belongs to others.
            state.arena.remove(l.offset, end);
            self.started.push((l.offset, end));
        }
    }
    /// Checks all uses of a step, then notes what it writes.
    pub(super) fn uses(&mut self, state: &mut State, uses: &[Use]) {
        uses.iter().for_each(|u| self.check(state, u));
        for u in uses.iter().filter(|u| u.write) {
            match u.at {
                Loc::Arena(o) => state.arena.insert(o, o.saturating_add(u.bytes.1)),
                Loc::Output(i) => {
                    if let Some(r) = state.outputs.get_mut(i as usize) {
                        r.insert(0, u.bytes.1);
                    }
                }
                Loc::Weights(_) | Loc::Input(_) | Loc::State(_) => {}
            }
        }
        for (i, a) in uses.iter().enumerate() {
            for b in &uses[i + 1..] {
                let in_place = a.at == b.at && a.write != b.write;
                if (a.write || b.write) && !in_place && a.meets(b) {
                    self.err(format_args!("{} and {} overlap", a.at, b.at));
                }
            }
        }
    }
    fn check(&mut self, state: &State, u: &Use) {
        let (least, most) = u.bytes;
        let at = u.at;
        if !u.offset().is_multiple_of(u.align) {
            self.err(format_args!("{at} is not aligned to {} bytes", u.align));
        }
        let p = self.p;
        let (room, known) = match at {
            Loc::Arena(o) => (self.arena(o, most), state.arena.contains(o, o.saturating_add(least))),
            Loc::Weights(o) => {
                let i = p.weights.partition_point(|(start, _)| *start <= o);
                let section = i.checked_sub(1).and_then(|i| p.weights.get(i));
                (
                    section.and_then(|(start, data)| start.saturating_add(data.len() as u64).checked_sub(o)),
                    true,
                )
            }
            // The largest size of an expression may be too pessimistic against the actual dims: what is sure counts.
            Loc::Input(i) => (p.inputs.get(i as usize).map(|i| i.max_bytes.max(most)), true),
            Loc::Output(i) => {
                let written = state.outputs.get(i as usize).is_some_and(|r| r.contains(0, least));
                (p.outputs.get(i as usize).map(|o| o.max_bytes.max(most)), written)
            }
            // The caller prepares states before the first run.
            Loc::State(i) => (p.states.get(i as usize).map(|s| s.max_bytes.max(most)), true),
        };
        let port = match at {
            Loc::Input(i) => p.inputs.get(i as usize),
            Loc::Output(i) => p.outputs.get(i as usize),
            Loc::State(i) => p.states.get(i as usize),
            Loc::Arena(_) | Loc::Weights(_) => None,
        };
        match room {
            None => self.err(format_args!("{at} is in no buffer that is live here")),
            Some(room) if most > room || port.is_some_and(|p| least > p.max_bytes) => {
                self.err(format_args!("{most} bytes at {at} exceed their buffer"));
            }
            Some(_) if u.read && !known => {
                self.err(format_args!("{least} bytes at {at} are read, not all are written"))
            }
            Some(_) => {}
        }
        if u.write && matches!(at, Loc::Weights(_) | Loc::Input(_)) {
            self.err(format_args!("{at} is written, but it is constant"));
        }
    }
    /// Bytes from an arena offset to the end of the live buffer around it.
    fn arena(&mut self, o: u64, most: u64) -> Option<u64> {
        if most == 0 {
            return (o <= self.p.arena_bytes).then_some(0);
        }
        let l = self.live.around(o)?;
        // The next iteration needs a buffer from outside of the loop again.
        if let Some((begin, end)) = self.loops.iter().find(|(begin, end)| l.first <= *begin && l.last < *end)
        {
            let what = format!("buffer {} of the loop at {begin} ends before it does, at {end}", l.name);
            self.err(what);
        }
        l.end().checked_sub(o).filter(|room| *room > 0)
    }
}

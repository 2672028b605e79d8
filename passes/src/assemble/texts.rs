//! The space for texts that are made while running: one buffer, filled from its start in every run.

use super::Assembler;
use crate::lower::text::{SLACK, TextSpace, makes_texts};
use crate::plan::{Home, VStep};
use crate::rebuild::regions;
use sinter_ir::graph::SymKind;
use sinter_ir::{Diag, Graph, Result, Symbols};

/// Bytes planned for each string that an op makes.
const EACH: u64 = 64;
/// Least and most bytes of the space where nothing is asked for.
const BOUNDS: (u64, u64) = (4 << 10, 16 << 20);
/// Most bytes that may be asked for.
const MOST: u64 = 1 << 32;

impl Assembler<'_> {
    /// Provides the space when an op of the graph writes texts.
    pub(super) fn open_texts(&mut self, g: &Graph, asked: Option<u64>, steps: &mut Vec<VStep>) -> Result<()> {
        let strings = made(g, &self.symbols);
        if strings == 0 {
            return Ok(());
        }
        let bytes = asked.unwrap_or(strings.saturating_mul(EACH).clamp(BOUNDS.0, BOUNDS.1));
        if bytes > MOST {
            return Err(Diag::limit(format!("{bytes} bytes for strings made while running: at most {MOST}")));
        }
        let used = self.symbols.fresh("bytes of texts", 0, bytes as i64, SymKind::Run);
        let buf = self.buffers.add("texts", bytes + SLACK, Home::Arena);
        self.texts = Some((TextSpace { used, bytes }, buf));
        steps.push(VStep::SetSym { sym: used, value: 0.into() });
        Ok(())
    }
}

/// Number of strings that ops write, at the largest dims.
fn made(g: &Graph, symbols: &Symbols) -> u64 {
    let of = |n: &sinter_ir::Node| {
        let own = match makes_texts(&n.op) {
            true => n.outputs.iter().map(|&v| symbols.max(&g.ty(v).numel()).max(1) as u64).sum(),
            false => 0,
        };
        regions(&n.op).into_iter().map(|r| made(r, symbols)).fold(own, u64::saturating_add)
    };
    g.iter().map(|(_, n)| of(n)).fold(0, u64::saturating_add)
}

//! Caches of keys and values: how they lie in memory, and attention over them.

use super::attention::Attention;
use crate::frontend::llm::net::{Net, Sizes};
use sinter_ir::op::quantized_matmul::Activations;
use sinter_ir::op::{Append, CachedAttention};
use sinter_ir::{Expr, Result, ValueId};

/// Positions of keys that are transposed together: the widest vectors have as many lanes.
const BLOCK: i64 = 16;
/// Slots of keys are a multiple of this, so that whole vectors of them can be read, and rings cut where they do not wrap.
const SPAN: i64 = 64;

/// Whether a layer with this window keeps less than the whole sequence: what the oldest token of a run sees, up to
/// the newest one.
pub fn is_ring(window: Option<i64>, sizes: &Sizes) -> bool {
    kept(window, sizes).is_some()
}

/// Positions that such a layer keeps.
fn kept(window: Option<i64>, sizes: &Sizes) -> Option<i64> {
    window.map(|w| w.saturating_add(sizes.chunk)).filter(|n| *n < sizes.context)
}

impl Attention {
    /// Appends keys and values, `[tokens, kv_heads, size]`, and attends to everything that queries
    /// `[tokens, heads, size]` may see: `[tokens, heads * size]`.
    pub(super) fn cached(&self, net: &mut Net, [q, k, v]: [ValueId; 3], at: &str) -> Result<ValueId> {
        let (past, tokens, capacity) = (net.past.clone(), net.tokens.clone(), net.capacity.clone());
        let spans = |n: &Expr| n.ceil_div(&SPAN.into());
        let kept = kept(self.window, &net.sizes).map(|n| spans(&n.into()) * SPAN.into());
        // What is not transposed tells the capacity by itself.
        let slots = kept.clone().unwrap_or(capacity);
        let blocks = spans(&slots) * (SPAN / BLOCK).into();
        let dtype = net.sizes.cache;
        let mut keep = |what: &str, rows: ValueId, dims: Vec<Expr>, block: i64| {
            let state = net.state(&format!("{at}.{what}"), dtype, dims);
            let rows = net.cast(rows, dtype)?;
            net.append(state, rows, Append { at: past.clone(), block, ring: kept.is_some() })
        };
        let (heads, size) = (Expr::from(self.kv_heads), Expr::from(self.size));
        let k = keep("keys", k, vec![heads.clone(), blocks, size.clone(), BLOCK.into()], BLOCK)?;
        let v = keep("values", v, vec![heads, slots, size], 1)?;
        let op = CachedAttention {
            past,
            block: BLOCK,
            scale: self.scale,
            softcap: self.softcap,
            // A window that no sequence outgrows is none.
            window: self.window.filter(|w| *w < net.sizes.context),
            ring: kept.is_some(),
            narrow: net.sizes.stored == Some(Activations::Coarse),
        };
        let y = net.add(op, &[q, k, v])?;
        net.reshape(y, vec![tokens, (self.heads * self.size).into()])
    }
}

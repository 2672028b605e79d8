//! Caches of keys and values: how they lie in memory, and attention over them.

use super::attention::Attention;
use crate::frontend::llm::net::{Net, Sizes};
use sinter_ir::op::pages::{Pages, SPAN};
use sinter_ir::op::quantized_matmul::Activations;
use sinter_ir::op::{Append, AppendPages, CachedAttention};
use sinter_ir::{DType, Expr, Result, ValueId};

/// Positions of keys that are transposed together: the widest vectors have as many lanes.
const BLOCK: i64 = 16;

/// Whether a layer with this window cannot go back to any position: it keeps what the oldest token of a run sees, up to
/// the newest one, or has only codes of what is not new.
pub fn forgets(window: Option<i64>, sizes: &Sizes) -> bool {
    let plan = Plan::new(window, sizes);
    plan.kept.is_some() || plan.pages.is_some()
}

/// Which positions a layer keeps, and how.
struct Plan {
    /// Positions, where they are fewer than a sequence can have: later ones take the place of earlier ones.
    kept: Option<i64>,
    pages: Option<Pages>,
    /// With pages: positions that stay floats, at most.
    floats: i64,
}

impl Plan {
    fn new(window: Option<i64>, sizes: &Sizes) -> Self {
        let kept = window.map(|w| w.saturating_add(sizes.chunk)).filter(|n| *n < sizes.context);
        let pages = sizes.cache.pages(kept.is_some());
        // A run may begin in the middle of a span and must leave all floats in place that it or the next one reads.
        let floats = |p: &Pages| p.sinks + p.recent + SPAN + (sizes.chunk + SPAN - 1) / SPAN * SPAN;
        let most = pages.as_ref().map_or(0, floats);
        // Codes of what could all be floats are none.
        let pages = pages.filter(|_| most < kept.unwrap_or(sizes.context));
        Self { kept, pages, floats: most }
    }
}

impl Attention {
    /// Appends keys and values, `[tokens, kv_heads, size]`, and attends to everything that queries
    /// `[tokens, heads, size]` may see: `[tokens, heads * size]`.
    pub(super) fn cached(&self, net: &mut Net, [q, k, v]: [ValueId; 3], at: &str) -> Result<ValueId> {
        let (past, tokens, capacity) = (net.past.clone(), net.tokens.clone(), net.capacity.clone());
        let spans = |n: &Expr| n.ceil_div(&SPAN.into());
        let plan = Plan::new(self.window, &net.sizes);
        let whole = plan.kept.map(|n| spans(&n.into()) * SPAN.into());
        let ring = whole.is_some();
        // What is not transposed tells the capacity by itself.
        let all = whole.unwrap_or_else(|| capacity.clone());
        let slots = match &plan.pages {
            None => all.clone(),
            // A short sequence has no more floats than positions.
            Some(p) => {
                let most = (spans(&all) + (p.sinks / SPAN).into()).min_of(&(plan.floats / SPAN).into());
                most * SPAN.into()
            }
        };
        if plan.pages.is_some() && !ring {
            net.fits_capacity()?;
        }
        let blocks = spans(&slots) * (SPAN / BLOCK).into();
        let dtype = net.sizes.cache.floats();
        let mut codes = vec![];
        let mut keep = |what: &str, rows: ValueId, dims: Vec<Expr>, block: i64| {
            let (heads, size) = (dims[0].clone(), dims[2].clone());
            let state = net.state(&format!("{at}.{what}"), dtype, dims);
            let rows = net.cast(rows, dtype)?;
            let sinks = plan.pages.map_or(0, |p| p.sinks);
            let ring = ring || plan.pages.is_some();
            let now = net.append(state, rows, Append { at: past.clone(), block, ring, sinks })?;
            if let Some(pages) = plan.pages {
                let size = size.as_const().and_then(|s| usize::try_from(s).ok()).unwrap_or(0);
                let page = if block == 1 { pages.values(size) } else { pages.keys(size) };
                // Keys of whole spans, so that those of every head begin at whole words; values tell the capacity.
                let room = if block == 1 { all.clone() } else { spans(&all) * SPAN.into() };
                let dims = vec![heads, room, (page.bytes() as i64 / SPAN).into()];
                let state = net.state(&format!("{at}.{what}.codes"), DType::U8, dims);
                let (past, tokens) = (past.clone(), tokens.clone());
                let op = AppendPages { past, tokens, pages, block, ring: plan.kept.is_some() };
                codes.push(net.append(state, now, op)?);
            }
            Ok(now)
        };
        let (heads, size) = (Expr::from(self.kv_heads), Expr::from(self.size));
        let k = keep("keys", k, vec![heads.clone(), blocks, size.clone(), BLOCK.into()], BLOCK)?;
        let v = keep("values", v, vec![heads, slots.clone(), size], 1)?;
        let op = CachedAttention {
            past,
            block: BLOCK,
            scale: self.scale,
            softcap: self.softcap,
            // A window that no sequence outgrows is none.
            window: self.window.filter(|w| *w < net.sizes.context),
            ring,
            narrow: net.sizes.stored == Some(Activations::Coarse),
            pages: plan.pages,
        };
        let y = net.add(op, &[vec![q, k, v], codes].concat())?;
        net.reshape(y, vec![tokens, (self.heads * self.size).into()])
    }
}

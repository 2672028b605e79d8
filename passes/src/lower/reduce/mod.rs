//! Reductions over any axes, alone or in groups: normalisations, softmax, statistics.
//!
//! A *row* is everything that one set of reduced elements consists of. Where the last axis is reduced, lanes run
//! along the row, else over as many rows as there are lanes, side by side. A row is passed over once per level of
//! reductions that need each other and once more to store what has an element per element; values are computed anew
//! in each pass, from operands that are in the cache by then, or kept in scratch memory where that is dear.

mod combine;
pub mod expand;
mod plan;
mod row;

use super::body::Body;
use super::elementwise::name;
use super::pull::{Puller, vector_or_scalar};
use super::{LowerCx, Lowered};
use plan::Plan;
use row::Rows;
use sinter_ir::Result;
use sinter_ir::tile::build::KernelBuilder;

/// Lowers a group all of whose roots are reductions.
pub fn lower(cx: &LowerCx, body: &Body) -> Result<Lowered> {
    let plan = Plan::new(cx, body)?;
    vector_or_scalar(cx.target.lanes(32), |lanes| {
        let mut b = KernelBuilder::new(name(body, "rows"));
        let mut rows = Rows::new(cx, &plan, Puller::new(cx, body), lanes);
        rows.emit(&mut b)?;
        let scratch = rows.scratch.take();
        let mut out = rows.puller.params.finish(b);
        out.scratch.extend(scratch.map(|(_, bytes)| bytes));
        Ok(out)
    })
}

//! Channels and heads that can go as a whole, with everything that depends on them.
//!
//! Indices along an axis of a value are labelled; two indices that cannot go without each other have the same label
//! ([`labels`]). The labels start where weights make channels and go along through element-wise operations, reshapes,
//! concatenations, depthwise convolutions, attention and its caches, to the weights that read them ([`rules`]). Labels that
//! reach something that is not understood, or an output of the model, are pinned, with the reason. What is left are
//! families of units ([`family`]), from which some are chosen ([`choose`]), and the graph is rebuilt without them
//! ([`shrink`]).

pub mod choose;
pub mod family;
pub mod labels;
mod rules;
pub mod shrink;

pub use family::{Family, families};
pub use labels::Labels;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

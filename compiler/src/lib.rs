//! The Sinter compiler: importers, driver, reports and the `sinter` command line.
//!
//! The only crate with input and output; files, environment and clock are touched in [`system`] alone.

#![forbid(unsafe_code)]

pub mod frontend;
pub mod system;

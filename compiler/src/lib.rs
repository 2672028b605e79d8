//! The Sinter compiler: importers, driver, reports and the `sinter` command line.
//!
//! The only crate with input and output; files, environment and clock are touched in [`system`] alone. The single
//! `unsafe` block calls a loaded bundle.

pub mod bench;
pub mod bindings;
pub mod calibrate;
pub mod check;
pub mod cli;
pub mod data;
pub mod driver;
pub mod dump;
pub mod frontend;
pub mod manifest;
pub mod progress;
pub mod quantise;
pub mod report;
pub mod session;
pub mod spool;
pub mod system;
pub mod tune;
pub mod web;

//! Microcontrollers: bundles in C, built with arm-none-eabi-gcc for boards that qemu-system-arm knows, with the flash and
//! the RAM of the chip as the linker's limits, run there and compared.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod board;
#[path = "../common/mod.rs"]
mod common;
mod kws;
mod models;

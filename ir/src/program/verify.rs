//! Program IR: verify.

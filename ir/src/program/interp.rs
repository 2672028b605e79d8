//! Program IR: interp.

//! Program IR: text.

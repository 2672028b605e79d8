//! Verifier of graph IR.

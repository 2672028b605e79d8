//! The only way to change a graph after construction.

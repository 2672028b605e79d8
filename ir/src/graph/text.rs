//! Text form of modules: printer and parser.

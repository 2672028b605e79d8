//! Conversions between stored elements and the evaluator's f64 / i128 view, for every element type.

//! The closed table of core operations. One file per op: attributes, shape and dtype rule, evaluator, docs.
//!
//! Everything else that a model can say is decomposed into these by the importers.

use crate::eval::EvalCx;
use crate::{Expr, Result, Sym, Symbols, Tensor, TensorType};

/// The operands as an array; a wrong number of them is a bug of whoever built the graph.
pub(crate) fn args<T, const N: usize>(x: &[T]) -> Result<&[T; N]> {
    <&[T; N]>::try_from(x).map_err(|_| crate::Diag::bug(format!("{} operands given, {N} needed", x.len())))
}

pub mod channels;
pub(crate) mod json_float;
pub mod pages;

/// What every op provides.
pub trait OpSpec {
    /// Result types from operand types; checks ranks, dtypes and attributes. Errors name the offending types.
    fn infer(&self, symbols: &mut Symbols, inputs: &[&TensorType]) -> Result<Vec<TensorType>>;
    /// Reference semantics. Slow and obvious; the oracle of all tests.
    fn eval(&self, cx: &mut EvalCx, inputs: &[Tensor]) -> Result<Vec<Tensor>>;
    /// Symbols that the op defines when it runs.
    fn defines(&self) -> Vec<Sym> {
        Vec::new()
    }
    /// Applies `f` to every expression among the attributes (not inside regions).
    fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        let _ = f;
    }
}

macro_rules! ops {
    ($($file:ident :: $name:ident),* $(,)?) => {
        $(pub mod $file;)*
        $(pub use $file::$name;)*
        pub mod constant;
        pub use constant::Constant;

        /// A core operation with its attributes.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs)]
        pub enum Op {
            Constant(Constant),
            $($name($name)),*
        }

        /// Names of all ops, sorted.
        pub const OP_NAMES: &[&str] = &[$(stringify!($name)),*];

        impl Op {
            /// Name in text form.
            pub fn name(&self) -> &'static str {
                match self {
                    Op::Constant(_) => "Constant",
                    $(Op::$name(_) => stringify!($name)),*
                }
            }
            /// Attributes as JSON, without regions and constant data.
            pub fn attributes(&self) -> serde_json::Value {
                match self {
                    Op::Constant(_) => Ok(serde_json::Value::Null),
                    $(Op::$name(o) => serde_json::to_value(o)),*
                }
                .unwrap_or_default()
            }
            /// The op with these attributes: the inverse of [`Op::name`] and [`Op::attributes`]. Regions are empty
            /// and a `Constant` cannot be made this way.
            pub fn from_attributes(name: &str, attributes: serde_json::Value) -> Result<Op> {
                let bad = |e: serde_json::Error| crate::Diag::input(format!("attributes of {name}: {e}"));
                match name {
                    $(stringify!($name) => serde_json::from_value::<$name>(attributes).map(Op::$name).map_err(bad),)*
                    _ => Err(crate::Diag::input(format!("unknown op `{name}`"))),
                }
            }
            fn spec(&self) -> &dyn OpSpec {
                match self {
                    Op::Constant(o) => o,
                    $(Op::$name(o) => o),*
                }
            }
            fn spec_mut(&mut self) -> &mut dyn OpSpec {
                match self {
                    Op::Constant(o) => o,
                    $(Op::$name(o) => o),*
                }
            }
        }

        $(impl From<$name> for Op {
            fn from(o: $name) -> Op {
                Op::$name(o)
            }
        })*

        impl From<Constant> for Op {
            fn from(o: Constant) -> Op {
                Op::Constant(o)
            }
        }
    };
}

ops! {
    append::Append,
    append_pages::AppendPages,
    arg_reduce::ArgReduce,
    binary::Binary,
    bitcast::Bitcast,
    broadcast::Broadcast,
    cached_attention::CachedAttention,
    cast::Cast,
    compare::Compare,
    concat::Concat,
    conv::Conv,
    conv_transpose::ConvTranspose,
    cumulate::Cumulate,
    dequantize::Dequantize,
    from_dims::FromDims,
    gather::Gather,
    gather_elements::GatherElements,
    gather_nd::GatherNd,
    grid_sample::GridSample,
    group::Group,
    identity::Identity,
    if_::If,
    iota::Iota,
    lookup::Lookup,
    loop_::Loop,
    matmul::MatMul,
    mul_add::MulAdd,
    non_max_suppression::NonMaxSuppression,
    non_zero::NonZero,
    pad::Pad,
    pool::Pool,
    quantize::Quantize,
    quantized_matmul::QuantizedMatMul,
    quantized_rows::QuantizedRows,
    random::Random,
    read_syms::ReadSyms,
    recurrent::Recurrent,
    reduce::Reduce,
    reshape::Reshape,
    resize::Resize,
    reverse_sequence::ReverseSequence,
    roi_align::RoiAlign,
    scatter_elements::ScatterElements,
    scatter_nd::ScatterNd,
    select::Select,
    slice::Slice,
    softmax::Softmax,
    string_case::StringCase,
    string_concat::StringConcat,
    string_equal::StringEqual,
    string_find::StringFind,
    string_match::StringMatch,
    string_split::StringSplit,
    texts::Texts,
    top_k::TopK,
    transpose::Transpose,
    unary::Unary,
    unique::Unique,
    write_slice::WriteSlice,
}

impl Op {
    /// Computes every result element from the operands' elements at the same (broadcast) index, and from them alone.
    pub fn is_pointwise(&self) -> bool {
        matches!(
            self,
            Op::Unary(_)
                | Op::Binary(_)
                | Op::Compare(_)
                | Op::Select(_)
                | Op::MulAdd(_)
                | Op::Cast(_)
                | Op::Lookup(_)
        )
    }
    /// Gives its first operand with a part replaced: the only ops that may change a state.
    pub fn overwrites(&self) -> bool {
        matches!(self, Op::WriteSlice(_) | Op::Append(_) | Op::AppendPages(_))
    }
    /// Nested graphs with their names.
    pub fn regions(&self) -> Vec<(&'static str, &crate::Graph)> {
        match self {
            Op::If(o) => vec![("then", &o.then_body), ("else", &o.else_body)],
            Op::Loop(o) => vec![("body", &o.body)],
            Op::Group(o) => vec![("group", &o.body)],
            _ => vec![],
        }
    }
    /// Nested graphs in the order of [`Op::regions`], for those who build ops piece by piece.
    pub fn regions_mut(&mut self) -> Vec<&mut crate::Graph> {
        match self {
            Op::If(o) => vec![&mut o.then_body, &mut o.else_body],
            Op::Loop(o) => vec![&mut o.body],
            Op::Group(o) => vec![&mut o.body],
            _ => vec![],
        }
    }
    /// See [`OpSpec::infer`].
    pub fn infer(&self, symbols: &mut Symbols, inputs: &[&TensorType]) -> Result<Vec<TensorType>> {
        self.spec().infer(symbols, inputs)
    }
    /// See [`OpSpec::eval`].
    pub fn eval(&self, cx: &mut EvalCx, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        self.spec().eval(cx, inputs)
    }
    /// See [`OpSpec::defines`].
    pub fn defines(&self) -> Vec<Sym> {
        self.spec().defines()
    }
    /// See [`OpSpec::map_exprs`].
    pub fn map_exprs(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        self.spec_mut().map_exprs(f);
    }
}

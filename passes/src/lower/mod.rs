//! Nodes and groups to TileIR kernels.
//!
//! A group has at most one *root* (contraction, reduction, softmax, pooling, ...). Element-wise and movement ops
//! are *pulled*: the value of an element is computed where it is needed, from the loads up. A root pulls its
//! operands where it reads few of them ([`pulls_operands`]), and hands its results to an [`epilogue::Epilogue`]
//! that computes the consumers on registers and stores the group's outputs. Groups without a root are loop nests
//! over their (equal) output dims.

pub mod access;
pub(crate) mod attention;
pub mod body;
pub(crate) mod cached;
pub mod choices;
mod contract;
mod conv;
mod coords;
mod elementwise;
pub mod epilogue;
pub mod index;
mod join;
mod line;
mod merge;
mod mini;
mod out;
mod points;
mod pool;
pub mod pull;
mod quantized;
mod raw;
mod recurrent;
mod reduce;
mod resize;
mod rows;
mod sample;
mod scatter;
mod select;
mod sub_byte;
pub mod text;
pub(crate) mod turn;
mod window;
mod write_slice;

pub(crate) use conv::odd as odd_channels;

use body::Body;
use bytes::Bytes;
use choices::Choices;
use sinter_ir::target::TargetDesc;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Kernel, Reg};
use sinter_ir::{Diag, Expr, Op, Result, Symbols, Tensor, TensorType};

/// What lowering knows besides the node.
#[derive(Debug, Clone, Copy)]
pub struct LowerCx<'a> {
    /// Target: vector width, caches.
    pub target: &'a TargetDesc,
    /// Symbols and their ranges.
    pub symbols: &'a Symbols,
    /// What was measured, and what is asked.
    pub choices: &'a Choices,
    /// Where texts made while running go, if the program makes any.
    pub texts: Option<text::TextSpace>,
    /// Sums of convolutions have no other terms than their windows: no Winograd's method, no folding.
    pub exact_convolutions: bool,
    /// What may be rounded.
    pub precision: Precision,
}

/// Arithmetic of models in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// As the model says.
    #[default]
    F32,
    /// Weights of contractions are stored as bf16. Where the target multiplies those, the data is rounded too; sums are
    /// f32.
    Bf16,
}

impl std::str::FromStr for Precision {
    type Err = Diag;
    fn from_str(s: &str) -> Result<Self> {
        match s {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            _ => Err(Diag::input(format!("unknown precision `{s}`")).help("f32 or bf16")),
        }
    }
}

/// What a kernel parameter is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arg {
    /// Operand of the node.
    Input(usize),
    /// Result of the node.
    Output(usize),
    /// Temporary buffer of [`Lowered::scratch`].
    Scratch(usize),
    /// Compile-time data of [`Lowered::packed`].
    Packed(usize),
    /// The space of [`LowerCx::texts`].
    Texts,
}

/// One kernel and its arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelCall {
    /// Code.
    pub kernel: Kernel,
    /// One per buffer.
    pub args: Vec<Arg>,
}

/// A node as kernels.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Lowered {
    /// In order.
    pub calls: Vec<KernelCall>,
    /// Bytes of temporaries.
    pub scratch: Vec<Expr>,
    /// Data in the layout that the kernels want.
    pub packed: Vec<Bytes>,
}

impl Lowered {
    /// Runs another lowering of the same node behind this one.
    pub fn append(&mut self, other: Lowered) {
        let (scratch, packed) = (self.scratch.len(), self.packed.len());
        let moved = |a: Arg| match a {
            Arg::Scratch(i) => Arg::Scratch(i + scratch),
            Arg::Packed(i) => Arg::Packed(i + packed),
            other => other,
        };
        self.calls.extend(other.calls.into_iter().map(|mut c| {
            c.args.iter_mut().for_each(|a| *a = moved(*a));
            c
        }));
        self.scratch.extend(other.scratch);
        self.packed.extend(other.packed);
    }
}

/// A node with what is known of its operands.
#[derive(Debug, Clone)]
pub struct NodeView<'a> {
    /// Operation.
    pub op: &'a Op,
    /// Operand types.
    pub inputs: Vec<&'a TensorType>,
    /// Operands known at compile time.
    pub consts: Vec<Option<&'a Tensor>>,
    /// Result types.
    pub outputs: Vec<&'a TensorType>,
}

/// Whether an op can be computed element by element from its operands.
pub fn can_pull(op: &Op) -> bool {
    !text::looks_inside(op) && is_per_element(op)
}

fn is_per_element(op: &Op) -> bool {
    op.is_pointwise()
        || matches!(
            op,
            Op::Quantize(_)
                | Op::Dequantize(_)
                | Op::Transpose(_)
                | Op::Broadcast(_)
                | Op::Reshape(_)
                | Op::Slice(_)
                | Op::Pad(_)
                | Op::Concat(_)
                | Op::Gather(_)
                | Op::GatherElements(_)
                | Op::GatherNd(_)
                | Op::Iota(_)
                | Op::FromDims(_)
                | Op::Identity(_)
                | Op::Bitcast(_)
                | Op::ReverseSequence(_)
                | Op::Constant(_)
        )
}

/// Whether an op anchors a kernel and takes an epilogue on its first result.
pub fn is_root(op: &Op) -> bool {
    matches!(
        op,
        Op::MatMul(_)
            | Op::QuantizedMatMul(_)
            | Op::Conv(_)
            | Op::ConvTranspose(_)
            | Op::Pool(_)
            | Op::Reduce(_)
            | Op::Softmax(_)
            | Op::GridSample(_)
            | Op::RoiAlign(_)
            | Op::Resize(_)
    )
}

/// Whether a root computes its operands on the fly; all others read them from buffers.
pub fn pulls_operands(op: &Op) -> bool {
    matches!(op, Op::Reduce(_) | Op::Softmax(_))
}

/// Lowers a node or group.
pub fn lower(cx: &LowerCx, node: &NodeView) -> Result<Lowered> {
    let body = Body::new(cx, node)?;
    match body.root {
        None if body.graph.outputs.len() == 1 => elementwise::lower(cx, &body),
        None => sub_byte::lower(cx, &body, |body| elementwise::lower(cx, body)),
        Some(root) => sub_byte::lower(cx, &body, |body| lower_root(cx, body, &body.graph.node(root).op)),
    }
}

/// Arithmetic below which a loop is not worth handing to threads: some 20 microseconds of one core.
const WORTH_THREADS: u64 = 1 << 17;

/// The outermost loop of a kernel: parallel where `work` (units of [`crate::fuse::policy::cost`]) is worth it.
fn parallel_if(b: &mut KernelBuilder, work: u64, hi: &Expr, f: impl FnOnce(&mut KernelBuilder, Reg)) {
    match work {
        _ if hi.is(1) => {
            let zero = index::int(b, 0);
            f(b, zero);
        }
        0..WORTH_THREADS => b.range(hi, f),
        _ => b.parallel(hi, f),
    }
}

fn lower_root(cx: &LowerCx, body: &Body, root: &Op) -> Result<Lowered> {
    match root {
        Op::MatMul(_) if attention::is_attention(&body.graph) => attention::lower(cx, body),
        Op::MatMul(_) => contract::lower(cx, body),
        Op::QuantizedMatMul(op) => quantized::lower(cx, body, op),
        Op::QuantizedRows(op) => quantized::rows(cx, body, op),
        Op::Pool(op) => pool::lower(cx, body, op),
        Op::ConvTranspose(op) => conv::transpose::lower(cx, body, op),
        Op::Recurrent(op) => recurrent::lower(cx, body, op),
        Op::Conv(op) => conv::lower(cx, body, op),
        Op::Reduce(_) => reduce::lower(cx, body),
        Op::ArgReduce(op) => rows::arg(cx, body, op),
        Op::Cumulate(op) => rows::cumulate(cx, body, op),
        Op::ScatterElements(op) => scatter::elements(cx, body, op),
        Op::ScatterNd(op) => scatter::nd(cx, body, op),
        Op::Texts(op) => text::views(body, op),
        Op::Cast(_) => text::digits(cx, body),
        Op::StringCase(op) => text::case(cx, body, op),
        Op::StringConcat(_) => text::concat(cx, body),
        Op::StringEqual(_) => text::equal(body),
        Op::StringFind(op) => text::find(body, op),
        Op::StringMatch(op) => text::matches(body, op),
        Op::StringSplit(op) => text::split(cx, body, op),
        Op::TopK(op) => select::top_k(cx, body, op),
        Op::NonZero(op) => select::non_zero(cx, body, op),
        Op::Unique(op) => select::unique(cx, body, op),
        Op::NonMaxSuppression(op) => select::non_max_suppression(cx, body, op),
        Op::GridSample(op) => sample::grid_sample(cx, body, op),
        Op::RoiAlign(op) => sample::roi_align(cx, body, op),
        Op::Resize(op) => resize::lower(cx, body, op),
        Op::WriteSlice(op) => write_slice::lower(cx, body, op),
        Op::Append(op) => cached::append(cx, body, op),
        Op::AppendPages(op) => cached::append_pages(cx, body, op),
        Op::CachedAttention(op) => cached::lower(cx, body, op),
        // Costly per element: computed once, though it could be pulled.
        Op::Random(_) => elementwise::lower(cx, body),
        other => Err(Diag::unsupported(format!("machine code for {}", other.name()))),
    }
}

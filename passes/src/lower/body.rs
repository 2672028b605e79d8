//! The closed graph that a kernel computes, with its root.

use super::{Arg, KernelCall, LowerCx, Lowered, NodeView};
use bytes::Bytes;
use sinter_ir::tile::build::KernelBuilder;
use sinter_ir::tile::{Access, Buf};
use sinter_ir::{DType, Diag, Graph, Node, NodeId, Op, Result, Tensor, TensorType, ValueId};

/// A node or group in one form: a graph whose inputs are the node's operands and whose outputs its results.
#[derive(Debug, Clone)]
pub struct Body {
    /// The graph.
    pub graph: Graph,
    /// The node that cannot be pulled, if any; the first one of several reductions over the same rows,
    /// the second product of an attention.
    pub root: Option<NodeId>,
    consts: Vec<Option<Tensor>>,
}

impl Body {
    /// Of a node; at most one op of it may be a root, several reductions over the same rows, or an attention.
    pub fn new(cx: &LowerCx, node: &NodeView) -> Result<Self> {
        let graph = match node.op {
            Op::Group(g) => g.body.clone(),
            op => single(cx, op, &node.inputs)?,
        };
        let graph = match super::text::words::moves_texts(&graph) {
            true => super::text::words::rewrite(&graph, cx.symbols)?,
            false => super::raw::as_bits(&graph, cx.symbols)?,
        };
        // Every element type must have registers that can hold it; ops on strings have kernels of their own.
        let texts = graph.iter().any(|(_, n)| super::text::looks_inside(&n.op));
        let coded = |v: u32| match graph.ty(ValueId(v)).dtype {
            DType::Str if texts => Ok(()),
            dtype => super::access::compute(dtype).map(drop),
        };
        (0..graph.value_count() as u32).try_for_each(coded)?;
        let attention = super::attention::is_attention(&graph);
        let graph = if attention { graph } else { super::reduce::expand::softmax(&graph, cx.symbols)? };
        let roots: Vec<NodeId> =
            graph.iter().filter(|(_, n)| !super::can_pull(&n.op)).map(|(id, _)| id).collect();
        let rows = roots.iter().all(|r| matches!(graph.node(*r).op, Op::Reduce(_)));
        if roots.len() > 1 && !rows && !attention {
            return Err(Diag::bug("a kernel group with two roots"));
        }
        let root = if attention { roots.last() } else { roots.first() }.copied();
        let known = node.consts.iter().zip(&graph.inputs);
        let consts = known
            .map(|(c, &v)| c.map(|t| super::raw::retype(t, graph.ty(v).dtype)).transpose())
            .collect::<Result<_>>()?;
        Ok(Self { graph, root, consts })
    }
    /// Of one op on operands that are not known.
    pub fn of(cx: &LowerCx, op: &Op, inputs: &[&TensorType]) -> Result<Self> {
        let graph = single(cx, op, inputs)?;
        Ok(Self { root: None, consts: vec![None; inputs.len()], graph })
    }
    /// The root node.
    pub fn root_node(&self) -> Result<&Node> {
        self.root.map(|r| self.graph.node(r)).ok_or_else(|| Diag::bug("a group without root"))
    }
    /// Type of a value.
    pub fn ty(&self, v: ValueId) -> &TensorType {
        self.graph.ty(v)
    }
    /// Which operand of the node a value is.
    pub fn input_index(&self, v: ValueId) -> Option<usize> {
        self.graph.inputs.iter().position(|&i| i == v)
    }
    /// The tensor when a value is known at compile time.
    pub fn const_of(&self, v: ValueId) -> Option<&Tensor> {
        match self.input_index(v) {
            Some(i) => self.consts.get(i).and_then(Option::as_ref),
            None => self.graph.as_const(v),
        }
    }
}

fn single(cx: &LowerCx, op: &Op, inputs: &[&TensorType]) -> Result<Graph> {
    let mut g = Graph::default();
    let mut symbols = cx.symbols.clone();
    let ins: Vec<ValueId> = inputs.iter().map(|t| g.add_input((*t).clone(), None)).collect();
    g.outputs = g.add(&mut symbols, op.clone(), &ins, &vec![])?;
    Ok(g)
}

/// Parameters of a kernel being built: every buffer is declared once.
#[derive(Debug, Default)]
pub struct Params {
    args: Vec<Arg>,
    bufs: Vec<Buf>,
    packed: Vec<Bytes>,
}

impl Params {
    /// The buffer of an argument.
    pub fn buf(&mut self, b: &mut KernelBuilder, arg: Arg, access: Access, ty: &TensorType) -> Buf {
        if let Some(i) = self.args.iter().position(|a| *a == arg) {
            return self.bufs[i];
        }
        let name = match arg {
            Arg::Input(i) => format!("in{i}"),
            Arg::Output(i) => format!("out{i}"),
            Arg::Scratch(i) => format!("tmp{i}"),
            Arg::Packed(i) => format!("w{i}"),
            Arg::Texts => "texts".to_owned(),
        };
        let buf = b.tensor(name, access, ty.dtype, &ty.numel());
        self.args.push(arg);
        self.bufs.push(buf);
        buf
    }
    /// The buffer that holds a value: an operand, or a constant of the body.
    pub fn value(&mut self, b: &mut KernelBuilder, body: &Body, v: ValueId) -> Result<Buf> {
        let ty = body.ty(v).clone();
        if let Some(i) = body.input_index(v) {
            return Ok(self.buf(b, Arg::Input(i), Access::Read, &ty));
        }
        let t = body.const_of(v).ok_or_else(|| Diag::bug("a value without a buffer"))?;
        let at = self.place(t.shared_bytes());
        Ok(self.buf(b, Arg::Packed(at), Access::Read, &ty))
    }
    /// The place of packed data, which is there once.
    fn place(&mut self, bytes: Bytes) -> usize {
        self.packed.iter().position(|p| *p == bytes).unwrap_or_else(|| {
            self.packed.push(bytes);
            self.packed.len() - 1
        })
    }
    /// A buffer of data in an order of its own.
    pub fn pack(&mut self, b: &mut KernelBuilder, bytes: Bytes, dtype: DType) -> Buf {
        let ty = TensorType::new(dtype, vec![(bytes.len() * 8 / dtype.bits().max(1)).into()]);
        let at = self.place(bytes);
        self.buf(b, Arg::Packed(at), Access::Read, &ty)
    }
    /// One finished kernel as the whole lowering.
    pub fn finish(self, b: KernelBuilder) -> Lowered {
        Lowered {
            calls: vec![KernelCall { kernel: b.finish(), args: self.args }],
            scratch: vec![],
            packed: self.packed,
        }
    }
    /// The kernel's arguments, in buffer order, and the packed data.
    pub fn into_parts(self) -> (Vec<Arg>, Vec<Bytes>) {
        (self.args, self.packed)
    }
}

//! Layers that carry a state from call to call: linear attention and causal convolution.

use super::conv::channel_bias;
use super::find;
use crate::frontend::onnx::node::{Build, NodeCx};
use crate::frontend::onnx::proto::{AttributeProto, GraphProto, NodeProto, ValueInfoProto};
use crate::frontend::onnx::scope::Item;
use sinter_ir::op;
use sinter_ir::op::unary::UnaryKind as U;
use sinter_ir::{DType, Diag, Expr, Result, ValueId};

type Out = Result<Vec<Item>>;

/// Operators.
pub const OPS: &[(&str, Build)] =
    &[("LinearAttention", linear_attention), ("CausalConvWithState", causal_conv)];

/// `[batch, seq, heads * size]` as `[seq, batch, heads, size]`.
fn by_step(cx: &mut NodeCx, x: ValueId, heads: i64) -> Result<ValueId> {
    let d = cx.dims_at_least(x, 3)?;
    let x = cx.cast(x, DType::F32)?;
    let x = cx.reshape(x, vec![d[0].clone(), d[1].clone(), heads.into(), d[2].div(&heads.into())])?;
    cx.transpose(x, vec![1, 0, 2, 3])
}

/// The recurrence of one step, as a Scan body over `S` with slices `q`, `k`, `v`, `g`, `b`.
fn step(gated: bool, delta: bool) -> GraphProto {
    let names = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let node = |op: &str, inputs: &[&str], out: &str| NodeProto {
        op_type: op.to_owned(),
        name: format!("{out} of a step"),
        input: names(inputs),
        output: names(&[out]),
        ..NodeProto::default()
    };
    let mut nodes = vec![];
    let old = if gated {
        nodes.extend([node("Exp", &["g"], "decay"), node("Mul", &["S", "decay"], "kept")]);
        "kept"
    } else {
        "S"
    };
    let new = if delta {
        // k^T S is what the state holds for this key: only the difference is written.
        let axes = AttributeProto {
            name: "perm".into(),
            ints: vec![0, 1, 3, 2],
            r#type: 7,
            ..AttributeProto::default()
        };
        nodes.push(NodeProto { attribute: vec![axes], ..node("Transpose", &["k"], "row") });
        nodes.extend([
            node("MatMul", &["row", old], "held"),
            node("Sub", &["v", "held"], "missing"),
            node("Mul", &["missing", "b"], "update"),
        ]);
        "update"
    } else {
        "v"
    };
    nodes.extend([
        node("MatMul", &["k", new], "written"),
        node("Add", &[old, "written"], "S_next"),
        node("MatMul", &["q", "S_next"], "o"),
    ]);
    let value = |n: &str| ValueInfoProto { name: n.to_owned(), ..ValueInfoProto::default() };
    let extra = [("g", gated), ("b", delta)];
    let inputs = ["S", "q", "k", "v"].into_iter().chain(extra.iter().filter(|e| e.1).map(|e| e.0));
    GraphProto {
        input: inputs.map(value).collect(),
        output: vec![value("S_next"), value("o")],
        node: nodes,
        ..GraphProto::default()
    }
}

/// Runs a Scan of the standard over values.
fn scan(cx: &mut NodeCx, body: GraphProto, state: ValueId, scanned: &[ValueId]) -> Result<Vec<Item>> {
    let build = find("", "Scan").ok_or_else(|| Diag::bug("no Scan"))?;
    let operands: Vec<String> =
        (0..=scanned.len()).map(|i| format!("operand {i} of the recurrence")).collect();
    let attribute = vec![
        AttributeProto { name: "body".into(), g: Some(body), r#type: 5, ..AttributeProto::default() },
        AttributeProto {
            name: "num_scan_inputs".into(),
            i: scanned.len() as i64,
            r#type: 2,
            ..AttributeProto::default()
        },
    ];
    let node = NodeProto {
        name: cx.node.name.clone(),
        op_type: "Scan".into(),
        input: operands.clone(),
        output: vec!["state".into(), "results".into()],
        attribute,
        ..NodeProto::default()
    };
    cx.im.scope.push_frame(false);
    for (name, &v) in operands.iter().zip([state].iter().chain(scanned)) {
        let item = cx.wrap(v);
        cx.im.bind_new(name, item);
    }
    let origin = cx.origin.clone();
    let mut inner = NodeCx {
        im: &mut *cx.im,
        node: &node,
        opset: super::NEWEST_OPSET,
        origin,
        mistyped: Default::default(),
    };
    let out = build(&mut inner);
    cx.im.scope.pop_frame();
    out
}

fn linear_attention(cx: &mut NodeCx) -> Out {
    let (q, k, v) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let (hq, hkv) = (cx.int("q_num_heads", 0), cx.int("kv_num_heads", 0));
    if hq <= 0 || hkv <= 0 || hq % hkv != 0 {
        return Err(Diag::input(format!("{hq} query heads for {hkv} key heads")));
    }
    let (gated, delta) = match cx.text("update_rule", "gated_delta").as_str() {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        r => return Err(Diag::input(format!("update_rule `{r}`"))),
    };
    let t = cx.dtype(q);
    let (qs, ks, vs) = (by_step(cx, q, hq)?, by_step(cx, k, hkv)?, by_step(cx, v, hkv)?);
    let (qd, kd, vd) = (cx.dims(qs), cx.dims(ks), cx.dims(vs));
    // Query heads share the state of their key head.
    let grouped = vec![qd[0].clone(), qd[1].clone(), hkv.into(), (hq / hkv).into(), qd[3].clone()];
    let qs = cx.reshape(qs, grouped)?;
    let mut scanned = vec![qs, cx.unsqueeze(ks, &[4])?, cx.unsqueeze(vs, &[3])?];
    if gated {
        let g = cx.input(4)?;
        let g = by_step(cx, g, hkv)?;
        scanned.push(cx.unsqueeze(g, &[4])?);
    }
    if delta {
        let b = cx.input(5)?;
        let heads = cx.dims_at_least(b, 3)?[2].as_const().unwrap_or(hkv);
        let b = by_step(cx, b, heads)?;
        scanned.push(cx.unsqueeze(b, &[4])?);
    }
    let state_dims = vec![kd[1].clone(), hkv.into(), kd[3].clone(), vd[3].clone()];
    let past = cx.opt(3)?;
    let kept = past.map_or(t, |p| cx.dtype(p));
    let state = match past {
        Some(p) => cx.cast(p, DType::F32)?,
        None => cx.full(DType::F32, state_dims, 0.0)?,
    };
    let out = scan(cx, step(gated, delta), state, &scanned)?;
    let [state, y] = <[Item; 2]>::try_from(out).map_err(|_| Diag::bug("Scan has two results here"))?;
    let (state, y) = (cx.tensor(state)?, cx.tensor(y)?);
    let scale = match cx.float("scale", 0.0) {
        0.0 => {
            let d = qd[3].as_const().ok_or_else(|| Diag::unsupported("attention with an open head size"))?;
            1.0 / (d as f64).sqrt()
        }
        s => f64::from(s),
    };
    let y = cx.mul_num(y, scale)?;
    let y = cx.transpose(y, vec![1, 0, 2, 3, 4])?;
    let y = cx.reshape(y, vec![qd[1].clone(), qd[0].clone(), vd[3].clone() * hq.into()])?;
    let (y, state) = (cx.cast(y, t)?, cx.cast(state, kept)?);
    cx.many(&[y, state])
}

/// Depthwise convolution of the past and the new samples; the last ones are the next past.
fn causal_conv(cx: &mut NodeCx) -> Out {
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let (d, wd) = (cx.dims_at_least(x, 3)?, cx.dims_at_least(w, 3)?);
    let group = d[1].as_const().and_then(|c| usize::try_from(c).ok());
    let group =
        group.ok_or_else(|| Diag::unsupported("CausalConvWithState of an unknown number of channels"))?;
    let kept = wd[2].clone() - 1.into();
    let past = match cx.opt(3)? {
        Some(p) => p,
        None => cx.full(cx.dtype(x), vec![d[0].clone(), d[1].clone(), kept.clone()], 0.0)?,
    };
    let all = cx.concat(&[past, x], 2)?;
    let next = cx.slice_axis(all, 2, d[2].clone(), kept)?;
    let none = vec![Expr::from(0)];
    let conv = op::Conv {
        strides: vec![1],
        dilations: vec![1],
        pads_before: none.clone(),
        pads_after: none,
        group,
        channels_last: false,
        zero: None,
        largest: None,
        wide: false,
    };
    let mut y = cx.emit(conv, &[all, w])?;
    if let Some(b) = cx.opt(2)? {
        y = channel_bias(cx, y, b)?;
    }
    match cx.text("activation", "none").as_str() {
        "none" => {}
        "silu" | "swish" => {
            let s = cx.unary(U::Sigmoid, y)?;
            y = cx.mul(y, s)?;
        }
        a => return Err(Diag::input(format!("activation `{a}`"))),
    }
    cx.many(&[y, next])
}

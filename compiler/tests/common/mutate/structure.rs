//! Mutations of the model inside a well-formed file: what a broken exporter or an attacker would write.

use super::{Rng, Seed};
use bytes::Bytes;
use prost::Message;
use sinter::frontend::onnx::op;
use sinter::frontend::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TensorShapeProto, ValueInfoProto,
    tensor_shape_proto::dimension::Value as Dim, type_proto::Value as Type,
};

/// Integers at which code breaks.
pub const INTS: &[i64] = &[
    0,
    1,
    -1,
    2,
    -2,
    3,
    7,
    64,
    255,
    4096,
    65_537,
    1 << 31,
    -(1 << 31),
    (1 << 31) - 1,
    1 << 40,
    1 << 56,
    1 << 62,
    i64::MAX,
    i64::MIN,
    i64::MIN + 1,
    i64::MAX - 1,
];
const FLOATS: &[f32] =
    &[0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e30, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];

/// Visits every tensor of a model.
pub fn tensors(model: &ModelProto, f: &mut dyn FnMut(&TensorProto)) {
    let mut graphs: Vec<&GraphProto> = model.graph.iter().collect();
    let functions = model.functions.iter().flat_map(|f| &f.node);
    let mut nodes: Vec<&NodeProto> = functions.collect();
    while !graphs.is_empty() || !nodes.is_empty() {
        for g in std::mem::take(&mut graphs) {
            g.initializer.iter().for_each(&mut *f);
            nodes.extend(&g.node);
        }
        for a in std::mem::take(&mut nodes).into_iter().flat_map(|n| &n.attribute) {
            a.t.iter().chain(&a.tensors).for_each(&mut *f);
            graphs.extend(a.g.iter().chain(&a.graphs));
        }
    }
}

/// A file with one to three breaks; none where it is no model any more.
pub fn broken_file(file: &[u8], number: u64) -> Option<Bytes> {
    let model = ModelProto::decode(file).ok()?;
    Some(break_model(model, &mut Rng::new(number)))
}

/// One to three breaks.
pub fn broken(seed: &Seed, rng: &mut Rng) -> Bytes {
    break_model(seed.model.clone(), rng)
}

fn break_model(mut model: ModelProto, rng: &mut Rng) -> Bytes {
    for _ in 0..1 + rng.below(3) {
        // Some breaks find nothing to break; another one may.
        for _ in 0..8 {
            if one(&mut model, rng).is_some() {
                break;
            }
        }
    }
    model.encode_to_vec().into()
}

fn one(model: &mut ModelProto, rng: &mut Rng) -> Option<()> {
    if rng.one_in(40) {
        return header(model, rng);
    }
    if !model.functions.is_empty() && rng.one_in(6) {
        let i = rng.below(model.functions.len());
        let f = &mut model.functions[i];
        let i = rng.below(f.node.len());
        return node(f.node.get_mut(i)?, rng);
    }
    graph(model.graph.as_mut()?, rng)
}

fn header(model: &mut ModelProto, rng: &mut Rng) -> Option<()> {
    match rng.below(4) {
        0 => model.opset_import.clear(),
        1 => model.graph = None,
        2 => model.ir_version = *rng.pick(INTS),
        _ => {
            model.opset_import.first_mut()?.version = *rng.pick(&[1, 5, 6, 7, 9, 11, 13, 18, 24, 1 << 40, -1])
        }
    }
    Some(())
}

fn graph(g: &mut GraphProto, rng: &mut Rng) -> Option<()> {
    // Now and then into a nested graph.
    let inner: Vec<usize> =
        (0..g.node.len()).filter(|&i| g.node[i].attribute.iter().any(|a| a.g.is_some())).collect();
    if !inner.is_empty() && rng.one_in(3) {
        let n = &mut g.node[*rng.pick(&inner)];
        let mut bodies: Vec<&mut GraphProto> = n.attribute.iter_mut().filter_map(|a| a.g.as_mut()).collect();
        let i = rng.below(bodies.len());
        return graph(bodies[i], rng);
    }
    let n = g.node.len();
    match rng.below(20) {
        0..=7 => node(g.node.get_mut(rng.below(n))?, rng),
        8..=9 => tensor(pick_tensor(g, rng)?, rng),
        10 => {
            let i = rng.below(g.input.len());
            info(g.input.get_mut(i)?, rng)
        }
        11..=12 => rewire(g, rng),
        13 if n > 0 => {
            g.node.remove(rng.below(n));
            Some(())
        }
        14 if n > 0 => {
            let copy = g.node[rng.below(n)].clone();
            g.node.insert(rng.below(n + 1), copy);
            Some(())
        }
        15 if n > 1 => {
            g.node.swap(rng.below(n), rng.below(n));
            Some(())
        }
        16 if n > 0 => {
            let t = g.initializer.get(rng.below(g.initializer.len()))?.clone();
            let j = rng.below(g.initializer.len());
            match rng.below(3) {
                0 => g.initializer.push(t),
                1 => drop(g.initializer.swap_remove(j)),
                _ => g.initializer[j].name = t.name,
            }
            Some(())
        }
        17 => {
            let i = rng.below(g.output.len());
            match rng.below(3) {
                0 => g.output.clear(),
                1 => g.output.get_mut(i)?.name = g.node.get(rng.below(n))?.output.first()?.clone(),
                _ => {
                    let copy = g.output.get(i)?.clone();
                    g.output.push(copy);
                }
            }
            Some(())
        }
        18 => {
            let i = rng.below(g.value_info.len());
            info(g.value_info.get_mut(i)?, rng)
        }
        _ => {
            let i = rng.below(g.input.len());
            match rng.below(3) {
                0 if !g.input.is_empty() => drop(g.input.remove(i)),
                1 => g.input.get_mut(i)?.name = g.node.get(rng.below(n))?.output.first()?.clone(),
                _ => {
                    let copy = g.input.get(i)?.clone();
                    g.input.push(copy);
                }
            }
            Some(())
        }
    }
}

/// Lets a node read another value: wrong types, wrong shapes, cycles.
fn rewire(g: &mut GraphProto, rng: &mut Rng) -> Option<()> {
    let made = g.node.iter().flat_map(|n| &n.output);
    let held = g.initializer.iter().map(|t| &t.name);
    let names: Vec<String> = made.chain(held).chain(g.input.iter().map(|i| &i.name)).cloned().collect();
    let name = names.get(rng.below(names.len()))?.clone();
    let i = rng.below(g.node.len());
    let n = g.node.get_mut(i)?;
    if rng.one_in(5) {
        *n.output.first_mut()? = name;
    } else {
        let k = rng.below(n.input.len());
        *n.input.get_mut(k)? = name;
    }
    Some(())
}

fn node(n: &mut NodeProto, rng: &mut Rng) -> Option<()> {
    let (ins, attrs) = (n.input.len(), n.attribute.len());
    match rng.below(16) {
        0..=3 => {
            let ops: Vec<&str> = op::names().collect();
            let name = *rng.pick(&ops);
            let (domain, name) = name.split_once(':').unwrap_or(("", name));
            (n.domain, n.op_type) = (domain.to_owned(), name.to_owned());
        }
        4..=9 => return attribute(n.attribute.get_mut(rng.below(attrs))?, rng),
        10 if attrs > 0 => drop(n.attribute.remove(rng.below(attrs))),
        11 if ins > 0 => drop(n.input.remove(rng.below(ins))),
        12 if ins > 0 => n.input[rng.below(ins)].clear(),
        13 if ins > 0 => {
            let copy = n.input[rng.below(ins)].clone();
            n.input.push(copy);
        }
        14 if !n.output.is_empty() => drop(n.output.pop()),
        15 => {
            // An attribute that some op knows under this name, with any value.
            let name = *rng.pick(&[
                "axis",
                "axes",
                "perm",
                "group",
                "strides",
                "pads",
                "dilations",
                "kernel_shape",
                "to",
                "keepdims",
                "ceil_mode",
                "auto_pad",
                "mode",
                "hidden_size",
                "direction",
                "layout",
                "num_outputs",
                "split",
                "block_size",
                "blocksize",
                "allowzero",
                "epsilon",
                "k",
                "largest",
                "start",
                "end",
                "num_heads",
                "transA",
                "value_ints",
                "output_padding",
                "output_shape",
                "batch_dims",
                "equation",
                "bits",
            ]);
            let mut a = AttributeProto { name: name.to_owned(), ..AttributeProto::default() };
            a.ints = (0..rng.below(5)).map(|_| *rng.pick(INTS)).collect();
            (a.i, a.f, a.r#type) = (*rng.pick(INTS), *rng.pick(FLOATS), 2);
            a.s = rng
                .pick(&["", "SAME_UPPER", "VALID", "edge", "wrap", "cubic", "reverse", "ij,jk->ik", "...i"])
                .as_bytes()
                .to_vec();
            n.attribute.push(a);
        }
        _ => return None,
    }
    Some(())
}

fn attribute(a: &mut AttributeProto, rng: &mut Rng) -> Option<()> {
    if let Some(t) = a.t.as_mut().filter(|_| rng.below(4) > 0) {
        return tensor(t, rng);
    }
    match rng.below(8) {
        0..=1 => a.i = *rng.pick(INTS),
        2 => a.f = *rng.pick(FLOATS),
        3 if !a.ints.is_empty() => {
            let i = rng.below(a.ints.len());
            a.ints[i] = *rng.pick(INTS);
        }
        4 => a.ints.push(*rng.pick(INTS)),
        5 => drop(a.ints.pop()?),
        6 => {
            let i = rng.below(a.s.len());
            *a.s.get_mut(i)? ^= 1 << rng.below(8);
        }
        // Another type with nothing in it.
        _ => {
            let name = a.name.clone();
            *a = AttributeProto { name, r#type: rng.below(16) as i32, ..AttributeProto::default() };
        }
    }
    Some(())
}

fn pick_tensor<'g>(g: &'g mut GraphProto, rng: &mut Rng) -> Option<&'g mut TensorProto> {
    // Small tensors decide shapes; large ones are only weights.
    let small: Vec<usize> =
        (0..g.initializer.len()).filter(|&i| g.initializer[i].encoded_len() < 256).collect();
    let i = match small.get(rng.below(small.len())) {
        Some(&i) if !rng.one_in(4) => i,
        _ => rng.below(g.initializer.len()),
    };
    g.initializer.get_mut(i)
}

fn tensor(t: &mut TensorProto, rng: &mut Rng) -> Option<()> {
    match rng.below(8) {
        0 => {
            let i = rng.below(t.dims.len());
            *t.dims.get_mut(i)? = *rng.pick(INTS);
        }
        1 => t.dims.push(*rng.pick(INTS)),
        2 => drop(t.dims.pop()?),
        3 => t.data_type = rng.below(28) as i32,
        4 => t.raw_data = t.raw_data.slice(..rng.below(t.raw_data.len() + 1)),
        // The right amount of absurd data.
        5..=6 => {
            let word = rng.pick(INTS).to_le_bytes();
            let float = rng.pick(FLOATS).to_le_bytes();
            let n = t.raw_data.len();
            let fill = |w: &[u8]| w.iter().copied().cycle().take(n).collect::<Vec<u8>>();
            t.raw_data = if t.data_type == 1 { fill(&float) } else { fill(&word) }.into();
            t.int64_data.iter_mut().for_each(|v| *v = *rng.pick(INTS));
            t.int32_data.iter_mut().for_each(|v| *v = *rng.pick(INTS) as i32);
            t.float_data.iter_mut().for_each(|v| *v = *rng.pick(FLOATS));
        }
        _ => t.data_location = 1,
    }
    Some(())
}

fn info(v: &mut ValueInfoProto, rng: &mut Rng) -> Option<()> {
    let Some(Type::TensorType(t)) = v.r#type.as_mut().and_then(|t| t.value.as_mut()) else {
        v.r#type = None;
        return Some(());
    };
    match rng.below(6) {
        0 => t.elem_type = rng.below(28) as i32,
        1 => t.shape = None,
        _ => shape(t.shape.as_mut()?, rng)?,
    }
    Some(())
}

fn shape(s: &mut TensorShapeProto, rng: &mut Rng) -> Option<()> {
    let i = rng.below(s.dim.len());
    match rng.below(5) {
        0 => drop(s.dim.pop()?),
        1 => s.dim.push(s.dim.get(i)?.clone()),
        2 => s.dim.get_mut(i)?.value = Some(Dim::DimParam("n".into())),
        _ => s.dim.get_mut(i)?.value = Some(Dim::DimValue(*rng.pick(INTS))),
    }
    Some(())
}

//! Checkpoints that are quantised already, as GPTQ, AWQ and compressed-tensors store them: a small model in each of their
//! formats, packed here bit by bit, against the same model in floats.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use half::f16;
use serde_json::{Value, json};
use sinter::frontend::llm::cache::KvCache;
use sinter::frontend::llm::{self, hf};
use sinter::frontend::onnx::ImportOptions;
use sinter_ir::op::quantized_matmul::Activations;
use sinter_ir::{DType, Diag, Fault, Module, Op, Tensor, eval};
use std::collections::BTreeMap;

const WIDTH: usize = 64;
const INNER: usize = 96;
const WORDS: usize = 24;
const GROUP: usize = 32;

/// Name, rows and columns of the matrices of a layer.
const MATRICES: [(&str, usize, usize); 7] = [
    ("self_attn.q_proj", WIDTH, WIDTH),
    ("self_attn.k_proj", WIDTH, WIDTH),
    ("self_attn.v_proj", WIDTH, WIDTH),
    ("self_attn.o_proj", WIDTH, WIDTH),
    ("mlp.gate_proj", INNER, WIDTH),
    ("mlp.up_proj", INNER, WIDTH),
    ("mlp.down_proj", WIDTH, INNER),
];

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }
    /// About -1 to 1, as an f16 holds it.
    fn half(&mut self) -> f32 {
        f16::from_f32(self.below(2001) as f32 / 1000.0 - 1.0).to_f32()
    }
}

/// Tensors of a file: type, dims, bytes.
type Tensors = BTreeMap<String, (&'static str, Vec<usize>, Vec<u8>)>;

fn safetensors(all: &Tensors) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, (dtype, dims, bytes)) in all {
        let from = data.len();
        data.extend(bytes);
        header
            .insert(name.clone(), json!({"dtype": dtype, "shape": dims, "data_offsets": [from, data.len()]}));
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

fn floats(v: &[f32]) -> Vec<u8> {
    v.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn halves(v: &[f32]) -> Vec<u8> {
    v.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect()
}

/// A matrix in codes: `scale * (code - zero)`, by rows and groups of columns.
struct Matrix {
    n: usize,
    k: usize,
    groups: usize,
    codes: Vec<usize>,
    scales: Vec<f32>,
    zeros: Vec<usize>,
    /// Group of every column.
    of: Vec<usize>,
}

impl Matrix {
    /// Of random codes of so many bits; `zero`: where all zero points are.
    fn random(r: &mut Random, n: usize, k: usize, bits: usize, group: usize, zero: Option<usize>) -> Self {
        let groups = k / group;
        let top = 1 << bits;
        Self {
            n,
            k,
            groups,
            codes: (0..n * k).map(|_| r.below(top)).collect(),
            scales: (0..n * groups).map(|_| f16::from_f32(r.half() / top as f32).to_f32()).collect(),
            // 0 is a zero point that the first version of GPTQ cannot tell from 2^bits.
            zeros: (0..n * groups).map(|_| zero.unwrap_or_else(|| 1 + r.below(top - 1))).collect(),
            of: (0..k).map(|i| i / group).collect(),
        }
    }
    /// Groups of columns that are no neighbours.
    fn shuffled(mut self, r: &mut Random) -> Self {
        for i in (1..self.k).rev() {
            self.of.swap(i, r.below(i + 1));
        }
        self
    }
    fn values(&self) -> Vec<f32> {
        let one = |at: usize| {
            let (row, column) = (at / self.k, at % self.k);
            let g = row * self.groups + self.of[column];
            self.scales[g] * (self.codes[at] as f32 - self.zeros[g] as f32)
        };
        (0..self.n * self.k).map(one).collect()
    }
    /// `[groups, n]` of `[n, groups]`.
    fn by_group<T: Copy>(&self, v: &[T]) -> Vec<T> {
        (0..self.groups * self.n).map(|i| v[i % self.n * self.groups + i / self.n]).collect()
    }
}

/// Numbers without gaps in words, the first in the low bits.
fn stream(v: impl Iterator<Item = usize>, bits: usize) -> Vec<u32> {
    let mut out = vec![];
    for (i, v) in v.enumerate() {
        for bit in 0..bits {
            let at = i * bits + bit;
            if at / 32 == out.len() {
                out.push(0u32);
            }
            out[at / 32] |= ((v >> bit & 1) as u32) << (at % 32);
        }
    }
    out
}

fn bytes_of(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// Words `[rows, columns]` of streams along the rows.
fn along_rows(rows: usize, columns: usize, bits: usize, at: impl Fn(usize, usize) -> usize) -> Vec<u8> {
    let all: Vec<Vec<u32>> = (0..columns).map(|c| stream((0..rows).map(|r| at(r, c)), bits)).collect();
    let words: Vec<u32> = (0..all[0].len()).flat_map(|r| all.iter().map(move |c| c[r])).collect();
    bytes_of(&words)
}

/// Writes a matrix into a file; returns its values.
type Write<'a> = &'a mut dyn FnMut(&mut Random, &str, usize, usize, &mut Tensors) -> Vec<f32>;

/// The file of a model in some format, and that of the same model in floats.
fn files(write: Write) -> [Vec<u8>; 2] {
    let mut r = Random(7);
    let (mut coded, mut plain) = (Tensors::new(), Tensors::new());
    let mut common = |name: &str, dims: &[usize], r: &mut Random| {
        let v: Vec<f32> = (0..dims.iter().product()).map(|_| 0.6 + r.half()).collect();
        for t in [&mut coded, &mut plain] {
            t.insert(name.to_owned(), ("F32", dims.to_vec(), floats(&v)));
        }
    };
    common("model.embed_tokens.weight", &[WORDS, WIDTH], &mut r);
    common("model.norm.weight", &[WIDTH], &mut r);
    common("model.layers.0.input_layernorm.weight", &[WIDTH], &mut r);
    common("model.layers.0.post_attention_layernorm.weight", &[WIDTH], &mut r);
    for (name, n, k) in MATRICES {
        let name = format!("model.layers.0.{name}");
        let values = write(&mut r, &name, n, k, &mut coded);
        plain.insert(format!("{name}.weight"), ("F32", vec![n, k], floats(&values)));
    }
    [safetensors(&coded), safetensors(&plain)]
}

fn config(quantization: &Value) -> Vec<u8> {
    let mut c = json!({"model_type": "llama", "hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": 1,
        "num_attention_heads": 2, "vocab_size": WORDS, "tie_word_embeddings": true, "max_position_embeddings": 64});
    if !quantization.is_null() {
        c["quantization_config"] = quantization.clone();
    }
    serde_json::to_vec(&c).unwrap()
}

fn import(how: &Value, file: &[u8], stored: Option<Activations>) -> Result<Module, Vec<Diag>> {
    let c = hf::of_bytes(&config(how).into(), &file.to_vec().into()).map_err(|d| vec![d])?;
    let options = ImportOptions {
        all_logits: true,
        kv_cache: Some(KvCache::Floats(DType::F32)),
        stored,
        ..Default::default()
    };
    llm::build(&c, &options).map(|b| b.0)
}

fn inputs() -> [Tensor; 2] {
    let ids: Vec<u8> = [3i32, 1, 4, 1, 5, 9, 2, 6].iter().flat_map(|i| i.to_le_bytes()).collect();
    [Tensor::from_bytes(DType::I32, vec![8], ids).unwrap(), Tensor::i64s(&[0])]
}

fn logits(m: &Module) -> Vec<f32> {
    let states = m.states.iter().map(|s| {
        let ty = m.graph.ty(m.graph.inputs[s.input as usize]);
        let dims = ty.dims.iter().map(|d| d.eval(&|_| Some(16)).unwrap() as usize).collect();
        Tensor::zeros(ty.dtype, dims).unwrap()
    });
    let all: Vec<Tensor> = inputs().into_iter().chain(states).collect();
    eval::module(m, &all).unwrap()[0].to_f32().unwrap()
}

fn native(m: Module) -> Vec<f32> {
    let program = common::program(m).unwrap();
    let (mut session, _) = common::open(sinter::driver::native().unwrap(), &program).unwrap();
    let mut states = session.states(16).unwrap();
    session.run_on(&mut states, &inputs()).unwrap()[0].to_f32().unwrap()
}

fn products(m: &Module) -> usize {
    m.graph.iter().filter(|(_, n)| matches!(n.op, Op::QuantizedMatMul(_))).count()
}

fn compare(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    let largest = want.iter().fold(0f32, |m, v| m.max(v.abs()));
    let worst = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0f32, f32::max);
    assert_eq!(got.len(), want.len(), "{what}");
    assert!(worst <= tolerance * largest, "{what}: off by {worst}, the largest logit is {largest}");
}

/// The model in a format gives what it gives in floats: as floats, in codes evaluated, and in codes as machine code.
fn check(what: &str, how: &Value, codes: bool, write: Write) {
    let [coded, plain] = files(write);
    if std::env::var_os("BLESS").is_some() {
        // Seeds for fuzzing: the last of a kind.
        let dir = common::root().join("fuzz/seeds/checkpoint");
        std::fs::create_dir_all(&dir).unwrap();
        let name = what.split_whitespace().next().unwrap();
        std::fs::write(dir.join(name), [&config(how)[..], &[0], &coded].concat()).unwrap();
    }
    let want = logits(&import(&Value::Null, &plain, None).unwrap());
    let spread = want.iter().fold(0f32, |m, v| m.max(v.abs()));
    assert!(spread > 0.1 && want.iter().any(|v| (v - want[0]).abs() > 0.1 * spread), "{what}: {want:?}");
    let m = import(how, &coded, None).unwrap_or_else(|d| panic!("{what}: {d:?}"));
    assert_eq!(products(&m), 0, "{what}");
    compare(&format!("{what} as floats"), &logits(&m), &want, 1e-6);
    let m = import(how, &coded, Some(Activations::Float)).unwrap();
    assert_eq!(products(&m), if codes { 7 } else { 0 }, "{what}");
    compare(&format!("{what} in codes"), &logits(&m), &want, 1e-5);
    compare(&format!("{what} native"), &native(m), &want, 1e-4);
    let m = import(how, &coded, Some(Activations::Blocks)).unwrap();
    compare(&format!("{what} with bytes"), &native(m), &want, 0.05);
}

/// One matrix as GPTQ stores it; zero points less `less`.
fn gptq(m: &Matrix, bits: usize, less: usize, name: &str, t: &mut Tensors) {
    let mask = (1 << bits) - 1;
    let words = along_rows(m.k, m.n, bits, |i, j| m.codes[j * m.k + i]);
    t.insert(format!("{name}.qweight"), ("I32", vec![m.k * bits / 32, m.n], words));
    let zeros = m.by_group(&m.zeros).into_iter().map(|z| z.wrapping_sub(less) & mask);
    t.insert(
        format!("{name}.qzeros"),
        ("I32", vec![m.groups, m.n * bits / 32], bytes_of(&stream(zeros, bits))),
    );
    t.insert(format!("{name}.scales"), ("F16", vec![m.groups, m.n], halves(&m.by_group(&m.scales))));
    let of: Vec<u32> = m.of.iter().map(|g| *g as u32).collect();
    t.insert(format!("{name}.g_idx"), ("I32", vec![m.k], bytes_of(&of)));
}

#[test]
fn gptq_of_all_kinds() {
    for bits in [2, 3, 4, 8] {
        for (symmetric, order, format, less) in [
            (true, false, "gptq", 1),
            (false, false, "gptq", 1),
            (true, true, "gptq_v2", 0),
            (false, true, "gptq", 1),
        ] {
            let how = json!({"quant_method": "gptq", "bits": bits, "group_size": GROUP, "desc_act": order,
                "sym": symmetric, "checkpoint_format": format});
            let middle = symmetric.then_some(1 << (bits - 1));
            check(&format!("gptq {how}"), &how, true, &mut |r, name, n, k, t| {
                let mut m = Matrix::random(r, n, k, bits, GROUP, middle);
                if order {
                    m = m.shuffled(r);
                }
                gptq(&m, bits, less, name, t);
                m.values()
            });
        }
    }
    // One scale per row.
    let how = json!({"quant_method": "gptq", "bits": 4, "group_size": -1, "sym": false});
    check("gptq of rows", &how, true, &mut |r, name, n, k, t| {
        let m = Matrix::random(r, n, k, 4, k, None);
        gptq(&m, 4, 1, name, t);
        m.values()
    });
}

#[test]
fn symmetric_gptq_with_other_zero_points_is_refused() {
    let how = json!({"quant_method": "gptq", "bits": 4, "group_size": GROUP, "sym": true});
    let [file, _] = files(&mut |r, name, n, k, t| {
        let m = Matrix::random(r, n, k, 4, GROUP, None);
        gptq(&m, 4, 1, name, t);
        m.values()
    });
    let said = import(&how, &file, Some(Activations::Float)).unwrap_err();
    assert!(said.iter().all(|d| d.fault == Fault::Input), "{said:?}");
    assert!(said[0].message.contains("qzeros differs from 8"), "{said:?}");
}

#[test]
fn awq_in_its_order_of_outputs() {
    const ORDER: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];
    let how =
        json!({"quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": true, "version": "gemm"});
    check("awq", &how, true, &mut |r, name, n, k, t| {
        let m = Matrix::random(r, n, k, 4, GROUP, None);
        // Rows of outputs, eight to a word.
        let ordered = |rows: usize, at: &dyn Fn(usize, usize) -> usize| {
            let all = (0..rows * n).map(|i| at(i / n, i % n / 8 * 8 + ORDER[i % 8]));
            bytes_of(&stream(all, 4))
        };
        let codes = ordered(k, &|i, j| m.codes[j * k + i]);
        t.insert(format!("{name}.qweight"), ("I32", vec![k, n / 8], codes));
        let zeros = ordered(m.groups, &|g, j| m.zeros[j * m.groups + g]);
        t.insert(format!("{name}.qzeros"), ("I32", vec![m.groups, n / 8], zeros));
        t.insert(format!("{name}.scales"), ("F16", vec![m.groups, n], halves(&m.by_group(&m.scales))));
        m.values()
    });
}

/// A configuration of compressed-tensors.
fn compressed(format: &str, weights: Value) -> Value {
    json!({"quant_method": "compressed-tensors", "format": format, "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}})
}

#[test]
fn compressed_tensors_in_words() {
    for bits in [3, 4, 8] {
        for (asymmetric, order) in [(false, false), (true, false), (false, true)] {
            let how = compressed("pack-quantized", json!({"num_bits": bits, "group_size": GROUP}));
            let middle = (!asymmetric).then_some(1 << (bits - 1));
            check(&format!("compressed {bits} {asymmetric} {order}"), &how, true, &mut |r, name, n, k, t| {
                let mut m = Matrix::random(r, n, k, bits, GROUP, middle);
                if order {
                    m = m.shuffled(r);
                    let of: Vec<u32> = m.of.iter().map(|g| *g as u32).collect();
                    t.insert(format!("{name}.weight_g_idx"), ("I32", vec![k], bytes_of(&of)));
                }
                // So many to a word, whatever is left over.
                let per = 32 / bits;
                let words: Vec<u32> = (0..n)
                    .flat_map(|j| {
                        m.codes[j * k..(j + 1) * k].chunks(per).map(|c| stream(c.iter().copied(), bits)[0])
                    })
                    .collect();
                t.insert(
                    format!("{name}.weight_packed"),
                    ("I32", vec![n, k.div_ceil(per)], bytes_of(&words)),
                );
                let shape: Vec<u8> = [n as i64, k as i64].iter().flat_map(|d| d.to_le_bytes()).collect();
                t.insert(format!("{name}.weight_shape"), ("I64", vec![2], shape));
                t.insert(format!("{name}.weight_scale"), ("F16", vec![n, m.groups], halves(&m.scales)));
                if asymmetric {
                    let rows = n.div_ceil(per);
                    let mut words = vec![0u32; rows * m.groups];
                    for (i, z) in m.zeros.iter().enumerate() {
                        let (j, g) = (i / m.groups, i % m.groups);
                        words[j / per * m.groups + g] |= (*z as u32) << (j % per * bits);
                    }
                    let zeros = ("I32", vec![rows, m.groups], bytes_of(&words));
                    t.insert(format!("{name}.weight_zero_point"), zeros);
                }
                m.values()
            });
        }
    }
}

#[test]
fn compressed_tensors_in_bytes() {
    for (asymmetric, whole) in [(false, false), (true, false), (false, true)] {
        let how = compressed("int-quantized", json!({"num_bits": 8, "strategy": "channel"}));
        check(&format!("int8 {asymmetric} {whole}"), &how, true, &mut |r, name, n, k, t| {
            let mut m = Matrix::random(r, n, k, 8, k, (!asymmetric).then_some(128));
            if whole {
                let one = m.scales[0];
                m.scales.fill(one);
            }
            let signed = |v: &[usize]| v.iter().map(|c| (*c as i64 - 128) as u8).collect::<Vec<u8>>();
            t.insert(format!("{name}.weight"), ("I8", vec![n, k], signed(&m.codes)));
            let scale = if whole { (vec![1], &m.scales[..1]) } else { (vec![n, 1], &m.scales[..]) };
            t.insert(format!("{name}.weight_scale"), ("F16", scale.0, halves(scale.1)));
            if asymmetric {
                t.insert(format!("{name}.weight_zero_point"), ("I8", vec![n, 1], signed(&m.zeros)));
            }
            m.values()
        });
    }
}

/// Values of 4-bit floats, by code.
const FP4: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

#[test]
fn compressed_tensors_in_small_floats() {
    let e4m3 = |b: u8| Tensor::from_bytes(DType::F8E4M3FN, vec![], vec![b]).unwrap().to_f32().unwrap()[0];
    // No NaN.
    let code = |r: &mut Random| (r.below(0x7f) | r.below(2) << 7) as u8;
    for (how, kind, scales) in [
        (compressed("float-quantized", json!({"num_bits": 8, "type": "float"})), "weight_scale", [WIDTH, 1]),
        (json!({"quant_method": "fp8", "weight_block_size": [16, 16]}), "weight_scale_inv", [16, 16]),
    ] {
        check("float8", &how, false, &mut |r, name, n, k, t| {
            let codes: Vec<u8> = (0..n * k).map(|_| code(r)).collect();
            let tiles = kind == "weight_scale_inv";
            let dims = if tiles { vec![n / scales[0], k / scales[1]] } else { vec![n, 1] };
            let v: Vec<f32> = (0..dims.iter().product()).map(|_| r.half() / 256.0).collect();
            let of = |j: usize, i: usize| if tiles { j / 16 * (k / 16) + i / 16 } else { j };
            let values = (0..n * k).map(|at| e4m3(codes[at]) * v[of(at / k, at % k)]).collect();
            t.insert(format!("{name}.weight"), ("F8_E4M3", vec![n, k], codes));
            t.insert(format!("{name}.{kind}"), ("F32", dims, floats(&v)));
            values
        });
    }
    for (format, group) in [("mxfp4-pack-quantized", 32), ("nvfp4-pack-quantized", 16)] {
        let how = compressed(format, json!({"num_bits": 4, "type": "float", "group_size": group}));
        check(format, &how, true, &mut |r, name, n, k, t| {
            let (codes, groups): (Vec<usize>, usize) = ((0..n * k).map(|_| r.below(16)).collect(), k / group);
            let (scales, values): (Vec<u8>, Vec<f32>) = match group {
                32 => (0..n * groups)
                    .map(|_| r.below(4) as u8 + 120)
                    .map(|e| (e, 2f32.powi(i32::from(e) - 127)))
                    .unzip(),
                _ => (0..n * groups).map(|_| code(r)).map(|b| (b, e4m3(b) / 1024.0)).unzip(),
            };
            let pairs = codes.chunks(2).map(|c| (c[0] | c[1] << 4) as u8).collect();
            t.insert(format!("{name}.weight_packed"), ("U8", vec![n, k / 2], pairs));
            let dtype = if group == 32 { "U8" } else { "F8_E4M3" };
            t.insert(format!("{name}.weight_scale"), (dtype, vec![n, groups], scales));
            if group == 16 {
                t.insert(format!("{name}.weight_global_scale"), ("F32", vec![1], floats(&[1024.0])));
            }
            (0..n * k).map(|i| FP4[codes[i]] * values[i / k * groups + i % k / group]).collect()
        });
    }
}

#[test]
fn what_is_not_known_is_named() {
    let [file, _] = files(&mut |r, name, n, k, t| {
        let m = Matrix::random(r, n, k, 4, GROUP, Some(8));
        gptq(&m, 4, 1, name, t);
        m.values()
    });
    for (how, says) in [
        (json!({"quant_method": "bitsandbytes", "load_in_4bit": true}), "method `bitsandbytes`"),
        (json!({"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"}), "format `marlin`"),
        (json!({"quant_method": "awq", "bits": 4, "version": "gemv_fast"}), "version `gemv_fast`"),
        (json!({"quant_method": "awq", "bits": 8}), "awq with 8 bits"),
        (compressed("marlin-24", json!({"num_bits": 4})), "format `marlin-24`"),
        (
            json!({"quant_method": "compressed-tensors", "format": "pack-quantized",
            "sparsity_config": {"format": "sparse-24-bitmask"}}),
            "sparsity format `sparse-24-bitmask`",
        ),
        (json!({}), "method ``"),
    ] {
        let d = import(&how, &file, None).unwrap_err().remove(0);
        assert_eq!(d.fault, Fault::Unsupported, "{d}");
        assert!(d.message.contains(says) && d.help.as_ref().unwrap().contains("compressed-tensors"), "{d}");
    }
}

#[test]
fn matrices_that_lack_a_part_or_have_a_wrong_one_are_named() {
    let how = json!({"quant_method": "gptq", "bits": 4, "group_size": GROUP, "sym": false});
    let name = "model.layers.0.mlp.up_proj";
    let broken = |change: &dyn Fn(&mut Tensors)| {
        let [file, _] = files(&mut |r, at, n, k, t| {
            let m = Matrix::random(r, n, k, 4, GROUP, None);
            gptq(&m, 4, 1, at, t);
            if at == name {
                change(t);
            }
            m.values()
        });
        let d = import(&how, &file, None).unwrap_err().remove(0);
        assert!(d.fault != Fault::Bug, "{d}");
        d.to_string()
    };
    let part = |kind: &str| format!("{name}.{kind}");
    let lacks = |kind: &str| broken(&|t| drop(t.remove(&part(kind))));
    assert!(lacks("scales").contains("up_proj.scales is missing"));
    assert!(lacks("qzeros").contains("up_proj.qzeros is missing"));
    assert!(lacks("qweight").contains("up_proj.weight [96, 64] is missing"));
    let set = |kind: &'static str, dtype: &'static str, dims: &'static [usize]| {
        let bytes = vec![0u8; dims.iter().product::<usize>() * if dtype == "F16" { 2 } else { 4 }];
        broken(&|t| drop(t.insert(part(kind), (dtype, dims.to_vec(), bytes.clone()))))
    };
    assert!(
        set("scales", "F16", &[2, 95]).contains("scales is f16[2, 95], f16 or bf16 or f32[2, 96] is needed")
    );
    assert!(set("scales", "F16", &[3, 96]).contains("qzeros is i32[2, 12], i32[3, 12] is needed"));
    assert!(set("qzeros", "F32", &[2, 12]).contains("qzeros is f32"));
    assert!(set("qweight", "I32", &[8]).contains("a matrix of i32 is needed"));
    assert!(set("g_idx", "I32", &[64]).contains("groups of other sizes than 32"));
    assert!(set("qweight", "I32", &[4, 96]).contains("qzeros is i32[2, 12], i32[2, 6] is needed"));
}

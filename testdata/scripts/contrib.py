#!/usr/bin/env python3
"""Makes testdata/contrib: one-node models of com.microsoft and ai.onnx.ml operators with what ONNX Runtime's CPU provider answers.

Usage: contrib.py OUTPUT_FOLDER [CASE...]      (needs numpy, onnx, onnxruntime)

Each case is two files: NAME.onnx, the model, and NAME.data, a model without nodes whose initialisers `input_N` and
`output_N` hold the run; its doc string is "rtol atol".
"""
import math
import os
import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

OUT = sys.argv[1]
ONLY = sys.argv[2:]
MS = "com.microsoft"
ML = "ai.onnx.ml"
rng = np.random.default_rng(7)
f32, f16, i8, u8, i32, i64 = np.float32, np.float16, np.int8, np.uint8, np.int32, np.int64


def rnd(*shape, scale=1.0, dtype=f32):
    return (rng.standard_normal(shape) * scale).astype(dtype)


def ints(lo, hi, *shape, dtype=u8):
    return rng.integers(lo, hi, shape).astype(dtype)


class W:
    """An operand that is an initialiser, not an input."""

    def __init__(self, value):
        self.value = np.asarray(value)


def answer(model, options, values):
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(values))


def case(name, op, operands, outputs=1, rtol=1e-4, atol=1e-5, domain=MS, opset=17, expect=None, **attrs):
    """`operands` in order, None for absent ones; `outputs` a count, or a list of flags of wanted results. `expect` are
    the answers, computed with numpy, where the CPU provider has no implementation."""
    if ONLY and name not in ONLY:
        return
    wanted = [True] * outputs if isinstance(outputs, int) else outputs
    names, inputs, held, values = [], [], [], []
    for i, v in enumerate(operands):
        if v is None:
            names.append("")
            continue
        n = f"x{i}"
        names.append(n)
        if isinstance(v, W):
            held.append(numpy_helper.from_array(v.value, n))
        else:
            v = np.asarray(v)
            inputs.append(helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape))
            values.append((n, v))
    outs = [f"y{i}" if w else "" for i, w in enumerate(wanted)]
    if "opset_" in attrs:  # An attribute of the operator that is called like our own parameter.
        attrs["opset"] = attrs.pop("opset_")
    node = helper.make_node(op, names, outs, name="node", domain=domain, **attrs)
    results = [helper.make_empty_tensor_value_info(o) for o in outs if o]
    graph = helper.make_graph([node], name, inputs, results, held)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(MS, 1)]
    if domain == ML:
        opsets[1] = helper.make_opsetid(ML, 5 if op == "TreeEnsemble" else 3)
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        if expect is not None:
            for o, v in zip(results, expect):
                o.CopyFrom(helper.make_tensor_value_info(o.name, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape))
            model.graph.ClearField("output")
            model.graph.output.extend(results)
            got = expect
        else:
            got = answer(model, options, values)
    except Exception as e:  # noqa: BLE001: what the runtime cannot do is no case
        print(f"{name}: no answer: {str(e)[:200]}")
        return
    data = [numpy_helper.from_array(v, f"input_{i}") for i, (_, v) in enumerate(values)]
    data += [numpy_helper.from_array(np.asarray(v), f"output_{i}") for i, v in enumerate(got)]
    run = helper.make_model(helper.make_graph([], name, [], [], data, doc_string=f"{rtol} {atol}"))
    with open(os.path.join(OUT, f"{name}.onnx"), "wb") as f:
        f.write(model.SerializeToString())
    with open(os.path.join(OUT, f"{name}.data"), "wb") as f:
        f.write(run.SerializeToString())


def activations():
    case("gelu", "Gelu", [rnd(3, 8)])
    case("fast_gelu", "FastGelu", [rnd(3, 8)])
    case("fast_gelu_bias", "FastGelu", [rnd(3, 8), rnd(8)])
    case("quick_gelu", "QuickGelu", [rnd(3, 8)])
    case("quick_gelu_alpha", "QuickGelu", [rnd(3, 8)], alpha=0.7)
    case("bias_gelu", "BiasGelu", [rnd(2, 3, 8), W(rnd(8))])


def normalisations():
    x, s = rnd(2, 3, 8), rnd(2, 3, 8)
    case("skip_layer_norm", "SkipLayerNormalization", [x, s, W(rnd(8)), W(rnd(8)), W(rnd(8))],
         [True, False, False, True])
    case("skip_layer_norm_plain", "SkipLayerNormalization", [x, s, W(rnd(8))], epsilon=1e-3)
    case("skip_layer_norm_broadcast", "SkipLayerNormalization", [x, rnd(1, 3, 8), W(rnd(8)), W(rnd(8))])
    case("skip_simplified_layer_norm", "SkipSimplifiedLayerNormalization", [x, s, W(rnd(8)), W(rnd(8))],
         [True, False, False, True])
    case("simplified_layer_norm", "SimplifiedLayerNormalization", [x, W(rnd(8))], domain="", epsilon=1e-6)
    case("simplified_layer_norm_inv", "SimplifiedLayerNormalization", [x, W(rnd(8))], 2, domain="")
    n = 5
    ids, seg = ints(0, n, 2, 4, dtype=i32), ints(0, 2, 2, 4, dtype=i32)
    tables = [W(rnd(n, 8)), W(rnd(6, 8)), W(rnd(2, 8)), W(rnd(8)), W(rnd(8))]
    mask = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], i32)
    case("embed_layer_norm", "EmbedLayerNormalization", [ids, seg, *tables, mask], 2)
    case("embed_layer_norm_sum", "EmbedLayerNormalization", [ids, seg, *tables], 3)
    case("embed_layer_norm_positions", "EmbedLayerNormalization",
         [ids, None, tables[0], tables[1], None, *tables[3:], mask, np.array([[3, 2, 1, 0], [5, 4, 3, 2]], i32)], 2)


def without_cpu_kernels():
    def norm(x, groups, g, b, swish, eps=1e-5):
        n, c = x.shape[0], x.shape[-1]
        v = x.reshape(n, -1, groups, c // groups).astype(np.float64)
        v = (v - v.mean((1, 3), keepdims=True)) / np.sqrt(v.var((1, 3), keepdims=True) + eps)
        v = v.reshape(x.shape) * g + b
        return (v / (1 + np.exp(-v)) if swish else v).astype(f32)

    x, g, b = rnd(2, 3, 3, 8), rnd(8), rnd(8)
    case("group_norm", "GroupNorm", [x, W(g), W(b)], groups=4, activation=1, expect=[norm(x, 4, g, b, True)])
    first = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    case("group_norm_channels_first", "GroupNorm", [first, W(g), W(b)], groups=2, activation=0, channels_last=0,
         expect=[norm(x, 2, g, b, False).transpose(0, 3, 1, 2)])
    skip, bias = rnd(2, 8), rnd(8)
    total = x + skip[:, None, None, :] + bias
    case("skip_group_norm", "SkipGroupNorm", [x, W(g), W(b), skip, W(bias)], 2, groups=4, activation=0,
         expect=[norm(total, 4, g, b, False), total])
    y = rnd(2, 3, 16)
    half, gate = np.split(y + np.tile(bias, 2), 2, -1)
    erf = np.vectorize(math.erf)
    case("bias_split_gelu", "BiasSplitGelu", [y, W(np.tile(bias, 2))],
         expect=[(half * (gate * 0.5 * (1 + erf(gate / np.sqrt(2))))).astype(f32)])
    case("bias_add", "BiasAdd", [y, W(np.tile(bias, 2)), y * f32(0.5)], expect=[y * f32(1.5) + np.tile(bias, 2)])
    scores, mask = rnd(2, 3, 4, 5), rnd(2, 1, 1, 5)
    e = np.exp(scores + mask)
    case("bias_softmax", "BiasSoftmax", [scores, mask], axis=3, is_inner_broadcast=0, expect=[e / e.sum(-1, keepdims=True)])
    v = ints(0, 256, 2, 3, 4)
    case("qlinear_reduce_mean", "QLinearReduceMean",
         [v, W(f32(0.1)), W(u8(100)), W(f32(0.05)), W(u8(110))], axes=[1], keepdims=1,
         expect=[np.clip(np.round((v.astype(f32) - 100).mean(1, keepdims=True) * 0.1 / 0.05) + 110, 0, 255).astype(u8)])
    case("mul_integer", "MulInteger", [v, W(u8(3)), v[:1], W(u8(5))],
         expect=[(v.astype(i32) - 3) * (v[:1].astype(i32) - 5)])
    case("reduce_sum_integer", "ReduceSumInteger", [v], axes=[1], keepdims=0, expect=[v.sum(1).astype(np.uint32)])
    q, k, w = rnd(2, 3, 2, 4), rnd(2, 5, 2, 4), rnd(2, 5, 2, 4)
    s = np.einsum("bshd,bthd->bhst", q, k) / 2
    p = np.exp(s) / np.exp(s).sum(-1, keepdims=True)
    out = np.einsum("bhst,bthd->bshd", p, w).reshape(2, 3, 8).astype(f32)
    case("mha_packed_kv", "MultiHeadAttention", [q.reshape(2, 3, 8), np.stack([k, w], 3)], num_heads=2, expect=[out])
    s = np.einsum("bshd,bthd->bhst", q, q) / 2
    p = np.exp(s) / np.exp(s).sum(-1, keepdims=True)
    out = np.einsum("bhst,bthd->bshd", p, w[:, :3]).reshape(2, 3, 8).astype(f32)
    case("mha_packed_qkv", "MultiHeadAttention", [np.stack([q, q, w[:, :3]], 3)], num_heads=2, expect=[out])
    z = rnd(2, 8)
    fft = lambda c: np.stack([c.real, c.imag], -1).astype(f32)
    case("rfft", "Rfft", [z], signal_ndim=1, normalized=0, onesided=1, expect=[fft(np.fft.rfft(z))])
    case("irfft", "Irfft", [fft(np.fft.rfft(z))], signal_ndim=1, normalized=0, onesided=1, expect=[z])
    c, d = rnd(2, 3, 2), rnd(2, 3, 2)
    whole = lambda t: t[..., 0] + 1j * t[..., 1]
    case("complex_mul", "ComplexMul", [c, d], expect=[fft(whole(c) * whole(d))])
    case("complex_mul_conj", "ComplexMulConj", [c, d], expect=[fft(whole(c) * np.conj(whole(d)))])
    case("is_all_finite", "IsAllFinite", [rnd(4), np.array([1, np.inf], f32)], expect=[np.array(False)])


def attention():
    b, s, t, h, d = 2, 3, 4, 2, 4
    e = h * d
    x, w, bias = rnd(b, s, e), W(rnd(e, 3 * e, scale=0.5)), W(rnd(3 * e))
    case("attention", "Attention", [x, w, bias], num_heads=h)
    case("attention_scale", "Attention", [x, w, bias], num_heads=h, scale=0.3)
    case("attention_lengths", "Attention", [x, w, bias, np.array([3, 2], i32)], num_heads=h)
    case("attention_raw_mask", "Attention", [x, w, bias, np.array([[1, 0, 1], [1, 1, 0]], i32)], num_heads=h)
    case("attention_causal", "Attention", [x, w, bias], num_heads=h, unidirectional=1)
    case("attention_past", "Attention", [x, w, bias, None, rnd(2, b, h, t, d)], 2, num_heads=h)
    case("attention_past_causal", "Attention", [x, w, bias, None, rnd(2, b, h, t, d)], 2, num_heads=h, unidirectional=1)
    case("attention_past_mask", "Attention",
         [x, w, bias, ints(0, 2, b, s + t, dtype=i32) | np.array([1, 0, 0, 0, 0, 0, 0], i32), rnd(2, b, h, t, d)], 2, num_heads=h)
    case("attention_bias", "Attention", [x, w, bias, None, None, rnd(b, h, s, s)], num_heads=h)
    case("attention_3d_mask", "Attention",
         [x, w, bias, np.tril(np.ones((b, s, s), i32))], num_heads=h)
    case("attention_value_size", "Attention", [x, W(rnd(e, 2 * e + 6)), W(rnd(2 * e + 6))], num_heads=h,
         qkv_hidden_sizes=[e, e, 6])
    q, k, v = rnd(b, s, e), rnd(b, t, e), rnd(b, t, e)
    case("mha", "MultiHeadAttention", [q, k, v], num_heads=h)
    case("mha_bias", "MultiHeadAttention", [q, k, v, W(rnd(3 * e))], num_heads=h)
    case("mha_lengths", "MultiHeadAttention", [q, k, v, None, np.array([4, 1], i32)], num_heads=h)
    case("mha_key_mask", "MultiHeadAttention", [q, k, v, None, np.array([[1, 1, 0, 1], [1, 0, 0, 0]], i32)], num_heads=h)
    case("mha_relative", "MultiHeadAttention", [q, k, v, None, None, rnd(1, h, s, t)], num_heads=h)
    case("mha_causal", "MultiHeadAttention", [q, rnd(b, s, e), rnd(b, s, e)], num_heads=h, unidirectional=1)
    case("mha_scale", "MultiHeadAttention", [q, k, rnd(b, t, 6)], num_heads=h, scale=0.7)
    case("mha_past", "MultiHeadAttention",
         [q, rnd(b, s, e), rnd(b, s, e), None, None, None, rnd(b, h, t, d), rnd(b, h, t, d)], 3, num_heads=h)
    case("mha_past_causal", "MultiHeadAttention",
         [q, rnd(b, s, e), rnd(b, s, e), None, None, None, rnd(b, h, t, d), rnd(b, h, t, d)], 3, num_heads=h,
         unidirectional=1)
    case("mha_cross_cached", "MultiHeadAttention", [q, rnd(b, h, t, d), rnd(b, h, t, d)], num_heads=h)
    positions = np.tile(np.arange(s, dtype=i64), (b, 1)) + 1
    cos, sin = rnd(8, d // 2), rnd(8, d // 2)
    case("rotary_3d", "RotaryEmbedding", [q, positions, W(cos), W(sin)])
    case("rotary_4d", "RotaryEmbedding", [rnd(b, h, s, d), positions, W(cos), W(sin)])
    case("rotary_offset", "RotaryEmbedding", [q, np.array([2], i64), W(cos), W(sin)])
    case("rotary_interleaved", "RotaryEmbedding", [q, positions, W(cos), W(sin)], interleaved=1)
    case("rotary_partial", "RotaryEmbedding", [q, positions, W(cos[:, :1]), W(sin[:, :1])], num_heads=h,
         rotary_embedding_dim=2)
    hq, d8 = 4, 16
    total = lambda n: np.array(n, i32)
    lengths = lambda n: np.full(b, n - 1, i32)
    kv = lambda n: [rnd(b, n, h * d8), rnd(b, n, h * d8)]
    q8 = rnd(b, s, hq * d8)
    none = [np.zeros((b, h, 0, d8), f32)] * 2
    case("gqa", "GroupQueryAttention", [q8, *kv(s), *none, lengths(s), total(s)], 3, num_heads=hq, kv_num_heads=h)
    case("gqa_decode", "GroupQueryAttention",
         [rnd(b, 1, hq * d8), *kv(1), rnd(b, h, t, d8), rnd(b, h, t, d8), lengths(t + 1), total(t + 1)], 3,
         num_heads=hq, kv_num_heads=h)
    caches = [W(rnd(8, d8 // 2)), W(rnd(8, d8 // 2))]
    case("gqa_rotary", "GroupQueryAttention", [q8, *kv(s), *none, lengths(s), total(s), *caches], 3, num_heads=hq,
         kv_num_heads=h, do_rotary=1)
    case("gqa_packed", "GroupQueryAttention",
         [rnd(b, s, (hq + 2 * h) * d8), None, None, *none, lengths(s), total(s), *caches], 3, num_heads=hq,
         kv_num_heads=h, do_rotary=1, rotary_interleaved=1)
    case("gqa_window", "GroupQueryAttention", [q8, *kv(s), *none, lengths(s), total(s)], 3, num_heads=hq,
         kv_num_heads=h, local_window_size=2, softcap=5.0)


def matrices():
    a, b = rnd(2, 3, 4), rnd(2, 4, 5)
    case("fused_matmul", "FusedMatMul", [a, b], alpha=0.5)
    case("fused_matmul_trans", "FusedMatMul", [rnd(2, 4, 3), rnd(2, 5, 4)], transA=1, transB=1)
    case("fused_matmul_batch", "FusedMatMul", [rnd(3, 2, 4), rnd(4, 2, 5)], transBatchA=1, transBatchB=1)
    case("transpose_matmul", "TransposeMatMul", [rnd(2, 4, 3), b], transA=1)
    for act, more in [("Relu", {}), ("LeakyRelu", {"activation_alpha": 0.1}), ("Sigmoid", {}), ("Tanh", {}),
                      ("HardSigmoid", {"activation_alpha": 0.3, "activation_beta": 0.4}), ("Softplus", {})]:
        case(f"fused_gemm_{act.lower()}", "FusedGemm", [rnd(3, 4), rnd(5, 4), rnd(5)], transB=1, alpha=0.5, beta=2.0,
             activation=act, **more)
    x, w, c = rnd(1, 3, 6, 6), W(rnd(4, 3, 3, 3)), W(rnd(4))
    case("fused_conv_relu", "FusedConv", [x, w, c], activation="Relu", pads=[1, 1, 1, 1])
    case("fused_conv_clip", "FusedConv", [x, w, c], activation="Clip", activation_params=[-0.5, 1.5], strides=[2, 2])
    case("fused_conv_sum", "FusedConv", [x, w, c, rnd(1, 4, 4, 4)], activation="LeakyRelu", activation_params=[0.2])
    case("fused_conv_hard", "FusedConv", [x, w], activation="HardSigmoid", activation_params=[0.3, 0.4])
    case("inverse", "Inverse", [rnd(2, 3, 3) + 3 * np.eye(3, dtype=f32)], rtol=1e-3)
    case("cdist", "CDist", [rnd(3, 4), rnd(5, 4)], metric="euclidean")
    case("cdist_squared", "CDist", [rnd(3, 4), rnd(5, 4)], metric="sqeuclidean")
    packed = ints(0, 256, 8, 2, 8)
    scales = rnd(16, scale=0.1)
    case("matmul_nbits4", "MatMulNBits", [rnd(3, 32), W(packed), W(scales)], K=32, N=8, bits=4, block_size=16, rtol=1e-3, atol=1e-4)
    case("matmul_nbits4_zero", "MatMulNBits", [rnd(3, 32), W(packed), W(scales), W(ints(0, 256, 8))], K=32, N=8, bits=4,
         block_size=16, rtol=1e-3, atol=1e-4)
    case("matmul_nbits8", "MatMulNBits", [rnd(3, 32), W(ints(0, 256, 8, 2, 16)), W(scales)], K=32, N=8, bits=8, block_size=16,
         rtol=1e-3, atol=1e-4)
    case("matmul_nbits_bias", "MatMulNBits", [rnd(2, 3, 32), W(packed), W(scales), None, None, W(rnd(8))], K=32, N=8,
         bits=4, block_size=16, rtol=1e-3, atol=1e-4)
    for q in (0, 1):
        case(f"matmul_bnb4_{q}", "MatMulBnb4", [rnd(3, 32), W(ints(0, 256, 8 * 32 // 2)), W(np.abs(scales))], K=32, N=8,
             block_size=16, quant_type=q, rtol=1e-3, atol=1e-4)


def quantised():
    s = lambda v: W(np.array(v, f32))
    z8, zi = lambda v: W(np.array(v, u8)), lambda v: W(np.array(v, i8))
    a, b = ints(0, 256, 2, 3, 4), ints(0, 256, 3, 4)
    case("qlinear_add", "QLinearAdd", [a, s(0.1), z8(120), b, s(0.2), z8(100), s(0.3), z8(110)])
    case("qlinear_add_s8", "QLinearAdd",
         [ints(-128, 128, 2, 4, dtype=i8), s(0.1013), zi(3), W(ints(-128, 128, 4, dtype=i8)), s(0.2071), zi(-4), s(0.1979), zi(5)])
    case("qlinear_mul", "QLinearMul", [a, s(0.1), z8(120), b, s(0.2), z8(100), s(2.0), z8(110)])
    case("qlinear_sigmoid", "QLinearSigmoid", [a, s(0.05), z8(120), s(1 / 256), z8(0)])
    case("qlinear_leaky_relu", "QLinearLeakyRelu", [a, s(0.05), z8(120), s(0.04), z8(30)], alpha=0.2)
    x = ints(0, 256, 1, 3, 5, 5)
    case("qlinear_global_average_pool", "QLinearGlobalAveragePool", [x, s(0.05), z8(120), s(0.01), z8(128)], channels_last=0)
    case("qlinear_global_average_pool_nhwc", "QLinearGlobalAveragePool",
         [ints(0, 256, 1, 5, 5, 3), s(0.05), z8(120), s(0.01), z8(128)], channels_last=1)
    case("qlinear_average_pool", "QLinearAveragePool", [x, s(0.05), z8(120), s(0.04), z8(128)], kernel_shape=[3, 3], strides=[2, 2],
         pads=[1, 1, 1, 1])
    case("qlinear_average_pool_nhwc", "QLinearAveragePool", [ints(0, 256, 1, 5, 5, 3), s(0.0517), z8(120), s(0.0413), z8(128)],
         kernel_shape=[2, 2], channels_last=1)
    case("qlinear_concat", "QLinearConcat", [s(0.1), z8(100), a, s(0.05), z8(90), ints(0, 256, 2, 3, 2), s(0.2), z8(110)], axis=2)
    case("qlinear_softmax", "QLinearSoftmax", [a, s(0.02), z8(100), s(1 / 256), z8(0)], axis=-1, opset_=13)
    case("qlinear_softmax_flat", "QLinearSoftmax", [a, s(0.02), z8(100), s(1 / 256), z8(0)], axis=1, opset_=12)
    case("qlinear_where", "QLinearWhere", [rng.integers(0, 2, (2, 3, 4)).astype(bool), a, s(0.1), z8(100), b, s(0.2), z8(90), s(0.2), z8(95)])
    case("qlinear_conv_s8", "QLinearConv", [x, s(0.05), z8(120), W(ints(-128, 128, 4, 3, 3, 3, dtype=i8)), W(rnd(4, scale=0.01) ** 2 + f32(0.01)),
         W(np.zeros(4, i8)), s(0.3), z8(128), W(ints(-500, 500, 4, dtype=i32))], pads=[1, 1, 1, 1], domain="")
    case("qlinear_conv_nhwc", "QLinearConv", [ints(0, 256, 1, 5, 5, 3), s(0.05), z8(120), W(ints(-128, 128, 4, 3, 3, 3, dtype=i8)), s(0.01), zi(0),
         s(0.3), z8(128)], channels_last=1)
    m, w = ints(0, 256, 3, 8), ints(-128, 128, 8, 5, dtype=i8)
    case("qgemm", "QGemm", [m, s(0.05), z8(120), W(w), s(0.02), zi(0), W(ints(-300, 300, 5, dtype=i32)), s(0.1), z8(128)])
    case("qgemm_float", "QGemm", [m, s(0.05), z8(120), W(w.T), W(np.full(5, 0.02, f32) * np.arange(1, 6, dtype=f32)), W(np.zeros(5, i8)), W(ints(-300, 300, 5, dtype=i32))],
         transB=1, alpha=0.5)
    f = rnd(3, 8)
    case("dynamic_quantize_matmul", "DynamicQuantizeMatMul", [f, W(w), s(0.02), zi(3), W(rnd(5))])
    case("dynamic_quantize_matmul_columns", "DynamicQuantizeMatMul",
         [f, W(w), W(np.abs(rnd(5)) / 50), W(ints(-5, 5, 5, dtype=i8))])
    case("matmul_integer_to_float", "MatMulIntegerToFloat", [m, W(w), s(0.05), s(0.02), z8(120), zi(3), W(rnd(5))])
    case("matmul_integer_to_float_columns", "MatMulIntegerToFloat",
         [m, W(w), s(0.05), W(np.abs(rnd(5)) / 50), z8(120), W(ints(-5, 5, 5, dtype=i8))])
    case("matmul_integer16", "MatMulInteger16", [ints(-300, 300, 3, 4, dtype=np.int16), ints(-300, 300, 4, 5, dtype=np.int16)])
    case("quantize_ms", "QuantizeLinear", [rnd(2, 3, scale=30), s(0.5), z8(100)])
    case("quantize_ms_u16", "QuantizeLinear", [rnd(2, 3, scale=30), s(0.01), W(np.array(3000, np.uint16))])
    case("dequantize_ms_axis", "DequantizeLinear", [ints(0, 256, 2, 3, 2), W(np.array([0.1, 0.2, 0.3], f32)), W(np.array([1, 2, 3], u8))], axis=1)
    case("nhwc_max_pool", "NhwcMaxPool", [ints(0, 256, 1, 6, 6, 3)], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 0])
    table = rnd(6, 32)
    packed = ints(0, 256, 6, 16)
    for bits, data, zero in [(4, packed, None), (4, packed, ints(0, 256, 6, 1)), (8, ints(0, 256, 6, 32), None)]:
        zeros = [] if zero is None else [W(zero)]
        case(f"gather_block_quantized_{bits}{'_zero' if zeros else ''}", "GatherBlockQuantized",
             [W(data), np.array([[0, 5], [3, 3]], i64), W(rnd(6, 2, scale=0.1)), *zeros], bits=bits, block_size=16, quantize_axis=1, gather_axis=0)
    hidden, inp, batch, steps = 4, 3, 2, 5
    wq = lambda n: ints(0, 256, 1, n, 4 * hidden)
    lstm = [rnd(steps, batch, inp), W(wq(inp)), W(wq(hidden)), W(rnd(1, 8 * hidden, scale=0.1)), None, None, None, None,
            W(np.array([0.01], f32)), W(np.array([128], u8)), W(np.array([0.02], f32)), W(np.array([120], u8))]
    case("dynamic_quantize_lstm", "DynamicQuantizeLSTM", lstm, 3, hidden_size=hidden, rtol=0.02, atol=0.02)
    e, h = 8, 2
    qa = [ints(0, 256, 2, 3, e), W(ints(-128, 128, e, 3 * e, dtype=i8)), W(rnd(3 * e)), s(0.02), s(0.01), None, z8(120), zi(0)]
    case("qattention", "QAttention", qa, num_heads=h, rtol=1e-3, atol=1e-4)
    case("qattention_mask", "QAttention", [*qa[:5], np.array([3, 1], i32), *qa[6:]], num_heads=h, rtol=1e-3, atol=1e-4)
    case("qattention_causal_past", "QAttention", [*qa[:5], None, *qa[6:], rnd(2, 2, h, 4, e // h)], 2, num_heads=h, unidirectional=1,
         rtol=1e-3, atol=1e-4)
    n, q = 5, lambda *sh: W(ints(0, 256, *sh))
    scales, zeros = [s(0.02), s(0.03), s(0.01), s(0.01), s(0.02)], [z8(v) for v in (120, 110, 128, 5, 100)]
    case("qembed_layer_norm", "QEmbedLayerNormalization",
         [ints(0, n, 2, 4, dtype=i32), ints(0, 2, 2, 4, dtype=i32), q(n, 8), q(6, 8), q(2, 8), q(8), q(8), np.array([[1, 1, 1, 0], [1, 1, 0, 0]], i32),
          *scales, *zeros], 2)


def moving():
    case("expand_dims", "ExpandDims", [rnd(2, 3), W(np.array(1, i32))])
    case("trilu_ms", "Trilu", [rnd(4, 4), W(np.array(1, i64))], upper=1)
    case("range_ms", "Range", [W(np.array(1, f32)), W(np.array(5, f32)), W(np.array(0.5, f32))])
    case("pad_ms", "Pad", [rnd(2, 3), W(np.array([0, 1, 2, 1], i64)), W(np.array([7], f32))])
    case("gather_nd_ms", "GatherND", [rnd(2, 3), np.array([[0, 1], [1, 2]], i64)])
    case("unique_ms", "Unique", [np.array([2, 1, 1, 3, 2], f32)], 3)
    case("grid_sample_ms", "GridSample", [rnd(1, 2, 4, 4), rnd(1, 3, 3, 2, scale=0.5)], mode="bilinear", padding_mode="border")
    case("grid_sample_ms_nearest", "GridSample", [rnd(1, 2, 4, 4), rnd(1, 3, 3, 2, scale=0.5)], mode="nearest", align_corners=1)
    case("crop_and_resize", "CropAndResize", [rnd(2, 3, 6, 7), np.array([[0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], [-0.2, 0.3, 0.6, 1.3]], f32), np.array([0, 1, 1], i32),
         W(np.array([3, 4], i32))], extrapolation_value=9.0)
    case("crop_and_resize_nearest", "CropAndResize", [rnd(2, 3, 6, 7), np.array([[0.13, 0.22, 0.84, 0.93]], f32), np.array([1], i32), W(np.array([3, 4], i32))],
         mode="nearest")
    case("unfold_tensor", "UnfoldTensor", [rnd(2, 9)], dim=1, size=3, step=2)


def experts():
    tokens, hidden, inter, n = 4, 8, 16, 3
    x, gate = rnd(tokens, hidden), rnd(tokens, n)
    case("moe_relu", "MoE", [x, gate, W(rnd(n, inter, hidden, scale=0.3)), W(rnd(n, inter)), W(rnd(n, hidden, inter, scale=0.3)), W(rnd(n, hidden))], k=2,
         activation_type="relu", normalize_routing_weights=1)
    case("moe_swiglu", "MoE", [x, gate, W(rnd(n, 2 * inter, hidden, scale=0.3)), W(rnd(n, 2 * inter)), W(rnd(n, hidden, inter, scale=0.3)), W(rnd(n, hidden))], k=1,
         activation_type="swiglu", swiglu_fusion=1)


def more_attention():
    b, s, h, hq, d = 2, 3, 2, 4, 16
    none = [np.zeros((b, h, 0, d), f32)] * 2
    case("gqa_bias", "GroupQueryAttention",
         [rnd(b, s, hq * d), rnd(b, s, h * d), rnd(b, s, h * d), *none, np.full(b, s - 1, i32), np.array(s, i32),
          None, None, None, rnd(1, 1, s, s)], 3, num_heads=hq, kv_num_heads=h)


def columns():
    """ai.onnx.ml: features column by column."""
    x, words = rnd(3, 4), np.array([["b", "x"], ["a", "b"]], object)
    ml = lambda name, op, operands, outputs=1, **more: case(f"ml_{name}", op, operands, outputs, domain=ML, **more)
    ml("columns", "ArrayFeatureExtractor", [x, W(np.array([2, 0], i64))])
    ml("columns_flat", "ArrayFeatureExtractor", [ints(0, 9, 5, dtype=i64), np.array([4, 1, 1], i64)])
    ml("columns_text", "ArrayFeatureExtractor", [words, W(np.array([1], i64))])
    ml("binarizer", "Binarizer", [x], threshold=0.2)
    ml("vectorizer", "FeatureVectorizer", [rnd(3, 2), rnd(3, 1)], inputdimensions=[2, 1])
    gaps = x.copy()
    gaps[0, 1] = gaps[2, 3] = np.nan
    ml("imputer", "Imputer", [gaps], imputed_value_floats=[1.0, 2.0, 3.0, 4.0], replaced_value_float=float("nan"))
    ml("imputer_int", "Imputer", [ints(0, 3, 3, 4, dtype=i64)], imputed_value_int64s=[7], replaced_value_int64=1)
    for norm in ("MAX", "L1", "L2"):
        ml(f"normalizer_{norm.lower()}", "Normalizer", [np.concatenate([x, np.zeros((1, 4), f32)])], norm=norm)
    ml("scaler", "Scaler", [x], offset=[0.5, 0.1, -1.0, 2.0], scale=[2.0, 1.0, 0.5, 3.0])
    ml("scaler_int", "Scaler", [ints(0, 9, 3, 2, dtype=i64)], offset=[0.5], scale=[2.0])
    ml("one_hot", "OneHotEncoder", [ints(0, 5, 2, 3, dtype=i64)], cats_int64s=[3, 0, 1])
    ml("one_hot_float", "OneHotEncoder", [np.array([1, 3, 2], f32)], cats_int64s=[3, 1, 2], zeros=0)
    ml("one_hot_text", "OneHotEncoder", [words], cats_strings=["x", "a"])
    ml("categories", "CategoryMapper", [words], cats_strings=["x", "a"], cats_int64s=[5, 9], default_int64=-3)
    ml("categories_back", "CategoryMapper", [np.array([9, 5, 1], i64)], cats_strings=["x", "a"], cats_int64s=[5, 9], default_string="?")
    # The runtime answers with maps; we with what is in them.
    ml("zip_map", "ZipMap", [x], expect=[x], classlabels_int64s=[7, 3, 5, 1])
    ml("zip_map_text", "ZipMap", [x], expect=[x], classlabels_strings=["d", "b", "a", "c"])


def vectors():
    """ai.onnx.ml: linear models and support vector machines."""
    ml = lambda name, op, operands, outputs=1, **more: case(f"ml_{name}", op, operands, outputs, domain=ML, **more)
    x, flat = rnd(7, 4), lambda *shape: rnd(*shape).ravel().tolist()
    ml("linear", "LinearRegressor", [x], coefficients=flat(2, 4), intercepts=[0.1, 0.2], targets=2)
    for post in ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"):
        scale = 0.02 if post == "PROBIT" else 1.0  # quantiles of probabilities
        ml(f"linear_{post.lower()}", "LinearClassifier", [np.abs(x) * f32(scale)], 2, coefficients=np.abs(rnd(3, 4)).ravel().tolist(),
           intercepts=[0.1, 0.2, 0.15], classlabels_strings=["a", "b", "c"], post_transform=post)
    ml("linear_two", "LinearClassifier", [x], 2, coefficients=flat(1, 4), intercepts=[0.1], classlabels_ints=[4, 9])
    n = 5
    for kind, params in (("LINEAR", [0, 0, 0]), ("RBF", [0.3, 0, 0]), ("POLY", [0.4, 1.1, 3]), ("SIGMOID", [0.2, 0.1, 0])):
        params = [float(p) for p in params]
        ml(f"svr_{kind.lower()}", "SVMRegressor", [x], kernel_type=kind, kernel_params=params, support_vectors=flat(n, 4), coefficients=flat(n), rho=[0.3],
           n_supports=n, rtol=1e-3)
        ml(f"svc_{kind.lower()}", "SVMClassifier", [x], 2, kernel_type=kind, kernel_params=params, support_vectors=flat(n, 4), coefficients=flat(2, n),
           rho=flat(3), vectors_per_class=[2, 1, 2], classlabels_ints=[3, 7, 5], rtol=1e-3)
    ml("svr_one_class", "SVMRegressor", [x], kernel_type="RBF", kernel_params=[0.3, 0.0, 0.0], support_vectors=flat(n, 4), coefficients=flat(n), rho=[-0.1],
       n_supports=n, one_class=1)
    ml("svc_two", "SVMClassifier", [x], 2, kernel_type="RBF", kernel_params=[0.3, 0.0, 0.0], support_vectors=flat(n, 4), coefficients=flat(n), rho=[0.1],
       vectors_per_class=[3, 2], classlabels_strings=["a", "b"])
    ml("svc_probable", "SVMClassifier", [x], 2, kernel_type="RBF", kernel_params=[0.3, 0.0, 0.0], support_vectors=flat(n, 4), coefficients=flat(2, n), rho=flat(3),
       prob_a=[-1.2, -0.7, -2.0], prob_b=[0.1, -0.2, 0.3], vectors_per_class=[2, 1, 2], classlabels_ints=[3, 7, 5])
    ml("svc_two_probable", "SVMClassifier", [x], 2, kernel_type="RBF", kernel_params=[0.3, 0.0, 0.0], support_vectors=flat(n, 4), coefficients=flat(n), rho=[0.1],
       prob_a=[-1.2], prob_b=[0.1], vectors_per_class=[3, 2], classlabels_strings=["a", "b"])
    ml("svc_products", "SVMClassifier", [x], 2, kernel_type="LINEAR", kernel_params=[0.0, 0.0, 0.0], coefficients=flat(3, 4), rho=[0.2],
       classlabels_ints=[0, 1, 2])


def grow(trees, depth, features, modes):
    """Attributes nodes_* of full trees, and their leaves as pairs of tree and node."""
    a = {k: [] for k in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids", "missing_value_tracks_true")}
    leaves, inner = [], 2**depth - 1
    for t in range(trees):
        for i in range(2 * inner + 1):
            leaf = i >= inner
            row = (t, i, 0 if leaf else int(rng.integers(features)), 0.0 if leaf else float(rng.integers(-2, 3) / 2),
                   "LEAF" if leaf else modes[rng.integers(len(modes))], *((0, 0) if leaf else (2 * i + 2, 2 * i + 1)), int(rng.integers(2)))
            for k, v in zip(a, row):
                a[k].append(v)
            leaves += [(t, i)] if leaf else []
    return {f"nodes_{k}": v for k, v in a.items()}, leaves


def trees():
    """ai.onnx.ml: ensembles of trees. Features hit limits, and some are missing."""
    ml = lambda name, op, operands, outputs=1, **more: case(f"ml_{name}", op, operands, outputs, domain=ML, **more)
    x = (ints(-4, 5, 24, 3, dtype=f32) / f32(4)).astype(f32)
    x[3, 1] = x[7, 0] = x[8, 2] = np.nan
    speak = lambda what, leaves, ids, weights: {f"{what}_treeids": [t for t, _ in leaves], f"{what}_nodeids": [n for _, n in leaves],
                                                f"{what}_ids": ids, f"{what}_weights": weights}
    six = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
    for mode in six:
        nodes, leaves = grow(3, 3, 3, [mode])
        ml(f"trees_{mode[7:].lower()}", "TreeEnsembleRegressor", [x], n_targets=1, **nodes,
           **speak("target", leaves, [0] * len(leaves), rnd(len(leaves)).tolist()))
    for how in ("SUM", "AVERAGE", "MIN", "MAX"):
        nodes, leaves = grow(4, 2, 3, six)
        twice = [p for p in leaves for _ in range(2)]
        ml(f"trees_{how.lower()}", "TreeEnsembleRegressor", [x], n_targets=2, aggregate_function=how, base_values=[0.5, -0.25], **nodes,
           **speak("target", twice, [0, 1] * len(leaves), rnd(len(twice)).tolist()))
    nodes, leaves = grow(4, 2, 3, six[:1])
    three = [p for p in leaves for _ in range(3)]
    ml("trees_classes", "TreeEnsembleClassifier", [x], 2, classlabels_strings=["a", "b", "c"], post_transform="SOFTMAX", **nodes,
       **speak("class", three, [0, 1, 2] * len(leaves), rnd(len(three)).tolist()))
    logistic = {"post_transform": "LOGISTIC"}
    for name, at, weights, more in (("positive", 0, np.abs(rnd(len(leaves))) / 4, {}), ("mixed", 0, rnd(len(leaves)), {}), ("second", 1, rnd(len(leaves)), {}),
                                    ("logistic", 0, rnd(len(leaves)), {**logistic, "base_values": [0.2]}), ("logistic_second", 1, rnd(len(leaves)), logistic)):
        ml(f"trees_{name}", "TreeEnsembleClassifier", [x], 2, classlabels_int64s=[4, 9], **nodes,
           **speak("class", leaves, [at] * len(leaves), weights.tolist()), **more)
    pack = lambda dtype, values: numpy_helper.from_array(np.array(values, dtype))
    ml("trees_v5", "TreeEnsemble", [x], n_targets=2, aggregate_function=1, post_transform=0, tree_roots=[0, 2], nodes_featureids=[0, 1, 2],
       nodes_modes=pack(u8, [0, 6, 3]), nodes_splits=pack(f32, [0.25, 0.0, -0.5]), nodes_truenodeids=[1, 0, 2], nodes_trueleafs=[0, 1, 1],
       nodes_falsenodeids=[3, 1, 4], nodes_falseleafs=[1, 1, 1], membership_values=pack(f32, [1.0, 2.0, np.nan]),
       leaf_targetids=[0, 1, 0, 1, 0], leaf_weights=pack(f32, [1.5, -2.0, 0.5, 3.0, 0.25]))


def edges():
    """What hangs on the last bit."""
    flat = np.concatenate([rnd(1, 2, 8), np.zeros((1, 2, 8), f32)]).astype(f16)  # rows whose deviation is nothing but epsilon
    case("skip_layer_norm_f16", "SkipLayerNormalization", [flat, flat, W(rnd(8, dtype=f16)), W(rnd(8, dtype=f16))], epsilon=1e-12, rtol=5e-3, atol=5e-3)
    # 17 / 1.7 is 10 in f32 alone
    case("resize_last_bit", "Resize", [rnd(1, 20, 20, 1), None, W(np.array([1, 1.7, 1.7, 1], f32))], domain="", mode="nearest", nearest_mode="floor",
         coordinate_transformation_mode="asymmetric")


os.makedirs(OUT, exist_ok=True)
for family in (activations, normalisations, without_cpu_kernels, attention, matrices, quantised, moving, experts, more_attention,
               columns, vectors, trees, edges):
    family()

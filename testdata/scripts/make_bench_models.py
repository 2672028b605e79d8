#!/usr/bin/env python3
"""Writes the networks that the repository is too small for, with random weights, into a scratch folder.

    make_bench_models.py DIR [NAME ...]

Each goes to DIR/NAME/model.onnx with one input in DIR/NAME/test_data_set_0/. NAME-qdq is the same network quantised
statically with QuantizeLinear and DequantizeLinear (int8, weights per channel), NAME-dynamic with dynamic quantisation.
The same call writes the same files. Needs: pip install numpy onnx onnxruntime.
"""

import math
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SEED = 7


class Net:
    """A graph under construction; methods append nodes and give the name of their result."""

    def __init__(self, name):
        self.name, self.nodes, self.weights, self.count = name, [], [], 0
        self.random = np.random.default_rng(SEED)
        self.inputs, self.outputs, self.example = [], [], []

    def input(self, name, example):
        kind = helper.np_dtype_to_tensor_dtype(example.dtype)
        self.inputs.append(helper.make_tensor_value_info(name, kind, list(example.shape)))
        self.example.append(example)
        return name

    def op(self, kind, *operands, outputs=1, **attributes):
        self.count += 1
        results = [f"{kind.lower()}_{self.count}" + (f"_{i}" if i else "") for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(operands), results, f"{kind}_{self.count}", **attributes))
        return results[0] if outputs == 1 else results

    def const(self, value, dtype=np.float32):
        self.count += 1
        name = f"const_{self.count}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def noise(self, *shape, scale=1.0):
        return self.const(self.random.standard_normal(shape, np.float32) * np.float32(scale))

    def conv(self, x, cin, cout, k, stride=1, group=1, act=None, gain=2.0):
        pad = k // 2
        fan = cin // group * k * k
        x = self.op("Conv", x, self.noise(cout, cin // group, k, k, scale=math.sqrt(gain / fan)),
                    self.noise(cout, scale=0.1), kernel_shape=[k, k], strides=[stride] * 2, pads=[pad] * 4, group=group)
        return self.act(x, act)

    def act(self, x, act):
        if act == "relu":
            return self.op("Relu", x)
        if act == "relu6":
            return self.op("Clip", x, self.const(0.0), self.const(6.0))
        if act == "silu":
            return self.op("Mul", x, self.op("Sigmoid", x))
        if act == "gelu":
            e = self.op("Erf", self.op("Div", x, self.const(math.sqrt(2))))
            return self.op("Mul", self.op("Mul", x, self.op("Add", e, self.const(1.0))), self.const(0.5))
        assert act is None, act
        return x

    def linear(self, x, cin, cout, act=None):
        x = self.op("MatMul", x, self.noise(cin, cout, scale=1 / math.sqrt(cin)))
        return self.act(self.op("Add", x, self.noise(cout, scale=0.1)), act)

    def norm(self, x, width):
        scale = self.const(1 + 0.1 * self.random.standard_normal(width))
        return self.op("LayerNormalization", x, scale, self.noise(width, scale=0.1), axis=-1, epsilon=1e-5)

    def reshape(self, x, *shape):
        return self.op("Reshape", x, self.const(shape, np.int64))

    def attention(self, x, tokens, width, heads, mask=None):
        size = width // heads

        def split(y, order):
            return self.op("Transpose", self.reshape(y, 1, tokens, heads, size), perm=order)

        q = split(self.linear(x, width, width), [0, 2, 1, 3])
        k = split(self.linear(x, width, width), [0, 2, 3, 1])
        v = split(self.linear(x, width, width), [0, 2, 1, 3])
        s = self.op("Div", self.op("MatMul", q, k), self.const(math.sqrt(size)))
        s = self.op("Add", s, mask) if mask else s
        y = self.op("MatMul", self.op("Softmax", s, axis=-1), v)
        y = self.reshape(self.op("Transpose", y, perm=[0, 2, 1, 3]), 1, tokens, width)
        return self.linear(y, width, width)

    def finish(self, *results):
        outputs = [helper.make_tensor_value_info(r, TensorProto.FLOAT, None) for r in results]
        graph = helper.make_graph(self.nodes, self.name, self.inputs, outputs, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        onnx.checker.check_model(model)
        return model, dict(zip((i.name for i in self.inputs), self.example))

    def picture(self, side):
        return self.input("image", self.random.uniform(-1, 1, (1, 3, side, side)).astype(np.float32))


def resnet50():
    n = Net("resnet50")
    x = n.conv(n.picture(224), 3, 64, 7, 2, act="relu")
    x = n.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    cin = 64
    for stage, blocks in enumerate([3, 4, 6, 3]):
        mid, out = 64 << stage, 256 << stage
        for b in range(blocks):
            stride = 2 if b == 0 and stage > 0 else 1
            short = x if b else n.conv(x, cin, out, 1, stride, gain=0.5)
            y = n.conv(x, cin, mid, 1, act="relu")
            y = n.conv(y, mid, mid, 3, stride, act="relu")
            y = n.conv(y, mid, out, 1, gain=0.5)
            x, cin = n.op("Relu", n.op("Add", y, short)), out
    x = n.op("Flatten", n.op("GlobalAveragePool", x))
    return n.finish(n.op("Gemm", x, n.noise(1000, 2048, scale=0.02), n.noise(1000, scale=0.1), transB=1))


def mobilenetv2():
    n = Net("mobilenetv2")
    x, cin = n.conv(n.picture(224), 3, 32, 3, 2, act="relu6"), 32
    for expand, cout, blocks, first in [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                                        (6, 160, 3, 2), (6, 320, 1, 1)]:
        for b in range(blocks):
            stride, mid = first if b == 0 else 1, cin * expand
            y = n.conv(x, cin, mid, 1, act="relu6") if expand > 1 else x
            y = n.conv(y, mid, mid, 3, stride, group=mid, act="relu6")
            y = n.conv(y, mid, cout, 1, gain=1.0)
            x, cin = n.op("Add", x, y) if stride == 1 and cin == cout else y, cout
    x = n.op("Flatten", n.op("GlobalAveragePool", n.conv(x, cin, 1280, 1, act="relu6")))
    return n.finish(n.op("Gemm", x, n.noise(1000, 1280, scale=0.03), n.noise(1000, scale=0.1), transB=1))


def detector320():
    """Shaped like YOLOv8n at 320 x 320."""
    n = Net("detector320")

    def cbs(x, cin, cout, k=3, stride=1):
        return n.conv(x, cin, cout, k, stride, act="silu")

    def c2f(x, cin, cout, repeat, add):
        half = cout // 2
        parts = list(n.op("Split", cbs(x, cin, cout, 1), n.const([half, half], np.int64), axis=1, outputs=2))
        for _ in range(repeat):
            y = cbs(cbs(parts[-1], half, half), half, half)
            parts.append(n.op("Add", parts[-1], y) if add else y)
        return cbs(n.op("Concat", *parts, axis=1), half * len(parts), cout, 1)

    def twice(x):
        return n.op("Resize", x, "", n.const([1, 1, 2, 2]), mode="nearest", nearest_mode="floor",
                    coordinate_transformation_mode="asymmetric")

    x = cbs(cbs(n.picture(320), 3, 16, 3, 2), 16, 32, 3, 2)
    x = cbs(c2f(x, 32, 32, 1, True), 32, 64, 3, 2)
    p3 = c2f(x, 64, 64, 2, True)
    p4 = c2f(cbs(p3, 64, 128, 3, 2), 128, 128, 2, True)
    x = c2f(cbs(p4, 128, 256, 3, 2), 256, 256, 1, True)
    pools = [cbs(x, 256, 128, 1)]
    for _ in range(3):
        pools.append(n.op("MaxPool", pools[-1], kernel_shape=[5, 5], strides=[1, 1], pads=[2, 2, 2, 2]))
    p5 = cbs(n.op("Concat", *pools, axis=1), 512, 256, 1)
    h4 = c2f(n.op("Concat", twice(p5), p4, axis=1), 384, 128, 1, False)
    h3 = c2f(n.op("Concat", twice(h4), p3, axis=1), 192, 64, 1, False)
    h4 = c2f(n.op("Concat", cbs(h3, 64, 64, 3, 2), h4, axis=1), 192, 128, 1, False)
    h5 = c2f(n.op("Concat", cbs(h4, 128, 128, 3, 2), p5, axis=1), 384, 256, 1, False)
    heads = []
    for x, c in [(h3, 64), (h4, 128), (h5, 256)]:
        box = n.conv(cbs(cbs(x, c, 64), 64, 64), 64, 64, 1)
        kind = n.conv(cbs(cbs(x, c, 80), 80, 80), 80, 80, 1)
        heads.append(n.reshape(n.op("Concat", box, kind, axis=1), 1, 144, -1))
    cells = 40 * 40 + 20 * 20 + 10 * 10
    box, kind = n.op("Split", n.op("Concat", *heads, axis=2), n.const([64, 80], np.int64), axis=1, outputs=2)
    box = n.op("Transpose", n.reshape(box, 1, 4, 16, cells), perm=[0, 2, 1, 3])
    weights = n.const(np.arange(16).reshape(1, 16, 1, 1))
    box = n.reshape(n.op("Conv", n.op("Softmax", box, axis=1), weights, kernel_shape=[1, 1]), 1, 4, cells)
    near, far = n.op("Split", box, n.const([2, 2], np.int64), axis=1, outputs=2)
    grids = [np.stack(np.meshgrid(np.arange(s), np.arange(s))).reshape(2, -1) + 0.5 for s in (40, 20, 10)]
    anchors = n.const(np.concatenate(grids, 1)[None])
    strides = n.const(np.concatenate([np.full(s * s, 320 / s) for s in (40, 20, 10)])[None, None])
    low, high = n.op("Sub", anchors, near), n.op("Add", anchors, far)
    middle = n.op("Div", n.op("Add", low, high), n.const(2.0))
    box = n.op("Mul", n.op("Concat", middle, n.op("Sub", high, low), axis=1), strides)
    return n.finish(n.op("Concat", box, n.op("Sigmoid", kind), axis=1))


def vit_b16():
    n = Net("vit_b16")
    width, tokens = 768, 197
    x = n.op("Conv", n.picture(224), n.noise(width, 3, 16, 16, scale=0.04), n.noise(width, scale=0.1),
             kernel_shape=[16, 16], strides=[16, 16])
    x = n.op("Transpose", n.reshape(x, 1, width, 196), perm=[0, 2, 1])
    x = n.op("Concat", n.noise(1, 1, width), x, axis=1)
    x = n.op("Add", x, n.noise(1, tokens, width, scale=0.1))
    for _ in range(12):
        x = n.op("Add", x, n.attention(n.norm(x, width), tokens, width, 12))
        y = n.linear(n.linear(n.norm(x, width), width, 4 * width, "gelu"), 4 * width, width)
        x = n.op("Add", x, y)
    x = n.op("Gather", n.norm(x, width), n.const(0, np.int64), axis=1)
    return n.finish(n.op("Gemm", x, n.noise(1000, width, scale=0.03), n.noise(1000, scale=0.1), transB=1))


def minilm(tokens):
    n = Net(f"minilm_s{tokens}")
    width = 384
    ids = n.input("input_ids", n.random.integers(0, 30522, (1, tokens)))
    given = n.input("attention_mask", np.ones((1, tokens), np.int64))
    x = n.op("Gather", n.noise(30522, width, scale=0.5), ids, axis=0)
    x = n.norm(n.op("Add", x, n.noise(1, tokens, width, scale=0.1)), width)
    mask = n.op("Cast", n.op("Unsqueeze", given, n.const([1, 2], np.int64)), to=TensorProto.FLOAT)
    mask = n.op("Mul", n.op("Sub", n.const(1.0), mask), n.const(-10000.0))
    for _ in range(6):
        x = n.norm(n.op("Add", x, n.attention(x, tokens, width, 12, mask)), width)
        x = n.norm(n.op("Add", x, n.linear(n.linear(x, width, 4 * width, "gelu"), 4 * width, width)), width)
    return n.finish(x)


MODELS = {
    "resnet50": resnet50,
    "mobilenetv2": mobilenetv2,
    "detector320": detector320,
    "vit_b16": vit_b16,
    "minilm_s128": lambda: minilm(128),
    "minilm_s16": lambda: minilm(16),
}


def save(folder, model, example):
    data = os.path.join(folder, "test_data_set_0")
    os.makedirs(data, exist_ok=True)
    onnx.save(model, os.path.join(folder, "model.onnx"))
    for i, (name, value) in enumerate(example.items()):
        with open(os.path.join(data, f"input_{i}.pb"), "wb") as f:
            f.write(numpy_helper.from_array(value, name).SerializeToString())


def quantise(folder, name, example):
    from onnxruntime import quantization as q

    class Reader(q.CalibrationDataReader):
        def __init__(self):
            self.rest = [example]

        def get_next(self):
            return self.rest.pop() if self.rest else None

    source = os.path.join(folder, name, "model.onnx")
    prepared = os.path.join(folder, f".{name}.onnx")
    q.quant_pre_process(source, prepared, skip_symbolic_shape=True)
    for kind in ("qdq", "dynamic"):
        target = os.path.join(folder, f"{name}-{kind}", "model.onnx")
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if kind == "qdq":
            q.quantize_static(prepared, target, Reader(), quant_format=q.QuantFormat.QDQ, per_channel=True,
                              activation_type=q.QuantType.QUInt8, weight_type=q.QuantType.QInt8)
        else:
            q.quantize_dynamic(prepared, target, per_channel=True, weight_type=q.QuantType.QInt8)
        save(os.path.dirname(target), onnx.load(target), example)
        print(f"{name}-{kind}")
    os.remove(prepared)


def main():
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= set(MODELS):
        sys.exit(f"{__doc__}\nNAMEs: {' '.join(MODELS)}")
    folder = sys.argv[1]
    for name in sys.argv[2:] or MODELS:
        model, example = MODELS[name]()
        save(os.path.join(folder, name), model, example)
        print(name)
        quantise(folder, name, example)


main()

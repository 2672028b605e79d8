#!/usr/bin/env python3
"""Writes the float model that a QDQ model stands for: dequantise.py QDQ.onnx FLOAT.onnx

Constants are dequantised, and Quantize and Dequantize of activations go. Where bytes count from 0 upwards, a tool has left a
rectifier to their saturation: a Clip takes its place. Needs numpy and onnx. For trying static quantisation on a network with
real weights of which only the quantised form is at hand (`quantise.py`)."""

import sys

import numpy
import onnx
from onnx import helper, numpy_helper


def dequantised(node, constants):
    """The value of a DequantizeLinear of constants."""
    codes, scale = (constants[i] for i in node.input[:2])
    zero = constants[node.input[2]] if len(node.input) > 2 else numpy.zeros_like(scale, dtype=codes.dtype)
    if scale.size > 1:
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        shape = [1] * codes.ndim
        shape[axis] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    return ((codes.astype(numpy.float32) - zero.astype(numpy.float32)) * scale).astype(numpy.float32)


def rectified(node, constants, made_by):
    """The upper end of a rectifier that a QuantizeLinear stands for, if it does."""
    zero = constants.get(node.input[2]) if len(node.input) > 2 else None
    bytes_from_0 = zero is not None and zero.dtype == numpy.uint8 and zero.size == 1 and int(zero) == 0
    # What only moves elements was rectified in front.
    if not bytes_from_0 or made_by.get(node.input[0]) in ("Pad", "MaxPool", "Concat"):
        return None
    return numpy.float32(255 * constants[node.input[1]])


def main():
    model = onnx.load(sys.argv[1])
    graph = model.graph
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    made_by = {name: n.op_type for n in graph.node for name in n.output}
    same, nodes, made = {}, [], {}
    for node in graph.node:
        inputs = [same.get(i, i) for i in node.input]
        name = node.output[0]
        if node.op_type == "QuantizeLinear":
            same[name] = inputs[0]
            top = rectified(node, constants, made_by)
            if top is not None:
                bounds = [f"{name}_{end}" for end in ("low", "high")]
                made.update(zip(bounds, (numpy.float32(0), top)))
                same[name] = f"{name}_clip"
                nodes.append(helper.make_node("Clip", [inputs[0], *bounds], [same[name]], name=same[name]))
        elif node.op_type == "DequantizeLinear" and node.input[0] in constants:
            made[name] = dequantised(node, constants)
        elif node.op_type == "DequantizeLinear":
            same[name] = inputs[0]
        else:
            del node.input[:]
            node.input.extend(inputs)
            nodes.append(node)
    nodes += [helper.make_node("Identity", [same[o.name]], [o.name]) for o in graph.output if o.name in same]
    used = {i for n in nodes for i in n.input}
    kept = [i for i in graph.initializer if i.name in used]
    for field, content in ((graph.node, nodes), (graph.initializer, kept)):
        content = list(content)
        del field[:]
        field.extend(content)
    graph.initializer.extend(numpy_helper.from_array(numpy.asarray(v), k) for k, v in made.items() if k in used)
    del graph.value_info[:]
    onnx.checker.check_model(model)
    onnx.save(model, sys.argv[2])


if __name__ == "__main__":
    main()

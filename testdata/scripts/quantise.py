"""Static quantisation by sinter and by ONNX Runtime on the same pictures: a table of cosines and times.

    python quantise.py SINTER MODEL.onnx 1x3x640x640 CALIBRATION_DIR DATA_DIR [RECIPE,...] [--mean M --std S]

Needs numpy, onnx, onnxruntime and Pillow. Pictures are scaled to the input's size by everyone and normalised alike.
"Speed" is against the same runtime's float model. One thread each.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy
import onnx
import onnxruntime
from onnx import version_converter
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from PIL import Image

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}


def three(text):
    numbers = [float(v) for v in text.split(",")]
    return numpy.array(numbers * 3 if len(numbers) == 1 else numbers, numpy.float32).reshape(3, 1, 1)


def picture(path, shape, mean, std):
    image = Image.open(path).convert("RGB").resize((shape[3], shape[2]), Image.BILINEAR)
    return ((numpy.asarray(image, numpy.float32).transpose(2, 0, 1) - mean) / std)[None]


class Reader(CalibrationDataReader):
    def __init__(self, name, samples):
        self.rest = iter([{name: s} for s in samples])

    def get_next(self):
        return next(self.rest, None)


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def milliseconds(sessions, name, sample):
    """Medians of sessions that run in turns."""
    times = [[] for _ in sessions]
    end = time.perf_counter() + 3.0
    while time.perf_counter() < end or len(times[0]) < 5:
        for s, t in zip(sessions, times):
            start = time.perf_counter()
            s.run(None, {name: sample})
            t.append((time.perf_counter() - start) * 1e3)
    return [sorted(t)[len(t) // 2] for t in times]


def cosines(float_outputs, outputs):
    def cosine(a, b):
        return float((a * b).sum() / max(numpy.sqrt((a * a).sum() * (b * b).sum()), 1e-30))

    a = [o.astype(numpy.float64).ravel() for o in float_outputs]
    b = [o.astype(numpy.float64).ravel() for o in outputs]
    return cosine(numpy.concatenate(a), numpy.concatenate(b)), min(map(cosine, a, b))


def main():
    parser = argparse.ArgumentParser()
    for name in ["sinter", "model", "shape", "calibration", "data"]:
        parser.add_argument(name)
    parser.add_argument("recipes", nargs="?", default="int8,int8-minmax,int8-percentile,int8-entropy")
    parser.add_argument("--mean", default="0")
    parser.add_argument("--std", default="255")
    a = parser.parse_args()
    shape = [int(d) for d in a.shape.split("x")]
    model = onnx.load(a.model)
    given = {i.name for i in model.graph.initializer}
    name = next(i.name for i in model.graph.input if i.name not in given)
    mean, std = three(a.mean), three(a.std)
    folders = [sorted(p for p in pathlib.Path(d).iterdir()) for d in (a.calibration, a.data)]
    calibration, data = [[picture(p, shape, mean, std) for p in f] for f in folders]

    print("| runtime | recipe | cosine | worst | float | int8 | speed |")
    print("|---|---|---|---|---|---|---|")
    dims = [w for i, d in enumerate(shape) for w in ("--dim", f"{name}.{i}={d}")]
    fixed = [i for i in model.graph.input if i.name == name][0].type.tensor_type.shape.dim
    dims = [w for i, d in enumerate(fixed) if not d.dim_value for w in dims[2 * i : 2 * i + 2]]
    command = [a.sinter, "eval", a.model, *dims, "--quantize", a.recipes, "--min-cosine", "0", "--json"]
    command += ["--calibrate", a.calibration, "--data", a.data, "--mean", a.mean, "--std", a.std]
    for row in json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["recipes"]:
        out, ms = row["outputs"][0], row["milliseconds"]
        floats = ms * row["speed"]
        print(
            f"| sinter | {row['recipe']} | {out['cosine']:.5f} | {out['worst_cosine']:.5f} "
            f"| {floats:.1f} ms | {ms:.1f} ms | {row['speed']:.2f} x |"
        )
    with tempfile.TemporaryDirectory() as folder:
        fixed_model, prepared = os.path.join(folder, "fixed.onnx"), os.path.join(folder, "prepared.onnx")
        for d, n in zip(fixed, shape):
            d.dim_value = n
        # Scales per channel came with opset 13.
        if next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")) < 13:
            model = version_converter.convert_version(model, 13)
        onnx.save(model, fixed_model)
        try:
            quant_pre_process(fixed_model, prepared, skip_symbolic_shape=True)
        except Exception as e:
            print(f"quant_pre_process: {e}; the model is taken as it is", file=sys.stderr)
            prepared = fixed_model
        before = session(fixed_model)
        reference = [before.run(None, {name: s})[0] for s in data]
        for word, method in METHODS.items():
            out = os.path.join(folder, f"{word}.onnx")
            reader = Reader(name, calibration)
            quantize_static(
                prepared,
                out,
                reader,
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=method,
            )
            after = session(out)
            found = [after.run(None, {name: s})[0] for s in data]
            mean_cosine, worst = cosines(reference, found)
            floats, ms = milliseconds([before, after], name, data[0])
            print(
                f"| ONNX Runtime {onnxruntime.__version__} | {word} | {mean_cosine:.5f} | {worst:.5f} "
                f"| {floats:.1f} ms | {ms:.1f} ms | {floats / ms:.2f} x |"
            )


if __name__ == "__main__":
    main()

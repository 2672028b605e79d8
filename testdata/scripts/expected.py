"""Writes testdata/expected/: what ONNX Runtime gives for inputs that models come without.

    pip install onnx onnxruntime numpy
    python testdata/scripts/expected.py MODELS     # the folder that holds ppocrv4-det/model.onnx and the others

Inputs are recipes, not data: compiler/tests/models/recipe.rs fills the same bytes from the same JSON. Of large
outputs every n-th element is kept, with the mean of all magnitudes and the best class of every row.
"""
import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime

HERE = pathlib.Path(__file__).resolve().parent.parent / "expected"
MASK = (1 << 64) - 1


def noise(seed, i):
    """One value of [-1, 1) per seed and index (SplitMix64's mixer), exact in float32."""
    z = (seed * 0x9E3779B97F4A7C15 + i * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return ((z ^ (z >> 31)) >> 40) / (1 << 23) - 1


def fill(recipe):
    """The tensor of a recipe."""
    shape, kind = recipe["shape"], recipe["kind"]
    n = int(np.prod(shape, dtype=np.int64))
    if kind == "value":
        return np.full(shape, recipe["value"], recipe["dtype"])
    if kind == "noise":
        flat = [noise(recipe["seed"], i) for i in range(n)]
    elif kind == "saw":  # a voice's pulses, more or less
        flat = [((i % recipe["period"]) / recipe["period"] * 2 - 1) * recipe["gain"] for i in range(n)]
    elif kind == "text":  # a page with lines of black and white strokes
        h, w = shape[-2:]

        def pixel(y, x):
            stroke = noise(recipe["seed"], (y // 2) * 65536 + x // 2) < 0
            return -2.0 if y // 10 % 2 == 1 and stroke else 2.0

        flat = [pixel(i // w % h, i % w) for i in range(n)]
    return np.array(flat, dtype=np.float64).astype(recipe["dtype"]).reshape(shape)


def keep(name, outputs, stride, rows):
    """Writes samples; returns what the JSON says of them."""
    out = []
    for i, o in enumerate(outputs):
        flat = o.astype(np.float64).ravel()
        np.save(HERE / f"{name}-{i}.npy", o.ravel()[::stride])
        e = {"file": f"{name}-{i}.npy", "shape": list(o.shape), "stride": stride}
        e["full"] = float(np.abs(flat).max())
        e["mean"] = float(np.abs(flat).mean())
        e["best"] = np.argmax(o.reshape(-1, o.shape[-1]), axis=1).tolist() if rows else [int(np.argmax(flat))]
        out.append(e)
    return out


def write(model, what):
    text = json.dumps({"model": model, **what}, indent=1)
    (HERE / f"{model}.json").write_text(text + "\n")


def pictures(models, model, sizes, ranges, stride, rows):
    session = onnxruntime.InferenceSession(models / model / "model.onnx", providers=["CPUExecutionProvider"])
    cases = []
    for seed, (h, w) in enumerate(sizes):
        recipe = {"kind": "text", "seed": seed, "dtype": "float32", "shape": [1, 3, h, w]}
        outputs = session.run(None, {"x": fill(recipe)})
        cases.append({"inputs": [recipe], "outputs": keep(f"{model}-{h}x{w}", outputs, stride, rows)})
    write(model, {"dims": {"x.0": [1, 1], "x.2": ranges[0], "x.3": ranges[1]}, "cases": cases})


def voice(models):
    model = "silero-vad"
    session = onnxruntime.InferenceSession(models / model / "model.onnx", providers=["CPUExecutionProvider"])
    cases = []
    for rate, length, period in [(8000, 288, 72), (8000, 256, 72), (16000, 576, 145), (16000, 512, 145)]:
        recipes = [
            {"kind": "saw", "period": period, "gain": 0.25, "dtype": "float32", "shape": [1, length]},
            {"kind": "noise", "seed": rate, "dtype": "float32", "shape": [2, 1, 128]},
            {"kind": "value", "value": rate, "dtype": "int64", "shape": []},
        ]
        outputs = session.run(None, dict(zip(["input", "state", "sr"], map(fill, recipes))))
        cases.append({"inputs": recipes, "outputs": keep(f"{model}-{rate}-{length}", outputs, 1, False)})
    write(model, {"dims": {"input.0": [1, 1], "input.1": [256, 576], "state.1": [1, 1]}, "cases": cases})


def int4(models):
    """The stored outputs were made with activations rounded to 8 bits; these keep them in float32."""
    model = "stories260k-int4"
    m = onnx.load(models / model / "model.onnx")
    for node in m.graph.node:
        for a in [a for a in node.attribute if a.name == "accuracy_level"]:
            node.attribute.remove(a)
    session = onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {}
    for i, port in enumerate(session.get_inputs()):
        t = onnx.TensorProto()
        t.ParseFromString((models / model / f"test_data_set_0/input_{i}.pb").read_bytes())
        feeds[port.name] = onnx.numpy_helper.to_array(t)
    outputs = session.run(None, feeds)
    write(model, {"dims": {}, "cases": [{"inputs": "stored", "outputs": keep(f"{model}-float", outputs, 1, False)}]})


def main():
    models = pathlib.Path(sys.argv[1])
    HERE.mkdir(exist_ok=True)
    for old in HERE.iterdir():
        old.unlink()
    det = [(64, 96), (160, 128), (224, 64)]
    pictures(models, "ppocrv4-det", det, ([32, 320], [32, 320]), 5, False)
    rec = [(48, 96), (40, 200), (64, 128)]  # pooled by 16 and then by 3 to one row: 33 to 80
    pictures(models, "ppocrv4-rec", rec, ([40, 64], [64, 320]), 32, True)
    voice(models)
    int4(models)


main()

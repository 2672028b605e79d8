#!/usr/bin/env python3
"""Prints what `--opt-size` gives and costs: opt_size.py [FOLDER | MODEL.onnx ...]

A FOLDER holds NAME/model.onnx and perhaps NAME/test_data_set_0/input_N.pb; by default ../shared/models. For every model:
bytes of code by default and with --opt-size, and the time of a run of both, measured in turns, each for its open dims.
Exit code 1 when a model has more than 50 KB of code or takes more than 1.25 times as long. The environment may say SINTER
(the command), TURNS (3), ROUNDS (5), and BEFORE (a command in front of measurements, e.g. `taskset -c 1`)."""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

BYTES, RATIO = 50_000, 1.25
HERE = pathlib.Path(__file__).resolve().parent
SINTER = os.environ.get("SINTER", str(HERE / "../../target/release/sinter"))
BEFORE = os.environ.get("BEFORE", "").split()


def code(model, options):
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([SINTER, "compile", model, "-o", out, *options], check=True, capture_output=True)
        return json.loads(next(pathlib.Path(out).glob("*/report.json")).read_text())["code_bytes"]


def seconds(model, options):
    rounds = os.environ.get("ROUNDS", "5")
    args = [*BEFORE, SINTER, "bench", model, "--open", "--json", "--no-kernels", "--rounds", rounds, *options]
    inputs = model.parent / "test_data_set_0"
    args += ["--inputs", inputs] if inputs.is_dir() else []
    done = subprocess.run(args, check=True, capture_output=True)
    return json.loads(done.stdout)["entries"][0]["latency"]["median"]


def main():
    models = []
    for path in map(pathlib.Path, sys.argv[1:] or [HERE / "../../../shared/models"]):
        models += sorted(path.glob("*/model.onnx")) if path.is_dir() else [path]
    over = 0
    print(f"{'model':<26} {'KB':>7} {'small':>7} {'ms':>9} {'small':>9} {'ratio':>6}")
    for model in models:
        sizes = [code(model, options) for options in ([], ["--opt-size"])]
        turns = [
            [seconds(model, options) for options in ([], ["--opt-size"])]
            for _ in range(int(os.environ.get("TURNS", "3")))
        ]
        times = [1e3 * statistics.median(t) for t in zip(*turns)]
        ratio = statistics.median(small / plain for plain, small in turns)
        bad = sizes[1] > BYTES or ratio > RATIO
        over += bad
        kb = " ".join(f"{size / 1e3:>7.1f}" for size in sizes)
        ms = " ".join(f"{t:>9.3f}" for t in times)
        print(f"{model.parent.name:<26} {kb} {ms} {ratio:>6.2f}{'  over' if bad else ''}", flush=True)
    print(f"{over} over a bar" if over else "all within the bars")
    sys.exit(1 if over else 0)


main()

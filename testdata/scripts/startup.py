#!/usr/bin/env python3
"""Prints how long the bundle of every model takes to start and what memory it needs, against the bars of 1 ms and of
weights, arena, inputs and outputs plus 2 MB.

    testdata/scripts/startup.py [DIR ...]

DIR holds NAME/model.onnx; by default ../shared/models. The environment may say: SINTER (the command), CC (cc), ONLY (a
pattern for names). Open dims are at their largest,
or at their smallest where the model cannot run on zeros of the largest. Models with states are left out: their sequences are the caller's."""

import fnmatch
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SINTER = os.environ.get("SINTER", HERE / "../../target/release/sinter")
INIT_US, EXTRA_BYTES, STARTS = 1000, 2_000_000, 9


def numbers(values):
    return ",".join(map(str, values)) or "0"


def build(model, folder):
    """The program that starts a bundle, its arguments, and the manifest; None for models with states."""
    subprocess.run([SINTER, "compile", model, "-o", folder, "--name", "m"], check=True, capture_output=True)
    bundle = folder / "native"
    manifest = json.loads((bundle / "manifest.json").read_text())
    if manifest.get("states"):
        return None
    defines = {
        "HEADER": '"m.h"', "NAME": "m", "UP": "M",
        "INPUT_BYTES": numbers(p["max_bytes"] for p in manifest["inputs"]),
        "OUTPUT_BYTES": numbers(p["max_bytes"] for p in manifest["outputs"]),
    }
    program = folder / "startup"
    subprocess.run([os.environ.get("CC", "cc"), "-O1", f"-I{bundle}", *(f"-D{k}={v}" for k, v in defines.items()),
                    HERE / "startup.c", bundle / "libm.a", "-o", program], check=True)
    return [program, bundle / "m.weights"], manifest


def starts(command, manifest):
    """What the program printed, start by start."""
    for end in (1, 0):
        dims = [str(bounds[end]) for port in manifest["inputs"] for bounds in port["range"]]
        runs = [subprocess.run(command + dims, check=True, capture_output=True, text=True).stdout.split() for _ in range(STARTS)]
        if runs[0][2] == "0":
            break
    return runs


def main():
    dirs = [pathlib.Path(d) for d in sys.argv[1:]] or [HERE / "../../../shared/models"]
    missed = 0
    print(f"{'model':<26} {'init':>9} {'and map':>9} {'weights':>11} {'arena':>11} {'in, out':>10} {'peak RSS':>11} {'beyond':>10}")
    for model in sorted(m for d in dirs for m in d.glob("*/model.onnx")):
        name = model.parent.name
        if not fnmatch.fnmatch(name, os.environ.get("ONLY", "*")):
            continue
        with tempfile.TemporaryDirectory() as folder:
            built = build(model, pathlib.Path(folder))
            if built is None:
                print(f"{name:<26} has states")
                continue
            command, manifest = built
            runs = starts(command, manifest)
        whole, init = (statistics.median(float(r[i]) for r in runs) for i in (0, 1))
        ports = sum(p["max_bytes"] for p in manifest["inputs"] + manifest["outputs"])
        weights, arena, peak = manifest["weights_bytes"], manifest["arena_bytes"], max(int(r[3]) for r in runs)
        beyond = peak - weights - arena - ports
        bad = whole > INIT_US or beyond > EXTRA_BYTES
        missed += bad
        print(f"{name:<26} {init:>6.1f} us {whole:>6.1f} us {weights:>11} {arena:>11} {ports:>10} {peak:>11} {beyond:>10}"
              + ("  OVER" if bad else "") + ("" if runs[0][2] == "0" else f"  (run: code {runs[0][2]})"))
    print(f"{missed} over the bars" if missed else "all within the bars")
    sys.exit(1 if missed else 0)


main()

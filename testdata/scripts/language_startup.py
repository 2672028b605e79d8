#!/usr/bin/env python3
"""Prints how long a language model takes from the start of the process to its first token, for a prompt of 16 tokens on
one thread, and what memory it needs, against the bars of 40 ms and of weights, cache and arena plus 8 MB.

    testdata/scripts/language_startup.py BUNDLE_OR_CHECKPOINT [RECIPE]

A checkpoint is compiled first, with the weights as RECIPE says (w4). The environment may say: SINTER (the command), CONTEXT
(512: tokens that the cache has room for), STARTS (15). Files are in the system's cache: a first start does not count. The
memory is the peak of a process that reads the prompt and says 64 tokens."""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
SINTER = os.environ.get("SINTER", HERE / "../../target/release/sinter")
CONTEXT, STARTS = int(os.environ.get("CONTEXT", 512)), int(os.environ.get("STARTS", 15))
TOKENS, FIRST_MS, EXTRA_BYTES = 16, 40, 8_000_000
WORDS = "one day a small dog ran to the old house by the sea and saw a red boat on the water far away".split()


def run(bundle, prompt, tokens):
    """Seconds until the first byte of the answer, tokens of the prompt, and bytes of memory at the peak."""
    command = [SINTER, "run", bundle, "--prompt", prompt, "--max-tokens", str(tokens), "--temperature", "0", "--context", str(CONTEXT)]
    begin = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    first = child.stdout.read(1)
    seconds = time.perf_counter() - begin
    said = child.stderr.read().decode()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode or not first:
        sys.exit(f"sinter run: {said}")
    return seconds, int(said.split("read ")[1].split()[0]), usage.ru_maxrss * 1024


def prompt_of(bundle):
    """A prompt of the wanted length in tokens."""
    for n in range(1, len(WORDS) + 1):
        prompt = " ".join(WORDS[:n])
        if run(bundle, prompt, 1)[1] == TOKENS:
            return prompt
    sys.exit(f"no prompt has {TOKENS} tokens")


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    model = pathlib.Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        bundle = model
        if not (model / "manifest.json").is_file():
            recipe = sys.argv[2] if len(sys.argv) == 3 else "w4"
            subprocess.run([SINTER, "compile", model, "--quantize", recipe, "-o", folder], check=True, capture_output=True)
            bundle = pathlib.Path(folder) / "native"
        prompt = prompt_of(bundle)
        first = statistics.median(run(bundle, prompt, 1)[0] for _ in range(STARTS)) * 1000
        peak = max(run(bundle, prompt, 64)[2] for _ in range(3))
        manifest = json.loads((bundle / "manifest.json").read_text())
    room = -(-CONTEXT // 64) * 64 / manifest["capacity"]["max"]
    cache = int(sum(s["max_bytes"] for s in manifest["states"]) * room)
    weights, arena = manifest["weights_bytes"], manifest["arena_bytes"]
    beyond = peak - weights - cache - arena
    late, large = first > FIRST_MS, beyond > EXTRA_BYTES
    print(f"first token of {TOKENS}: {first:.1f} ms (bar {FIRST_MS} ms){'  OVER' if late else ''}")
    print(f"peak RSS {peak}: weights {weights}, cache {cache}, arena {arena}, beyond {beyond} (bar {EXTRA_BYTES}){'  OVER' if large else ''}")
    sys.exit(1 if late or large else 0)


main()

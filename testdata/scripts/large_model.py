#!/usr/bin/env python3
"""Shows what memory it takes to compile a model of 70 billion weights, with shards that are made up: sparse files, which take
no room on disk. Every tensor begins with some weights of its own and reads as zeros behind them; rounding those takes the
time and the memory of any others.

    testdata/scripts/large_model.py [RECIPE]

What a compilation holds does not grow with the number of layers: models of 1 and 2 layers are compiled (some 4 minutes),
and from what the second adds follows what all 80 take. LAYERS=80 compiles the whole of it instead, which takes 30 times as
long and the room of its weights on the disk, twice for a while. The environment may also say: SINTER (the command), FOLDER
(where files go, some 15 GB), RAM_GB (24)."""

import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
SINTER = os.environ.get("SINTER", HERE / "../../target/release/sinter")
RAM_GB = float(os.environ.get("RAM_GB", 24))
RECIPE = sys.argv[1] if len(sys.argv) > 1 else "w4"
LAYERS = 80
HIDDEN, INNER, HEADS, KV, SIZE, VOCAB = 8192, 28672, 64, 8, 128, 128256
CONTEXT = 8192
OWN = 4096
GB = 1e9


def shard(path, tensors):
    """A safetensors file whose data are holes but for the beginnings of tensors, so that no two are the same."""
    header, starts, at = {}, [], 0
    for name, shape in tensors.items():
        size = 2
        for n in shape:
            size *= n
        starts.append(at)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        f.truncate(8 + len(text) + at)
        for name, start in zip(tensors, starts):
            dice = random.Random(name)
            f.seek(8 + len(text) + start)
            f.write(b"".join(struct.pack("<f", dice.uniform(-1, 1))[2:] for _ in range(OWN)))
    return at


def layer(i):
    p = f"model.layers.{i}."
    attention = {"q": [HEADS * SIZE, HIDDEN], "k": [KV * SIZE, HIDDEN], "v": [KV * SIZE, HIDDEN], "o": [HIDDEN, HEADS * SIZE]}
    mlp = {"gate": [INNER, HIDDEN], "up": [INNER, HIDDEN], "down": [HIDDEN, INNER]}
    norms = {"input_layernorm": [HIDDEN], "post_attention_layernorm": [HIDDEN]}
    return (
        {f"{p}self_attn.{n}_proj.weight": s for n, s in attention.items()}
        | {f"{p}mlp.{n}_proj.weight": s for n, s in mlp.items()}
        | {f"{p}{n}.weight": s for n, s in norms.items()}
    )


def checkpoint(folder, layers):
    """Writes the folder; gives the bytes of its tensors."""
    folder.mkdir(parents=True)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": INNER,
        "num_attention_heads": HEADS, "num_key_value_heads": KV, "head_dim": SIZE, "num_hidden_layers": layers,
        "vocab_size": VOCAB, "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
        "hidden_act": "silu", "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config))
    letters = {chr(97 + i): i for i in range(26)}
    model = {"type": "BPE", "vocab": letters, "merges": []}
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": model}))
    ends = {"model.embed_tokens.weight": [VOCAB, HIDDEN], "model.norm.weight": [HIDDEN], "lm_head.weight": [VOCAB, HIDDEN]}
    parts = [ends] + [layer(i) for i in range(layers)]
    names, total = {}, 0
    for i, tensors in enumerate(parts):
        name = f"model-{i + 1:05}-of-{len(parts):05}.safetensors"
        total += shard(folder / name, tensors)
        names |= dict.fromkeys(tensors, name)
    index = {"metadata": {"total_size": total}, "weight_map": names}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return total


def compiled(folder, layers):
    """Bytes of the shards, seconds, peak memory, and the manifest of what they become."""
    stored = checkpoint(folder / "model", layers)
    begin = time.monotonic()
    command = [SINTER, "compile", folder / "model", "--quantize", RECIPE, "-o", folder / "out"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = child.stderr.read().decode()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(said)
    seconds = time.monotonic() - begin
    manifest = json.loads((folder / "out/native/manifest.json").read_text())
    shutil.rmtree(folder)
    weights, states = manifest["weights_bytes"], sum(s["max_bytes"] for s in manifest["states"])
    row = (layers, stored, weights, states, manifest["arena_bytes"], usage.ru_maxrss * 1024, seconds)
    show(row)
    return row


def show(row):
    layers, stored, weights, states, arena, peak, seconds = row
    peak = f"{peak / GB:6.2f} GB in {seconds:.0f} s" if peak else ""
    print(f"{layers:6} {stored / GB:8.1f} GB {weights / GB:8.2f} GB {states / GB:8.2f} GB {arena / 1e6:8.1f} MB  {peak}", flush=True)


def main():
    room = pathlib.Path(os.environ.get("FOLDER", tempfile.gettempdir())) / f"sinter-large-{os.getpid()}"
    print(f"layers   shards  weights {RECIPE}   cache of {CONTEXT}     arena   peak of compiling")
    try:
        if "LAYERS" in os.environ:
            whole = compiled(room, int(os.environ["LAYERS"]))
        else:
            one, two = compiled(room, 1), compiled(room, 2)
            more = [b - a for a, b in zip(one, two)]
            if more[5] > 0.1 * one[5]:
                sys.exit("memory grows with the layers")
            whole = [a + (LAYERS - 1) * d for a, d in zip(one, more)]
            whole[4], whole[5], peak = two[4], 0, max(one[5], two[5])
            show(whole)
            whole[5] = peak
    finally:
        shutil.rmtree(room, ignore_errors=True)
    fits = whole[5] < RAM_GB * GB
    print(f"compiling takes {whole[5] / GB:.2f} GB of {RAM_GB:.0f} GB{'' if fits else '  OVER'}")
    need = sum(whole[2:5])
    held = "in memory" if need < RAM_GB * GB else "from the disk: weights are mapped, every token reads what does not fit"
    print(f"running takes {need / GB:.1f} GB with a full cache: {held}")
    sys.exit(0 if fits else 1)


main()

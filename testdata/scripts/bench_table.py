#!/usr/bin/env python3
"""Writes the Markdown table of bench_all.sh: bench_table.py DIR OUT.md, where DIR holds what `sinter bench --json` printed."""

import json
import math
import pathlib
import sys


def mean(ratios):
    return math.exp(sum(math.log(r) for r in ratios) / len(ratios))


# What the fastest of the others takes, in times of Sinter's: geometric mean of a class, and its smallest.
BARS = {"f32": (1.10, 0.97), "bf16": (1.15, 1.15), "int8": (1.25, 1.25), "tiny": (3.0, 3.0)}
TINY = ("silero", "oww-", "slovorez", "stories260k")


def kind(name):
    if name.startswith(TINY) and not name.endswith("-bf16"):
        return "tiny"
    return "int8" if name.endswith(("-qdq", "-dynamic")) else "bf16" if name.endswith("-bf16") else "f32"


def verdict(k, ratios):
    got = mean(ratios), min(ratios)
    words = [f"{what} {value:.3f} of {bar:.2f}" for what, value, bar in zip(("geometric mean", "smallest"), got, BARS[k])]
    holds = all(value >= bar for value, bar in zip(got, BARS[k]))
    return f"{k}: {', '.join(words)}, {len(ratios)} models: {'holds' if holds else 'does not hold'}"


def milliseconds(entry):
    return f"{entry['latency']['median'] * 1e3:.3f}" if entry["latency"] else "n/a"


def table(rows, threads):
    peers = [e["name"] for e in max((r for _, r in rows), key=lambda r: len(r["entries"]))["entries"][1:]]
    lines = [f"## {threads} thread(s)", "",
             "| model | sinter | " + " | ".join(peers) + " | fastest of the others | ratio |",
             "|---|" + "---:|" * (len(peers) + 3)]
    for name, r in rows:
        own, others = r["entries"][0], {e["name"]: e for e in r["entries"][1:]}
        timed = {n: e for n, e in others.items() if e["latency"]}
        best = min(timed, key=lambda n: timed[n]["latency"]["median"], default="nobody")
        cells = [milliseconds(others[p]) if p in others else "n/a" for p in peers]
        ratio = f"{r['against_fastest']:.2f}" if r["against_fastest"] else "n/a"
        lines.append(f"| {name} | {milliseconds(own)} | {' | '.join(cells)} | {best} | {ratio} |")
    for k in BARS:
        ratios = [r["against_fastest"] for n, r in rows if kind(n) == k and r["against_fastest"]]
        if ratios:
            lines += ["", verdict(k, ratios)]
    return lines


def main():
    folder, out = map(pathlib.Path, sys.argv[1:3])
    results, failed = {}, []
    for path in sorted(folder.glob("*.json")):
        try:
            r = json.loads(path.read_text())
        except ValueError:
            log = path.with_suffix(".log")
            failed.append((path.stem, log.read_text().strip() if log.exists() else "no output"))
            continue
        results.setdefault(r["threads"], []).append((path.stem.rsplit("-", 1)[0], r))
    lines = ["# Milliseconds per run, medians of interleaved rounds", "",
             "Ratio: the fastest of the others divided by Sinter; above 1 Sinter is faster.", ""]
    for threads, rows in sorted(results.items()):
        lines += [*table(rows, threads), ""]
    one, two = (dict(results.get(t, [])) for t in (1, 2))
    both = {n: one[n]["entries"][0]["latency"]["median"] / two[n]["entries"][0]["latency"]["median"] for n in one if n in two}
    if both:
        lines += ["## Sinter on 2 threads against 1", "", "| model | times as fast |", "|---|---:|"]
        lines += [f"| {n} | {v:.2f} |" for n, v in both.items()] + [""]
    absent = [(n, r["threads"], e) for rows in results.values() for n, r in rows for e in r["entries"] if e["unavailable"]]
    if absent or failed:
        lines += [f"## Not measured: {len(absent)} by others, {len(failed)} by Sinter", ""]
        lines += [f"- {n}, {t} thread(s), {e['name']}: {e['unavailable']}" for n, t, e in absent]
        lines += [f"- {n}: {' '.join(why.split())[:300]}" for n, why in failed] + [""]
    out.write_text("\n".join(lines))
    print(out)
    sys.exit(1 if failed else 0)


main()

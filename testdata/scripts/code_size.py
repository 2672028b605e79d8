#!/usr/bin/env python3
"""Writes the table of code_size.sh: code_size.py DIR, where DIR holds the report.json of every model as NAME.json."""

import collections
import json
import os
import pathlib
import sys


def main():
    folder, bar = pathlib.Path(sys.argv[1]), int(os.environ["BAR"])
    over = 0
    print(f"{'model':<26} {'bytes':>8} {'of bar':>7} {'kernels':>8}  largest families")
    for path in sorted(folder.glob("*.json")):
        report = json.loads(path.read_text())
        code, families = report["code_bytes"], collections.Counter()
        for kernel in report["kernels"]:
            families[kernel["name"].split("_")[0]] += kernel["code_bytes"]
        families["glue"] = code - sum(families.values())
        largest = ", ".join(f"{family} {size}" for family, size in families.most_common(5))
        print(f"{path.stem:<26} {code:>8} {100 * code / bar:>5.0f} % {len(report['kernels']):>8}  {largest}")
        over += code > bar
    print(f"{over} over the bar of {bar} bytes" if over else f"all within {bar} bytes")
    sys.exit(1 if over else 0)


main()

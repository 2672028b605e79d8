#!/bin/sh
# Prints how much machine code the bundles of models hold, per kernel family, against the bars.
#
#   testdata/scripts/code_size.sh [DIR ...] [-- COMPILE_OPTION ...]
#
# DIR holds NAME/model.onnx; by default ../shared/models. The environment may say: SINTER (the command), ONLY (a pattern
# for names), BAR (bytes; by default 100000, with --opt-size 50000). The exit code is 1 when a model is over the bar.
set -u
here=$(cd "$(dirname "$0")" && pwd)
sinter=${SINTER:-$here/../../target/release/sinter}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
dirs=
while [ $# -gt 0 ] && [ "$1" != -- ]; do dirs="$dirs $1"; shift; done
[ $# -gt 0 ] && shift
bar=100000
for option in "$@"; do [ "$option" = --opt-size ] && bar=50000; done
for dir in ${dirs:-$here/../../../shared/models}; do
    for model in "$dir"/*/model.onnx; do
        [ -f "$model" ] || continue
        name=$(basename "$(dirname "$model")")
        case $name in ${ONLY:-*}) ;; *) continue ;; esac
        "$sinter" compile "$model" -o "$out/$name" "$@" >"$out/$name.log" 2>&1 || echo "$name: failed: $(head -1 "$out/$name.log")"
        mv "$out/$name"/*/report.json "$out/$name.json" 2>/dev/null
        rm -rf "${out:?}/$name"
    done
done
BAR=${BAR:-$bar} exec "${SINTER_PYTHON:-python3}" "$here/code_size.py" "$out"

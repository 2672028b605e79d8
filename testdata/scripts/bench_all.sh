#!/bin/sh
# Measures every model of some folders next to other runtimes and writes one Markdown table.
#
#   testdata/scripts/bench_all.sh OUT.md [DIR ...]
#
# DIR holds NAME/model.onnx and NAME/test_data_set_0/input_N.pb; by default the models that make_bench_models.py wrote to
# ./bench-models, and ../shared/models. The environment may say: SINTER (the command), SINTER_PYTHON (Python with the
# other runtimes), THREADS ("1 2"), ROUNDS (15), AGAINST (all four), PRECISION (f32), ONLY (a pattern for names).
# The measurements themselves stay beside the table, in OUT.json.d.
set -u
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: bench_all.sh OUT.md [DIR ...]}
shift
[ $# -gt 0 ] || set -- ./bench-models "$here/../../../shared/models"
sinter=${SINTER:-$here/../../target/release/sinter}
raw=${out%.md}.json.d
mkdir -p "$raw"
for dir in "$@"; do
    for model in "$dir"/*/model.onnx; do
        [ -f "$model" ] || continue
        name=$(basename "$(dirname "$model")")
        case $name in ${ONLY:-*}) ;; *) continue ;; esac
        for threads in ${THREADS:-1 2}; do
            echo "$name, $threads thread(s)" >&2
            "$sinter" bench "$model" --inputs "$(dirname "$model")/test_data_set_0" --json --threads "$threads" \
                --rounds "${ROUNDS:-15}" --precision "${PRECISION:-f32}" \
                --against "${AGAINST:-onnxruntime,openvino,ncnn,tract}" \
                >"$raw/$name-$threads.json" 2>"$raw/$name-$threads.log" || echo "  failed, see $raw/$name-$threads.log" >&2
        done
    done
done
exec "${SINTER_PYTHON:-python3}" "$here/bench_table.py" "$raw" "$out"

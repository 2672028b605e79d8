#!/bin/sh
# Measures every model of some folders next to other runtimes and writes one Markdown table.
#
#   testdata/scripts/bench_all.sh OUT.md [DIR ...]
#
# DIR holds NAME/model.onnx and NAME/test_data_set_0/input_N.pb; by default the models that make_bench_models.py wrote to
# ./bench-models, and ../shared/models. The environment may say: SINTER (the command), SINTER_PYTHON (Python with the
# other runtimes), THREADS ("1 2"), ROUNDS (15), AGAINST (all four), PRECISION ("f32 bf16"), ONLY (a pattern for names).
# With bf16 the only other runtime is OpenVINO, which knows it; quantised models are measured once, whatever PRECISION says.
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
        case $name in *-qdq | *-dynamic) precisions=f32 ;; *) precisions=${PRECISION:-f32 bf16} ;; esac
        for precision in $precisions; do
            against=${AGAINST:-onnxruntime,openvino,ncnn,tract}
            [ "$precision" = f32 ] && run=$name || { run=$name-$precision against=openvino; }
            for threads in ${THREADS:-1 2}; do
                echo "$name, $precision, $threads thread(s)" >&2
                "$sinter" bench "$model" --inputs "$(dirname "$model")/test_data_set_0" --json --threads "$threads" \
                    --rounds "${ROUNDS:-15}" --precision "$precision" --against "$against" \
                    >"$raw/$run-$threads.json" 2>"$raw/$run-$threads.log" ||
                    echo "  failed, see $raw/$run-$threads.log" >&2
            done
        done
    done
done
exec "${SINTER_PYTHON:-python3}" "$here/bench_table.py" "$raw" "$out"

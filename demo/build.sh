#!/bin/sh
# Makes the demo page from models: demo/build.sh MODELS OUT. OUT can be served by any server of files:
#     demo/build.sh ../shared/models target/demo && python3 -m http.server -d target/demo
# MODELS holds stories260k-hf/, ppocrv4-det/, ppocrv4-rec/ and magika-v3.3/ (ONNX files and a Hugging Face folder); one
# more lies in testdata.
# SINTER names the compiler, by default that of this checkout.
set -eu
[ $# -eq 2 ] || { sed -n '2,6s/^# //p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
models=$1
out=$2
sinter() {
    if [ -n "${SINTER:-}" ]; then "$SINTER" "$@"; else
        cargo run --quiet --release --manifest-path "$here/../compiler/Cargo.toml" -- "$@"
    fi
}
# bundle NAME MODEL OPTION...: compiles to OUT/models/NAME and keeps what a page needs.
bundle() {
    name=$1 model=$2
    shift 2
    made="$out/models/.$name" && rm -rf "$made" "$out/models/$name" && mkdir -p "$out/models/$name"
    sinter compile "$model" --target browser-wasm --name "$name" -o "$made" "$@"
    for file in "$made"/browser-wasm/*; do
        case "$file" in
            */report.* | *.d.ts | */README.md | */package.json) ;;
            *) cp "$file" "$out/models/$name/" ;;
        esac
    done
    rm -r "$made"
}
mkdir -p "$out"
own="$here/../testdata"
cp "$own/models/efficientnet-lite0-qdq/labels.txt" "$out/"
cp "$own/media/chelsea.png" "$out/sample.png"
bundle see "$own/models/efficientnet-lite0-qdq/model.onnx"
cp "$here"/*.html "$here"/*.css "$here"/*.js "$here"/*.json "$out/"
bundle story "$models/stories260k-hf"
bundle file "$models/magika-v3.3/model.onnx"
bundle find "$models/ppocrv4-det/model.onnx" --dim x.2=32..960 --dim x.3=32..960
bundle read "$models/ppocrv4-rec/model.onnx" --dim x.2=48 --dim x.3=16..960

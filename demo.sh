#!/bin/sh
# Builds Sinter, compiles a real image classifier to a device bundle, runs the bundle on a photo.
set -eu
cd "$(dirname "$0")"
command -v cargo >/dev/null || { echo "needs a Rust toolchain (https://rustup.rs)" >&2; exit 1; }
cargo build --release --locked -p sinter
model=testdata/models/efficientnet-lite0-qdq
./target/release/sinter compile "$model/model.onnx" --name efficientnet -o out/demo
./target/release/sinter run out/demo/native testdata/media/chelsea.png \
    --mean 127 --std 128 --labels "$model/labels.txt" --top 3

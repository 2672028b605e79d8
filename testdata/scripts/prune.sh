#!/bin/bash
# What pruning costs and gains: the table of recipes by perplexity and divergence from the float model, then the speed of
# some of them beside the whole model's.
# usage: prune.sh SINTER MODEL TEXT CALIBRATION [RECIPE,...]
#   SINTER       the compiler, in release
#   MODEL        a checkpoint, taken as float weights (SmolLM2-135M)
#   TEXT         what is measured: WikiText-2's test split, 8 windows of 512 tokens
#   CALIBRATION  another text, of which WINDOWS (32) windows of 512 tokens are read
#   SPEED        recipes of --prune and --quantize whose speed is measured, as PRUNE/QUANTIZE words
set -e
sinter=$1 model=$2 text=$3 calibration=$4
recipes=${5:-magnitude-50,wanda-50,sparsegpt-50,wanda-2:4,sparsegpt-2:4,wanda-block32x1-50,sparsegpt-block32x1-50,ffn-30,heads-25,layers-2}
windows=${WINDOWS:-32}
if [ -n "$recipes" ]; then
    "$sinter" eval "$model" --text "$text" --window 512 --windows 8 --threads "$(nproc)" \
        --prune "$recipes" --calibrate "$calibration" --calibrate-windows "$windows"
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
for speed in ${SPEED:-none/none ffn-30/none none/w8 ffn-30/w8 none/w4-e4 ffn-30/w4-e4 magnitude-50/none magnitude-2:4/none magnitude-block32x1-50/none}; do
    prune=${speed%/*} quantize=${speed#*/}
    looks=(--calibrate "$calibration" --calibrate-windows "$windows")
    case $prune in none | magnitude*) looks=() ;; esac
    "$sinter" compile "$model" -o "$out" --name model --prune "$prune" --quantize "$quantize" "${looks[@]}" > /dev/null
    # Decode reads all weights once per token: it cannot gain more than they shrink.
    echo "--prune $prune --quantize $quantize: $(stat -c %s "$out"/native/model.weights) bytes of weights"
    "$sinter" bench "$out"/native --no-kernels --prompt-tokens 256 --generate-tokens 64 | tail -1
    rm -rf "${out:?}"/native
done

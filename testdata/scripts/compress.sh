#!/bin/bash
# The table of compression: methods and bits by perplexity and divergence from the float model.
# usage: compress.sh SINTER MODEL TEXT CALIBRATION [RECIPE,...]
#   SINTER       the compiler, in release
#   MODEL        a checkpoint, taken as float weights (SmolLM2-135M)
#   TEXT         what is measured: WikiText-2's test split, 8 windows of 512 tokens
#   CALIBRATION  another text, of which 32 windows of 512 tokens are read
set -e
sinter=$1 model=$2 text=$3 calibration=$4
recipes=${5:-w4-g128,w4-g128-asym,hqq-w4-g128,gptq-w4-g128,awq-w4-g128,w3-g128,w3-g128-asym,gptq-w3-g128,gptq-w3-g128-asym,awq-w3-g128,w4,gptq-w4,awq-w4,w8}
# Activations stay floats: what is lost is lost by the weights.
recipes=$(echo "$recipes" | sed 's/,/-a16,/g; s/$/-a16/')
exec "$sinter" eval "$model" --text "$text" --window 512 --windows 8 --threads "$(nproc)" \
    --quantize "$recipes" --calibrate "$calibration"

#!/bin/bash
# The table of compression: methods and bits by perplexity and divergence from the float model.
# usage: compress.sh SINTER MODEL TEXT CALIBRATION [RECIPE,...]
#   SINTER       the compiler, in release
#   MODEL        a checkpoint, taken as float weights (SmolLM2-135M)
#   TEXT         what is measured: WikiText-2's test split, 8 windows of 512 tokens
#   CALIBRATION  another text, of which 32 windows of 512 tokens are read
set -e
sinter=$1 model=$2 text=$3 calibration=$4
weights=w4-g128,w4-g128-asym,hqq-w4-g128,gptq-w4-g128,awq-w4-g128,w3-g128,w3-g128-asym,gptq-w3-g128,gptq-w3-g128-asym,awq-w3-g128,w4,gptq-w4,awq-w4,w8
# Activations of few bits, one scale per group or per token.
activations=w8a8-gall,smooth-w8a8,w4a8,rotate-w4a8,w4a8-token,rotate-w4a8-token,w4a4,rotate-w4a4,spin-w4a4
activations=$activations,w4a4-token,rotate-w4a4-token,spin-w4a4-token,rotate-gptq-w4a4-token
# Where nothing is said of activations they stay floats: what is lost is lost by the weights.
recipes=$(echo "${5:-$weights,$activations}" | tr ',' '\n' | sed '/a[0-9]/!s/$/-a16/' | paste -sd,)
exec "$sinter" eval "$model" --text "$text" --window 512 --windows 8 --threads "$(nproc)" \
    --quantize "$recipes" --calibrate "$calibration"

#!/bin/bash
# The table of compression: methods and bits by perplexity, divergence from the float model, size and speed; and a page with
# pictures of it, OUT/report.html.
# usage: compress.sh SINTER MODEL TEXT CALIBRATION OUT [RECIPE,...]
#   SINTER       the compiler
#   MODEL        a checkpoint, taken as float weights (SmolLM2-135M)
#   TEXT         what is measured: WikiText-2's test split, 8 windows of 512 tokens
#   CALIBRATION  another text, of which WINDOWS (32) windows of 512 tokens are read
#   OUT          a folder; interrupted, the same command goes on behind what is finished of the recipe that was made
#   THREADS      threads (all)
#   SIZE         bytes for recipes with auto, in words of --max-size (as many as w4 takes)
#   OTHERS       checkpoints of the same model by other programs (llama-quantize's Q4_K_M), measured against MODEL beside
set -e
sinter=$1 model=$2 text=$3 calibration=$4 out=$5
weights=w4-g128,w4-g128-asym,hqq-w4-g128,gptq-w4-g128,awq-w4-g128,w3-g128,w3-g128-asym,gptq-w3-g128,gptq-w3-g128-asym,awq-w3-g128
weights=$weights,w4,mxfp4,gptq-w4,awq-w4,awq-gptq-w4,rotate-gptq-w4,auto,auto-e6,rotate-gptq-w5,w8
# Activations of few bits, one scale per group or per token; caches of few bits.
activations=w8a8-gall,smooth-w8a8-gall,smooth-w8a8,w4-a16-kv4,w4a8-kv8,rotate-gptq-w4a8-kv8,rotate-gptq-w4a8-token-kv8
activations=$activations,w4a4-token-kv4,rotate-gptq-w4a4-token-kv4,spin-gptq-w4a4-token-kv4
# Where nothing is said of activations they stay floats: what is lost is lost by the weights.
recipes=$(echo "${6:-$weights,$activations}" | tr ',' '\n' | sed '/a[0-9]/!s/$/-a16/' | paste -sd,)
for other in $OTHERS; do
    echo "$other: $(stat -c %s "$other") bytes"
    "$sinter" eval "$other" --against "$model" --text "$text" --window 512 --windows 8 --threads "${THREADS:-$(nproc)}"
done
exec "$sinter" quantize "$model" --compare "$recipes" --text "$text" --window 512 --windows 8 \
    --threads "${THREADS:-$(nproc)}" --calibrate "$calibration" --calibrate-windows "${WINDOWS:-32}" --work "$out/work" \
    ${SIZE:+--max-size "$SIZE"} -o "$out"

#!/bin/bash
# The table of caches of keys and values: memory, perplexity, and tokens per second behind a long text.
# usage: kv_cache.sh SINTER MODEL TEXT [DEPTH]
#   SINTER  the compiler
#   MODEL   a checkpoint of a language model (SmolLM2-135M)
#   TEXT    what is measured: WikiText-2's test split, 8 windows of 512 tokens
#   DEPTH   tokens in the cache while generating
set -e
sinter=$1 model=$2 text=$3 depth=${4:-2048}
echo "| cache | states of $((depth + 64)) positions | perplexity | tokens/s behind $depth |"
echo "|---|---|---|---|"
for cache in f32 f16 int8 int4 int3 int2; do
    perplexity=$("$sinter" eval "$model" --kv-cache $cache --text "$text" --windows 8 --json | sed 's/.*"perplexity":\([0-9.]*\).*/\1/')
    bench=$("$sinter" bench "$model" --kv-cache $cache --depth "$depth" --generate-tokens 64 --rounds 5 --no-kernels --json)
    bytes=$(sed -n 's/.*"state_bytes": \([0-9]*\).*/\1/p' <<< "$bench")
    speed=$(sed -n '/"generate": {/,/}/s/.*"median": \([0-9.]*\).*/\1/p' <<< "$bench" | head -n 1)
    echo "| $cache | $bytes | $perplexity | $speed |"
done

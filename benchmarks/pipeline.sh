#!/usr/bin/env bash
# The whole line as a CI job would have it, run twice: the second time there is nothing to do.
#
#   benchmarks/pipeline.sh OUT VOCABULARY TEXT…
#
# For English: benchmarks/pipeline.sh runs/en 30522 enwiki/AA   For Chinese: benchmarks/pipeline.sh runs/zh 21128 zhwiki/AA
set -euo pipefail

out=$1 vocabulary=$2
shift 2
mkdir -p "$out"
for round in first second; do
    started=$SECONDS
    tok=$(electra tokenize "$@" --vocab-size "$vocabulary" --out "$out/tokenizer")
    shards=$(electra shard "$@" --tokenizer "$tok" --out "$out/shards")
    ckpt=$(electra pretrain "$shards" --preset tiny --steps 200 --out "$out/pretrained")
    electra evaluate "$ckpt" "$shards"
    export=$(electra export "$ckpt" --to hf --out "$out/hf")
    echo "$round round: $((SECONDS - started)) s"
done
for artifact in "$tok" "$shards" "$ckpt" "$export"; do
    electra verify "$artifact"
done

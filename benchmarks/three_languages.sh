#!/usr/bin/env bash
# English, Chinese and Korean through both stages, one command a stage, and the page of each tokenizer on text that it
# was not made from: the last tenth of the files. Fails where 1 % of the tokens are [UNK].
#
#   benchmarks/three_languages.sh OUT ENWIKI ZHWIKI KOWIKI
#
# Each of the last three is a folder of text files: tar -xf ../shared/data/enwiki/enwiki_AA.tar.xz -C text, and so on.
set -euo pipefail

out=$1
export COLUMNS=80

language() {
    local name=$1 folder=$2
    shift 2
    local files=("$folder"/*)
    local kept=$((${#files[@]} * 9 / 10))
    ((kept > 0)) || kept=1
    local unseen=()
    for file in "${files[@]:kept}"; do unseen+=(--text "$file"); done
    ((${#unseen[@]} > 0)) || unseen=(--text "${files[0]}")

    mkdir -p "$out/$name"
    local started=$SECONDS tok
    tok=$(electra tokenize "${files[@]:0:kept}" "$@" --out "$out/$name/tokenizer" --quiet)
    local tokenized=$SECONDS
    electra shard "$folder" --tokenizer "$tok" --out "$out/$name/shards" --quiet > /dev/null
    local sharded=$SECONDS
    echo "## $name: $(cat "${files[@]}" | wc -c) bytes, tokenize $((tokenized - started)) s, shard $((sharded - tokenized)) s"
    electra inspect "$tok" "${unseen[@]}"
    electra inspect "$tok" "${unseen[@]}" --json | python3 -c '
import json, sys
usage = json.load(sys.stdin)["summary"]["tokenizers"][0]["usage"]
sys.exit(usage["unknown_tokens"] * 100 >= usage["tokens"])'
}

language enwiki "$2" --vocab-size 30522
language zhwiki "$3" --vocab-size 21128
# Korean syllables fall apart where accents are stripped.
language kowiki "$4" --vocab-size 32000 --set strip_accents=false

#!/usr/bin/env bash
# decant against its peers: one pinned thread, interleaved, median and spread. Run it alone on the machine.
#
#   scripts/bench.sh         training and tokenizing on the demo model, against transformers + peft and Hugging Face tokenizers
#   scripts/bench.sh data    the data pipeline, section by section
#   scripts/bench.sh train   training steps, section by section: lora trl isa dropout full qwen distill
#                            documents threads grouped nf4
#
# ROUNDS (default 5) is the number of rounds; SECTIONS (default all) names sections of `data` or `train`.
# DECANT_BENCH_MB (default 500) is the size of the corpus of the sections corpus and months.
set -euo pipefail
cd "$(dirname "$0")/.."

# A section is tests/bench/peers/data_NAME.py, called with the folder of the programs, a work folder and ROUNDS, in the
# environment that scripts/bench_peers.txt describes; the words after its name are the programs that it runs.
readonly data_sections=(
  "tokenizer tokenizer_bench"
  "language attributes_bench"
  "pii pii_bench"
  "templates template_bench"
  "neardup neardup_bench"
  "corpus corpus_bench decant"
  "months corpus_bench neardup_bench decant"
  "shards shard_bench"
)

deps=${DECANT_DEPS:-$HOME/.cache/decant}
work=build/bench rounds=${ROUNDS:-5}
mkdir -p "$work"
cmake_target() { cmake --preset release >/dev/null && cmake --build --preset release --target "$@" >/dev/null; }

model=$work/SmolLM2-135M-Instruct
demo_model() {
  [ -f "$model/config.json" ] || build/release/decant import models/SmolLM2-135M-Instruct.Q4_1.gguf "$model" >/dev/null
}

case ${1:-model} in
  model)
    scripts/setup.sh --tests
    cmake_target decant lora_bench tokenizer_bench
    demo_model
    "$deps/peers/bin/python" tests/bench/peers/compare.py "$model" build/release/bench "$work" recipes/quickstart/corpus "$rounds"
    ;;
  train)
    scripts/setup.sh --tests
    cmake_target decant lora_bench grouped_bench quant_bench
    demo_model
    trl=$deps/bench_trl
    if [ ! -e "$trl/complete" ]; then  # TRL beside the peers' torch and transformers, which it takes from there
      python3 -m venv "$trl"
      site='import site; print(site.getsitepackages()[0])'
      "$deps/peers/bin/python" -c "$site" >"$("$trl/bin/python" -c "$site")/peers.pth"
      "$trl/bin/python" -m pip install --quiet trl==1.16.0 datasets accelerate
      touch "$trl/complete"
    fi
    "$deps/peers/bin/python" tests/bench/peers/train.py "$model" build/release/bench "$work" recipes/quickstart/corpus "$rounds" \
      "$trl/bin/python"
    ;;
  data)
    scripts/setup.sh --tests
    peers=$deps/bench_peers
    wanted=$(sha256sum scripts/bench_peers.txt | cut -d' ' -f1)
    if [ "$(cat "$peers/complete" 2>/dev/null)" != "$wanted" ]; then
      [ -x "$peers/bin/python" ] || python3 -m venv "$peers"
      "$peers/bin/python" -m pip install --quiet -r scripts/bench_peers.txt
      echo "$wanted" >"$peers/complete"
    fi
    for section in "${data_sections[@]}"; do
      read -r name programs <<<"$section"
      [[ " ${SECTIONS:-$name} " == *" $name "* ]] || continue
      # shellcheck disable=SC2086
      cmake_target $programs
      "$peers/bin/python" "tests/bench/peers/data_$name.py" build/release/bench "$work" "$rounds"
      echo
    done
    ;;
  *)
    echo "usage: scripts/bench.sh [data|train]" >&2
    exit 2
    ;;
esac

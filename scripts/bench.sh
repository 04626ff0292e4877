#!/usr/bin/env bash
# decant against transformers + peft and Hugging Face tokenizers on the demo model: one pinned thread, interleaved, median and spread.
# Run it alone on the machine. ROUNDS (default 5) is the number of rounds.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh --tests
deps=${DECANT_DEPS:-$HOME/.cache/decant}
cmake --preset release >/dev/null
cmake --build --preset release --target decant lora_bench tokenizer_bench >/dev/null
work=build/bench
model=$work/SmolLM2-135M-Instruct
[ -f "$model/config.json" ] || build/release/decant import models/SmolLM2-135M-Instruct.Q4_1.gguf "$model" >/dev/null
"$deps/peers/bin/python" tests/bench/peers/compare.py "$model" build/release/bench "$work" recipes/quickstart/corpus "${ROUNDS:-5}"

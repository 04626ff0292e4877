#!/usr/bin/env bash
# LoRA on real data against peft: SmolLM2-135M-Instruct on banking77 and egret-wenda (../shared/data), 40,000 tokens a run, five seeds,
# fp32. The same first adapter, rows, order, schedule and clipping on both sides; fails unless decant's held-out loss is within 0.5 % of
# peft's everywhere. Several hours on two cores; what was finished is kept, so it may be stopped and called again.
#
#   SEEDS="1 2" TOKENS=4000 TOKENS_PER_STEP=256 SETS="banking77" scripts/learning_proof.sh [FOLDER, default build/learning_proof]
#
# BUILD (default build/dev): a build with tests. DECANT_SHARED: where the data lies.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${1:-build/learning_proof} build=${BUILD:-build/dev} shared=${DECANT_SHARED:-../shared}
deps=${DECANT_DEPS:-$HOME/.cache/decant}
python=${DECANT_PEERS:-$deps/peers}
[ -d "$python" ] && python=$python/bin/python
[ -x "$python" ] || { printf 'learning_proof: error: no Python peers: run scripts/setup.sh --tests first\n' >&2; exit 1; }
for program in decant tests/interop/interop_training_rows; do
  [ -x "$build/$program" ] || { printf 'learning_proof: error: no %s: build the preset dev first\n' "$build/$program" >&2; exit 1; }
done
mkdir -p "$work"
model=$work/SmolLM2-135M-Instruct
[ -f "$model/config.json" ] || "$build/decant" import "$deps/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" "$model" >/dev/null
sets=()
for name in ${SETS:-banking77 egret-wenda}; do
  "$python" tests/interop/learning_records.py "$name" "$shared/data/$name" >"$work/$name.jsonl"
  sets+=(--set "$name=$work/$name.jsonl")
done
# shellcheck disable=SC2086  # seeds are words
OMP_NUM_THREADS=1 exec "$python" tests/interop/learning_proof.py "$build/decant" "$build/tests/interop/interop_training_rows" \
  "$model" "$work" "${sets[@]}" --seeds ${SEEDS:-1 2 3 4 5} --tokens "${TOKENS:-40000}" --tokens-per-step "${TOKENS_PER_STEP:-1024}"

#!/usr/bin/env bash
# Runs one interop step with the peers that are on this machine; exit 77: not there.
#   run.sh make FOLDER PROGRAM DEPS | transformers FOLDER DEPS | llama_cpp FOLDER DEPS | chat_templates DECANT DEPS SHARED |
#          croissant SCRATCH DEPS PROGRAM RECIPES | parquet SCRATCH DEPS PROGRAM | peft_adapters SCRATCH DEPS PROGRAM |
#          bitsandbytes PROGRAM DEPS DECANT SCRATCH | adamw8bit PROGRAM DEPS SCRATCH |
#          turn_weights, new_tokens SCRATCH DEPS PROGRAM RECIPES |
#          generate RELEASES DEPS DECANT | learning_proof SCRATCH DEPS DECANT PROGRAM RECIPES
set -euo pipefail
here=$(dirname "$(realpath "$0")")
step=$1 releases=$2
find_python() {  # DEPS
  python=${DECANT_PEERS:-$1/peers}
  [ ! -d "$python" ] || python=$python/bin/python
}
need_python() {
  find_python "$1"
  [ -x "$python" ] || { echo "skipped: no Python peers (set DECANT_PEERS)"; exit 77; }
}
case $step in
  make)
    rm -rf "$releases"
    mkdir -p "$releases"
    demo=$4/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    if [ -f "$demo" ]; then "$3" "$releases" "$demo"; else "$3" "$releases"; fi
    ;;
  transformers)
    need_python "$3"
    exec "$python" "$here/transformers_test.py" "$releases"
    ;;
  chat_templates)
    need_python "$3"
    exec "$python" "$here/chat_templates_test.py" "$2" "${DECANT_SHARED:-$4}"
    ;;
  bitsandbytes)
    need_python "$3"
    rm -rf "$5"
    exec "$python" "$here/bitsandbytes_test.py" "$2" "$4" "$5"
    ;;
  adamw8bit)
    need_python "$3"
    exec "$python" "$here/adamw8bit_test.py" "$2" "$4"
    ;;
  llama_cpp)
    command -v node >/dev/null || { echo "skipped: no node"; exit 77; }
    find_python "$3"
    if [ -x "$python" ]; then "$python" "$here/ggml_rounding.py" "$releases" || [ $? = 77 ]; fi
    exec node "$here/llama_cpp_test.mjs" "$releases" "${DECANT_NODE_MODULES:-$3/node/node_modules}"
    ;;
  peft_adapters)
    need_python "$3"
    exec "$python" "$here/peft_adapters_test.py" "$4" "$releases"
    ;;
  generate)
    need_python "$3"
    exec "$python" "$here/generate_test.py" "$4" "$releases"
    ;;
  learning_proof)
    need_python "$3"
    rm -rf "$releases"
    mkdir -p "$releases"
    # The random model of the tiny recipe, and its corpus: a short form of scripts/learning_proof.sh.
    (cd "$releases" && "$4" prepare "$6/tiny/monthly.yaml" --quiet >/dev/null)
    cat "$6"/tiny/corpus/*.jsonl | sed 's/"tenant": "[a-z]*"/"tenant": "both"/' >"$releases/both.jsonl"
    exec "$python" "$here/learning_proof.py" "$4" "$5" "$releases/runs/tiny/2026-10/model/model" "$releases" --set "both=$releases/both.jsonl" \
      --seeds 1 2 --tokens 8000 --tokens-per-step 512 --sequence-length 128 --learning-rate 3e-3 --rank 8 --tolerance 0.0005
    ;;
  croissant)
    need_python "$3"
    rm -rf "$releases"
    exec "$python" "$here/croissant_test.py" "$4" "$5" "$releases"
    ;;
  turn_weights | new_tokens)
    need_python "$3"
    rm -rf "$releases"
    exec "$python" "$here/${step}_test.py" "$4" "$5" "$releases"
    ;;
  parquet)
    need_python "$3"
    rm -rf "$releases"
    exec "$python" "$here/parquet_test.py" "$4" "$releases"
    ;;
esac

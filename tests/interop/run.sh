#!/usr/bin/env bash
# Runs one interop step with the peers that are on this machine; exit 77: not there.
#   run.sh make FOLDER PROGRAM DEPS | transformers FOLDER DEPS | llama_cpp FOLDER DEPS | chat_templates DECANT DEPS SHARED |
#          croissant SCRATCH DEPS PROGRAM RECIPES | parquet SCRATCH DEPS PROGRAM | peft_adapters SCRATCH DEPS PROGRAM |
#          bitsandbytes PROGRAM DEPS DECANT SCRATCH | adamw8bit PROGRAM DEPS SCRATCH |
#          turn_weights, new_tokens SCRATCH DEPS PROGRAM RECIPES
set -euo pipefail
here=$(dirname "$(realpath "$0")")
step=$1 releases=$2
case $step in
  make)
    rm -rf "$releases"
    mkdir -p "$releases"
    demo=$4/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    if [ -f "$demo" ]; then "$3" "$releases" "$demo"; else "$3" "$releases"; fi
    ;;
  transformers)
    python=${DECANT_PEERS:-$3/peers}
    [ -d "$python" ] && python=$python/bin/python
    [ -x "$python" ] || { echo "skipped: no Python peers (set DECANT_PEERS)"; exit 77; }
    exec "$python" "$here/transformers_test.py" "$releases"
    ;;
  chat_templates)
    python=${DECANT_PEERS:-$3/peers}
    [ -d "$python" ] && python=$python/bin/python
    [ -x "$python" ] || { echo "skipped: no Python peers (set DECANT_PEERS)"; exit 77; }
    exec "$python" "$here/chat_templates_test.py" "$2" "${DECANT_SHARED:-$4}"
    ;;
  bitsandbytes)
    python=${DECANT_PEERS:-$3/peers}
    [ -d "$python" ] && python=$python/bin/python
    [ -x "$python" ] || { echo "skipped: no Python peers (set DECANT_PEERS)"; exit 77; }
    rm -rf "$5"
    exec "$python" "$here/bitsandbytes_test.py" "$2" "$4" "$5"
    ;;
  adamw8bit)
    python=${DECANT_PEERS:-$3/peers}
    [ -d "$python" ] && python=$python/bin/python
    [ -x "$python" ] || { echo "skipped: no Python peers (set DECANT_PEERS)"; exit 77; }
    exec "$python" "$here/adamw8bit_test.py" "$2" "$4"
    ;;
  llama_cpp)
    command -v node >/dev/null || { echo "skipped: no node"; exit 77; }
    python=${DECANT_PEERS:-$3/peers}
    [ -d "$python" ] && python=$python/bin/python
    if [ -x "$python" ]; then "$python" "$here/ggml_rounding.py" "$releases" || [ $? = 77 ]; fi
    exec node "$here/llama_cpp_test.mjs" "$releases" "${DECANT_NODE_MODULES:-$3/node/node_modules}"
    ;;
  peft_adapters)
    python=${DECANT_PEERS:-$3/peers}
    [ -d "$python" ] && python=$python/bin/python
    [ -x "$python" ] || { echo "skipped: no Python peers (set DECANT_PEERS)"; exit 77; }
    exec "$python" "$here/peft_adapters_test.py" "$4" "$releases"
    ;;
  croissant)
    python=${DECANT_PEERS:-$3/peers}
    [ -d "$python" ] && python=$python/bin/python
    [ -x "$python" ] || { echo "skipped: no Python peers (set DECANT_PEERS)"; exit 77; }
    rm -rf "$releases"
    exec "$python" "$here/croissant_test.py" "$4" "$5" "$releases"
    ;;
  turn_weights | new_tokens)
    python=${DECANT_PEERS:-$3/peers}
    [ -d "$python" ] && python=$python/bin/python
    [ -x "$python" ] || { echo "skipped: no Python peers (set DECANT_PEERS)"; exit 77; }
    rm -rf "$releases"
    exec "$python" "$here/${step}_test.py" "$4" "$5" "$releases"
    ;;
  parquet)
    python=${DECANT_PEERS:-$3/peers}
    [ -d "$python" ] && python=$python/bin/python
    [ -x "$python" ] || { echo "skipped: no Python peers (set DECANT_PEERS)"; exit 77; }
    rm -rf "$releases"
    exec "$python" "$here/parquet_test.py" "$4" "$releases"
    ;;
esac

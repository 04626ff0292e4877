#!/usr/bin/env bash
# Sets up, builds with warnings as errors, runs every test, and lists what was skipped. Arguments go to ctest.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh --tests
deps=${DECANT_DEPS:-$HOME/.cache/decant}
export DECANT_PEERS=${DECANT_PEERS:-$deps/peers}
export DECANT_NODE_MODULES=${DECANT_NODE_MODULES:-$deps/node/node_modules}
cmake --preset dev
cmake --build --preset dev -j "$(nproc)"
exec ctest --preset all -j "$(nproc)" --no-tests=error "$@"

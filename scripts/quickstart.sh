#!/usr/bin/env bash
# Sets everything up on a fresh Debian, builds the binary, and runs a month of the product on the demo model: a corpus prepared, a
# student distilled, an adapter for each tenant, a release exported and verified. A second call finds nothing to do.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
if ! { cmake --preset release && cmake --build --preset release; } >build-release.log 2>&1 </dev/null; then
  tail -n 40 build-release.log >&2
  printf 'quickstart: error: the build failed; its whole output is in build-release.log\n' >&2
  exit 1
fi
rm -f build-release.log
exec build/release/decant run recipes/quickstart/monthly.yaml "$@"

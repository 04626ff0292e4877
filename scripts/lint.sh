#!/usr/bin/env bash
# clang-format on every file, clang-tidy on the files changed since the commit BASE (default: the newest commit older than a day, else
# every file), from compile commands without precompiled headers.
#
#   scripts/lint.sh [BASE]
set -euo pipefail
cd "$(dirname "$0")/.."
mapfile -t all < <(git ls-files '*.h' '*.cpp' '*.inc')
[ ${#all[@]} -gt 0 ] || { echo "lint: no files found" >&2; exit 1; }
clang-format --dry-run -Werror "${all[@]}"
echo "lint: clang-format: ${#all[@]} files are as they should be"

base=${1:-$(git rev-list -1 --before='1 day ago' HEAD)}
if [ -n "$base" ]; then
  mapfile -t changed < <(git diff --name-only --diff-filter=d "$base" -- '*.cpp')
else
  mapfile -t changed < <(git ls-files '*.cpp')
fi
if [ ${#changed[@]} -eq 0 ]; then
  echo "lint: clang-tidy: no changed files"
  exit 0
fi
cmake --preset tidy >/dev/null
# Only what the build compiles has a compile command.
mapfile -t compiled < <(python3 - "${changed[@]}" <<'P'
import json, os, sys
known = {os.path.relpath(e["file"]) for e in json.load(open("build/tidy/compile_commands.json"))}
print("\n".join(f for f in sys.argv[1:] if f in known))
P
)
[ -n "${compiled[0]:-}" ] || { echo "lint: clang-tidy: no changed file is compiled"; exit 0; }
printf '%s\0' "${compiled[@]}" | xargs -0 -P "$(nproc)" -n 1 clang-tidy -p build/tidy --quiet 2>/dev/null
echo "lint: clang-tidy: ${#compiled[@]} files are clean"

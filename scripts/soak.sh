#!/usr/bin/env bash
# The quickstart's recipe, killed (SIGKILL) again and again and run to the end, against an undisturbed run: the same bytes, logs, report
# and times aside. usage: scripts/soak.sh [kills, default 20]     (needs scripts/quickstart.sh to have built the binary)
set -euo pipefail
cd "$(dirname "$0")/.."
kills=${1:-20}
decant=$PWD/build/release/decant
recipe=$PWD/recipes/quickstart/monthly.yaml
[ -x "$decant" ] || { printf 'soak: error: no %s: run scripts/quickstart.sh first\n' "$decant" >&2; exit 1; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/calm" "$scratch/killed"
begin=$SECONDS
(cd "$scratch/calm" && "$decant" run "$recipe" --quiet >/dev/null)
whole=$((SECONDS - begin))
printf 'soak: an undisturbed run takes %s s\n' "$whole"
RANDOM=20261  # the same moments every time
for ((i = 1; i <= kills; i++)); do
  pause=$((1 + RANDOM % (2 + whole / 5)))
  status=0
  (cd "$scratch/killed" && timeout -s KILL "$pause" "$decant" run "$recipe" --quiet >/dev/null 2>&1) || status=$?
  printf 'soak: kill %s of %s after %s s: status %s\n' "$i" "$kills" "$pause" "$status"
  if [ "$status" -eq 0 ]; then rm -rf "$scratch/killed/runs"; fi
done
(cd "$scratch/killed" && "$decant" run "$recipe" --quiet >/dev/null)
digests() {
  (cd "$1/runs" && find . -type f ! -name log.jsonl ! -name report.html ! -name timing.jsonl ! -name speed.json ! -name .lock \
    ! -name 'events.out.tfevents*' -print0 | sort -z | xargs -0 sha256sum)
}
digests "$scratch/calm" >"$scratch/calm.sha256"
digests "$scratch/killed" >"$scratch/killed.sha256"
if ! diff "$scratch/calm.sha256" "$scratch/killed.sha256"; then
  printf 'soak: error: the bytes differ\n' >&2
  exit 1
fi
printf 'soak: %s files, the same bytes after %s kills\n' "$(wc -l <"$scratch/calm.sha256")" "$kills"

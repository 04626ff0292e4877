#!/usr/bin/env bash
# 2,000 training steps of a tiny model, killed (SIGKILL) fifty times at random moments and run on, against an undisturbed run: cmp finds
# the same bytes, but for files that hold times. A full fine-tune for half of the steps, then two adapters (a DoRA, and one with LoRA+)
# side by side for the other half, with checkpoints, measurements and noise on the embeddings. A few minutes.
#   scripts/soak.sh [STEPS, default 2000] [KILLS, default 50]
# DECANT: the binary; without it build/release/decant, or build/dev/decant.
set -euo pipefail
cd "$(dirname "$0")/.."
steps=${1:-2000} kills=${2:-50}
decant=${DECANT:-$PWD/build/release/decant}
[ -x "$decant" ] || decant=$PWD/build/dev/decant
[ -x "$decant" ] || { printf 'soak: error: no %s: build the preset release or dev first\n' "$decant" >&2; exit 1; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/calm" "$scratch/killed"

half=$((steps / 2))
training="steps: $half, checkpoint_every: 10, noise_alpha: 2, probe: {every: $((half / 4 + 1)), tokens: 256}, \
batch: {tokens_per_step: 256, tokens_per_micro_batch: 128}, optimizer: {learning_rate: 1e-3}"
command=("$decant" run "$PWD/recipes/tiny/monthly.yaml" --quiet --threads 1 corpus.replace_pii=false distill=null evaluate=null export=null
  "train={model: \"@model\", $training}" lora.model=@train lora.rank=4 "lora.train={$training}"
  "lora.overrides={acme: {dora: true}, zen: {b_rate_ratio: 4}}")

files() {  # FOLDER: of its runs, but for those that hold times
  (cd "$1/runs" && find . -type f ! -name log.jsonl ! -name report.html ! -name timing.jsonl ! -name speed.json ! -name .lock \
    ! -name 'events.out.tfevents*' | sort)
}
compare() {
  local name
  if ! diff <(files "$scratch/calm") <(files "$scratch/killed"); then
    printf 'soak: error: there are other files after %s kills\n' "$killed" >&2
    exit 1
  fi
  while read -r name; do
    cmp "$scratch/calm/runs/$name" "$scratch/killed/runs/$name" || { printf 'soak: error: the bytes differ after %s kills\n' "$killed" >&2; exit 1; }
  done < <(files "$scratch/calm")
}

begin=$(date +%s%N)
(cd "$scratch/calm" && "${command[@]}" >/dev/null)
whole=$((($(date +%s%N) - begin) / 1000000))
printf 'soak: an undisturbed run of %s steps takes %s ms, and has %s files\n' "$steps" "$whole" "$(files "$scratch/calm" | wc -l)"
[ "$(files "$scratch/calm" | wc -l)" -ge 20 ]

RANDOM=20261  # the same moments every time
killed=0 whole_runs=0
while [ "$killed" -lt "$kills" ]; do
  # From the start of the process to 4 times its share of the kills: some come before anything is done, some late.
  pause=$((100 + (RANDOM * 32768 + RANDOM) % (600 + 4 * whole / kills)))
  status=0
  # The shell's own word about the kill is not wanted.
  (exec 2>/dev/null; cd "$scratch/killed" && timeout -s KILL "$((pause / 1000)).$(printf %03d $((pause % 1000)))" "${command[@]}" >>out 2>&1) ||
    status=$?
  if [ "$status" -eq 137 ]; then
    killed=$((killed + 1))
  elif [ "$status" -eq 0 ]; then  # done before its kill: compared, and begun anew, so that every kill meets a run at work
    compare
    whole_runs=$((whole_runs + 1))
    rm -rf "$scratch/killed/runs"
  else
    tail -n 20 "$scratch/killed/out" >&2
    printf 'soak: error: after %s kills a run ended with status %s\n' "$killed" "$status" >&2
    exit 1
  fi
done
(cd "$scratch/killed" && "${command[@]}" >/dev/null)
compare
printf 'soak: %s kills in %s runs: every run ended with the bytes of the undisturbed one\n' "$killed" "$((whole_runs + 1))"

"""Section of `scripts/bench.sh data`: which language short English and Chinese lines are in, against CLD2 (libcld2-dev).

usage: data_language.py BUILD_FOLDER WORK_FOLDER ROUNDS
The same texts in one process, the sides interleaved, user time; a round is a process, its figure the median of five passes. A ratio is that of one
round to the faster of CLD2's two ways (plain, best effort); shown are medians (lowest-highest).
"""
import json
import os
import statistics
import subprocess
import sys

build, work, rounds = sys.argv[1], os.path.join(sys.argv[2], "language"), int(sys.argv[3])
here = os.path.dirname(os.path.abspath(__file__))
shared = os.environ.get("DECANT_SHARED", os.path.join(here, "../../../../shared"))
core = os.environ.get("DECANT_BENCH_CORE", str(max(os.sched_getaffinity(0))))
if not os.path.isdir(os.path.join(shared, "data")):
    sys.exit(f"bench: no {shared}/data (DECANT_SHARED): the language section is left out")
os.makedirs(work, exist_ok=True)


def run(command):
    """The JSON line of a pinned process."""
    done = subprocess.run(["taskset", "-c", core] + command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def spread(values, digits=0):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


print(f"Language identification, one pinned thread, {rounds} rounds, MB/s of user time; right: share of lines whose language is found.\n")
print("| text | decant | CLD2 | CLD2 best effort | ratio | right: decant | CLD2 | CLD2 best effort |\n|---|---|---|---|---|---|---|---|")
for title, only in (("English and Chinese lines", []), ("Chinese lines", ["zh"])):
    lines = f"{work}/{only[0] if only else 'all'}.jsonl"
    with open(lines, "w", encoding="utf8") as out:
        subprocess.run([sys.executable, os.path.join(here, "language_lines.py"), shared, *only], stdout=out, check=True)
    found = [run([os.path.join(build, "attributes_bench"), lines, "5"]) for _ in range(rounds)]
    if "cld2" not in found[0]:
        sys.exit("bench: attributes_bench was built without CLD2: install libcld2-dev (scripts/setup.sh --tests) and configure again")
    speed = {who: [f[who]["median_mb_per_second"] for f in found] for who in ("language", "cld2", "cld2_best_effort")}
    ratios = [ours / max(theirs) for ours, *theirs in zip(*speed.values())]
    right = " | ".join(f"{found[0][who]['right']:.4f}" for who in speed)
    print(f"| {title} ({found[0]['documents']:,}) | {spread(speed['language'])} | {spread(speed['cld2'])} | {spread(speed['cld2_best_effort'])} | "
          f"{spread(ratios, 1)}x | {right} |", flush=True)

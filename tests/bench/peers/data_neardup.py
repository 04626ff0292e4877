"""Section of `scripts/bench.sh data`: near-duplicates against rensa, texts to a list of what is removed.

usage: data_neardup.py BUILD_FOLDER WORK_FOLDER ROUNDS
200,000 documents of recombined real sentences with known copies (neardup_corpus.py; DECANT_BENCH_DOCUMENTS for another number).
First what decant removed is judged with Python's sets (neardup_peer.py --check): nothing below the threshold, every similarity the true
one. Then one pinned thread, fresh processes, interleaved, processor time; medians (lowest-highest), ratios round by round.
"""
import json
import os
import statistics
import subprocess
import sys

build, work, rounds = sys.argv[1], os.path.join(sys.argv[2], "neardup"), int(sys.argv[3])
here = os.path.dirname(os.path.abspath(__file__))
shared = os.environ.get("DECANT_SHARED", os.path.join(here, "../../../../shared"))
core = os.environ.get("DECANT_BENCH_CORE", str(max(os.sched_getaffinity(0))))
documents = os.environ.get("DECANT_BENCH_DOCUMENTS", "200000")
if not os.path.isdir(os.path.join(shared, "data")):
    sys.exit(f"bench: no {shared}/data (DECANT_SHARED): the neardup section is left out")


def run(command):
    """The JSON line of a pinned process."""
    done = subprocess.run(["taskset", "-c", core] + command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(command[:3])} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def spread(values, digits=1):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


subprocess.run([sys.executable, os.path.join(here, "neardup_corpus.py"), os.path.join(shared, "data"), work, documents], check=True, stdout=sys.stderr)
peer = [sys.executable, os.path.join(here, "neardup_peer.py"), work]
decant = [os.path.join(build, "neardup_bench"), os.path.join(work, "corpus.jsonl"), "--digits"]
removed = os.path.join(work, "removed.txt")
run(decant + ["--removed", removed])
judged = run(peer + ["--check", removed])
if judged["removed_below_threshold"] or judged["similarities_that_differ"] or judged["keepers_removed"]:
    sys.exit(f"bench: decant's removals are wrong: {judged}")
ours, theirs = [], []
for _ in range(rounds):
    ours.append(run(decant))
    theirs.append(run(peer))
rate = lambda runs: [r["mb_per_second"] for r in runs]
print(f"Near-duplicates, {documents} documents, {judged['true_duplicates']} true duplicates, one pinned thread, {rounds} interleaved rounds.\n")
print("| | MB/s | recall | removed below the threshold | peak MiB |\n|---|---|---|---|---|")
print(f"| decant | {spread(rate(ours))} | {judged['recall']} | {judged['removed_below_threshold']} | {spread([r['peak_mib'] for r in ours], 0)} |")
print(f"| rensa 0.5.0 | {spread(rate(theirs))} | {theirs[0]['recall']} | {theirs[0]['removed_below_threshold']} | {spread([r['peak_mib'] for r in theirs], 0)} |")
print(f"| ratio | {spread([a / b for a, b in zip(rate(ours), rate(theirs))], 2)}x | | | |")

"""Section of `scripts/bench.sh data`: the whole corpus step, JSONL.zst to shards with everything on, with one thread and with two.

usage: data_corpus.py BUILD_FOLDER WORK_FOLDER ROUNDS
The corpus is made of recombined real sentences (make_corpus.py, DECANT_BENCH_MB megabytes). That both thread counts write the same
shards, conversations and lists is checked first. Interleaved; one thread is pinned to one core; wall-clock time, medians (lowest-highest).
"""
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys

build, work, rounds = sys.argv[1], os.path.join(sys.argv[2], "corpus"), int(sys.argv[3])
here = os.path.dirname(os.path.abspath(__file__))
shared = os.environ.get("DECANT_SHARED", os.path.join(here, "../../../../shared"))
megabytes = os.environ.get("DECANT_BENCH_MB", "500")
cores = sorted(os.sched_getaffinity(0))[-2:]
if not os.path.isdir(os.path.join(shared, "data")):
    sys.exit(f"bench: no {shared}/data (DECANT_SHARED): the corpus section is left out")
os.makedirs(work, exist_ok=True)
model = os.path.join(sys.argv[2], "SmolLM2-135M-Instruct")
if not os.path.exists(os.path.join(model, "config.json")):
    command = [os.path.join(build, "../decant"), "import", "models/SmolLM2-135M-Instruct.Q4_1.gguf", model]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
corpus = os.path.join(work, f"corpus-{megabytes}.jsonl")
if not os.path.exists(corpus + ".zst"):
    subprocess.run([sys.executable, os.path.join(here, "../make_corpus.py"), os.path.join(shared, "data"), corpus, megabytes], check=True)
    subprocess.run(["zstd", "-q", "-f", "--rm", corpus], check=True)


def run(threads):
    pins = ",".join(map(str, cores[-threads:]))
    command = ["taskset", "-c", pins, os.path.join(build, "corpus_bench"), model, corpus + ".zst", os.path.join(work, "out"), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"bench: corpus_bench with {threads} threads failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def digest():
    """Of the shards, conversations and lists of the last run."""
    total = hashlib.sha256()
    for folder, folders, names in os.walk(os.path.join(work, "out")):
        folders.sort()
        for name in sorted(names):
            if name.endswith((".h5", ".jsonl", ".bin", "index.json")):
                with open(os.path.join(folder, name), "rb") as file:
                    total.update(name.encode() + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def spread(values, digits=2):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


counts = list(range(1, len(cores) + 1))
digests = set()
for threads in counts:
    run(threads)
    digests.add(digest())
if len(digests) != 1:
    sys.exit("bench: one thread and two write different corpora")
runs = {threads: [] for threads in counts}
for _ in range(rounds):
    for threads in counts:
        runs[threads].append(run(threads))
shutil.rmtree(os.path.join(work, "out"))
print(f"Whole chain, {megabytes} MB of JSON lines in zstd to HDF5 shards, everything on, {rounds} interleaved rounds; the same bytes each time.\n")
print("| threads | MB/s | MB/s of processor time in programs | peak MB | times one thread |\n|---|---|---|---|---|")
for threads in counts:
    rate = [r["mb_per_second"] for r in runs[threads]]
    user = [r["bytes"] / r["user_seconds"] / 1e6 for r in runs[threads]]
    times = [a["mb_per_second"] / b["mb_per_second"] for a, b in zip(runs[threads], runs[1])]
    print(f"| {threads} | {spread(rate)} | {spread(user)} | {spread([r['peak_mb'] for r in runs[threads]], 0)} | {spread(times)}x |")
print("\ndatatrove's read, filters, MinHash and tokenizing: 0.108 MB/s a core, measured elsewhere on another day: not a ratio of this run.")

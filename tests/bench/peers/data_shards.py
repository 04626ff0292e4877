"""Section of `scripts/bench.sh data`: random rows of 2,048 tokens from warm shards, against a numpy memmap of the same tokens.

usage: data_shards.py BUILD_FOLDER WORK_FOLDER ROUNDS
numpy copies the tokens of a row (8,192 bytes), decant the tokens and their weights (10,240 bytes) from HDF5 files. First every 64th row's
tokens are compared. One pinned thread, interleaved, medians (lowest-highest).
"""
import json
import os
import statistics
import subprocess
import sys
import time

import numpy

build, work, rounds = sys.argv[1], os.path.join(sys.argv[2], "shards"), int(sys.argv[3])
core = int(os.environ.get("DECANT_BENCH_CORE", max(os.sched_getaffinity(0))))
length, rows, count = 2048, 25600, 200000
os.sched_setaffinity(0, {core})


def decant(number):
    done = subprocess.run([os.path.join(build, "shard_bench"), os.path.join(work, "h5"), str(number)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"bench: shard_bench failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


os.makedirs(work, exist_ok=True)
decant(1)
# As shard_bench makes them: document d holds (31 d + i) mod 150000; rows of four documents in order.
places = numpy.arange(length // 4, dtype=numpy.uint32)
tokens = ((numpy.arange(4 * rows, dtype=numpy.uint32)[:, None] * 31 + places) % 150000).reshape(rows, length)
index = json.load(open(os.path.join(work, "h5", "index.json")))
shard = open(os.path.join(work, "h5", index["shards"][0]["file"]), "rb").read()
first = index["shards"][0]["rows"]
start = shard.find(tokens[0].tobytes())
if start < 0 or any(shard[start + r * length * 4 :][: length * 4] != tokens[r].tobytes() for r in range(0, first, 64)):
    sys.exit("bench: the shard does not hold the tokens that it was made of")
tokens.tofile(os.path.join(work, "tokens.bin"))
mapped = numpy.memmap(os.path.join(work, "tokens.bin"), numpy.uint32, "r", shape=tokens.shape)
if not numpy.array_equal(mapped, tokens):
    sys.exit("bench: the memmap does not hold the tokens")
order = numpy.random.default_rng(1).integers(0, rows, count)
row = numpy.empty(length, numpy.uint32)
ours, theirs = [], []
for _ in range(rounds):
    ours.append(decant(count * 5)["rows_per_second"])
    begin = time.perf_counter()
    for i in order:
        row[:] = mapped[i]
    theirs.append(count / (time.perf_counter() - begin))
spread = lambda values: f"{statistics.median(values):,.0f} ({min(values):,.0f}-{max(values):,.0f})"
print(f"Random rows of {length} tokens, warm, one pinned thread, {rounds} interleaved rounds.\n")
print("| | rows a second |\n|---|---|")
print(f"| decant, tokens and weights, HDF5 | {spread(ours)} |\n| numpy memmap, tokens | {spread(theirs)} |")
print(f"| ratio | {statistics.median([a / b for a, b in zip(ours, theirs)]):.2f}x |")

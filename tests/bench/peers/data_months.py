"""Section of `scripts/bench.sh data`: what a month costs after twelve others, against the same month alone.

usage: data_months.py BUILD_FOLDER WORK_FOLDER ROUNDS
A corpus of DECANT_BENCH_MB megabytes (make_corpus.py) is dealt into thirteen months. Two figures, interleaved, one pinned thread, processor
time, ratios round by round: the stage of near-duplicates on the month's texts (neardup_bench --months), and the whole corpus step of
the thirteenth month with an index of twelve and with an empty one. Checked first: the index removed something, and the same each time.
"""
import json
import os
import shutil
import statistics
import subprocess
import sys

build, work, rounds = sys.argv[1], os.path.join(sys.argv[2], "months"), int(sys.argv[3])
here = os.path.dirname(os.path.abspath(__file__))
shared = os.environ.get("DECANT_SHARED", os.path.join(here, "../../../../shared"))
core = os.environ.get("DECANT_BENCH_CORE", str(max(os.sched_getaffinity(0))))
megabytes = os.environ.get("DECANT_BENCH_MB", "500")
months = 12
if not os.path.isdir(os.path.join(shared, "data")):
    sys.exit(f"bench: no {shared}/data (DECANT_SHARED): the months section is left out")
model = os.path.join(sys.argv[2], "SmolLM2-135M-Instruct")
if not os.path.exists(os.path.join(model, "config.json")):
    command = [os.path.join(build, "../decant"), "import", "models/SmolLM2-135M-Instruct.Q4_1.gguf", model]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
shutil.rmtree(work, ignore_errors=True)
os.makedirs(work)


def run(command):
    """The JSON line of a pinned process."""
    done = subprocess.run(["taskset", "-c", core] + command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(command[:2])} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def spread(values, digits=3):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def period(month):
    return f"2026-{month + 1:02}" if month < 12 else "2027-01"


def corpus_step(month, index):
    settings = [f"period={period(month)}", f"duplicates={{index: '{os.path.join(os.path.abspath(work), index)}'}}"]
    return run([os.path.join(build, "corpus_bench"), model, f"{work}/month-{month}.jsonl", f"{work}/out", "1"] + settings)


everything = os.path.join(work, "all.jsonl")
subprocess.run([sys.executable, os.path.join(here, "../make_corpus.py"), os.path.join(shared, "data"), everything, megabytes], check=True)
share = os.path.getsize(everything) // (months + 1) + 1
done, files = 0, [open(f"{work}/month-{m}.jsonl", "w", encoding="utf-8") for m in range(months + 1)]
with open(everything, encoding="utf-8") as lines, open(f"{work}/texts.jsonl", "w", encoding="utf-8") as texts:
    for line in lines:
        month = done // share
        done += len(line.encode())
        record = json.loads(line)
        record["period"] = period(month)
        files[month].write(json.dumps(record, ensure_ascii=False) + "\n")
        texts.write(json.dumps({"text": "\n".join(m["content"] for m in record["messages"])}, ensure_ascii=False) + "\n")
for file in files:
    file.close()
os.remove(everything)

stage = run([os.path.join(build, "neardup_bench"), f"{work}/texts.jsonl", "--months", str(months), str(rounds)])
for month in range(months):
    corpus_step(month, "index")
alone, after = [], []
corpus_step(months, "index"), corpus_step(months, "alone")  # the first writes, the others replace
for _ in range(rounds):
    alone.append(corpus_step(months, "alone"))
    after.append(corpus_step(months, "index"))
kept = {(a["kept"], b["kept"]) for a, b in zip(alone, after)}
if len(kept) != 1 or not all(b < a for a, b in kept):
    sys.exit(f"bench: expected fewer documents with the index than alone, and the same in every round, found {sorted(kept)}")
shutil.rmtree(work)
ratios = [b["user_seconds"] / a["user_seconds"] for a, b in zip(alone, after)]
print(f"The thirteenth month against the same month alone, {megabytes} MB in thirteen months, one pinned thread, {rounds} interleaved rounds.\n")
print("| | alone, s | after twelve months, s | ratio |\n|---|---|---|---|")
print(f"| near-duplicates only ({stage['documents_a_month']} documents a month) | {stage['alone_seconds']} | {stage['after_seconds']} | {stage['ratio']}x (lowest {stage['least_ratio']}) |")
print(f"| whole corpus step | {spread([a['user_seconds'] for a in alone], 2)} | {spread([b['user_seconds'] for b in after], 2)} | {spread(ratios)}x |")

"""Section of `scripts/bench.sh data`: chat templates rendered a second, loss spans included, against jinja2 and transformers.

usage: data_templates.py BUILD_FOLDER WORK_FOLDER ROUNDS
The texts of all sides are compared first. Then one pinned thread, fresh processes, interleaved, processor time. The ratio is that of one round to jinja2
alone, which writes no spans; shown are medians (lowest-highest).
"""
import json
import os
import statistics
import subprocess
import sys

build, work, rounds = sys.argv[1], os.path.join(sys.argv[2], "templates"), int(sys.argv[3])
here = os.path.dirname(os.path.abspath(__file__))
shared = os.environ.get("DECANT_SHARED", os.path.join(here, "../../../../shared"))
core = os.environ.get("DECANT_BENCH_CORE", str(max(os.sched_getaffinity(0))))
if not os.path.isdir(os.path.join(shared, "conformance/chat-templates/templates")):
    sys.exit(f"bench: no {shared}/conformance/chat-templates/templates (DECANT_SHARED): the templates section is left out")
os.makedirs(work, exist_ok=True)


def run(command):
    """The JSON line of a pinned process."""
    done = subprocess.run(["taskset", "-c", core] + command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def spread(values, digits=0):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


templates = os.path.join(shared, "conformance/chat-templates/templates")
ours, theirs = [], []
for _ in range(rounds):
    ours.append(run([os.path.join(build, "template_bench"), templates, "0.5"]))
    theirs.append(run([sys.executable, os.path.join(here, "template_jinja2.py"), templates, "0.5"]))
for name, digest in theirs[0]["sha256"].items():
    if ours[0]["sha256"][name] != digest:
        sys.exit(f"bench: decant's text of {name} is not jinja2's")
print(f"Chat templates, a conversation of seven turns, renderings a second of one pinned thread, {rounds} interleaved rounds; the same text everywhere.\n")
print("| template | decant, with loss spans | jinja2 | transformers | ratio to jinja2 |\n|---|---|---|---|---|")
for name in theirs[0]["sha256"]:
    mine = [o["renders_per_second"][name] for o in ours]
    jinja2 = [t["renders_per_second"][name] for t in theirs]
    print(f"| {name} | {spread(mine)} | {spread(jinja2)} | {spread([t['transformers'][name] for t in theirs])} | "
          f"{spread([m / j for m, j in zip(mine, jinja2)], 1)}x |")

"""What the comparisons share: pinned processes that print one JSON line, the demo corpus' texts, rows of the table."""
import glob
import json
import os
import statistics
import subprocess
import sys
import time


def texts(corpus, language):
    """Message texts of the demo corpus, English (ASCII) or Chinese."""
    found = []
    for path in sorted(glob.glob(os.path.join(corpus, "*.jsonl"))):
        for line in open(path, "rb"):
            try:
                for message in json.loads(line.decode())["messages"]:
                    text = message["content"].replace("\n", " ").strip()
                    if text and text.isascii() == (language == "en"):
                        found.append(text)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # the corpus holds broken records on purpose
    return found


def run(command, threads=1):
    """The JSON line that a pinned process prints; its start time is the argument where STARTED stands."""
    command = [str(time.time()) if c == "STARTED" else c for c in command]
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    done = subprocess.run(["taskset", "-c", f"0-{threads - 1}"] + command, env=env, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(command[:2])} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def spread(values):
    return f"{statistics.median(values):.4g} ({min(values):.4g}-{max(values):.4g})"


def compare(title, unit, sides, value, higher_is_better=True):
    """A row of the table from pairs of results, ours and theirs."""
    ratios = [value(a) / value(b) if higher_is_better else value(b) / value(a) for a, b in sides]
    ours, theirs = [value(a) for a, _ in sides], [value(b) for _, b in sides]
    print(f"| {title} | {unit} | {spread(ours)} | {spread(theirs)} | {statistics.median(ratios):.2f}x |", flush=True)

#!/usr/bin/env python3
"""MLCommons' own reader validates croissant.json of a prepared corpus, checks every digest and reads every conversation through it.

usage: croissant_test.py DECANT RECIPE_FOLDER SCRATCH       exit 77: mlcroissant is not installed (skipped)
"""
import json
import os
import pathlib
import subprocess
import sys

try:
    import mlcroissant
except ImportError:
    print("skipped: no mlcroissant")
    sys.exit(77)
decant, recipes, scratch = (pathlib.Path(a).resolve() for a in sys.argv[1:4])
scratch.mkdir(parents=True, exist_ok=True)
os.chdir(scratch)
subprocess.run([decant, "prepare", recipes / "tiny/monthly.yaml", "--threads", "1"], check=True, capture_output=True)
corpus = next(scratch.glob("runs/tiny/*/corpus"))
os.chdir(corpus)
dataset = mlcroissant.Dataset("croissant.json")
issues = dataset.metadata.ctx.issues
assert not issues.errors, issues.errors
unexpected = [w for w in issues.warnings if "license" not in w and "citeAs" not in w]
assert not unexpected, unexpected
seen = 0
for record_set in dataset.metadata.record_sets:
    lines = [json.loads(line) for line in pathlib.Path(record_set.id + ".jsonl").read_text(encoding="utf-8").splitlines()]
    records = list(dataset.records(record_set=record_set.id))
    assert len(records) == len(lines) > 0, (record_set.id, len(records), len(lines))
    for line, record in zip(lines, records):
        get = lambda field: record[f"{record_set.id}/{field}"]  # noqa: E731
        assert get("id").decode() == line["id"], record
        assert [r.decode() for r in get("roles")] == [m["role"] for m in line["messages"]], record
        assert [c.decode() for c in get("contents")] == [m["content"] for m in line["messages"]], record
        seen += 1
assert seen > 100, seen
print(f"ok: {seen} conversations in {len(dataset.metadata.record_sets)} record sets")

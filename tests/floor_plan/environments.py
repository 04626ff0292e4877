#!/usr/bin/env python3
"""Laws that run once more in another environment do run in it: environments.py CTEST BUILD_FOLDER PREFIX NAME=VALUE ...

Every test of that prefix is called with all of the values, and there are such tests. (Once CTest's ENVIRONMENT property dropped them, and
every test passed.)"""
import json
import subprocess
import sys

ctest, build, prefix, *values = sys.argv[1:]
listed = json.loads(subprocess.run([ctest, "--test-dir", build, "--show-only=json-v1"], check=True, capture_output=True).stdout)
tests = [t for t in listed["tests"] if t["name"].startswith(prefix + "/")]
wrong = [t["name"] for t in tests if not set(values) <= set(t.get("command", []))]
print(f"{len(tests)} tests of {prefix}, {len(wrong)} without {' '.join(values)}", *wrong[:5], sep="\n  ")
sys.exit(1 if wrong or len(tests) < 10 else 0)

#!/usr/bin/env python3
"""The demo corpus is what its maker makes, and its checker finds every planted case and notices a changed one."""
import pathlib
import subprocess
import sys
import tempfile

root = pathlib.Path(__file__).resolve().parents[2]
corpus = root / "recipes/quickstart/corpus"
names = sorted(p.name for p in corpus.iterdir() if p.suffix in (".jsonl", ".json"))
assert len(names) == 5, names
with tempfile.TemporaryDirectory() as folder:
    made = pathlib.Path(folder)
    subprocess.run([sys.executable, root / "scripts/make_demo_corpus.py", made], check=True)
    for name in names:
        assert (made / name).read_bytes() == (corpus / name).read_bytes(), f"{name} is not what scripts/make_demo_corpus.py makes"
    subprocess.run([sys.executable, root / "scripts/check_demo_corpus.py", made], check=True)
    changed = made / names[0]
    assert changed.suffix == ".jsonl"
    changed.write_bytes(changed.read_bytes().replace(b"@example", b" at example", 1))
    result = subprocess.run([sys.executable, root / "scripts/check_demo_corpus.py", made], capture_output=True, text=True)
    assert result.returncode == 1 and "email" in result.stderr, result
print("ok")

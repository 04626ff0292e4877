"""Peers of ../tokenizer_bench.cpp on the same documents, on one thread: gigatok, fastokens, Hugging Face tokenizers.

usage: tokenizer_peer.py LIBRARY TOKENIZER.json DOCUMENTS batch|single [PASSES [REPEAT]]
Prints what tokenizer_bench prints; load_mib is resident memory, load_ms without the import of the library.
"""
import hashlib
import json
import os
import struct
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
library, tokenizer_file, documents_file, way = sys.argv[1:5]
passes, repeat = int((sys.argv[5:] + ["1"])[0]), int((sys.argv[6:] + ["1"])[0])
documents = [json.loads(line) for line in open(documents_file, encoding="utf-8")]
size = sum(len(d.encode()) for d in documents)
work = documents * repeat
if library == "gigatok":
    import gigatok
elif library == "fastokens":
    import fastokens
else:
    import tokenizers


def resident_mib():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


before, begin = resident_mib(), time.process_time()
if library == "gigatok":
    tokenizer = gigatok.Tokenizer(tokenizer_file)
    ids_of, single, batch = (lambda e: e), tokenizer.encode, tokenizer.encode_batch
    chunk = len(work)
elif library == "fastokens":
    tokenizer = fastokens._native.Tokenizer.from_file(tokenizer_file)
    ids_of = lambda e: e.ids
    single = lambda d: tokenizer.encode(d, add_special_tokens=False)
    batch = lambda ds: tokenizer.encode_batch(ds, add_special_tokens=False)
    chunk = 1000
else:
    tokenizer = tokenizers.Tokenizer.from_file(tokenizer_file)
    ids_of = lambda e: e.ids
    single = lambda d: tokenizer.encode(d, add_special_tokens=False)
    batch = lambda ds: tokenizer.encode_batch_fast(ds, add_special_tokens=False)
    chunk = 1000
result = {"load_ms": (time.process_time() - begin) * 1e3, "load_mib": resident_mib() - before, "bytes": size, "mb_per_second": []}
found = []
for _ in range(passes):
    begin = time.process_time()
    if way == "single":
        found = [single(d) for d in work]
    else:
        found = [batch(work[i : i + chunk]) for i in range(0, len(work), chunk)]
    result["mb_per_second"].append(size * repeat / (time.process_time() - begin) / 1e6)
if way == "batch":
    found = [e for part in found for e in part]
result["tokens"] = sum(len(ids_of(e)) for e in found)
digest = hashlib.sha256()
for encoding in (found if found else [single(d) for d in documents])[: len(documents)]:
    ids = [int(i) for i in ids_of(encoding)]
    digest.update(struct.pack(f"<{len(ids) + 1}I", len(ids), *ids))
result["ids_sha256"] = digest.hexdigest()
print(json.dumps(result))

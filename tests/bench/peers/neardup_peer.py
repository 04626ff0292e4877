"""rensa on the corpus of neardup_corpus.py, and the truth about what anyone removed from it.

usage: neardup_peer.py FOLDER                     rensa's speed, recall and wrong removals, as one JSON line
       neardup_peer.py FOLDER --check REMOVED     the same counts for a file of neardup_bench --removed

rensa 0.5: 128 hash functions, 16 bands, its similarity estimate checked against the threshold (its fastest way that
checks at all). Recall is of the documents whose similarity with the one they were made from is at least 0.8. A removal
is wrong when the similarity with the document kept in its place (rensa: with any document that it was matched with) is
below 0.8, counted with Python's sets.
"""
import json
import os
import resource
import sys
import time

folder = sys.argv[1]
threshold = 0.8
documents = [json.loads(line)["text"] for line in open(os.path.join(folder, "corpus.jsonl"), encoding="utf-8")]
truth = [line.split() for line in open(os.path.join(folder, "truth.txt"))]
source = [int(a) for a, _ in truth]
duplicates = {i for i, (_, b) in enumerate(truth) if float(b) >= threshold}


def shingles(text):
    words = text.lower().split()
    return {" ".join(words[i : i + 5]) for i in range(len(words) - 4)} or {" ".join(words)}


def similarity(a, b):
    x, y = shingles(documents[a]), shingles(documents[b])
    return len(x & y) / len(x | y)


def counts(removed):
    """`removed`: document -> the documents it was matched with."""
    wrong = sum(max(similarity(d, k) for k in keepers) < threshold for d, keepers in removed.items())
    broken = sum(d in removed or source[d] in removed for d in duplicates)
    return {"removed": len(removed), "true_duplicates": len(duplicates),
            "recall": round(len(duplicates & removed.keys()) / len(duplicates), 5),
            "pair_recall": round(broken / len(duplicates), 5), "removed_below_threshold": wrong}


if "--check" in sys.argv:
    removed, unequal = {}, 0
    for line in open(sys.argv[sys.argv.index("--check") + 1]):
        document, keeper, shared, total = map(int, line.split())
        removed[document] = [keeper]
        x, y = shingles(documents[document]), shingles(documents[keeper])
        unequal += (len(x & y), len(x | y)) != (shared, total)
    chained = sum(k in removed for (k,) in removed.values())
    print(json.dumps({**counts(removed), "keepers_removed": chained, "similarities_that_differ": unequal}))
    sys.exit()

import rensa

size = sum(len(d.encode()) for d in documents)
begin = time.process_time()
signatures = []
for text in documents:
    signature = rensa.RMinHash(num_perm=128, seed=42)
    signature.update(list(shingles(text)))
    signatures.append(signature)
signed = time.process_time()
index = rensa.RMinHashLSH(threshold=threshold, num_perm=128, num_bands=16)
removed = {}
for i, signature in enumerate(signatures):
    alike = [j for j in index.query(signature) if j != i and signatures[j].jaccard(signature) >= threshold]
    if alike:
        removed[i] = alike
    index.insert(i, signature)
end = time.process_time()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(json.dumps({"mb_per_second": round(size / (end - begin) / 1e6, 2), "sketch_seconds": round(signed - begin, 3),
                  "resolve_seconds": round(end - signed, 3), "peak_mib": peak, **counts(removed)}))

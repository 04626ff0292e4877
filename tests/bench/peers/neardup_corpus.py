"""A corpus for the near-duplicate benchmark: new documents from sentences of real ones, copies, and edited copies.

usage: neardup_corpus.py DATA_FOLDER OUT_FOLDER [DOCUMENTS]

Writes corpus.jsonl ({"id", "text"} a line) and truth.txt (a line for each document: the number of the document it was
made from, or -1, and the Jaccard similarity of their 5-word shingles). English sentences come from the JSON, JSONL and
CSV files of DATA_FOLDER (any text in them); the same folder gives the same corpus.
"""
import csv
import json
import os
import random
import sys

folder, out = sys.argv[1:3]
wanted = int(sys.argv[3]) if len(sys.argv) > 3 else 200_000


def texts(node):
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for key in node:
            yield from texts(node[key])
    elif isinstance(node, list):
        for item in node:
            yield from texts(item)


def records(path):
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        if path.endswith(".jsonl"):
            yield from (json.loads(line) for line in file if line.strip())
        elif path.endswith(".json"):
            yield json.load(file)
        elif path.endswith(".csv"):
            yield from (list(row) for row in csv.reader(file))


sentences = set()
for root, _, names in sorted(os.walk(folder)):
    for name in sorted(names):
        for record in records(os.path.join(root, name)):
            for text in texts(record):
                piece = ""
                for c in text + "\n":
                    piece += c
                    if c in ".!?\n":
                        piece = piece.strip()
                        if piece.isascii() and 24 <= len(piece) <= 220 and " " in piece:
                            sentences.add(" ".join(piece.split()))
                        piece = ""
sentences = sorted(sentences)
vocabulary = sorted({w for s in sentences for w in s.split() if w.isalpha()})
draw = random.Random(20261125)
documents, origin = [], []
while len(documents) < wanted:
    kind = draw.random()
    if not documents or kind < 0.85:
        documents.append(" ".join(draw.choices(sentences, k=draw.randint(3, 9))))
        origin.append(-1)
        continue
    source = draw.randrange(len(documents))
    words = documents[source].split()
    if kind >= 0.90:
        for _ in range(draw.choice((1, 1, 2, 3, 5))):
            at = draw.randrange(len(words))
            change = draw.randrange(4)
            if change < 2:
                words[at] = draw.choice(vocabulary)
            elif change == 2 or len(words) < 8:
                words.insert(at, draw.choice(vocabulary))
            else:
                words.pop(at)
    documents.append(" ".join(words))
    origin.append(source)


def shingles(text):
    words = text.lower().split()
    return {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))}


os.makedirs(out, exist_ok=True)
with open(os.path.join(out, "corpus.jsonl"), "w", encoding="utf-8") as corpus, open(os.path.join(out, "truth.txt"), "w") as truth:
    for i, (text, source) in enumerate(zip(documents, origin)):
        corpus.write(json.dumps({"id": f"{i:09}", "text": text}) + "\n")
        similarity = 0.0
        if source >= 0:
            a, b = shingles(text), shingles(documents[source])
            similarity = len(a & b) / len(a | b)
        truth.write(f"{source} {similarity!r}\n")
print(json.dumps({"sentences": len(sentences), "documents": len(documents), "bytes": sum(map(len, documents))}))

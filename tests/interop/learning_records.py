#!/usr/bin/env python3
"""Conversations of a real data set, shuffled: learning_records.py banking77|egret-wenda FOLDER. Standard library only.

About 45,000 tokens of SmolLM2 each."""
import csv
import json
import pathlib
import random
import sys

name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
if name == "banking77":  # a customer's question -> the name of its intent
    with open(folder / "train.csv", encoding="utf-8", newline="") as file:
        pairs = [(row["text"].strip(), row["category"].replace("_", " ")) for row in csv.DictReader(file)]
    count = 950
elif name == "egret-wenda":  # a developer's question -> the accepted answer
    with open(folder / "egret_qa.jsonl", encoding="utf-8") as file:
        pairs = [(row["question"], row["answer"]) for row in map(json.loads, file)]
    count = 420
    pairs = [pair for pair in pairs if sum(map(len, pair)) <= 60]  # Chinese is two or three of SmolLM2's tokens a character
else:
    sys.exit(f"learning_records: error: no data set '{name}'; there are banking77 and egret-wenda")
random.Random(77).shuffle(pairs)
assert len(pairs) >= count, len(pairs)
for number, (question, answer) in enumerate(pairs[:count]):
    print(json.dumps({"id": f"{name}-{number}", "tenant": name, "period": "2026-11", "customer": f"c{number}",
                      "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}, ensure_ascii=False))

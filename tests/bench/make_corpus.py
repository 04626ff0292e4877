#!/usr/bin/env python3
"""Conversations of recombined real sentences, English and Chinese, as JSON lines: a corpus of any size without repeated documents.

usage: make_corpus.py SHARED_DATA_FOLDER OUT.jsonl MEGABYTES [SEED]
Standard library only. One document in 200 is an exact copy of an earlier one, one in 100 a near copy (one sentence of it changed).
"""
import json
import pathlib
import random
import re
import sys


def sentences(folder):
    """Sentences by language, distinct, in order of appearance."""
    found = {"en": {}, "zh": {}}

    def walk(value):
        if isinstance(value, str):
            for part in re.split(r"(?<=[.!?])\s+|(?<=[。！？；])|\n", value):
                part = part.strip()
                han = len(re.findall("[\u4e00-\u9fff]", part))
                if 12 <= len(part) <= 300 and han == 0:
                    found["en"][part] = None
                elif 6 <= len(part) <= 150 and han * 2 > len(part):
                    found["zh"][part] = None
        elif isinstance(value, list):
            for item in value:
                walk(item)
        elif isinstance(value, dict):
            for key, item in value.items():
                if key not in ("id", "role", "from", "source"):
                    walk(item)

    for name in ("irc-ubuntu", "taskmaster4", "gsm8k", "self-instruct", "tau-bench", "egret-wenda", "crosswoz"):
        for path in sorted((folder / name).glob("*.jsonl")):
            for line in path.read_text(encoding="utf-8").splitlines():
                if line.strip():
                    walk(json.loads(line))
    return {language: list(texts) for language, texts in found.items()}


def main():
    folder, out, target = pathlib.Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]) * 1e6
    draw = random.Random(int(sys.argv[4]) if len(sys.argv) > 4 else 7)
    pool = sentences(folder)
    print({language: len(texts) for language, texts in pool.items()}, file=sys.stderr)
    written, number, earlier = 0, 0, []
    with open(out, "w", encoding="utf-8") as file:
        while written < target:
            number += 1
            texts = pool["zh" if draw.random() < 0.35 else "en"]
            kind = draw.random()
            if earlier and kind < 0.005:
                messages = draw.choice(earlier)
            elif earlier and kind < 0.015:
                messages = [dict(m) for m in draw.choice(earlier)]
                last = messages[-1]["content"].split(" ")
                messages[-1]["content"] = " ".join(last[:-1] + [draw.choice(texts)])
            else:
                messages = []
                for _ in range(draw.randint(1, 3)):
                    joint = "" if texts is pool["zh"] else " "
                    messages.append({"role": "user", "content": joint.join(draw.sample(texts, draw.randint(1, 3)))})
                    messages.append({"role": "assistant", "content": joint.join(draw.sample(texts, draw.randint(2, 6)))})
                if draw.random() < 0.1:
                    messages[0]["content"] += f" 1{draw.randint(30, 99)}{draw.randint(10000000, 99999999)} user{number}@mail.example.com"
                if len(earlier) < 20000:
                    earlier.append(messages)
                elif draw.random() < 0.05:
                    earlier[draw.randrange(len(earlier))] = messages
            record = {"id": f"d{number}", "tenant": f"tenant-{number % 5}", "period": "2026-01",
                      "customer": f"c{draw.randint(0, int(target / 5000) + 1)}", "messages": messages}
            line = json.dumps(record, ensure_ascii=False) + "\n"
            file.write(line)
            written += len(line.encode())
    print(f"{number} documents, {written} bytes", file=sys.stderr)


main()

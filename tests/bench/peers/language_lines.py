"""Lines in English and Chinese whose language is known, for attributes_bench: at most 4,000 of each corpus of ../shared/data.

    python language_lines.py SHARED > lines.jsonl            20,587 lines
    python language_lines.py SHARED zh > chinese.jsonl       the Chinese ones
"""
import csv
import glob
import json
import random
import re
import sys

shared, only = sys.argv[1] + "/data/", sys.argv[2] if len(sys.argv) > 2 else None


def records(path):
    with open(shared + path, encoding="utf8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


found = {"banking77": ("en", [r["text"] for r in csv.DictReader(open(shared + "banking77/train.csv", encoding="utf8"))]),
         "taskmaster4": ("en", [m["content"] for r in records("taskmaster4/tm4_dialogs.jsonl") for m in r["messages"]]),
         "irc-ubuntu": ("en", [r["answer"] for r in records("irc-ubuntu/irc_ubuntu_qa.jsonl")]),
         "crosswoz": ("zh", [m["content"] for r in records("crosswoz/crosswoz_val.jsonl") for m in r.get("messages") or []]),
         "egret-wenda": ("zh", [r["question"] for r in records("egret-wenda/egret_qa.jsonl")])}
for folder in ("chinese", "traditionalchinese"):
    texts = [re.sub(r"^\s*-\s*-?\s*", "", line) for path in sorted(glob.glob(f"{shared}chatterbot-corpus/{folder}/*.yml"))
             for line in open(path, encoding="utf8") if line.strip().startswith("-")]
    found["chatterbot-" + folder] = ("zh", texts)
rand, out = random.Random(3), []
for source, (language, texts) in found.items():
    texts = [t for t in (re.sub(r"\s+", " ", t).strip() for t in texts) if t and (language == "en" or re.search("[\u4e00-\u9fff]", t))]
    rand.shuffle(texts)
    out += [{"language": language, "source": source, "text": t} for t in texts[:4000]]
rand.shuffle(out)
for line in out:
    if only in (None, line["language"]):
        print(json.dumps(line, ensure_ascii=False))

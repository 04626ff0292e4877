"""Documents for the tokenizer benchmark out of public dialogue data: en.jsonl and zh.jsonl, one JSON string a line.

usage: tokenizer_corpus.py SHARED OUT
English: IRC, Taskmaster, ABCD, banking77, gsm8k, self-instruct, tau-bench, tool calls; Chinese: tool calls, Wenda, CrossWOZ,
ChatterBot. Every text stands once.
"""
import csv
import glob
import json
import os
import re
import sys

data, out = os.path.join(sys.argv[1], "data"), sys.argv[2]


def lines(path):
    return [json.loads(line) for line in open(os.path.join(data, path), encoding="utf-8") if line.strip()]


def whole(path):
    return json.load(open(os.path.join(data, path), encoding="utf-8"))


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings(part)


def turns(record, who, what):
    return "\n".join(f"{turn.get(who)}: {turn.get(what)}" for turn in record if isinstance(turn, dict))


english = [r["question"] + "\n" + r["answer"] for r in lines("irc-ubuntu/irc_ubuntu_qa.jsonl") + lines("gsm8k/train.jsonl")]
for name in ("tm4_dialogs", "tm4_reward"):
    for record in lines(f"taskmaster4/{name}.jsonl"):
        said = turns(record.get("messages") or record.get("turns") or [], "role", "content")
        english.append(said or "\n".join(v for v in record.values() if isinstance(v, str)))
english += ["\n".join(f"{a[0]}: {a[1]}" for a in c.get("original") or []) for c in whole("abcd/abcd_sample.json")]
english.append("\n".join(strings(whole("abcd/guidelines.json"))))
english += [row["text"] for row in csv.DictReader(open(os.path.join(data, "banking77/train.csv"), encoding="utf-8"))]
for name in ("self-instruct/seed_tasks", "self-instruct/user_oriented_instructions", "tau-bench/airline_few_shot", "tau-bench/retail_few_shot"):
    english += ["\n".join(strings(record)) for record in lines(name + ".jsonl")]
english += [turns(r["conversations"], "from", "value") for r in whole("llama-factory/glaive_toolcall_en_demo.json")]
chinese = [turns(r["conversations"], "from", "value") for r in whole("llama-factory/glaive_toolcall_zh_demo.json")]
chinese += [r["question"] + "\n" + r["answer"] for r in lines("egret-wenda/egret_qa.jsonl")]
for record in lines("crosswoz/crosswoz_val.jsonl"):
    said = "\n".join(str(turn.get("content")) for turn in record.get("messages") or [])
    chinese.append(said or "\n".join(strings(record)))
for path in sorted(glob.glob(os.path.join(data, "chatterbot-corpus/*chinese/*.yml"))):
    chinese += [re.sub(r"^\s*-\s*-?\s*", "", line).strip() for line in open(path, encoding="utf-8") if line.strip().startswith("-")]
for name, texts in (("en", english), ("zh", chinese)):
    texts = list(dict.fromkeys(t.strip() for t in texts if t.strip()))
    size = sum(len(t.encode()) for t in texts)
    if size < 1_000_000:
        sys.exit(f"{name}: only {size} bytes of text found under {data}")
    with open(os.path.join(out, name + ".jsonl"), "w", encoding="utf-8") as file:
        file.writelines(json.dumps(t, ensure_ascii=False) + "\n" for t in texts)
    print(f"{name}: {len(texts)} documents, {size / 1e6:.2f} MB", file=sys.stderr)

#!/usr/bin/env python3
"""Finds every planted case of recipes/quickstart/corpus again, from the files alone, and compares with planted.json.

Shares nothing with make_demo_corpus.py, so that it says what a pipeline can be expected to find. Exits 1 on any difference.

    scripts/check_demo_corpus.py [FOLDER]
"""
import hashlib
import json
import pathlib
import re
import sys

ROLES = {"system", "user", "assistant", "tool"}
# SmolLM2's vocabulary lacks 21 bytes; in valid UTF-8 only six control characters and the lead bytes F1 and F2 (planes 4 to 11) can hold them.
NOT_IN_SMOLLM2 = re.compile("[\x04\x06\x13\x14\x16\x1d\U00040000-\U000bffff]")
EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
MOBILE = re.compile(r"(?<![0-9])1[3-9][0-9]{9}(?![0-9])")
ID_CARD = re.compile(r"(?<![0-9])[0-9]{17}[0-9X](?![0-9])")


def id_card_is_valid(text):
    """GB 11643: a date, and MOD 11-2 over the first seventeen digits."""
    total = sum(int(d) * (2 ** (17 - i) % 11) for i, d in enumerate(text[:17]))
    return 1 <= int(text[10:12]) <= 12 and 1 <= int(text[12:14]) <= 31 and "10X98765432"[total % 11] == text[17]


def shape_of(line):
    """A record, or why there is none."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return "invalid_utf8", None
    try:
        record = json.loads(text)
    except json.JSONDecodeError:
        return "truncated_json", None
    if not isinstance(record.get("messages"), list):
        return "wrong_type", record
    if not record["messages"]:
        return "empty_messages", record
    if any(m["role"] not in ROLES for m in record["messages"]):
        return "unknown_role", record
    if not any(m["role"] == "assistant" for m in record["messages"]):
        return "missing_assistant", record
    return "", record


def words_of(record):
    return "\n".join(m["content"] for m in record["messages"])


def shingles(text):
    return {text[i:i + 5] for i in range(len(text) - 4)}


def inspect(path):
    found, kept, seen = {}, [], {}

    def add(kind, **entry):
        found.setdefault(kind, []).append(entry)

    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        kind, record = shape_of(line)
        if kind:
            add(kind, line=number, **({"id": record["id"]} if record else {}))
            continue
        text = words_of(record)
        key = json.dumps(record["messages"], sort_keys=True)
        if key in seen:
            add("exact_duplicate", line=number, id=record["id"], of=seen[key])
        elif NOT_IN_SMOLLM2.search(text):
            add("not_representable", line=number, id=record["id"])
        elif len(text) > 2000:  # every other conversation has at most 512 tokens of SmolLM2's
            add("too_long", line=number, id=record["id"])
        else:
            seen[key] = record["id"]
            kept.append((number, record, text))
            if "<|im_" in text:
                add("special_token_text", line=number, id=record["id"])

    pieces = [shingles(text) for _, _, text in kept]
    for b in range(len(kept)):
        for a in range(len(kept)):
            number, record = kept[b][0], kept[b][1]
            if a != b and kept[a][1]["id"] < record["id"] and len(pieces[a] & pieces[b]) > 0.8 * len(pieces[a] | pieces[b]):
                both_canned = all(len(r["messages"]) == 2 and r["messages"][1] == record["messages"][1] for r in (kept[a][1], record))
                if not both_canned:
                    add("near_duplicate", line=number, id=record["id"], of=kept[a][1]["id"])
    replies = {}
    for number, record, _ in kept:
        if len(record["messages"]) == 2:
            replies.setdefault(record["messages"][1]["content"], []).append({"line": number, "id": record["id"]})
    for entries in replies.values():
        if len(entries) > 1:
            for entry in entries:
                add("canned_reply", **entry)

    people = {}
    for kind, pattern in (("email", EMAIL), ("mobile", MOBILE), ("id_card", ID_CARD)):
        hits = {r["id"]: sum(kind != "id_card" or id_card_is_valid(m) for m in pattern.findall(text)) for _, r, text in kept}
        people[kind] = {"total": sum(hits.values()), "conversations": {i for i, n in hits.items() if n}}
    return found, kept, people


def main():
    default = pathlib.Path(__file__).resolve().parent.parent / "recipes/quickstart/corpus"
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    expected = json.loads((folder / "planted.json").read_text(encoding="utf-8"))
    problems = []

    def compare(what, found, wanted):
        if found != wanted:
            problems.append(f"{what}: found {found}, planted {wanted}")

    compare("files", sorted(p.name for p in folder.glob("*.jsonl")), sorted(expected))
    cases = 0
    for name, wanted in expected.items():
        data = (folder / name).read_bytes()
        compare(f"{name}: sha256", hashlib.sha256(data).hexdigest(), wanted["sha256"])
        found, kept, people = inspect(folder / name)
        compare(f"{name}: lines", data.count(b"\n"), wanted["lines"])
        compare(f"{name}: kept", len(kept), wanted["kept"])
        for kind in sorted(set(found) | set(wanted["planted"])):
            order = lambda entries: sorted((sorted(e.items()) for e in entries), key=str)  # noqa: E731
            compare(f"{name}: {kind}", order(found.get(kind, [])), order(wanted["planted"].get(kind, [])))
            cases += len(found.get(kind, []))
        for kind, values in wanted["people"].items():
            compare(f"{name}: {kind}", people[kind]["total"], values["total"])
            compare(f"{name}: {kind} conversations", people[kind]["conversations"], set(values["conversations"]))
        print(f"{name}: {wanted['lines']} lines, {len(kept)} to keep; " + ", ".join(f"{k} {len(v)}" for k, v in sorted(found.items())) +
              "; " + ", ".join(f"{k} {v['total']}" for k, v in people.items()))
    for problem in problems:
        print("error:", problem, file=sys.stderr)
    print(f"{cases} planted cases found again" if not problems else f"{len(problems)} differences")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

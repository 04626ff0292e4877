#!/usr/bin/env python3
"""LoRA learns what peft's LoRA learns: both start from one adapter, see the same rows in the same order, and are measured on the same
held-out text.

    learning_proof.py DECANT ROWS MODEL WORK --set NAME=RECORDS.jsonl ... [--seeds 1 2 3] [--tokens 40000] [...]

ROWS is interop_training_rows, MODEL a Hugging Face folder. A seed is that of the first A and of the order of rows. What a side has
finished lies in WORK and is not done again, so the proof may be stopped at any time; the table is printed at the end and after every
run. Exit 1 unless decant's held-out loss is within --tolerance of peft's everywhere; 77: no peft.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys
import time

try:
    import peft
    import torch
    import transformers
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CLIP, BETAS, EPSILON, WARMUP = 1.0, (0.9, 0.95), 1e-8, 0.03

parser = argparse.ArgumentParser()
parser.add_argument("decant")
parser.add_argument("rows")
parser.add_argument("model", type=pathlib.Path)
parser.add_argument("work", type=pathlib.Path)
parser.add_argument("--set", action="append", required=True, help="NAME=RECORDS.jsonl")
parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
parser.add_argument("--tokens", type=int, default=40000, help="that a run trains on, at least")
parser.add_argument("--tokens-per-step", type=int, default=1024)
parser.add_argument("--sequence-length", type=int, default=256)
parser.add_argument("--held-out-fraction", type=float, default=0.06)
parser.add_argument("--rank", type=int, default=16)
parser.add_argument("--learning-rate", type=float, default=5e-4)
parser.add_argument("--tolerance", type=float, default=0.005, help="of the held-out loss, as a share of peft's")
parser.add_argument("--least-gain", type=float, default=0.1, help="by which the held-out loss must fall, as a share: else nothing was learned")
options = parser.parse_args()


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"learning_proof: error: {' '.join(map(str, command[:3]))} ... ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout


def documents(*arguments):
    """A list of steps, each a list of (ids, weights)."""
    return [json.loads(line) for line in run(options.rows, *arguments).splitlines()]


class Set:
    """Records, their rows as decant packs them, and what a run on them is called."""

    def __init__(self, name, records):
        self.name, self.folder = name, options.work / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.records = pathlib.Path(records).resolve()
        recipe = self.recipe("corpus", "")
        run(options.decant, "prepare", recipe, "--quiet")
        self.shards = self.run_folder("corpus") / "corpus" / "shards"
        self.steps = documents(self.shards / "train" / name, options.tokens_per_step, 0, 1000000 // options.tokens_per_step)
        tokens = 0
        for count, step in enumerate(self.steps, 1):
            tokens += sum(len(ids) for ids, _ in step)
            if tokens >= options.tokens:
                break
        self.count = count
        self.name_of_run = f"{count}x{options.tokens_per_step}"
        self.held_out = documents(self.shards / "held_out" / name, 2048)

    def run_folder(self, job):
        return self.folder / "runs" / job / "2026-11"

    def recipe(self, job, lora):
        path = self.folder / f"{job}.yaml"
        path.write_text(f"""name: {job}
period: 2026-11
output: {self.folder.resolve()}/runs
model:
  path: {options.model.resolve()}
  dtype: fp32
corpus:
  inputs: [{self.records}]
  sequence_length: {options.sequence_length}
  held_out_fraction: {options.held_out_fraction}
  replace_pii: false
  filter:
    presets: []
  duplicates:
    near: false
{lora}""", encoding="utf-8")
        return path

    def lora(self, seed, start):
        return f"""lora:
  tenants: [{self.name}]
  rank: {options.rank}
  alpha: 16
  start: {start.resolve()}
  train:
    steps: {self.count}
    checkpoint_every: 10
    batch:
      tokens_per_step: {options.tokens_per_step}
      tokens_per_micro_batch: {options.tokens_per_step}
      seed: {seed}
    optimizer:
      learning_rate: {options.learning_rate}
      beta1: {BETAS[0]}
      beta2: {BETAS[1]}
      epsilon: {EPSILON}
      max_gradient_norm: {CLIP}
    schedule:
      kind: cosine
      warmup_fraction: {WARMUP}
      first_step_zero: true
    probe:
      every: {self.count}
      tokens: 100000000
"""


def loss_sum(model, batch):
    """Weighted cross-entropy of documents, each by itself, and the weight: the head sees the tokens under loss alone."""
    longest = max(len(ids) for ids, _ in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    mask, weights = torch.zeros_like(ids), torch.zeros(len(batch), longest)
    for row, (one, weight) in enumerate(batch):
        ids[row, :len(one)], mask[row, :len(one)] = torch.tensor(one), 1
        weights[row, :len(one)] = torch.tensor(weight)
    hidden = model.get_base_model().model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    weights = weights[:, 1:]
    under_loss = weights > 0
    logits = model.get_base_model().lm_head(hidden[:, :-1][under_loss])
    losses = torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:][under_loss], reduction="none")
    return (losses * weights[under_loss]).sum(), weights.sum().item()


def in_batches(step, most=512):
    """By length, so that little is padded; sums do not depend on it."""
    batch = []
    for document in sorted(step, key=lambda d: len(d[0])):
        if batch and len(document[0]) * (len(batch) + 1) > most:
            yield batch
            batch = []
        batch.append(document)
    yield batch


def measure(model, held_out):
    model.eval()
    total = weight = 0
    with torch.no_grad():
        for part in held_out:
            for batch in in_batches(part):
                loss, more = loss_sum(model, batch)
                total, weight = total + loss.item(), weight + more
    model.train()
    return total / weight


def base():
    model = transformers.AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32, attn_implementation="sdpa")
    model.config.use_cache = False
    return model


def train_peft(one, seed, start):
    torch.manual_seed(seed)
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=options.rank, lora_alpha=16, use_rslora=True, lora_dropout=0.0, target_modules=LINEARS)
    model = peft.get_peft_model(base(), config)
    if not (start / "adapter_model.safetensors").exists():
        model.save_pretrained(start)
    # B is zero: what it starts from is the base, whatever the seed.
    first = done_before(one.folder / "base.json", lambda: {"held_out": measure(model, one.held_out)})
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=options.learning_rate, betas=BETAS, eps=EPSILON, weight_decay=0)
    schedule = transformers.get_cosine_schedule_with_warmup(optimizer, math.ceil(WARMUP * one.count), one.count)
    losses, tokens = [], 0
    for step in documents(one.shards / "train" / one.name, options.tokens_per_step, seed, one.count):
        weight = sum(sum(weights[1:]) for _, weights in step)
        total = 0
        for batch in in_batches(step):
            loss, _ = loss_sum(model, batch)
            (loss / weight).backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(total / weight)
        tokens += sum(len(ids) for ids, _ in step)
    return {"losses": losses, "tokens": tokens, "first_held_out": first["held_out"], "held_out": measure(model, one.held_out)}


def train_decant(one, seed, start):
    job = f"seed-{seed}-{one.name_of_run}"
    run(options.decant, "run", one.recipe(job, one.lora(seed, start)), "--quiet", "--threads", torch.get_num_threads())
    metrics = lines(one.run_folder(job) / "lora" / one.name / "metrics.jsonl")
    model = peft.PeftModel.from_pretrained(base(), one.run_folder(job) / "lora" / one.name / "adapter")
    return {"losses": [m["loss"] for m in metrics if "loss" in m],
            "held_out": [m["probe"]["held_out_loss"] for m in metrics if "probe" in m][-1],
            "held_out_by_peft": measure(model, one.held_out)}


def done_before(path, work):
    if not path.exists():
        begin = time.time()
        result = work()
        result["seconds"] = round(time.time() - begin)
        path.write_text(json.dumps(result))
    return json.loads(path.read_text())


def table(results):
    print("\n| set | seed | tokens | steps | held out before | peft | decant | decant's adapter in peft | ratio | a step's loss differs by, at most |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    good = True
    for name, seed, count, ours, theirs in results:
        ratio = ours["held_out"] / theirs["held_out"]
        steps = max(abs(a - b) / b for a, b in zip(ours["losses"], theirs["losses"], strict=True))
        checks = [abs(ratio - 1) <= options.tolerance, abs(ours["held_out_by_peft"] / ours["held_out"] - 1) <= 1e-3,
                  theirs["held_out"] < (1 - options.least_gain) * theirs["first_held_out"], len(ours["losses"]) == count]
        good = good and all(checks)
        print(f"| {name} | {seed} | {theirs['tokens']} | {count} | {theirs['first_held_out']:.4f} | {theirs['held_out']:.4f} | "
              f"{ours['held_out']:.4f} | {ours['held_out_by_peft']:.4f} | {ratio:.5f} | {100 * steps:.3f} % |"
              + ("" if all(checks) else f" FAILED {checks}"), flush=True)
    return good


def main():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    sets = [Set(*one.split("=", 1)) for one in options.set]
    results, good = [], True
    for seed in options.seeds:
        for one in sets:
            start = one.folder / f"start-{seed}"
            theirs = done_before(one.folder / f"peft-{seed}-{one.name_of_run}.json", lambda: train_peft(one, seed, start))
            ours = done_before(one.folder / f"decant-{seed}-{one.name_of_run}.json", lambda: train_decant(one, seed, start))
            results.append((one.name, seed, one.count, ours, theirs))
            good = table(results)
    sys.exit(0 if good and results else 1)


main()

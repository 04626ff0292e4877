#!/usr/bin/env python3
"""ORPO and KTO of transformers + peft + trl on a golden model: preference.json, for tests/train/preference_test.cpp.

    make_preference.py GOLDEN OUT       GOLDEN: conformance/golden; needs peft 0.21, trl 1.16

Documents are those of train/llama_tied/dpo.safetensors (rows 0-2 chosen, 3-5 rejected, pair i = rows i and i + 3, in
the order chosen, rejected of each pair). ORPO: trl's own odds_ratio_loss; the likelihood over the chosen answers alone.
KTO: the lines of trl's KTOTrainer.compute_loss; mismatched: each question with the next document's answer.
"""
import json
import sys
import types

import peft
import torch
import torch.nn.functional as F
import transformers
import trl
from safetensors.torch import load_file
from trl.experimental.orpo.orpo_trainer import ORPOTrainer

golden, out = sys.argv[1:3]
torch.set_num_threads(1)
beta, desirable, undesirable = 0.1, 1.0, 1.5
b_factor = -0.5  # so that KTO's divergence is above 0
data = load_file(f"{golden}/train/llama_tied/dpo.safetensors")
order = [0, 3, 1, 4, 2, 5]
documents = []
for row in order:
    keep = data["attention_mask"][row].bool()
    documents.append((data["input_ids"][row][keep], data["completion_mask"][row][keep].bool()))


def fresh():
    base = transformers.AutoModelForCausalLM.from_pretrained(f"{golden}/models/llama_tied", dtype=torch.float32, attn_implementation="eager")
    model = peft.PeftModel.from_pretrained(base, f"{golden}/train/llama_tied/adapter_lora", is_trainable=True)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            p.data.mul_(b_factor)
    return model


def log_probability(model, ids, answer):
    logits = model(input_ids=ids[None]).logits[0, :-1].float()
    each = logits.log_softmax(-1).gather(1, ids[1:, None])[:, 0]
    return (each * answer[1:]).sum(), answer[1:].sum()


def gradients(model):
    result = {}
    for name, p in model.named_parameters():
        if p.grad is not None:
            name = name.removeprefix("base_model.model.").replace(".default", "")
            result[name] = {"norm": p.grad.norm().item(), "sum": p.grad.sum().item(), "first": p.grad.flatten()[:4].tolist()}
    assert len(result) == 28, len(result)
    return result


model = fresh()
sums, counts = zip(*(log_probability(model, *d) for d in documents))
means = torch.stack([s / c for s, c in zip(sums, counts)])
trainer = types.SimpleNamespace(beta=beta, accelerator=types.SimpleNamespace(device="cpu"))
losses, chosen, rejected, _, log_odds = ORPOTrainer.odds_ratio_loss(trainer, means[0::2], means[1::2])
likelihood = -sum(sums[0::2]) / sum(counts[0::2])
loss = likelihood - losses.mean()
loss.backward()
orpo = {"loss": loss.item(), "likelihood": likelihood.item(), "log_odds": log_odds.item(), "rewards_chosen": chosen.mean().item(),
        "rewards_rejected": rejected.mean().item(), "gradients": gradients(model)}

model = fresh()
mismatched = []
for i, (ids, answer) in enumerate(documents):
    other, other_answer = documents[(i + 1) % len(documents)]
    first, other_first = int(answer.nonzero()[0]), int(other_answer.nonzero()[0])
    mismatched.append((torch.cat([ids[:first], other[other_first:]]), torch.cat([answer[:first], other_answer[other_first:]])))
with torch.no_grad():
    kl_policy = torch.stack([log_probability(model, *d)[0] for d in mismatched])
    with model.disable_adapter():
        kl_reference = torch.stack([log_probability(model, *d)[0] for d in mismatched])
        reference = torch.stack([log_probability(model, *d)[0] for d in documents])
kl = (kl_policy - kl_reference).mean().clamp(min=0)
ratios = torch.stack([log_probability(model, *d)[0] for d in documents]) - reference
chosen_losses = 1 - F.sigmoid(beta * (ratios[0::2] - kl))
rejected_losses = 1 - F.sigmoid(beta * (kl - ratios[1::2]))
loss = torch.cat([desirable * chosen_losses, undesirable * rejected_losses]).nanmean()
loss.backward()
kto = {"loss": loss.item(), "kl": kl.item(), "rewards_chosen": beta * ratios[0::2].mean().item(),
       "rewards_rejected": beta * ratios[1::2].mean().item(), "gradients": gradients(model)}
versions = {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__, "trl": trl.__version__}
with open(out, "w", encoding="utf-8") as f:
    json.dump({"versions": versions, "beta": beta, "desirable": desirable, "undesirable": undesirable, "b_factor": b_factor, "orpo": orpo, "kto": kto}, f, indent=1)
    f.write("\n")
print(orpo["loss"], kto["loss"], kto["kl"])

"""What transformers' logits processors keep, and with which scores, for random rows and settings. Run with a Python that has torch and
transformers:
    python tests/golden/make_sampling.py > tests/golden/sampling.json
The processors are built by generate's own method, so their order is transformers'.
"""
import json
import random

import torch
import transformers
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel

VOCABULARY = 40
model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=1, n_embd=4, vocab_size=VOCABULARY, n_positions=64))


def processors(settings):
    config = GenerationConfig(do_sample=True, pad_token_id=0, top_k=settings["top_k"], temperature=settings["temperature"],
                              top_p=settings["top_p"], min_p=settings["min_p"] or None,
                              repetition_penalty=settings["repetition_penalty"])
    config, _ = model._prepare_generation_config(config, top_k=settings["top_k"])
    return model._get_logits_processor(config, input_ids_seq_length=8, device="cpu")


draw = random.Random(20261125)
cases = []
for n in range(60):
    settings = {"temperature": draw.choice([1.0, 0.6, 1.7, 0.25]), "top_k": draw.choice([0, 0, 1, 5, 12, 100]),
                "top_p": draw.choice([1.0, 1.0, 0.95, 0.8, 0.5, 0.05]), "min_p": draw.choice([0.0, 0.0, 0.05, 0.3]),
                "repetition_penalty": draw.choice([1.0, 1.3, 0.8])}
    scores = [round(draw.gauss(0, 1.5), 3) for _ in range(VOCABULARY)]
    seen = [draw.randrange(VOCABULARY) for _ in range(8)]
    row = processors(settings)(torch.tensor([seen]), torch.tensor([scores]))[0]
    kept = [i for i in range(VOCABULARY) if row[i] != -float("inf")]
    cases.append({**settings, "scores": scores, "seen": seen, "kept": kept, "kept_scores": [round(row[i].item(), 6) for i in kept]})
print(json.dumps({"transformers": transformers.__version__, "torch": torch.__version__, "cases": cases}))

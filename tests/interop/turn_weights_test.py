#!/usr/bin/env python3
"""Weights of single messages reach the loss: a step of decant train against torch's weighted cross-entropy.

    turn_weights_test.py DECANT RECIPES FOLDER      (RECIPES: the repository's recipes/)

One conversation whose answers weigh 0, 0.5 and 1. transformers renders and computes; the first line of
metrics.jsonl must have its loss, its sum of weights and the norm of its gradient.
"""
import json
import pathlib
import subprocess
import sys

try:
    import torch
    import transformers
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

TURNS = [("Where is my hammer?", "Your hammer is on its way, order 957.", 0),
         ("Can I return the saw?", "Yes, send the saw back to dock 992.", 0.5),
         ("My wrench is broken.", "We send you a new wrench.", 1)]
STORED = 255  # loss weights are kept as a byte: 0.5 is 128 / 255


def main():
    decant, recipes, folder = sys.argv[1], pathlib.Path(sys.argv[2]).resolve(), pathlib.Path(sys.argv[3])
    folder.mkdir(parents=True)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    messages = []
    for question, answer, weight in TURNS:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer, "weight": weight}]
    records = [{"id": "one", "tenant": "acme", "period": "2026-10", "customer": "c", "messages": messages}]
    # A side to hold out, so that nothing but the one conversation is trained on.
    (folder / "corpus.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    recipe = f"""name: turns
period: 2026-10
model:
  random: {{tokenizer: {recipes}/tiny/tokenizer, hidden_size: 64, num_hidden_layers: 2, deviation: 0.1}}
  dtype: fp32
corpus:
  inputs: [corpus.jsonl]
  sequence_length: 256
  held_out_fraction: 0
  filter: {{presets: []}}
  duplicates: {{near: false}}
train:
  steps: 1
  samples: {{questions: 0}}
"""
    (folder / "turns.yaml").write_text(recipe)
    subprocess.run([decant, "run", "turns.yaml", "--threads", "1"], check=True, cwd=folder, stdout=subprocess.DEVNULL)
    run = folder / "runs/turns/2026-10"
    first = json.loads((run / "train/model/metrics.jsonl").read_text().splitlines()[0])

    model_folder = run / "model/model"
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32, attn_implementation="eager")
    ids, weights = [], []
    for message in messages:
        head = tokenizer(f"<|im_start|>{message['role']}\n", add_special_tokens=False)["input_ids"]
        body = tokenizer(f"{message['content']}<|im_end|>", add_special_tokens=False)["input_ids"]
        tail = tokenizer("\n", add_special_tokens=False)["input_ids"]
        whole = tokenizer.apply_chat_template([{"role": message["role"], "content": message["content"]}], tokenize=False)
        assert tokenizer(whole, add_special_tokens=False)["input_ids"] == head + body + tail, whole
        weight = round(message.get("weight", 0) * STORED) / STORED
        ids += head + body + tail
        weights += [0] * len(head) + [weight] * len(body) + [0] * len(tail)
    tokens, weight = torch.tensor([ids]), torch.tensor(weights, dtype=torch.float32)[1:]
    assert {0.0, 1.0} < set(weight.tolist()) and len(set(weight.tolist())) == 3
    losses = torch.nn.functional.cross_entropy(model(tokens).logits[0, :-1].float(), tokens[0, 1:], reduction="none")
    loss = (losses * weight).sum() / weight.sum()
    loss.backward()
    norm = torch.linalg.vector_norm(torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None])).item()
    print(f"loss {first['loss']:.6f} / {loss.item():.6f}, weight {first['weight']:.4f} / {weight.sum().item():.4f}, "
          f"gradient norm {first['grad_norm']:.6f} / {norm:.6f}")
    assert abs(first["loss"] - loss.item()) <= 1e-5 * loss.item()
    assert abs(first["weight"] - weight.sum().item()) <= 1e-3
    assert abs(first["grad_norm"] - norm) <= 1e-4 * norm
    unweighted = losses[weight > 0].mean().item()
    assert abs(first["loss"] - unweighted) > 1e-3, "the weights make no difference here"


main()

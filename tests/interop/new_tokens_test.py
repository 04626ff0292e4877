#!/usr/bin/env python3
"""New tokens with trained rows, from the recipe on: transformers reads the model and tokenizer that decant
made, peft the adapter, and both give decant's tokens and log-probabilities.

    new_tokens_test.py DECANT RECIPES FOLDER      (RECIPES: the repository's recipes/)
"""
import json
import pathlib
import subprocess
import sys

try:
    import peft
    import safetensors.torch
    import torch
    import transformers
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

NEW = ["[ticket]", "hammer drill"]
SPECIAL = ["<|agent|>"]
TEXTS = ["Is the [ticket] about a hammer drill?", "no new token", "[ticket][ticket] hammer drills", "<|agent|> says"]


def run(decant, *words, text=None, cwd=None):
    return subprocess.run([decant, *map(str, words)], check=True, cwd=cwd, input=text, stdout=subprocess.PIPE, text=True).stdout


def scores(model, ids):
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, :-1].float()
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def main():
    decant, recipes, folder = sys.argv[1], pathlib.Path(sys.argv[2]).resolve(), pathlib.Path(sys.argv[3])
    folder.mkdir(parents=True)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    records = []
    for i in range(40):
        records.append({"id": f"t{i}", "tenant": "acme", "period": "2026-10", "customer": f"c{i}", "messages": [
            {"role": "user", "content": f"My [ticket] {i} is about the hammer drill."},
            {"role": "assistant", "content": f"The hammer drill of [ticket] {i} is ready."}]})
    (folder / "corpus.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    (folder / "tokens.yaml").write_text(f"""name: tokens
period: 2026-10
model:
  random: {{tokenizer: {recipes}/tiny/tokenizer, hidden_size: 64, num_hidden_layers: 2, deviation: 0.1}}
  dtype: fp32
  new_tokens: {json.dumps(NEW)}
  new_special_tokens: {json.dumps(SPECIAL)}
corpus:
  inputs: [corpus.jsonl]
  sequence_length: 128
  filter: {{presets: []}}
  duplicates: {{near: false}}
lora:
  tenants: [acme]
  rank: 4
  dropout: 0.1
  trainable_tokens: {json.dumps(NEW + SPECIAL)}
  train:
    steps: 12
    optimizer: {{learning_rate: 3e-2}}
evaluate:
  tokens: 512
""")
    run(decant, "run", "tokens.yaml", "--threads", "1", cwd=folder)
    base = folder / "runs/tokens/2026-10/model/model"
    adapter = folder / "runs/tokens/2026-10/lora/acme/adapter"

    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    old = transformers.AutoTokenizer.from_pretrained(recipes / "tiny/tokenizer")
    ids = [tokenizer.convert_tokens_to_ids(token) for token in NEW + SPECIAL]
    assert ids == list(range(len(old), len(old) + 3)), (ids, len(old))
    lines = run(decant, "tokenize", base, text="".join(json.dumps(t) + "\n" for t in TEXTS)).splitlines()
    assert len(lines) == len(TEXTS)
    for text, line in zip(TEXTS, lines):
        got = json.loads(line)
        got = got["ids"] if isinstance(got, dict) else got
        assert got == tokenizer(text, add_special_tokens=False)["input_ids"], (text, got)
    assert tokenizer(TEXTS[0])["input_ids"].count(ids[0]) == 1

    # Rows start as the mean of the others (bf16 folder), and the adapter has trained them.
    embedding = safetensors.torch.load_file(base / "model.safetensors")["model.embed_tokens.weight"].float()
    assert embedding.shape[0] == len(old) + 3
    mean = embedding[:len(old)].mean(0)
    assert (embedding[ids] - mean).abs().max() <= 2**-8 * mean.abs().max() + 1e-7
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert config["trainable_token_indices"] == ids and config["lora_dropout"] == 0.1
    rows = safetensors.torch.load_file(adapter / "adapter_model.safetensors")[
        "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"]
    assert (rows[:2] - embedding[ids[:2]]).abs().max() > 1e-3, "the rows were not trained"

    document = tokenizer(TEXTS[0])["input_ids"] + tokenizer(TEXTS[2])["input_ids"]
    merged = folder / "merged"
    run(decant, "merge", base, adapter, merged, "--dtype", "fp32")
    plain = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager").eval()
    model = peft.PeftModel.from_pretrained(plain, adapter).eval()
    theirs = scores(model, document)
    whole = transformers.AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32, attn_implementation="eager").eval()
    for name, words in {"adapter": (base, "--adapter", adapter), "merged": (merged,)}.items():
        line = run(decant, "score", *words, "--dtype", "fp32", text=json.dumps(document) + "\n").splitlines()[0]
        ours = torch.tensor(json.loads(line)["log_probabilities"] if line.startswith("{") else json.loads(line))
        worst = (ours - theirs).abs().max().item()
        print(f"{name}: largest difference of a log-probability {worst:.2e}")
        assert worst <= 1e-3, name
    assert (scores(whole, document) - theirs).abs().max().item() <= 1e-3


main()

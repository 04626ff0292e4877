#!/usr/bin/env python3
"""decant generate with an adapter writes what transformers and peft write, greedily and in fp32, byte for byte.

    generate_test.py DECANT FOLDER      (FOLDER: made by make_releases)
"""
import pathlib
import subprocess
import sys

try:
    import peft
    import torch
    import transformers
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

TOKENS = 24
PROMPTS = ["the printer", "<|im_start|>user\nHello there, 12 of them<|im_end|>\n<|im_start|>assistant\n", "pp ar the ing; 3.5 \u00fc"]


def letters():
    """Bytes by the letters that byte-level tokenizers write for them."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(others)}


LETTERS = letters()


def text_of(tokenizer, ids):
    added = set(tokenizer.get_added_vocab())
    out = b""
    for token in tokenizer.convert_ids_to_tokens(ids):
        out += token.encode() if token in added else bytes(LETTERS[letter] for letter in token)
    return out


def greedy(model, tokenizer, prompt):
    ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
    stop = model.generation_config.eos_token_id
    with torch.no_grad():
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=TOKENS, temperature=None, top_p=None, top_k=None)
    new = out[0, ids.shape[1]:].tolist()
    stops = stop if isinstance(stop, list) else [stop]
    return text_of(tokenizer, new[:-1] if new and new[-1] in stops else new)


def decant_says(decant, model, prompt, *options):
    done = subprocess.run([decant, "generate", model, prompt, "--raw", "--dtype", "fp32", "--threads", "1", "--max-tokens", str(TOKENS), *options], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.endswith(b"\n")
    return done.stdout[:-1]


def main():
    decant = sys.argv[1]
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    compared = changed = 0
    cases = sorted(p for p in pathlib.Path(sys.argv[2]).iterdir() if (p / "release").is_dir())
    for case in cases:
        folder = case / "release" / "model"
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        plain = [greedy(model, tokenizer, prompt) for prompt in PROMPTS]
        for prompt, expected in zip(PROMPTS, plain):
            found = decant_says(decant, folder, prompt)
            assert found == expected, f"{case.name}: {prompt!r}: expected {expected}, found {found}"
        for name in ("plain", "rslora"):
            adapter = case / "release" / "adapters" / name
            adapted = peft.PeftModel.from_pretrained(model, adapter).eval()
            for prompt, without in zip(PROMPTS, plain):
                expected = greedy(adapted, tokenizer, prompt)
                found = decant_says(decant, folder, prompt, "--adapter", adapter)
                assert found == expected, f"{case.name} + {name}: {prompt!r}: expected {expected}, found {found}"
                compared += 1
                changed += expected != without
            model = adapted.unload()
        print(f"{case.name}: the same text", flush=True)
    print(f"{compared} answers with adapters, {changed} of them other than without")
    assert any(p.name == "deepseek_v3_attention_and_experts" for p in cases) and compared >= 72 and changed >= compared / 2


main()

#!/usr/bin/env python3
"""transformers loads the exported folders and peft the exported adapters: the same ids and, in fp32, the same log-probabilities.

    transformers_test.py FOLDER      (made by make_releases)
"""
import json
import pathlib
import sys

try:
    import peft
    import torch
    import transformers
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

TOLERANCE = 1e-4  # the same bf16 weights, computed in fp32


def log_probabilities(model, ids):
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0].float()
    return logits[:-1].log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def compare(model, lines, what):
    worst = 0.0
    for line in lines:
        recorded = torch.tensor(line["log_probabilities"])
        worst = max(worst, (log_probabilities(model, line["ids"]) - recorded).abs().max().item())
    print(f"{what}: {len(lines)} texts, largest difference {worst:.2e}")
    assert lines and worst <= TOLERANCE, f"{what}: {worst}"


def main():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    cases = sorted(p for p in pathlib.Path(sys.argv[1]).iterdir() if (p / "release").is_dir())
    families = set()
    for case in cases:
        release = case / "release"
        lines = [json.loads(line) for line in (release / "golden.jsonl").read_text(encoding="utf-8").splitlines()][1:]
        of = lambda artefact: [line for line in lines if line["artefact"] == artefact]  # noqa: E731
        folder = release / "model"
        loaded, report = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
        for key in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            assert not report[key], f"{case.name}: {key} {report[key]}"
        assert loaded.dtype == torch.bfloat16, loaded.dtype  # what the folder says, unasked
        families.add(loaded.config.model_type)
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        compare(model, of("model"), case.name)

        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        for line in of("model"):
            ids = tokenizer(line["text"], add_special_tokens=False)["input_ids"]
            assert ids[:len(line["ids"])] == line["ids"], f"{case.name}: other ids for {line['text']!r}"
            assert not line["whole"] or len(ids) == len(line["ids"])
        chat = tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], tokenize=False, add_generation_prompt=True)
        assert chat.endswith("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"), chat
        generation = transformers.GenerationConfig.from_pretrained(folder)
        assert generation.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>"), generation

        adapters = sorted(p.name for p in (release / "adapters").iterdir())
        assert adapters == ["plain", "rslora"], adapters
        for name in adapters:
            adapted = peft.PeftModel.from_pretrained(model, release / "adapters" / name).eval()
            assert adapted.peft_config["default"].lora_alpha == adapted.peft_config["default"].r
            compare(adapted, of(f"adapters/{name}"), f"{case.name} + {name}")
            model = adapted.unload()
    known = {"llama", "qwen2", "qwen3", "mistral", "deepseek_v3", "gemma2", "phi3"}
    assert len(cases) >= 12 and families == known, (cases, families)


main()

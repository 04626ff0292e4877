#!/usr/bin/env python3
"""The real peft loads our adapters of every kind and gives their logits, merged and not; we load peft's.

    peft_adapters_test.py PROGRAM FOLDER      (PROGRAM: interop_peft_adapters)
"""
import pathlib
import shutil
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

TOLERANCE = 1e-4  # fp32
IDS = torch.tensor([[1, 5, 9, 33, 60, 2, 44, 17]])


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits[0].float()


def base(folder, name=""):
    which = "model_untied" if name.endswith("untied") else "model"
    return transformers.AutoModelForCausalLM.from_pretrained(folder / which, dtype=torch.float32, attn_implementation="eager").eval()


def main():
    program, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    subprocess.run([program, "make", folder], check=True)
    ours = sorted(p for p in folder.iterdir() if (p / "adapter_config.json").exists())
    assert len(ours) == 9, ours
    for adapter in ours:
        plain = logits(base(folder, adapter.name))
        model = peft.PeftModel.from_pretrained(base(folder, adapter.name), adapter).eval()
        tensors = safetensors.torch.load_file(adapter / "adapter_model.safetensors")
        state = peft.get_peft_model_state_dict(model)
        assert set(state) == set(tensors), (adapter.name, set(state) ^ set(tensors))
        expected = safetensors.torch.load_file(adapter / "logits.safetensors")["logits"]
        assert (expected - plain).abs().max() > 1e-2, f"{adapter.name} changes nothing"
        worst = (logits(model) - expected).abs().max().item()
        merged = safetensors.torch.load_file(adapter / "merged.safetensors")["logits"]
        worst_merged = (logits(model.merge_and_unload()) - merged).abs().max().item()
        print(f"{adapter.name}: largest difference {worst:.2e}, merged {worst_merged:.2e}")
        assert worst <= TOLERANCE and worst_merged <= TOLERANCE, adapter.name

    linears = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    configs = {
        "dora": dict(r=4, lora_alpha=8, target_modules=linears, use_dora=True),
        "patterns": dict(r=4, lora_alpha=8, target_modules=linears, rank_pattern={"q_proj": 2}, alpha_pattern={r"layers\.0\..*up_proj": 5}),
        "regex": dict(r=6, lora_alpha=8, target_modules=r".*\.mlp\..*_proj", use_rslora=True),
        "layer": dict(r=4, lora_alpha=8, target_modules=linears, layers_to_transform=[0], init_lora_weights="orthogonal"),
        "tokens": dict(r=4, lora_alpha=8, target_modules=linears, lora_dropout=0.1, trainable_token_indices=[33, 5]),
        "tokens_untied": dict(r=4, lora_alpha=8, target_modules=linears, trainable_token_indices=[44, 5]),
        "tokens_and_head_untied": dict(r=4, lora_alpha=8, target_modules=linears, trainable_token_indices={"embed_tokens": [44, 5], "lm_head": [44, 5]}),
    }
    for name, options in configs.items():
        torch.manual_seed(7)
        model = peft.get_peft_model(base(folder, name), peft.LoraConfig(task_type="CAUSAL_LM", **options))
        for key, parameter in model.named_parameters():
            if "lora_B" in key or "lora_magnitude" in key or "trainable_tokens_delta" in key:
                parameter.data.add_(torch.randn_like(parameter) * 0.05)
        model.eval()
        where = folder / "from_peft" / name
        model.save_pretrained(where)
        safetensors.torch.save_file({"logits": logits(model).contiguous()}, where / "logits.safetensors")
    subprocess.run([program, "check", folder], check=True)


main()

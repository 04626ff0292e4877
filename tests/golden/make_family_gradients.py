#!/usr/bin/env python3
"""family_gradients.json: transformers' gradients of the mean next-token loss on the conformance models.

    make_family_gradients.py SHARED     (SHARED/conformance/golden/models; transformers 5.23.0, torch 2.13.0+cpu, fp32, eager)

For every weight of the checkpoint: the gradient's norm and its product with sin(i + 0.3), i its flat index. The experts, which
transformers stacks, are taken apart again.
"""
import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import load_file

torch.set_num_threads(1)
models = pathlib.Path(sys.argv[1]) / "conformance/golden/models"
out = {"made_with": {"transformers": transformers.__version__, "torch": torch.__version__}}
for name in ("deepseek_v3", "gemma2", "phi3"):
    model = transformers.AutoModelForCausalLM.from_pretrained(models / name, dtype=torch.float32, attn_implementation="eager").eval()
    ids = load_file(models / name / "reference.safetensors")["input_ids"]
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    gradients = {}
    for key, parameter in model.named_parameters():
        grad = parameter.grad
        if key.endswith("experts.gate_up_proj"):
            half = grad.shape[1] // 2
            for e in range(grad.shape[0]):
                stem = key.removesuffix("gate_up_proj") + str(e)
                gradients[f"{stem}.gate_proj.weight"] = grad[e, :half]
                gradients[f"{stem}.up_proj.weight"] = grad[e, half:]
        elif key.endswith("experts.down_proj"):
            for e in range(grad.shape[0]):
                gradients[key.removesuffix("down_proj") + f"{e}.down_proj.weight"] = grad[e]
        else:
            gradients[key] = grad
    numbers = {}
    for key, grad in sorted(gradients.items()):
        flat = grad.double().reshape(-1)
        numbers[key] = [flat.norm().item(), (flat * torch.sin(torch.arange(flat.numel(), dtype=torch.float64) + 0.3)).sum().item()]
    out[name] = {"input_ids": ids.tolist(), "loss": loss.item(), "gradients": numbers}
path = pathlib.Path(__file__).with_name("family_gradients.json")
path.write_text(json.dumps(out, indent=1) + "\n")

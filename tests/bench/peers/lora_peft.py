"""transformers + peft on the same steps as ../lora_bench.cpp, in their fastest configuration.

usage: lora_peft.py MODEL IDS.json STEPS THREADS STARTED [full|distill] [checkpoint]

LoRA: everything bf16, no autocast. full: all weights, fp32 masters under bf16 autocast. distill: so trains a student of every other
layer on the forward KL of the bf16 model's distributions. checkpoint: activations are made again.
"""
import contextlib
import json
import sys
import time

model_folder, ids_file, steps, threads, started = sys.argv[1:6]
distill, checkpoint = "distill" in sys.argv[6:], "checkpoint" in sys.argv[6:]
full = "full" in sys.argv[6:] or distill
import torch

torch.set_num_threads(int(threads))
torch.manual_seed(0)
from transformers import AutoModelForCausalLM

dtype = torch.float32 if full else torch.bfloat16
model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=dtype, attn_implementation="sdpa")
if distill:
    teacher = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.bfloat16, attn_implementation="sdpa")
    teacher.eval().requires_grad_(False)
    model.model.layers = torch.nn.ModuleList(model.model.layers[::2])
    model.config.num_hidden_layers = len(model.model.layers)
    for i, layer in enumerate(model.model.layers):
        layer.self_attn.layer_idx = i
if not full:
    from peft import LoraConfig, get_peft_model

    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = LoraConfig(r=16, lora_alpha=16, use_rslora=True, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM")
    model = get_peft_model(model, config, autocast_adapter_dtype=False)
if checkpoint:
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
precision = torch.autocast("cpu", dtype=torch.bfloat16) if full else contextlib.nullcontext()
model.config.use_cache = False
model.train()
parameters = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(parameters, lr=1e-5, betas=(0.9, 0.95), fused=True)
rows = json.load(open(ids_file))
seconds, losses, first, tokens = [], [], 0.0, 0
for step in range(int(steps)):
    begin = time.time()
    x = torch.tensor(rows[step])
    tokens = x.numel()
    if distill:
        with torch.no_grad():
            wanted = teacher(input_ids=x, use_cache=False).logits
        with precision:
            logits = model(input_ids=x).logits
        ours, wanted = (torch.log_softmax(t[:, :-1].float(), -1) for t in (logits, wanted))
        loss = torch.nn.functional.kl_div(ours, wanted, log_target=True, reduction="none").sum(-1).mean()
        del logits, ours, wanted
    else:
        with precision:
            loss = model(input_ids=x, labels=x).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    seconds.append(time.time() - begin)
    losses.append(loss.item())
    if step == 0:
        first = time.time() - float(started)
peak = next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"tokens": tokens, "step_seconds": seconds, "losses": losses, "first_step_seconds": first, "peak_mib": peak}))

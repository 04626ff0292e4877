"""QLoRA against bitsandbytes and peft: codes, log-probabilities and ten steps of an adapter on a 4-bit base.

bitsandbytes_test.py PROGRAM DECANT WORK      PROGRAM: interop_train_qlora. Exit 77: bitsandbytes is not there.
"""
import hashlib
import json
import subprocess
import sys
from pathlib import Path

try:
    import bitsandbytes  # noqa: F401
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

STEPS, RATE = 10, 5e-3
LOSS_TOLERANCE, NORM_TOLERANCE, SCORE_TOLERANCE = 2e-4, 5e-3, 2e-4  # relative, relative, nats

program, decant, work = sys.argv[1], sys.argv[2], Path(sys.argv[3])
work.mkdir(parents=True, exist_ok=True)
torch.manual_seed(0)
torch.set_num_threads(1)
failures = []


def expect(good, what):
    print(("ok    " if good else "FAILED ") + what)
    if not good:
        failures.append(what)


config = LlamaConfig(vocab_size=128, hidden_size=192, intermediate_size=320, num_hidden_layers=3, num_attention_heads=4,
                     num_key_value_heads=2, head_dim=32, max_position_embeddings=128, tie_word_embeddings=False,
                     initializer_range=0.08)
base = LlamaForCausalLM(config).to(torch.float32)
base.save_pretrained(work / "base")
ids = torch.randint(0, 128, (1, 4, 24)).repeat(STEPS, 1, 1)  # rows that can be learned by heart
(work / "ids.json").write_text(json.dumps(ids.tolist()))

LINEARS = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
           "mlp.down_proj"]


def load(kind):
    quantization = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32,
                                      bnb_4bit_use_double_quant=kind == "nf4_dq")
    return AutoModelForCausalLM.from_pretrained(work / "base", quantization_config=quantization, dtype=torch.float32,
                                                device_map="cpu")


def digest(model):
    total = hashlib.sha256()
    for layer in model.model.layers:
        for name in LINEARS:
            weight = layer.get_submodule(name).weight
            state = weight.quant_state
            parts = [weight.data, state.absmax] + ([state.state2.absmax] if state.nested else [])
            for part in parts:
                total.update(part.contiguous().numpy().tobytes())
    return total.hexdigest()


def decant_scores(folder, *options):
    lines = "".join(json.dumps(row) + "\n" for row in ids[0].tolist())
    out = subprocess.run([decant, "score", str(folder), *options], input=lines, capture_output=True, text=True, check=True)
    return torch.tensor([json.loads(line) for line in out.stdout.splitlines()])


for kind in ["nf4", "nf4_dq"]:
    model = load(kind)
    codes = digest(model)
    model.save_pretrained(work / f"stored_{kind}")
    model.train()  # bitsandbytes' inference has a kernel of its own, which lays the codes out anew
    with torch.no_grad():
        expected = torch.log_softmax(model(ids[0]).logits.float(), -1)[:, :-1].gather(-1, ids[0][:, 1:, None])[..., 0]
    for folder, options in [("base", ["--quantize", kind]), (f"stored_{kind}", [])]:
        worst = (decant_scores(work / folder, *options) - expected).abs().max().item()
        expect(worst < SCORE_TOLERANCE, f"{kind}: log-probabilities of {folder} within {worst:.1e} nats")

    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=[n.split(".")[1] for n in LINEARS]))
    start = work / f"start_{kind}"
    model.save_pretrained(start)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, betas=(0.9, 0.95),
                                  eps=1e-8, weight_decay=0)
    model.train()
    losses, norms = [], []
    for step in range(STEPS):
        loss = model(ids[step], labels=ids[step]).loss
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    for folder, argument in [("base", kind), (f"stored_{kind}", "none")]:
        ours = json.loads(subprocess.run([program, str(work / folder), argument, str(start), str(work / "ids.json"), str(RATE)],
                                         capture_output=True, text=True, check=True).stdout)
        expect(ours["codes"] == codes, f"{kind}: codes and scales of {folder} are bitsandbytes' bit for bit")
        expect(len(ours["losses"]) == STEPS, f"{kind}: {STEPS} steps")
        worst = max(abs(a - b) / b for a, b in zip(ours["losses"], losses))
        expect(worst < LOSS_TOLERANCE, f"{kind}: losses on {folder} within {worst:.1e}: {losses[0]:.4f} to {losses[-1]:.4f}")
        worst = max(abs(a - b) / b for a, b in zip(ours["norms"], norms))
        expect(worst < NORM_TOLERANCE, f"{kind}: gradient norms on {folder} within {worst:.1e}")
    expect(losses[-1] < losses[0], f"{kind}: the loss falls")

# An adapter of a 4-bit base is merged by force only, and then into the 4-bit values (its B is still 0).
merge = [decant, "merge", str(work / "stored_nf4"), str(work / "start_nf4"), str(work / "merged"), "--dtype", "fp32"]
refused = subprocess.run(merge, capture_output=True, text=True)
expect(refused.returncode == 1 and "4 bits" in refused.stderr and "--force" in refused.stderr, "a 4-bit merge is refused")
forced = subprocess.run([*merge, "--force"], capture_output=True, text=True)
expect(forced.returncode == 0, f"and forced: {forced.stderr.strip()[-200:]}")
worst = (decant_scores(work / "merged") - decant_scores(work / "stored_nf4")).abs().max().item()
expect(worst < SCORE_TOLERANCE, f"the merged model is the dequantized one within {worst:.1e} nats")

sys.exit(1 if failures else 0)

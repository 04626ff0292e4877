#!/usr/bin/env python3
"""What llama.cpp should compute for each exported GGUF: transformers' model with the file's weights, each product's input rounded as
ggml rounds it for that weight's type (F16 and BF16 to that type, Q8_0 to blocks of 32 with one F16 scale; F32 not at all).

    ggml_rounding.py FOLDER      (made by make_releases; writes <case>/<file>.expected.json, log-probabilities by text)

The weights are read by the gguf package, not by decant; those of F32, F16 and BF16 tensors must be the Hugging Face folder's. Source of the rules: ggml's type_traits_cpu (vec_dot_type) and
quantize_row_q8_0.
"""
import json
import pathlib
import sys

try:
    import gguf
    import numpy
    import torch
    import transformers
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

TOP = {"token_embd.weight": "model.embed_tokens.weight", "output.weight": "lm_head.weight", "output_norm.weight": "model.norm.weight"}
BLOCK = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
         "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def checkpoint_name(name):
    if name in TOP:
        return TOP[name]
    _, layer, part, kind = name.split(".")
    return f"model.layers.{layer}.{BLOCK[part]}.{kind}"


def halves_together(weight, heads):
    """The GGUF of a llama model has the rows of q and k interleaved; the checkpoint has the two halves of a head one after the other."""
    return weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def q8_0(x):
    blocks = x.reshape(*x.shape[:-1], -1, 32)
    largest = blocks.abs().amax(-1, keepdim=True)
    scale = (largest / 127).half().float()
    inverse = torch.where(largest > 0, 127 / largest, torch.zeros_like(largest))
    return ((blocks * inverse).round() * scale).reshape(x.shape)


# Types that hold the folder's bf16 weights exactly (F16: but for numbers under 6e-8).
STORED = {"F32": lambda w: w, "BF16": lambda w: w, "F16": lambda w: w.half().float()}
ROUND = {"F32": lambda x: x, "F16": lambda x: x.half().float(), "BF16": lambda x: x.bfloat16().float(), "Q8_0": q8_0}


def load(file, folder):
    """(model, number of products whose input is rounded)"""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    config, reader, parameters = model.config, gguf.GGUFReader(file), dict(model.named_parameters())
    architecture = str(reader.fields["general.architecture"].contents())
    types, seen = {}, set()
    for tensor in reader.tensors:
        if tensor.name == "rope_freqs.weight":  # config.json says the same
            continue
        name = checkpoint_name(tensor.name)
        weight = torch.from_numpy(numpy.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type), dtype=numpy.float32))
        if architecture == "llama" and name.split(".")[-2] in ("q_proj", "k_proj"):
            weight = halves_together(weight, config.num_attention_heads if ".q_proj." in name else config.num_key_value_heads)
        kind = tensor.tensor_type.name
        if kind in STORED:
            stored = STORED[kind](parameters[name].data)
            assert torch.equal(weight, stored), f"{file}: {tensor.name} is not the folder's {name}"
        parameters[name].data.copy_(weight)
        types[name] = kind
        seen.add(name)
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    missing = set(parameters) - seen - tied
    assert not missing, f"{file}: {sorted(missing)[:3]} are not in the file"
    rounded = 0
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear):
            continue
        kind = types.get(name + ".weight", types["model.embed_tokens.weight"])
        if kind != "F32":
            module.register_forward_pre_hook(lambda _, inputs, kind=kind: (ROUND[kind](inputs[0]),))
            rounded += 1
    return model, rounded


def main():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    files = 0
    for case in sorted(p for p in pathlib.Path(sys.argv[1]).iterdir() if (p / "release").is_dir()):
        release = case / "release"
        lines = [json.loads(line) for line in (release / "golden.jsonl").read_text(encoding="utf-8").splitlines()][1:]
        lines = [line for line in lines if line["artefact"] == "model"]
        for file in sorted(release.glob("*.gguf")):
            model, rounded = load(file, release / "model")
            expected = []
            for line in lines:
                with torch.no_grad():
                    logits = model(input_ids=torch.tensor([line["ids"]])).logits[0].double()
                expected.append(logits[:-1].log_softmax(-1).gather(1, torch.tensor(line["ids"][1:])[:, None])[:, 0].tolist())
            (case / (file.name + ".expected.json")).write_text(json.dumps(expected))
            print(f"{case.name}/{file.name}: {len(expected)} texts, {rounded} products with rounded input")
            files += 1
    assert files >= 24, files


main()

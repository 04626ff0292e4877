"""Rope tables of transformers for the scalings that decant has. Run with a Python that has torch and transformers:
    python tests/golden/make_rope.py > tests/golden/rope.json
"""
import json

import torch
import transformers
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
CASES = {
    "default": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 2.5},
    "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 64},
    "yarn": YARN,
    "yarn_factor": {**YARN, "attention_factor": 1.25},
    "yarn_mscale": {**YARN, "mscale": 0.707, "mscale_all_dim": 1.0},
    "yarn_mscale_alone": {**YARN, "mscale": 0.707},
    "yarn_betas": {**YARN, "beta_fast": 16.0, "beta_slow": 2.0, "truncate": False},
    "yarn_null_factor": {**YARN, "factor": None},
}
POSITIONS = [0, 1, 17, 255]

out = {"torch": torch.__version__, "transformers": transformers.__version__, "positions": POSITIONS, "cases": {}}
for name, rope in CASES.items():
    config = {"model_type": "llama", "vocab_size": 64, "hidden_size": 64, "intermediate_size": 64,
              "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
              "max_position_embeddings": 256, "rope_parameters": {**rope, "rope_theta": 10000.0}}
    table = LlamaRotaryEmbedding(LlamaConfig(**json.loads(json.dumps(config))))
    cos, sin = table(torch.zeros(1), torch.tensor([POSITIONS]))
    out["cases"][name] = {"config": config, "cos": [[round(v, 7) for v in row] for row in cos[0, :, :8].tolist()],
                          "sin": [[round(v, 7) for v in row] for row in sin[0, :, :8].tolist()]}

# phi3: longrope on half of the channels; the table of short and of long rows (a row as long as its last position says).
from transformers import Phi3Config
from transformers.models.phi3.modeling_phi3 import Phi3RotaryEmbedding

for name, length in {"longrope_short": 100, "longrope_long": 256}.items():
    config = {"model_type": "phi3", "vocab_size": 64, "hidden_size": 128, "intermediate_size": 64, "num_hidden_layers": 1,
              "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "pad_token_id": 0,
              "original_max_position_embeddings": 128,
              "rope_parameters": {"rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.5,
                                  "original_max_position_embeddings": 128, "factor": 2.0,
                                  "short_factor": [1 + 0.1 * i for i in range(8)], "long_factor": [1.5 + i for i in range(8)]}}
    table = Phi3RotaryEmbedding(Phi3Config(**json.loads(json.dumps(config))))
    cos, sin = table(torch.zeros(1), torch.arange(length)[None])
    rows = [p for p in POSITIONS if p < length]
    out["cases"][name] = {"config": config, "long": length > 128, "positions": rows,
                          "cos": [[round(v, 7) for v in cos[0, p, :8].tolist()] for p in rows],
                          "sin": [[round(v, 7) for v in sin[0, p, :8].tolist()] for p in rows]}
print(json.dumps(out))

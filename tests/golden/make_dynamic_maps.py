"""bitsandbytes' 8-bit maps as the bits of their fp32 levels: dynamic_maps.json (bitsandbytes 0.50.2, torch 2.13.0)."""
import json
from pathlib import Path

import torch
from bitsandbytes.functional import create_dynamic_map

maps = {name: create_dynamic_map(signed).view(torch.int32).tolist() for name, signed in [("signed", True), ("unsigned", False)]}
maps = {name: [bits & 0xFFFFFFFF for bits in levels] for name, levels in maps.items()}
(Path(__file__).parent / "dynamic_maps.json").write_text(json.dumps(maps) + "\n")

"""Hugging Face tokenizers on the same lines as `tokenizer_bench`: prints {"mb_per_second", "bytes", "tokens"}.

usage: tokenizer_hf.py TOKENIZER.json TEXT THREADS
"""
import json
import os
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file(sys.argv[1])
lines = [line for line in open(sys.argv[2], encoding="utf-8").read().split("\n") if line]
size = sum(len(line.encode()) for line in lines)
begin = time.perf_counter()
encode = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)
encoded = encode(lines, add_special_tokens=False)
seconds = time.perf_counter() - begin
tokens = sum(len(e.ids) for e in encoded)
print(json.dumps({"mb_per_second": size / seconds / 1e6, "bytes": size, "tokens": tokens}))

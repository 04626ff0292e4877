"""jinja2 in transformers' environment, and apply_chat_template's rendering around it, on the same conversation as `template_bench`.

usage: template_jinja2.py FOLDER [SECONDS]; prints {"renders_per_second": {template: n}, "transformers": {template: n}, "bytes": {...}, "sha256": {...}}
"""
import hashlib
import json
import os
import sys
import time

from transformers.utils.chat_template_utils import _compile_jinja_template, render_jinja_template

MESSAGES = [
    {"role": "system", "content": "You are a helpful customer service assistant for an online shop."},
    {"role": "user", "content": "Hi, my order 3348917502 has not arrived yet. It was due last Friday."},
    {"role": "assistant", "content": "I am sorry to hear that. May I have your email address and the shipping postcode so I can check the status?"},
    {"role": "user", "content": "Sure: cminh730@example.com, 75227. 另外，我想改一下收货地址。"},
    {"role": "assistant", "content": "Thank you. The parcel left our warehouse on Monday and is with the courier; delivery is expected tomorrow before 6 pm. 可以修改地址，请提供新的地址。"},
    {"role": "user", "content": "6821 1st ave, San Mateo. And can I get the delivery fee back?"},
    {"role": "assistant", "content": "Yes, I have refunded the delivery fee of $6.99 to your credit card; you will see it within 3 to 5 business days. Anything else?"},
]
TOKENS = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}


def rate(render, seconds):
    count, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        for _ in range(100):
            render()
        count += 100
    return count / (time.process_time() - start)


def main():
    folder, seconds = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 0.5
    out = {"renders_per_second": {}, "transformers": {}, "bytes": {}, "sha256": {}}
    for name in ("Qwen-Qwen2.5-7B-Instruct", "Qwen-Qwen3-0.6B", "deepseek-ai-DeepSeek-V3.1", "trl-qwen3_training"):
        text = open(os.path.join(folder, name + ".jinja"), encoding="utf-8").read()
        compiled = _compile_jinja_template(text)
        plain = lambda: compiled.render(messages=MESSAGES, tools=None, documents=None, add_generation_prompt=False, **TOKENS)
        out["renders_per_second"][name] = rate(plain, seconds)
        out["transformers"][name] = rate(lambda: render_jinja_template([MESSAGES], chat_template=text, **TOKENS), seconds)
        out["bytes"][name] = len(plain().encode())
        out["sha256"][name] = hashlib.sha256(plain().encode()).hexdigest()
    print(json.dumps(out))


main()

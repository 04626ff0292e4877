"""Makes chat_template.json: what transformers renders for the built-in templates, and the ids of the SmolLM2 tokenizer.

    python make_chat_template.py SMOLLM2.gguf QWEN25_TEMPLATE.jinja > chat_template.json

The ids are those of transformers' rendering given to the tokenizers library, whose pre-tokenizer is set as llama.cpp has it (the
one that transformers derives from the GGUF forgets the digits). `mask` has 1 for the tokens under loss: those that overlap an
assistant's content or the <|im_end|> after it, by the tokenizer's offsets.
"""
import hashlib
import json
import sys

import gguf
import tokenizers
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers.utils.chat_template_utils import render_jinja_template

CHATML = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
          "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


def smollm2(path):
    fields = gguf.GGUFReader(path).fields
    get = lambda key: fields["tokenizer." + key].contents()
    tokens, kinds = get("ggml.tokens"), get("ggml.token_type")
    merges = [tuple(m.split(" ")) for m in get("ggml.merges")]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t, k in zip(tokens, kinds) if k == 3])
    return tokenizer, get("chat_template")


def message(role, content):
    return {"role": role, "content": content}


CONVERSATIONS = [
    [message("user", "Hello")],
    [message("user", "Hello"), message("assistant", "Hi, how can I help?")],
    [message("system", "Be terse."), message("user", "2+2?"), message("assistant", "4")],
    [message("user", "我的订单还没到。"), message("assistant", "通常 3 天内送达。"), message("user", "好的"), message("assistant", "不客气！")],
    [message("user", "seam"), message("assistant", "\n\nstarts with line feeds\n")],
    [message("user", "seam"), message("assistant", "  starts with spaces  ")],
    [message("user", "\n"), message("assistant", "\n")],
    [message("user", "empty"), message("assistant", "")],
    [message("assistant", "Welcome!"), message("user", "a\tb\r\nc 1234567"), message("assistant", "x = [1,\n 2]\n\n\n")],
    [message("user", "emoji \U0001F468\u200d\U0001F469 cafe\u0301"), message("assistant", "ok \U0001F44D")],
    [message("system", ""), message("user", "q"), message("user", "r"), message("assistant", "a"), message("assistant", "b")],
]


def main():
    tokenizer, smol = smollm2(sys.argv[1])
    qwen = open(sys.argv[2], encoding="utf-8").read()
    out = {"made_with": {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__}, "templates": {}, "cases": []}
    for name, template in (("smollm2", smol), ("chatml", CHATML), ("qwen2.5", qwen)):
        out["templates"][name] = hashlib.sha256(template.encode()).hexdigest()
        for messages in CONVERSATIONS:
            text, prompt = (render_jinja_template([messages], chat_template=template, add_generation_prompt=g)[0][0] for g in (False, True))
            encoding = tokenizer.encode(text, add_special_tokens=False)
            spans, at = [], 0
            for i, m in enumerate(messages):
                head = "<|im_start|>" + m["role"] + "\n"
                at = text.index(head + m["content"] + "<|im_end|>", at) + len(head)
                end = at + len(m["content"]) + len("<|im_end|>")
                if m["role"] == "assistant":
                    spans.append((at, end))
                at = end
            mask = [int(any(b < end and e > begin for begin, end in spans)) for b, e in encoding.offsets]
            out["cases"].append({"template": name, "messages": messages, "text": text, "prompt": prompt, "ids": encoding.ids, "mask": mask})
    json.dump(out, sys.stdout, ensure_ascii=True, indent=None, separators=(",", ":"))
    print()


main()

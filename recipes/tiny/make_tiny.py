"""Makes the corpus and the tokenizer of the tiny recipe: two small tenants whose answers follow from the question, so that a model of
100 thousand parameters learns something in seconds. Same bytes on every run. Needs the package tokenizers.

usage: make_tiny.py    (from this folder)
"""
import json
import random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

draw = random.Random(20261)
things = {
    "acme": ["drill", "hammer", "ladder", "saw", "wrench", "pump", "lamp", "valve"],
    "zen": ["tea", "cup", "incense", "mat", "scroll", "bell", "brush", "stone"],
}
ask = {
    "acme": ["Where is my {t}?", "My {t} is broken.", "How much is the {t}?", "Can I return the {t}?"],
    "zen": ["Is the {t} in stock?", "我的{t}到了吗?", "Which {t} is best?", "Please cancel the {t}."],
}
answer = {
    "acme": ["Your {t} is on its way, order {n}.", "We repair the {t} for free, ticket {n}.", "The {t} is {n} dollars.",
             "Yes, send the {t} back to dock {n}."],
    "zen": ["The {t} is in stock, shelf {n}.", "您的{t}明天到,单号{n}。", "We like {t} number {n} best.", "The {t} is cancelled, case {n}."],
}
thanks = {"acme": ("Thanks.", "ACME wishes you a good day."), "zen": ("谢谢。", "Peace be with you.")}
texts = []
for tenant in sorted(things):
    with open(f"corpus/{tenant}.jsonl", "w", encoding="utf-8", newline="\n") as out:
        for i in range(120):
            kind = draw.randrange(4)
            thing = draw.choice(things[tenant])
            messages = [
                {"role": "user", "content": ask[tenant][kind].format(t=thing)},
                {"role": "assistant", "content": answer[tenant][kind].format(t=thing, n=draw.randrange(100, 1000))},
            ]
            if draw.random() < 0.5:
                messages += [{"role": "user", "content": thanks[tenant][0]}, {"role": "assistant", "content": thanks[tenant][1]}]
            record = {"id": f"{tenant}-{i:03}", "tenant": tenant, "period": "2026-10", "customer": f"{tenant}-c{i % 40:02}",
                      "messages": messages}
            texts += [m["content"] for m in messages]
            out.write(json.dumps(record, ensure_ascii=False) + "\n")
        out.write('{"id": "' + tenant + '-broken", "tenant": "' + tenant + '", "messages": [\n')

tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
    vocab_size=448, show_progress=False, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"]))
tokenizer.save("tokenizer/tokenizer.json")
template = open("tokenizer/chat_template.jinja", encoding="utf-8").read()
config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|endoftext|>", "eos_token": "<|im_end|>",
          "pad_token": "<|endoftext|>", "model_max_length": 256, "clean_up_tokenization_spaces": False, "chat_template": template}
for name, value in [("tokenizer_config.json", config),
                    ("special_tokens_map.json", {k: config[k] for k in ("bos_token", "eos_token", "pad_token")}),
                    ("generation_config.json", {"eos_token_id": 2, "bos_token_id": 0, "pad_token_id": 0})]:
    with open(f"tokenizer/{name}", "w", encoding="utf-8", newline="\n") as out:
        json.dump(value, out, ensure_ascii=False, indent=2)
        out.write("\n")

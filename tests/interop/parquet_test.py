#!/usr/bin/env python3
"""decant reads what pyarrow writes: every type, codec, encoding and page version, and refuses damaged files by name.

usage: parquet_test.py READ_RECORDS SCRATCH       exit 77: pyarrow is not installed (skipped)
"""
import itertools
import json
import pathlib
import random
import resource
import subprocess
import sys

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    print("skipped: no pyarrow")
    sys.exit(77)
program, scratch = sys.argv[1], pathlib.Path(sys.argv[2])
scratch.mkdir(parents=True, exist_ok=True)
LIMIT = 2 << 30  # bytes of address space: a damaged file must not ask for more


def read(*paths):
    limits = lambda: resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))  # noqa: E731
    done = subprocess.run([program, *map(str, paths)], capture_output=True, timeout=60, preexec_fn=limits)
    assert done.returncode == 0, (paths[0], done.returncode, done.stderr[-500:])
    return done.stdout.decode("utf-8").split("\n")[:-1]


def rows(path):
    return [json.loads(line, parse_constant=str) for line in read(path)]


rand = random.Random(7)
texts = ["", "你好，请问", 'say "hi"\n\t\\', "é😀\u2028", "x" * 3000, None, "a\u0000b"]
N = 700  # several batches of 256 rows, and several row groups
value = lambda i: texts[i % len(texts)]  # noqa: E731
tool = pa.struct([("name", pa.string()), ("arguments", pa.map_(pa.string(), pa.string()))])
message = pa.struct([("role", pa.string()), ("content", pa.string()), ("tool_calls", pa.list_(tool))])


def conversation(i):
    if i % 11 == 0:
        return None
    turns = [{"role": "user", "content": value(i), "tool_calls": None},
             {"role": "assistant", "content": value(i + 1), "tool_calls": [{"name": "find", "arguments": [("id", str(i)), ("empty", None)]}] if i % 3 else []}]
    return turns[:i % 3]


columns = {
    "text": pa.array([value(i) for i in range(N)], pa.string()),
    "large": pa.array([value(i + 2) for i in range(N)], pa.large_string()),
    "coded": pa.array([value(i % 3) for i in range(N)], pa.string()).dictionary_encode(),
    "all_null": pa.nulls(N, pa.string()),
    "int": pa.array([None if i % 5 == 0 else i - 350 for i in range(N)], pa.int64()),
    "wide": pa.array([2**64 - 1 - i for i in range(N)], pa.uint64()),
    "small": pa.array([i % 100 - 50 for i in range(N)], pa.int8()),
    "real": pa.array([None if i % 7 == 0 else rand.random() * 10**(i % 20) for i in range(N)], pa.float64()),
    "yes": pa.array([None if i % 9 == 0 else i % 2 == 0 for i in range(N)]),
    "list": pa.array([None if i % 13 == 0 else [value(i + k) for k in range(i % 4)] for i in range(N)], pa.list_(pa.string())),
    "lists": pa.array([[[i], [], None, [i, None]] for i in range(N)], pa.large_list(pa.list_(pa.int32()))),
    "struct": pa.array([None if i % 6 == 0 else {"a": i, "b": {"c": value(i)}} for i in range(N)], pa.struct([("a", pa.int16()), ("b", pa.struct([("c", pa.string())]))])),
    "map": pa.array([None if i % 4 == 0 else [("k", value(i)), ("l", None)] for i in range(N)], pa.map_(pa.string(), pa.string())),
    "messages": pa.array([conversation(i) for i in range(N)], pa.list_(message)),
}
table = pa.table(columns)


def plain(v, t):
    """A value as the reader writes it: a map is a list of objects with key and value."""
    if v is None:
        return None
    if pa.types.is_map(t):
        return [{"key": k, "value": plain(x, t.item_type)} for k, x in v]
    if pa.types.is_list(t) or pa.types.is_large_list(t):
        return [plain(x, t.value_type) for x in v]
    if pa.types.is_struct(t):
        return {f.name: plain(v[f.name], f.type) for f in t}
    return v


expected = [{name: plain(v, table.schema.field(name).type) for name, v in row.items()} for row in table.to_pylist()]
files = 0


def expect(path, want=expected):
    global files
    found = rows(path)
    assert len(found) == len(want), (path, len(found), len(want), found[:1])
    for i, (f, w) in enumerate(zip(found, want)):
        for key in w:
            assert f[key] == w[key], (path, i, key, f[key], w[key])
        assert list(f) == list(w), (path, i, list(f))
    files += 1


for codec, page, dictionary in itertools.product(["none", "snappy", "gzip", "zstd", "lz4", "brotli"], ["1.0", "2.0"], [True, False]):
    path = scratch / f"{codec}-{page}-{dictionary}.parquet"
    pq.write_table(table, path, compression=codec, data_page_version=page, use_dictionary=dictionary, row_group_size=300, data_page_size=2000)
    expect(path)
for column, encoding in [("int", "DELTA_BINARY_PACKED"), ("text", "DELTA_LENGTH_BYTE_ARRAY"), ("text", "DELTA_BYTE_ARRAY"), ("real", "BYTE_STREAM_SPLIT"), ("yes", "RLE")]:
    path = scratch / f"{column}-{encoding}.parquet"
    pq.write_table(table.select([column]), path, use_dictionary=False, column_encoding={column: encoding}, data_page_version="2.0")
    expect(path, [{column: row[column]} for row in expected])
pq.write_table(table.slice(0, 0), scratch / "empty.parquet")
expect(scratch / "empty.parquet", [])

# Damaged: cut short anywhere, bytes turned anywhere, a footer that promises too much.
small = scratch / "small.parquet"
pq.write_table(table.slice(0, 40), small, compression="zstd")
whole, refused = small.read_bytes(), 0
cases = [whole[:int(len(whole) * k / 60)] for k in range(60)]
for _ in range(150):
    damaged = bytearray(whole)
    for _ in range(rand.randrange(1, 5)):
        damaged[rand.randrange(len(damaged))] = rand.randrange(256)
    cases.append(bytes(damaged))
cases += [whole[:-8] + n.to_bytes(4, "little") + b"PAR1" for n in (0, 1, len(whole), 2**31 - 1, 2**32 - 1)]
cases += [b"PAR1", b"PAR1PAR1", b"PARE" + whole[4:-4] + b"PARE", b"{}\n" * 100]
paths = [scratch / f"damaged-{i}.parquet" for i in range(len(cases))]
for path, data in zip(paths, cases):
    path.write_bytes(data)
lines = read(*paths)
assert len(lines) <= 41 * len(cases), len(lines)
for line in lines:
    if line.startswith('{"error"'):
        refused += 1
        error = json.loads(line)["error"]
        assert error.startswith("f: "), error
        assert "find" not in error and "say" not in error, error  # a customer's words
assert refused > 70, refused
print(f"ok: {files} files of {N} rows, {refused} of {len(cases)} damaged files refused, none did more")

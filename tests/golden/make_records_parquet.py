"""Makes records.parquet: three records in two row groups, with the column types that corpora have. Needs pyarrow (made with 26.0.1)."""
import datetime
import decimal
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

messages = [
    [{"role": "user", "content": "你好"}, {"role": "assistant", "content": 'say "hi"\n'}],
    [{"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}],
    [{"role": "user", "content": "d"}, {"role": "assistant", "content": None}],
]
table = pa.table({
    "id": pa.array([1, 2, 3], pa.int64()),
    "messages": messages,
    "channel": pa.array(["app", "app", None]).dictionary_encode(),
    "score": pa.array([0.1, None, float("nan")]),
    "small": pa.array([1, 2, 3], pa.uint8()),
    "done": [True, False, None],
    "day": [datetime.date(2026, 2, 17)] * 3,
    "price": [decimal.Decimal("1.50")] * 3,
    "blob": [b"ok", b"\xff\xfe", b""],
})
pq.write_table(table, pathlib.Path(__file__).with_name("records.parquet"), row_group_size=2, compression="zstd")

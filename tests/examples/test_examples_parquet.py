"""CSV to Parquet: streamed, with progress in bytes; what is no table is told."""

from __future__ import annotations

import io

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

ROWS = 500_000


def table(rows: int = ROWS) -> bytes:
    return b"time,place,value\n" + b"".join(b"%d,Oslo,%d.25\n" % (n, n) for n in range(rows))


@pytest.fixture(scope="module")
def served(example):
    return example("parquet")


def test_a_table_of_several_batches(served):
    sent = table()
    document = served.run("/tables", files={"file": ("t.csv", sent)})
    assert document["result"] == {
        "rows": ROWS,
        "columns": {"time": "int64", "place": "string", "value": "double"},
    }
    progress = document["progress"]
    assert (progress["completed"], progress["total"], progress["unit"]) == (len(sent), len(sent), "bytes")
    [part] = served.client.operation(document["links"]["self"]).parts()
    assert (part.name, part.type) == ("table.parquet", "application/vnd.apache.parquet")
    read = pq.read_table(io.BytesIO(served.client.get(part.url).content))
    assert read.num_rows == ROWS
    assert read.column("value")[-1] == pa.scalar(ROWS - 0.75)


def test_the_file_can_be_read_while_it_is_written(served):
    operation = served.submit("/tables", files={"file": ("t.csv", table())})
    answer = served.client.get(f"{operation.url}/parts/table.parquet")
    while answer.status_code == 404:
        answer = served.client.get(f"{operation.url}/parts/table.parquet")
    assert pq.read_table(io.BytesIO(answer.content)).num_rows == ROWS


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"a,b\n1\n",
        b"\x89PNG,\xff\n1,2\n",
        table(300_000) + b"soon,Oslo,much\n",  # the type is that of the first block
    ],
    ids=["empty", "ragged", "binary", "changing"],
)
def test_what_is_no_table_is_told(served, sent):
    document = served.run("/tables", files={"file": ("t.csv", sent)})
    assert document["status"] == "failed"
    assert (document["error"]["status"], document["error"]["title"]) == (422, "This is no table")
    assert document["error"]["detail"]
    assert document["parts"] == 0

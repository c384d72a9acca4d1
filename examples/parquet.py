"""CSV to Parquet, batch by batch: no table is ever in memory, and its file can be read while it is written.

pip install 'restive[standard]' pyarrow
uvicorn examples.parquet:app
restive submit http://127.0.0.1:8000/tables -F file=@readings.csv
"""

import pyarrow as pa
from fastapi import FastAPI
from pyarrow import csv
from pyarrow import parquet as pq
from pydantic import BaseModel

from restive import Operation, Problem, Restive, Upload

app = FastAPI()
live = Restive(app)

BLOCK = 4 * 1024 * 1024


class Table(BaseModel):
    rows: int
    columns: dict[str, str]


@live.operation("/tables")
def convert(file: Upload, op: Operation) -> Table:
    """The table as the part table.parquet. The first 4 MiB decide what type each column has."""
    try:
        return stream(file, op)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:  # the client is told a problem's text, no other's
        raise Problem(422, "This is no table", str(error)) from error


def stream(file: Upload, op: Operation) -> Table:
    options = csv.ReadOptions(block_size=BLOCK, use_threads=False)
    rows, size = 0, file.path.stat().st_size
    with (
        pa.OSFile(str(file.path)) as source,
        csv.open_csv(source, read_options=options) as batches,
        op.part("table.parquet", media_type="application/vnd.apache.parquet") as part,
        pq.ParquetWriter(part, batches.schema) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
            op.report(source.tell(), size, unit="bytes")
        return Table(rows=rows, columns={it.name: str(it.type) for it in batches.schema})

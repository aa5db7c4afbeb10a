"""Tables of a few rows in every kind of file, for the tests of their readers."""

import json

import pyarrow
import pyarrow.parquet
from PIL import Image

from currreft_nb.core.samples import Sample
from currreft_nb.data.formats import table
from currreft_nb.data.reading.common import Rejected

ROWS = [{"question": f"What is {n} + {n}?", "answer": str(2 * n), "image": "a.png"} for n in range(5)]


def picture(path, size=(100, 80), color=(200, 0, 0)):
    Image.new("RGB", size, color).save(path)
    return path.read_bytes()


def write(path, listed):
    """Write rows as the file's suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(listed), path, row_group_size=2)
    elif path.suffix == ".json":
        path.write_text(json.dumps(listed))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in listed))
    elif path.suffix in (".csv", ".tsv"):
        mark = "," if path.suffix == ".csv" else "\t"
        lines = [mark.join(listed[0]), *(mark.join(str(value) for value in row.values()) for row in listed)]
        path.write_text("\n".join(lines))
    elif path.suffix == ".arrow":
        whole = pyarrow.Table.from_pylist(listed)
        with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, whole.schema) as stream:
            stream.write_table(whole, max_chunksize=2)
    return path


def read(path, **options):
    items = list(table.read(path, **{"task": "math"} | options))
    return [i for i in items if isinstance(i, Sample)], [i for i in items if isinstance(i, Rejected)]

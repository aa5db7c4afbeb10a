"""Write a data folder in other forms: the official Curr-ReFT rows, or Parquet files that hold their images.

Both write one file for each split and stage into a folder, with the same bytes each time.
"""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from currreft_nb.core.files import atomic_write
from currreft_nb.core.samples import Sample, read_samples, to_row
from currreft_nb.data.folder import read_manifest, refuse_leaks
from currreft_nb.data.formats import curr_reft

STRUCTURED = ("claim", "options", "answer", "extra")  # their types differ between rows: kept as JSON text
ROWS_A_GROUP = 100  # images included, some ten megabytes
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TYPES = {"size": pa.list_(pa.int32()), "image": IMAGE}
NAMES = ("id", "task", "stage", "split", "source", "image", "size", "question", *STRUCTURED, "thinking", "parent")


def export_official(folder: Path | str, target: Path | str) -> Counter:
    """Write official rows about the images in `folder`; return how many samples were written and left out, by reason.

    Questions of tasks that the format does not have, such as general ones, are left out.
    """
    folder, target = Path(folder), Path(target)
    counts: Counter[str] = Counter()
    for name, samples in _files(folder, target):
        has = curr_reft.TASK_NAMES.values()
        known = [sample for sample in samples if sample.task in has]
        counts.update(f"the format has no {sample.task} questions" for sample in samples if sample.task not in has)
        counts["written"] += len(known)
        if known:
            curr_reft.write(target / f"{name}.jsonl", known, images=folder)
    return +counts


def export_parquet(folder: Path | str, target: Path | str) -> Counter:
    """Write Parquet files that `datasets.load_dataset` opens with images; return how many samples were written.

    Columns are the fields of a sample; `answer`, `claim`, `options` and `extra` are JSON text.
    """
    target = Path(target)
    counts: Counter[str] = Counter()
    for name, samples in _files(Path(folder), target):
        counts["written"] += len(samples)
        rows, schema = map(_parquet_row, samples), _schema()
        path = target / f"{name}.parquet"
        with atomic_write(path, "wb") as stream, pq.ParquetWriter(stream, schema, compression="zstd") as writer:
            while group := list(islice(rows, ROWS_A_GROUP)):
                writer.write_table(pa.Table.from_pylist(group, schema))
    return counts


def _files(folder: Path, target: Path) -> Iterator[tuple[str, list[Sample]]]:
    """Yield the name and the samples of each samples file of a data folder. Raises `InputError` like `refuse_leaks`."""
    refuse_leaks(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name in read_manifest(folder)["files"]:
        if name.endswith(".jsonl") and name != "rejected.jsonl":
            yield name.removesuffix(".jsonl"), read_samples(folder / name)


def _schema() -> pa.Schema:
    """Return the columns, with the metadata in which `datasets` looks for image columns."""
    fields = [(name, TYPES.get(name, pa.string())) for name in NAMES]
    features: dict[str, Any] = {name: {"dtype": "string", "_type": "Value"} for name in NAMES}
    features["image"] = {"_type": "Image"}
    features["size"] = {"feature": {"dtype": "int32", "_type": "Value"}, "_type": "List"}
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def _parquet_row(sample: Sample) -> dict:
    row = to_row(sample)
    row |= {name: json.dumps(row[name], ensure_ascii=False) for name in STRUCTURED}
    if sample.image is not None:
        path = Path(sample.image)
        row["image"] = {"bytes": path.read_bytes(), "path": path.name}
    return row

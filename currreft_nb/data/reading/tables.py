"""Rows of any kind of table: JSON lines, a JSON array, CSV, TSV, Parquet, Arrow, a dataset of the Hugging Face hub.

    rows.jsonl          {"image_path": "images/0.png", "question": "... angle CED is ()", "ground_truth": "140°"}
    rows.csv            image_path,question,ground_truth
    folder/*.parquet    as the hub stores datasets; images are inside the file, as {"bytes": ..., "path": ...}
    saved/              what `Dataset.save_to_disk` wrote: state.json and data-*.arrow
    hf://datasets/owner/name            the table files of a hub dataset, downloaded into the hub's own cache;
    hf://datasets/owner/name@revision   refs/convert/parquet is the revision that holds the hub's conversion to Parquet

Tables are streamed: one row is in memory, or one row group of a Parquet file. The module `data.reading.picture_cells`
reads their pictures.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.data.reading.common import Rejected, files_in, need_file
from currreft_nb.data.reading.json_streams import Found, csv_rows, is_json_lines, json_items, json_lines, parse_json

HUB = re.compile(r"hf:/{1,2}datasets/([^/@?]+/[^/@?]+)(?:@(.+))?")
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow")
PATTERNS = ("**/*.parquet", "**/*.arrow", "**/*.jsonl", "**/*.csv", "**/*.tsv")  # no .json: these may be metadata
COLUMNAR = (".parquet", ".arrow")
BATCH = 64  # rows of a Parquet or Arrow file in memory as Python objects


def is_hub(path: Path | str) -> bool:
    """Return whether the path names a dataset of the hub.

    >>> is_hub("hf://datasets/derek-thomas/ScienceQA"), is_hub("data/rows.csv")
    (True, False)
    """
    return HUB.fullmatch(str(path)) is not None


def fetch(path: Path | str, files: str = "") -> Path:
    """Return the folder with the files of a hub dataset that match `files`; download the missing ones."""
    import huggingface_hub  # takes a second, which other sources do not need

    place = HUB.fullmatch(str(path))
    if place is None:
        raise InputError(f"{path} is not a hub dataset; write hf://datasets/owner/name")
    name, revision = place.groups()
    wanted = [files] if files else [pattern.removeprefix("**/") for pattern in PATTERNS]
    options: dict[str, Any] = {"repo_type": "dataset", "revision": revision, "allow_patterns": wanted}
    try:
        return Path(huggingface_hub.snapshot_download(name, **options))
    except (OSError, ValueError) as error:
        remedy = "check the name and the network, or give the folder of a copy"
        raise InputError(f"{path} cannot be downloaded ({str(error).splitlines()[0]}); {remedy}") from None


def read(path: Path | str, files: str = "", columns: Collection[str] = ()) -> Iterator[Found]:
    """Yield (file, line or record number, row or its rejection) of a table, a folder of tables or a saved dataset.

    `files`: a pattern for the files of a folder, such as `data/train-*.parquet`. `columns`: those to read from Parquet
    and Arrow files; empty: all.
    """
    path = need_file(path, f"a table ({', '.join(SUFFIXES)}) or of a folder of tables")
    for file in [path] if path.is_file() else _table_files(path, files):
        if isinstance(file, Rejected):
            yield Path(file.file), None, file
        else:
            yield from _read_file(file, columns)


def read_columns(path: Path | str, files: str, wanted: Mapping[str, Collection[str]]) -> Iterator[Found]:
    """Yield the rows of a table; `wanted` are the usual names of each column, by the option that names another.

    Raises `InputError` if the first row has none of them.
    """
    checked = False
    for file, line, row in read(path, files, [name for names in wanted.values() for name in names]):
        if not checked and isinstance(row, dict):
            checked = True
            for option, names in wanted.items():
                if row.keys().isdisjoint(names):
                    listed = ", ".join(whole(row, file))
                    what = f"no column {' or '.join(names)}; columns are: {listed}"
                    raise InputError(f"{file}: {what}; write {option}=COLUMN")
        yield file, line, row


def _table_files(folder: Path, files: str) -> Sequence[Path | Rejected]:
    if (folder / "dataset_dict.json").is_file() and not files:
        splits = sorted(part.name for part in folder.iterdir() if (part / "state.json").is_file())
        raise InputError(f"{folder} holds the splits {', '.join(splits)}; give the folder of one of them")
    try:
        if (folder / "state.json").is_file():
            state = parse_json((folder / "state.json").read_bytes())
            return files_in(folder, *(part["filename"] for part in state["_data_files"]))
        found = files_in(folder, *([files] if files else PATTERNS), trusted=_is_of_hub_cache(folder))
    except (ValueError, LookupError, TypeError, NotImplementedError) as error:  # the last: a pattern that begins with /
        remedy = "correct files=, a pattern such as data/*.parquet, or state.json, which Dataset.save_to_disk wrote"
        raise InputError(f"{folder}: cannot find its tables ({error!r}); {remedy}") from None
    if not found:
        raise InputError(f"{folder} holds no file that matches {files or ', '.join(PATTERNS)}; set files= to a pattern")
    return found


def _is_of_hub_cache(folder: Path) -> bool:
    """Return whether the folder belongs to the cache of the hub's library, which contains links to its files."""
    if folder.parent.name != "snapshots":
        return False
    from huggingface_hub.constants import HF_HUB_CACHE

    return folder.resolve().is_relative_to(Path(HF_HUB_CACHE).resolve())


def _read_file(file: Path, columns: Collection[str]) -> Iterator[Found]:
    match file.suffix.lower():
        case ".jsonl" | ".ndjson":
            yield from json_lines(file)
        case ".json":
            yield from json_lines(file) if is_json_lines(file) else _json_records(file)
        case ".csv" | ".tsv" as suffix:
            yield from csv_rows(file, "\t" if suffix == ".tsv" else ",")
        case suffix if suffix in COLUMNAR:
            yield from _columnar(file, columns)
        case _:
            raise InputError(f"{file} is not a table; give a file that ends in one of {', '.join(SUFFIXES)}")


def _json_records(file: Path) -> Iterator[Found]:
    """Yield the items of an array, or of the members of an object. Raises `InputError` for an object without rows."""
    others, found = list[str](), False
    for number, (name, item) in enumerate(json_items(file), 1):
        rejected = Rejected(file=str(file), line=number, reason="record is not a JSON object")
        if isinstance(item, dict) or name is None or found:
            found = True
            yield file, number, item if isinstance(item, dict) else rejected
        elif name not in others[-1:]:
            others.append(name)
    if others and not found:
        remedy = "write a list of objects, or an object on each line (.jsonl)"
        raise InputError(f"{file} is one JSON object, and none of its members has rows: {', '.join(others)}; {remedy}")
    if others:
        yield (
            file,
            None,
            Rejected(
                file=str(file), reason="members before the rows are no rows", value=", ".join(others), fault=False
            ),
        )


def _columnar(file: Path, columns: Collection[str]) -> Iterator[Found]:
    import pyarrow

    number = 0
    try:
        for batch in _parquet_batches(file, columns) if file.suffix == ".parquet" else _arrow_batches(file, columns):
            for start in range(0, batch.num_rows, BATCH):
                for row in batch.slice(start, BATCH).to_pylist():
                    number += 1
                    yield file, number, row
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else "it is empty"
        raise InputError(f"{file} cannot be read after row {number} ({reason}); get the file again") from None


def class_names(file: Path) -> dict[str, list[str]]:
    """Return the categories of each ClassLabel column, as `datasets` writes them into Parquet and Arrow files.

    A column inside another has the name `objects.category`.
    """
    if file.suffix.lower() not in COLUMNAR:
        return {}
    try:
        features = parse_json((_schema(file).metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return dict(_class_labels(features, ()))


def _class_labels(feature: Any, path: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    if isinstance(feature, dict) and feature.get("_type") == "ClassLabel":
        yield ".".join(path), [str(name) for name in feature["names"]]
    elif isinstance(feature, dict | list):
        for name, inner in feature.items() if isinstance(feature, dict) else (("feature", item) for item in feature):
            yield from _class_labels(inner, path if name == "feature" else (*path, name))  # of a list, not a column


def _schema(file: Path) -> Any:
    import pyarrow.ipc
    import pyarrow.parquet

    try:
        if file.suffix.lower() == ".parquet":
            return pyarrow.parquet.read_schema(file)
        with pyarrow.memory_map(str(file)) as source, pyarrow.ipc.open_stream(source) as table:
            return table.schema
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({str(error).splitlines()[0]}); get the file again") from None


def _parquet_batches(file: Path, columns: Collection[str]) -> Iterator[Any]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(file) as table:
        yield from table.iter_batches(batch_size=BATCH, columns=_chosen(table.schema_arrow.names, columns))


def _arrow_batches(file: Path, columns: Collection[str]) -> Iterator[Any]:
    import pyarrow.ipc

    with pyarrow.memory_map(str(file)) as source, pyarrow.ipc.open_stream(source) as table:
        for batch in table:
            yield batch.select(_chosen(batch.schema.names, columns))


def _chosen(names: list[str], columns: Collection[str]) -> list[str]:
    """Return the columns to read: all, if the file has none of the named ones, so that a message can list them."""
    return [name for name in names if name in columns] or names


def whole(row: dict, file: Path) -> dict:
    """Return the row with all its columns: of a Parquet or Arrow file, of which few are read, the first row."""
    return first_row(file, file.stat().st_mtime_ns) if file.suffix.lower() in COLUMNAR else row


@lru_cache(maxsize=4)
def first_row(file: Path, stamp: int) -> dict:
    """Return the first row of a Parquet or Arrow file with all columns; `stamp`: when the file was changed."""
    return next((row for _, _, row in _columnar(file, ()) if isinstance(row, dict)), {})

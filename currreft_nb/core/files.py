"""Files that are whole or absent, and the digests that identify values and files."""

import contextlib
import hashlib
import json
import math
import numbers
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "w") -> Iterator[IO[Any]]:
    """Open `<path>.partial` for writing; when the block ends, flush it to the disk and rename it to `path`.

    A reader sees the old file or the new one, never a part of it. When the block raises, `path` stays as it was and
    the partial file is removed. `mode` is "w" (UTF-8 text, in which a lone surrogate becomes "?") or "wb".
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.partial")
    try:
        encoding, errors = (None, None) if "b" in mode else ("utf-8", "replace")
        with partial.open(mode, encoding=encoding, errors=errors) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def digest(value: Any, length: int = 16) -> str:
    """Return the first `length` hexadecimal digits of the SHA-256 of a value's JSON text, keys sorted.

    >>> digest({"b": 1, "a": [2, "x"]}) == digest({"a": [2, "x"], "b": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:length]


def file_digest(path: str | os.PathLike, length: int = 16) -> str:
    """Return the first `length` hexadecimal digits of the SHA-256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:length]


def to_json_types(value: Any) -> Any:
    """Return the value in JSON's types: NumPy's numbers as Python's, paths as text, infinite numbers and NaN as null.

    >>> to_json_types({"loss": float("nan"), "folder": Path("a"), "shape": (2, 3)})
    {'loss': None, 'folder': 'a', 'shape': [2, 3]}
    """
    if isinstance(value, Mapping):
        return {str(key): to_json_types(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json_types(item) for item in value]
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"JSON takes numbers, text, lists and dicts, not {type(value).__name__}: {value!r}")

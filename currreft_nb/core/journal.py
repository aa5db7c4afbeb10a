"""JSON Lines files that survive a killed process: sampled answers, evaluation records, training metrics.

    {"id": "scene-7", "index": 0, "completion": "<think></think><answer>3</answer>"}

Rows are appended and flushed to the disk in batches. A process that is killed in the middle of a row leaves half a
line at the end: the next reader ignores it and the next writer removes it.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

from currreft_nb import InputError


def read_journal(path: str | os.PathLike) -> list[dict]:
    """Return the whole rows of a journal in the order they were written; none if the file does not exist.

    Raises `InputError` for a damaged line before the last, which no interruption explains.
    """
    path = Path(path)
    if not path.exists():
        return []
    whole, _, _half = path.read_bytes().rpartition(b"\n")
    return [_parse(line, path, number) for number, line in enumerate(whole.split(b"\n"), 1) if line.strip()]


def _parse(line: bytes, path: Path, number: int) -> dict:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise InputError(f"{path}:{number}: the line is damaged: {line[:60]!r}; remove it and run again")
    return row


def append_journal(path: str | os.PathLike, rows: Iterable[Mapping]) -> None:
    """Append rows, one JSON object a line, and flush them to the disk; a half line at the end is removed first."""
    lines = b"".join(
        json.dumps(row, ensure_ascii=False, allow_nan=False).encode(errors="replace") + b"\n" for row in rows
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as stream:
        stream.truncate(_whole_length(stream))
        stream.write(lines)
        stream.flush()
        os.fsync(stream.fileno())


def _whole_length(stream: BinaryIO) -> int:
    """Return the length in bytes of the file up to and with its last line end."""
    end = stream.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 65536)
        stream.seek(start)
        found = stream.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0

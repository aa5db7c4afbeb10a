"""Read text that may be long, damaged or hostile: JSON lines and CSV by row, JSON documents by item.

An unusable row becomes a `Rejected` with its line, and the rows after it are read. A document that cannot be read to
its end raises `InputError`, because the number of lost rows is unknown. Memory is bounded by the longest row, not by
the file.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.data.reading.common import Rejected

MAX_ROW = 1 << 24  # bytes of one row or item: 16 MiB; questions are short, so a longer row is damage or an attack
MAX_DEPTH = 64  # levels of nesting in one row; Python's own limit would be exceeded only when it is written again
CHUNK = 1 << 18
AFTER = " \t\r\n,:]}"  # what may follow a JSON value

Found = tuple[Path, int | None, dict | Rejected]  # a row with its file and its line or place in the file


def parse_json(data: bytes | str) -> Any:
    """Return the value of a UTF-8 text. Raises `ValueError` unless it is strict JSON of at most `MAX_DEPTH` levels.

    >>> parse_json(b'{"a": [1]}')
    {'a': [1]}
    """
    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
        return _sound(_DECODER.decode(text), text)
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number in JSON")


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _sound(value: Any, text: str) -> Any:
    """Return the value; raise `ValueError` if it cannot be written again: too deep, or half a surrogate pair."""
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    if _SURROGATE.search(text):
        json.dumps(value, ensure_ascii=False).encode()  # UnicodeEncodeError is a ValueError
    return value


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level:
        depth += 1
        inner = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        level = [item for items in inner for item in items]
    return depth


def bounded_lines(path: Path | str) -> Iterator[tuple[int, bytes | None]]:
    """Yield (number from 1, line) of a file; the line is None if it has more than `MAX_ROW` bytes."""
    with open(path, "rb") as stream:
        number = 0
        while line := stream.readline(MAX_ROW):
            number += 1
            if len(line) == MAX_ROW and not line.endswith(b"\n"):
                while (rest := stream.readline(CHUNK)) and not rest.endswith(b"\n"):
                    pass
                line = None
            yield number, line


def json_lines(path: Path | str) -> Iterator[Found]:
    """Yield (file, line number, object or its rejection) for each line that is not blank."""
    file, found = Path(path), False
    for number, line in bounded_lines(file):
        if line is None or line.strip():
            found = True
            yield file, number, _json_row(line, "line", file=str(file), line=number)
    if not found:
        yield file, None, Rejected(file=str(file), reason="file is empty")


def is_json_lines(path: Path | str) -> bool:
    """Return whether a file holds a JSON object on its first line and more after it: JSON lines, whatever its name."""
    lines = (line for _, line in bounded_lines(path) if line is None or line.strip())
    first = next(lines, None) or b""
    try:
        return first.lstrip(b" \t\xef\xbb\xbf").startswith(b"{") and bool(parse_json(first)) and next(lines, b"") != b""
    except ValueError:
        return False


def json_files(files: Iterable[Path | Rejected]) -> Iterator[Found]:
    """Yield (file, None, object or its rejection) for files that hold one JSON object each."""
    for file in files:
        if isinstance(file, Rejected):
            yield Path(file.file), None, file
        else:
            data = None if file.stat().st_size > MAX_ROW else file.read_bytes()
            yield file, None, _json_row(data, "file", file=str(file))


def _json_row(data: bytes | None, what: str, **place: Any) -> dict | Rejected:
    if data is None:
        return Rejected(reason=f"{what} is too long", value=f"more than {MAX_ROW} bytes", **place)
    if not data:
        return Rejected(reason=f"{what} is empty", **place)
    try:
        row = parse_json(data)
    except ValueError as error:
        return Rejected(reason=f"{what} is not JSON", value=str(error), **place)
    return row if isinstance(row, dict) else Rejected(reason=f"{what} is not a JSON object", **place)


def csv_rows(path: Path | str, delimiter: str = ",", longest: int = 1 << 17) -> Iterator[Found]:
    """Yield (file, line number, row by column name) of a CSV file. Raises `InputError` without a header.

    Fields have at most `longest` characters: an open quotation mark swallows no more than that.
    """
    file, names, end, found = Path(path), None, 0, False
    table = csv.reader(_csv_lines(file, longest), delimiter=delimiter, strict=True)
    while (values := _next_record(table, file, end + 1, longest)) is not None:
        line, end = end + 1, table.line_num
        if names is None:
            names = _header(values, file)
        elif values:  # a blank line is an empty list
            found = True
            whole = values if isinstance(values, Rejected) else _csv_row(names, values, file=str(file), line=line)
            yield file, line, whole
    if not found:
        yield file, None, Rejected(file=str(file), reason="file has no rows" if names else "file is empty")


def _next_record(table: Iterator[list[str]], file: Path, line: int, longest: int) -> list[str] | Rejected | None:
    before = csv.field_size_limit(longest)  # the module has one limit for all of its readers
    try:
        return next(table, None)
    except csv.Error as error:
        return Rejected(file=str(file), line=line, reason="line is not CSV", value=str(error))
    finally:
        csv.field_size_limit(before)


def _csv_lines(path: Path, longest: int) -> Iterator[str]:
    for number, line in bounded_lines(path):
        # Replace a line that is too long by a field that is too long, which the csv module reports and skips.
        text = "x" * (longest + 1) if line is None else line.decode("utf-8", "surrogateescape")
        yield text.removeprefix("\ufeff") if number == 1 else text


def _header(values: list[str] | Rejected, path: Path) -> list[str]:
    if isinstance(values, Rejected) or not _plain(values) or not any(values) or len(set(values)) < len(values):
        raise InputError(f"{path}:1: the first line is not a list of different column names; add such a line")
    return [name.strip() for name in values]


def _csv_row(names: list[str], values: list[str], **place: Any) -> dict | Rejected:
    if len(values) != len(names):
        return Rejected(reason="row has another number of columns than the header", value=f"{len(values)}", **place)
    if not _plain(values):
        return Rejected(reason="line is not UTF-8", **place)
    return dict(zip(names, values))


def _plain(values: list[str]) -> bool:
    return not any("\udc80" <= character <= "\udcff" for value in values if not value.isascii() for character in value)


def json_items(path: Path | str, opened: str | None = None) -> Iterator[tuple[str | None, Any]]:
    """Yield (None, item) for the items of a JSON array, (name, item) for the members of a JSON object.

    A member that is an array is yielded item by item; of the member `opened`, an object, each value is yielded with
    that name. Raises `InputError` after the readable items if the file is not one such document from its first to its
    last character.
    """
    with open(path, encoding="utf-8-sig") as stream:
        window = _Window(stream)
        try:
            yield from _document(window, opened)
        except (ValueError, RecursionError) as error:
            why = f"after character {window.passed + window.position} ({error})"
            raise InputError(f"{path} is not JSON, or damaged, {why}; get the file again, or correct it") from None


def _document(window: "_Window", opened: str | None) -> Iterator[tuple[str | None, Any]]:
    opening = window.take("[{")
    if opening == "[":
        yield from ((None, item) for item in _items(window, "]"))
    else:
        for name in _items(window, "}"):
            window.take(":")
            if window.peek() == "[":
                window.take("[")
                yield from ((name, item) for item in _items(window, "]"))
            elif name == opened and window.peek() == "{":
                window.take("{")
                for _ in _items(window, "}"):
                    window.take(":")
                    yield name, window.value()
            else:
                yield name, window.value()
    if more := window.peek():
        lines = ": another document, as in JSON lines, which the formats of tables read" if more in "[{" else ""
        raise ValueError(f"something follows its end{lines}")


def _items(window: "_Window", closing: str) -> Iterator[Any]:
    """Yield the values before commas up to the closing bracket; in an object these are the names."""
    if window.peek() == closing:
        window.take(closing)
        return
    while True:
        yield window.value()
        if window.take("," + closing) == closing:
            return


class _Window:
    """The part of a text that is in memory: used text is dropped, more is fetched when needed."""

    def __init__(self, stream: Any):
        self.stream, self.text, self.position, self.passed, self.ended = stream, "", 0, 0, False

    def peek(self) -> str:
        """Return the next character that is not a space, "" at the end."""
        while True:
            while self.position < len(self.text) and self.text[self.position] in " \t\r\n":
                self.position += 1
            if self.position < len(self.text):
                return self.text[self.position]
            if self.ended:
                return ""
            self._fetch()

    def take(self, allowed: str) -> str:
        """Return the next character, which must be one of the allowed ones."""
        found = self.peek()
        if not found or found not in allowed:
            raise ValueError(f"expected {' or '.join(allowed)}, found {found or 'the end of the file'}")
        self.position += 1
        return found

    def value(self) -> Any:
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.position)
                # A number may continue after the fetched text: it is complete if another character follows.
                if self.ended or (end < len(self.text) and self.text[end] in AFTER):
                    start, self.position = self.position, end
                    return _sound(value, self.text[start:end])
            except json.JSONDecodeError as error:
                if self.ended:
                    raise ValueError(error.msg) from None
            if len(self.text) - self.position > MAX_ROW:
                raise ValueError(f"no value that ends within {MAX_ROW} characters")
            self._fetch()

    def _fetch(self) -> None:
        self.passed += self.position
        rest = self.text[self.position :]
        more = self.stream.read(max(CHUNK, len(rest)))  # doubles, so that a long item is parsed only a few times
        self.text, self.position, self.ended = rest + more, 0, not more

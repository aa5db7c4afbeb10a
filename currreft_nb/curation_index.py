"""The index of all questions while data is made: a SQLite file, so that memory does not grow with their number.

    rows       one a question that was read: what decides where it may go, and the sample itself as JSON
    pictures   one a picture file and annotated size: what its pixels show, where it is stored
    kin        pictures that look like another one, and the name that each such group goes by
    rejected   what is wrong with the rows and files that cannot be used
    samples    the questions that are written, at every stage

It lies in the folder that is being built and is deleted with it.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from currreft_nb.curation_checks import picture_of, words_of
from currreft_nb.curation_splits import shuffle_key
from currreft_nb.formats import Rejected
from currreft_nb.samples import Sample, to_row

SCHEMA = """
CREATE TABLE rows (number INTEGER PRIMARY KEY, source TEXT, task TEXT, stage TEXT, id TEXT, image TEXT, width INTEGER,
    height INTEGER, content TEXT, words BLOB, digest BLOB, split TEXT, reason TEXT, sample TEXT);
CREATE TABLE pictures (image TEXT, width INTEGER, height INTEGER, first INTEGER, content TEXT, likeness BLOB,
    stored TEXT, mended TEXT, PRIMARY KEY (image, width, height)) WITHOUT ROWID;
CREATE TABLE kin (content TEXT PRIMARY KEY, kin TEXT) WITHOUT ROWID;
CREATE TABLE rejected (number INTEGER, source TEXT, reason TEXT, entry TEXT);
CREATE TABLE samples (id TEXT PRIMARY KEY, split TEXT, task TEXT, stage TEXT, source TEXT, image TEXT, lot BLOB,
    sample TEXT) WITHOUT ROWID;
"""
PRAGMAS = ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "cache_size=-65536")  # KiB


class Index:
    """The tables above, and what is asked of them in more than one place; `run` is for all else."""

    def __init__(self, path: Path, seed: int):
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._number = 0
        for pragma in PRAGMAS:  # nothing of it outlives the run, so it need not survive a crash
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.create_function("lot", 1, lambda name: shuffle_key(seed, name), deterministic=True)
        self._connection.executescript(SCHEMA)
        self._connection.execute("BEGIN")

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def run(self, query: str, *values: object) -> sqlite3.Cursor:
        """Run one statement."""
        return self._connection.execute(query, values)

    def run_each(self, statement: str, rows: Iterable[tuple]) -> None:
        """Run one statement with each of the rows."""
        self._connection.executemany(statement, rows)

    def let_sources_tell(self, name: str, texts: dict[str, str]) -> None:
        """Make `name(source)` known to statements: the text that belongs to a source."""
        self._connection.create_function(name, 1, texts.__getitem__, deterministic=True)

    def add(
        self, sample: Sample, source: str, digest: bytes, content: str | None = None, split: str | None = None
    ) -> None:
        """Add a question whose text was checked; its picture's content may follow."""
        self._number += 1
        image, size = picture_of(sample)
        words = words_of(sample.question)
        content = content or (None if image else f"text:{words.hex()}")
        row = (self._number, source, sample.task, sample.stage, sample.id, image, *size, content, words, digest, split)
        self.run(f"INSERT INTO rows VALUES ({'?,' * len(row)} NULL, ?)", *row, json.dumps(to_row(sample)))

    def reject(self, found: Rejected, source: str, number: int | None = None) -> None:
        """Note what was rejected: the row of that number, or something that never became one."""
        if number is None:
            self._number += 1
        else:
            self.run("UPDATE rows SET reason = 'rejected' WHERE number = ?", number)
        entry = json.dumps({"source": source, **asdict(found)}, ensure_ascii=False)
        self.run("INSERT INTO rejected VALUES (?, ?, ?, ?)", number or self._number, source, found.reason, entry)

    def put(self, sample: Sample, source: str) -> None:
        """Add a question that will be written, its image being named as in a samples file."""
        line = json.dumps(to_row(sample), ensure_ascii=False, allow_nan=False)
        row = (sample.id, sample.split, sample.task, sample.stage, source, sample.image, sample.id, line)
        self.run("INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?, lot(?), ?)", *row)

    def samples(self, condition: str, *values: object) -> Iterator[Sample]:
        """Yield the questions that will be written and meet the condition, which may end in an order."""
        for (text,) in self.run(f"SELECT sample FROM samples WHERE {condition}", *values):
            yield to_sample(text)


def to_sample(text: str) -> Sample:
    """Return the sample that was put into a table as JSON."""
    row = json.loads(text)
    return Sample(**row | {"size": tuple(row["size"]) if row["size"] else None})

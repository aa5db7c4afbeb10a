"""The index of all questions while data are made: a SQLite file, so that memory does not grow with their number.

    rows          one per question read: what decides where it may go, and the sample itself as JSON
    pictures      one per picture file and annotated size: fingerprints, and the name of the stored picture
    look_alikes   pictures that look like another one, and the name of their group
    rejected      rows and files that cannot be used, with the reason
    samples       the questions that are written, at every stage

It is in the folder that is being built and is deleted with it.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from currreft_nb.core.samples import Sample, size_of, to_row
from currreft_nb.data.checks import asked_of, words_of
from currreft_nb.data.reading.common import Rejected
from currreft_nb.data.splits import shuffle_key

SCHEMA = """
CREATE TABLE rows (number INTEGER PRIMARY KEY, source TEXT, task TEXT, stage TEXT, id TEXT, image TEXT, width INTEGER,
    height INTEGER, content TEXT, words BLOB, asked TEXT, digest TEXT, split TEXT, reason TEXT, sample TEXT);
CREATE TABLE pictures (image TEXT, width INTEGER, height INTEGER, first INTEGER, content TEXT, likeness BLOB,
    stored TEXT, mended TEXT, PRIMARY KEY (image, width, height)) WITHOUT ROWID;
CREATE TABLE look_alikes (content TEXT PRIMARY KEY, look_alike_group TEXT) WITHOUT ROWID;
CREATE TABLE rejected (number INTEGER, source TEXT, reason TEXT, entry TEXT);
CREATE TABLE samples (id TEXT PRIMARY KEY, split TEXT, task TEXT, stage TEXT, source TEXT, image TEXT,
    shuffled BLOB, sample TEXT) WITHOUT ROWID;
"""
PRAGMAS = ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "cache_size=-65536")  # KiB


class Index:
    """The tables above, with the statements that several functions need; `run` runs any other."""

    def __init__(self, path: Path, seed: int):
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._number = 0
        self.mended: Counter[str] = Counter()  # what was corrected in the texts of rows
        for pragma in PRAGMAS:  # the index need not survive a crash, because it does not outlive the run
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.create_function("shuffled", 1, lambda name: shuffle_key(seed, name), deterministic=True)
        self._connection.executescript(SCHEMA)
        self._connection.execute("BEGIN")

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def run(self, query: str, *values: object) -> sqlite3.Cursor:
        return self._connection.execute(query, values)

    def counts(self, query: str) -> Counter:
        """Return the last column of a query by the tuple of the other columns."""
        return Counter({tuple(path): number for *path, number in self.run(query)})

    def add_function(self, name: str, texts: dict[str, str]) -> None:
        """Let statements call `name(source)`, which returns the text of a source."""
        self._connection.create_function(name, 1, texts.__getitem__, deterministic=True)

    def add(self, sample: Sample, source: str, digest: str, content: str = "", split: str | None = None) -> None:
        """Add a question whose text was checked; the content of its picture may follow later."""
        self._number += 1
        image, size = sample.image, (None, None) if sample.image is None else size_of(sample)
        words = words_of(sample.question)
        known = content or (None if image else f"text:{words.hex()}")
        asked = asked_of(sample, words)
        row = (
            self._number,
            source,
            sample.task,
            sample.stage,
            sample.id,
            image,
            *size,
            known,
            words,
            asked,
            digest,
            split,
        )
        self.run(f"INSERT INTO rows VALUES ({'?,' * len(row)} NULL, ?)", *row, json.dumps(to_row(sample)))

    def reject(self, found: Rejected, source: str, number: int | None = None) -> None:
        """Record a rejection: of the row with that number, or of something that never became a row."""
        if number is None:
            self._number += 1
        else:
            self.run("UPDATE rows SET reason = 'rejected' WHERE number = ?", number)
        entry = json.dumps({"source": source, **asdict(found)}, ensure_ascii=False)
        self.run("INSERT INTO rejected VALUES (?, ?, ?, ?)", number or self._number, source, found.reason, entry)

    def put(self, sample: Sample, source: str) -> None:
        """Add a question to the samples that will be written; its image is named as in a samples file."""
        line = json.dumps(to_row(sample), ensure_ascii=False, allow_nan=False)
        row = (sample.id, sample.split, sample.task, sample.stage, source, sample.image, sample.id, line)
        self.run("INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?, shuffled(?), ?)", *row)

    def samples(self, condition: str, *values: object) -> Iterator[Sample]:
        """Yield the samples that will be written and meet an SQL condition, which may end in ORDER BY."""
        for (text,) in self.run(f"SELECT sample FROM samples WHERE {condition}", *values):
            yield to_sample(text)


def to_sample(text: str) -> Sample:
    """Return the sample that a table holds as JSON."""
    row = json.loads(text)
    return Sample(**row | {"size": tuple(row["size"]) if row["size"] else None})

"""Fill the index: read sources, inspect pictures, reject duplicates, group pictures that look alike, draw scenes."""

import json
from collections import Counter
from collections.abc import Collection, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from textwrap import shorten

import numpy as np

from currreft_nb import InputError
from currreft_nb.core.boxes import Size
from currreft_nb.core.samples import TRAINED_TASKS, Sample, size_of
from currreft_nb.data.checks import (
    CHAT_TOKEN_FOUND,
    answers_differ,
    chat_token,
    digest_of,
    place,
    rejection,
    row_problem,
    tidied,
    words_of,
)
from currreft_nb.data.images import shrunk_size
from currreft_nb.data.index import Index, to_sample
from currreft_nb.data.pictures import Job, PictureFacts, count_workers, group_alike, in_order, inspect, with_progress
from currreft_nb.data.reading.common import Rejected
from currreft_nb.data.scenes import compose
from currreft_nb.data.sources import Source, open_source
from currreft_nb.data.splits import Cell, Quotas, Row, allocate, shuffle_key

ROUNDS = 4  # how often drawn duplicates are replaced by new questions
CONTRADICTION = "the same question about the same picture has another answer"
STORE_AT_ONCE = 2  # pictures are stored when they are read, unless there are more than twice as many as questions asked


@dataclass(frozen=True, kw_only=True)
class GatherRules:
    """What applies to all sources: stop at bad rows or skip them, pixel budget, processes, seed, image folder."""

    on_bad: str
    max_pixels: int
    workers: int
    seed: int
    images: Path


def add_source(index: Index, source: Source, tasks: Collection[str], rules: GatherRules) -> None:
    """Add the rows of a source whose text passes every check; reject the others, or stop the run."""
    items = open_source(source, tasks, rules.images.parent / "drawn" / "inside")
    for item in with_progress(items, f"rows of {source.text}"):
        found = item if isinstance(item, Rejected) else _checked(index, item, source.text, rules.max_pixels)
        if isinstance(found, Rejected):
            _reject(index, found, source, rules)
        else:
            index.add(found, source.text, digest_of(found))


def _checked(index: Index, sample: Sample, source: str, max_pixels: int) -> Sample | Rejected:
    """Return the sample, its texts tidied, or why it cannot be used."""
    try:
        tidy, mended = tidied(sample)
    except InputError as error:
        return rejection(sample, source, "answer has no visible character", f": {error}")
    if problem := row_problem(tidy, max_pixels):
        return rejection(tidy, source, problem, f": {chat_token(tidy)}" if problem == CHAT_TOKEN_FOUND else "")
    index.mended.update(mended)
    return tidy


def _reject(index: Index, found: Rejected, source: Source, rules: GatherRules, number: int | None = None) -> None:
    if found.fault and rules.on_bad == "stop":
        remedy = "correct it, or set on_bad to 'skip' to leave out such rows and list them in rejected.jsonl"
        raise InputError(f"source {source.text!r}: {found}; {remedy}")
    file, path = Path(found.file), source.path or Path()
    folder = path if path.is_dir() else path.parent  # the list must not depend on where the data are
    name = file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.name
    index.reject(replace(found, file=name), source.text, number)


def inspect_pictures(index: Index, sources: Mapping[str, Source], asked: int, rules: GatherRules) -> None:
    """Read every picture that a row is about, and reject the rows about unusable ones."""
    query = "SELECT image, width, height, MIN(number) FROM rows WHERE image IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 4"
    keys = index.run(query).fetchall()
    folder = rules.images if len(keys) <= STORE_AT_ONCE * asked else None
    if keys:
        index.run("CREATE INDEX by_image ON rows (image, width, height)")
    about = "SELECT number, id, source FROM rows WHERE image = ? AND width = ? AND height = ? ORDER BY number"
    with closing(_facts(keys, folder, rules)) as found:
        for key, facts in zip(keys, found):
            for number, id, source in index.run(about, *key[:3]).fetchall() if facts.reason else ():
                rejected = Rejected(file=key[0], reason=facts.reason, value=facts.value or id)
                _reject(index, rejected, sources[source], rules, number)
            if not facts.reason:
                values = (*key, facts.content, facts.likeness, facts.stored, json.dumps(facts.mended))
                index.run("INSERT INTO pictures VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *values)
    index.run(
        "UPDATE rows SET content = (SELECT content FROM pictures WHERE pictures.image = rows.image"
        " AND pictures.width = rows.width AND pictures.height = rows.height) WHERE image IS NOT NULL"
    )


def _facts(keys: list[tuple], folder: Path | None, rules: GatherRules) -> Generator[PictureFacts, None, None]:
    """Yield the facts about the picture of each key, which begins with path, width and height."""
    jobs = (_job(path, (width, height), folder, rules) for path, width, height, *_ in keys)
    return with_progress(in_order(jobs, count_workers(rules.workers, len(keys))), "pictures", len(keys))


def _job(path: str, size: Size, folder: Path | None, rules: GatherRules) -> Job:
    return Job(path=path, size=size, stored_size=shrunk_size(size, rules.max_pixels), folder=folder)


def store_missing(index: Index, rules: GatherRules) -> None:
    """Store the pictures of chosen rows that were not stored when they were inspected."""
    query = """SELECT DISTINCT image, width, height, pictures.content
        FROM rows JOIN pictures USING (image, width, height)
        WHERE split IS NOT NULL AND stored IS NULL ORDER BY first"""
    keys = index.run(query).fetchall()
    update = "UPDATE pictures SET stored = ? WHERE image = ? AND width = ? AND height = ?"
    with closing(_facts(keys, rules.images, rules)) as found:
        for (*key, content), facts in zip(keys, found):
            if facts.reason or facts.content != content:
                why = facts.value or facts.reason or "its content changed since"
                raise InputError(f"{key[0]} passed its checks but cannot be stored ({why}); correct that and run again")
            index.run(update, facts.stored, *key)


def reject_contradictions(index: Index, sources: Mapping[str, Source], rules: GatherRules) -> None:
    """Reject all questions that ask the same about the same pixels and have different answers: which is right is open.

    Answers differ if the reward for one would not be paid for the other. In two sources for different splits they may
    be a leak, as repetitions are.
    """
    index.add_function("splits_of", {text: " ".join(source.splits) for text, source in sources.items()})
    query = """SELECT asked, content, splits_of(source) FROM rows WHERE reason IS NULL AND content IS NOT NULL
        GROUP BY 1, 2, 3 HAVING MIN(digest) < MAX(digest) ORDER BY MIN(number)"""
    if not (keys := index.run(query).fetchall()):
        return
    index.run("CREATE INDEX by_asked ON rows (asked, content)")
    query = """SELECT number, source, sample FROM rows
        WHERE asked = ? AND content = ? AND splits_of(source) = ? AND reason IS NULL ORDER BY number"""
    for key in keys:
        rows = [(number, source, to_sample(text)) for number, source, text in index.run(query, *key)]
        rows = [row for row in rows if row[2].answer is not None]
        apart = [sample for *_, sample in rows if answers_differ(rows[0][2], sample)]
        for number, source, sample in rows if apart else ():
            other = apart[0] if sample is rows[0][2] or not answers_differ(rows[0][2], sample) else rows[0][2]
            found = rejection(sample, source, CONTRADICTION, f": {_answer(sample)}; {place(other)} {_answer(other)}")
            _reject(index, found, sources[source], rules, number)


def _answer(sample: Sample) -> str:
    return shorten(str(sample.answer), 80, placeholder="…")


def reject_duplicates(index: Index, sources: Mapping[str, Source], rules: GatherRules) -> None:
    """Reject each question that repeats an earlier one about the same pixels, under any file name.

    The same question in two sources for different splits is no duplicate; it may be a leak (`data.leaks`).
    """
    query = """SELECT number, source, first FROM (SELECT number, source, FIRST_VALUE(id) OVER same AS first,
        ROW_NUMBER() OVER same AS place FROM rows WHERE reason IS NULL
        WINDOW same AS (PARTITION BY digest, content, splits_of(source) ORDER BY number))
        WHERE place > 1 ORDER BY number"""
    for number, source, first in index.run(query):
        sample = to_sample(index.run("SELECT sample FROM rows WHERE number = ?", number).fetchone()[0])
        found = rejection(sample, source, "duplicate question", f", first as {first}")
        _reject(index, found, sources[source], rules, number)


def group_pictures(index: Index) -> None:
    """Group pictures that look alike; a group is named by the first of their fingerprints in sorted order."""
    query = "SELECT content, MIN(likeness) FROM pictures WHERE likeness IS NOT NULL GROUP BY content ORDER BY content"
    found = index.run(query).fetchall()
    if not found:
        return
    contents = [content for content, _ in found]
    groups = group_alike(np.frombuffer(b"".join(likeness for _, likeness in found), np.float32).reshape(len(found), -1))
    sizes, first = np.bincount(groups), dict[int, str]()
    for content, group in zip(contents, groups):
        if sizes[group] > 1:
            index.run("INSERT INTO look_alikes VALUES (?, ?)", content, first.setdefault(group, content))


def draw_lacking(index: Index, source: Source, quotas: Quotas, rules: GatherRules) -> Counter:
    """Draw what the splits of a drawn source lack, and more in place of duplicates; return the left out by reason.

    Drawn pictures are compared by pixels only: they differ on purpose in what a likeness does not contain.
    """
    known, owners, left = set[tuple](), dict[str, str](), Counter[str]()
    for (split, task), number in quotas.wanted.items():
        if split not in source.splits or (split == "pool" and task in TRAINED_TASKS):
            continue  # scenes give the pool general questions only: training asks the others
        look, drawn, count = "ood" if split == "test_ood" else "id", 0, 0
        for _ in range(ROUNDS):
            lacking = number - quotas.taken[split, task, "open"]
            if lacking <= 0:
                break
            count += lacking
            folder = rules.images.parent / "drawn"
            made = compose.draw_samples(folder, task, count, look, rules.seed, split, **source.options)
            left += _add_drawn(index, made[drawn:], source.text, (split, task), quotas, (known, owners), rules)
            drawn = count
    return left


def _add_drawn(
    index: Index,
    made: list[Sample],
    source: str,
    cell: Cell,
    quotas: Quotas,
    seen: tuple[set, dict],
    rules: GatherRules,
) -> Counter:
    """Add the drawn samples of one split that are new and wanted; return how many were left out, by reason."""
    (split, task), (known, owners), left, rows = cell, seen, Counter[str](), []
    for sample in made:
        content, stored = _content_of_drawn(sample, rules)
        if (digest := digest_of(sample), content) in known:
            left["drawn again"] += 1
            continue
        known.add((digest, content))
        rows.append((sample, digest, content, stored))
    rows.sort(key=lambda row: shuffle_key(rules.seed, row[2]))
    make = partial(Row, task=task, stage="open", splits=(split,), source=source)
    asked = [make(number=n, group=content, owner=owners.get(content)) for n, (_, _, content, _) in enumerate(rows)]
    for row, _, reason in allocate(asked, quotas):
        if reason:
            left[reason] += 1
            continue
        sample, digest, content, stored = rows[row.number]
        owners[content] = split
        index.add(sample, source, digest, content, split)
        if sample.image is not None:
            values = (sample.image, *size_of(sample), content, stored)
            index.run("INSERT INTO pictures VALUES (?, ?, ?, 0, ?, NULL, ?, '[]')", *values)
    return left


def _content_of_drawn(sample: Sample, rules: GatherRules) -> tuple[str, str | None]:
    """Return the fingerprint of the picture or the words, and the name of the stored picture."""
    if sample.image is None:
        return f"text:{words_of(sample.question).hex()}", None
    facts = inspect(_job(sample.image, size_of(sample), rules.images, rules))
    return facts.content, facts.stored

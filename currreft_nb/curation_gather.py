"""Fill the index: read the sources, look at the pictures, find repetitions and look-alikes, draw scenes."""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from currreft_nb import InputError, scenes
from currreft_nb.curation_checks import digest_of, rejection, row_problem, words_of
from currreft_nb.curation_images import Job, Seen, count_workers, in_order, look, with_progress
from currreft_nb.curation_index import Index, to_sample
from currreft_nb.curation_likeness import group_alike
from currreft_nb.curation_sources import DRAWN, Source, open_source
from currreft_nb.curation_splits import Room, Row, allocate, shuffle_key
from currreft_nb.formats import Rejected
from currreft_nb.formats.images import shrunk_size
from currreft_nb.samples import TRAINED_TASKS, Sample, size_of

ROUNDS = 4  # how often drawn questions that turned out to be repetitions are replaced by new ones
STORE_AT_ONCE = 2  # pictures are stored as they are read, unless there are more than twice as many as questions asked


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What holds for all sources: stop or skip bad rows, the pixel budget, how many processes, seed, image folder."""

    on_bad: str
    max_pixels: int
    workers: int
    seed: int
    images: Path


def read_source(index: Index, source: Source, tasks: Collection[str], rules: Rules) -> None:
    """Add the rows of a source whose text passes every check; the others are rejected, or stop the run."""
    for item in with_progress(
        open_source(source, tasks, rules.images.parent / "drawn" / "inside"), f"rows of {source.text}"
    ):
        if isinstance(item, Rejected):
            _reject(index, item, source, rules)
        elif problem := row_problem(item, rules.max_pixels):
            _reject(index, rejection(item, source.text, problem), source, rules)
        else:
            index.add(item, source.text, digest_of(item))


def _reject(index: Index, found: Rejected, source: Source, rules: Rules, number: int | None = None) -> None:
    if found.fault and rules.on_bad == "stop":
        remedy = "correct it, or set on_bad to 'skip' to leave such rows out and have them listed in rejected.jsonl"
        raise InputError(f"source {source.text!r}: {found}; {remedy}")
    index.reject(replace(found, file=_below(found.file, source.path)), source.text, number)


def _below(file: str, path: Path | None) -> str:
    """Return the file's path below the source's, so that the list does not depend on where the data lies."""
    if path is None:  # a drawn picture, which lies below no source
        return Path(file).name
    folder = path if path.is_dir() else path.parent
    return Path(file).relative_to(folder).as_posix() if Path(file).is_relative_to(folder) else Path(file).name


def look_at_pictures(index: Index, sources: Mapping[str, Source], asked: int, rules: Rules) -> None:
    """Read every picture that a row is about, and reject the rows about those that cannot be used."""
    query = "SELECT image, width, height, MIN(number) FROM rows WHERE image IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 4"
    keys = index.run(query).fetchall()
    folder = str(rules.images) if len(keys) <= STORE_AT_ONCE * asked else None
    if keys:
        index.run("CREATE INDEX by_image ON rows (image, width, height)")
    for key, seen in zip(keys, _look_at([key[:3] for key in keys], folder, rules)):
        if seen.reason:
            _reject_rows_about(index, key[:3], seen, sources, rules)
        else:
            mended = json.dumps(seen.mended)
            values = (*key, seen.content, seen.likeness, seen.stored, mended)
            index.run("INSERT INTO pictures VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *values)
    index.run(
        "UPDATE rows SET content = (SELECT content FROM pictures WHERE pictures.image = rows.image"
        " AND pictures.width = rows.width AND pictures.height = rows.height) WHERE image IS NOT NULL"
    )


def _look_at(keys: list[tuple], folder: str | None, rules: Rules) -> Iterator[Seen]:
    """Yield what is found at each (path, width, height)."""
    jobs = (_job(path, (width, height), folder, rules) for path, width, height in keys)
    found = in_order(jobs, count_workers(rules.workers, len(keys)))
    return with_progress(found, "pictures", len(keys))


def _job(path: str, size: tuple[int, int], folder: str | None, rules: Rules) -> Job:
    return Job(path=path, size=size, stored_size=shrunk_size(size, rules.max_pixels), folder=folder)


def _reject_rows_about(index: Index, key: tuple, seen: Seen, sources: Mapping[str, Source], rules: Rules) -> None:
    query = "SELECT number, id, source FROM rows WHERE image = ? AND width = ? AND height = ? ORDER BY number"
    for number, id, source in index.run(query, *key).fetchall():
        found = Rejected(file=key[0], reason=seen.reason, value=seen.value or id)
        _reject(index, found, sources[source], rules, number)


def store_missing(index: Index, rules: Rules) -> None:
    """Store the pictures of chosen rows that were not stored when they were looked at."""
    query = """SELECT DISTINCT image, width, height, pictures.content
        FROM rows JOIN pictures USING (image, width, height)
        WHERE split IS NOT NULL AND stored IS NULL ORDER BY first"""
    keys = index.run(query).fetchall()
    for key, seen in zip(keys, _look_at([key[:3] for key in keys], str(rules.images), rules)):
        if seen.reason or seen.content != key[3]:
            why = seen.value or seen.reason or "its content changed meanwhile"
            raise InputError(f"{key[0]} was checked but cannot be stored ({why}); mend that and run again")
        index.run("UPDATE pictures SET stored = ? WHERE image = ? AND width = ? AND height = ?", seen.stored, *key[:3])


def reject_repetitions(index: Index, sources: Mapping[str, Source], rules: Rules) -> None:
    """Reject each question that stands there a second time, about the same pixels, under whatever names.

    Where two sources for different splits bring it, that is no repetition but a leak, or none (`curation_leaks`).
    """
    index.let_sources_tell("goes_to", {text: " ".join(source.splits) for text, source in sources.items()})
    query = """SELECT number, source, first FROM (SELECT number, source, FIRST_VALUE(id) OVER same AS first,
        ROW_NUMBER() OVER same AS place FROM rows WHERE reason IS NULL
        WINDOW same AS (PARTITION BY digest, content, goes_to(source) ORDER BY number))
        WHERE place > 1 ORDER BY number"""
    for number, source, first in index.run(query):
        sample = to_sample(index.run("SELECT sample FROM rows WHERE number = ?", number).fetchone()[0])
        found = rejection(sample, source, "question stands there twice", f", first as {first}")
        _reject(index, found, sources[source], rules, number)


def group_pictures(index: Index) -> None:
    """Give pictures that look alike one name, that of the first of them in the order of their fingerprints."""
    query = "SELECT content, MIN(likeness) FROM pictures WHERE likeness IS NOT NULL GROUP BY content ORDER BY content"
    found = index.run(query).fetchall()
    if not found:
        return
    contents = [content for content, _ in found]
    groups = group_alike(np.frombuffer(b"".join(likeness for _, likeness in found), np.float32).reshape(len(found), -1))
    sizes, first = np.bincount(groups), dict[int, str]()
    rows = [(content, first.setdefault(group, content)) for content, group in zip(contents, groups) if sizes[group] > 1]
    index.run_each("INSERT INTO kin VALUES (?, ?)", rows)


def draw(index: Index, splits: Collection[str], room: Room, rules: Rules) -> Counter:
    """Draw what is still lacking in these splits, and more where a question turns out to be a repetition.

    Returns what was left out by reason. Drawn pictures are compared by their pixels only: by design they differ in
    what a likeness does not see.
    """
    known, owners, left = set[tuple](), dict[str, str](), Counter[str]()
    for (split, task), number in room.wanted.items():
        if split not in splits or (split == "pool" and task in TRAINED_TASKS):
            continue  # scenes give the pool general questions only: the others are what training asks
        look_of_split, drawn, count = "ood" if split == "test_ood" else "id", 0, 0
        for _ in range(ROUNDS):
            lacking = number - room.taken[split, task, "open"]
            if lacking <= 0:
                break
            count += lacking
            made = scenes.samples(rules.images.parent / "drawn", task, count, look_of_split, rules.seed, split)
            left += _take_drawn(index, made[drawn:], room, (known, owners), rules)
            drawn = count
    return left


def _take_drawn(index: Index, made: list[Sample], room: Room, seen: tuple[set, dict], rules: Rules) -> Counter:
    """Add those of the drawn samples of one split that are new and wanted; return what was left out by reason."""
    (known, owners), left, rows = seen, Counter[str](), []
    for sample in made:
        content, found = _content_of_drawn(sample, rules)
        if (digest := digest_of(sample), content) in known:
            left["drawn again"] += 1
            continue
        known.add((digest, content))
        rows.append((sample, digest, content, found))
    rows.sort(key=lambda row: shuffle_key(rules.seed, row[2]))
    places = [
        Row(
            number=number,
            task=sample.task,
            stage="open",
            group=content,
            splits=(sample.split,),
            source=DRAWN,
            owner=owners.get(content),
        )
        for number, (sample, _, content, _) in enumerate(rows)
    ]
    for row, split, reason in allocate(places, room):
        if reason:
            left[reason] += 1
            continue
        sample, digest, content, found = rows[row.number]
        owners[content] = split
        index.add(sample, DRAWN, digest, content, split)
        if found is not None:
            values = (sample.image, *size_of(sample), content, found.stored)
            index.run("INSERT INTO pictures VALUES (?, ?, ?, 0, ?, NULL, ?, '[]')", *values)
    return left


def _content_of_drawn(sample: Sample, rules: Rules) -> tuple[str, Seen | None]:
    if sample.image is None:
        return f"text:{words_of(sample.question).hex()}", None
    found = look(_job(sample.image, size_of(sample), str(rules.images), rules))
    return found.content, found

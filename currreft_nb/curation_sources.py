"""Get questions from where the user says: read data in one of the known formats, or draw scenes."""

import difflib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from currreft_nb import InputError, scenes
from currreft_nb.curation_checks import Checker
from currreft_nb.curation_splits import Cell, Row, allocate
from currreft_nb.formats import Rejected, coco, curr_reft, math_vision, super_clevr, voc

READERS = {
    "coco": coco.read,
    "curr_reft": curr_reft.read,
    "math_vision": math_vision.read,
    "super_clevr": super_clevr.read,
    "voc": voc.read,
}
DRAWN = "scenes"
ROUNDS = 4  # how often drawn questions that turned out to be repetitions are replaced by new ones


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where questions come from: the user's text, its format, its path (None: drawn), and the splits it serves."""

    text: str
    format: str
    path: Path | None
    splits: tuple[str, ...]


def parse_sources(groups: dict[str, Sequence[str]], root: Path) -> list[Source]:
    """Return each source once, with the splits that it may give questions to."""
    splits: dict[str, list[str]] = {}
    for split, texts in groups.items():
        for text in texts:
            splits.setdefault(text, []).append(split)
    return [_parse_source(text, tuple(dict.fromkeys(where)), root) for text, where in splits.items()]


def _parse_source(text: str, splits: tuple[str, ...], root: Path) -> Source:
    format, _, path = text.partition(":")
    known = [DRAWN, *READERS]
    if format not in known:
        near = difflib.get_close_matches(format, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the formats are {', '.join(known)}"
        raise InputError(f"source {text!r}: there is no format {format!r}; {hint}")
    if (format == DRAWN) == bool(path):
        remedy = "write 'scenes' alone" if path else f"write '{format}:path/of/the/data'"
        raise InputError(f"source {text!r}: {'drawn scenes have no path' if path else 'it names no path'}; {remedy}")
    if format != DRAWN and "test_ood" in splits and "train" in splits:
        raise InputError(
            f"source {text!r} is in train_sources and ood_sources; take another source for out-of-domain data"
        )
    return Source(text=text, format=format, path=root / Path(path).expanduser() if path else None, splits=splits)


def collect(
    sources: list[Source], wanted: dict[Cell, int], on_bad: str, seed: int, building: Path
) -> tuple[list[tuple[Row, str]], list[dict], Counter]:
    """Return the questions chosen with their splits, all that was rejected, and what else was left out by reason."""
    tasks = {task for _, task in wanted}
    checker, rejected, rows = Checker(), [], []
    for source in sources:
        if source.format != DRAWN:
            rows += _read(source, tasks, checker, on_bad, rejected)
    taken, owners = Counter(), {}
    chosen, left = allocate(rows, wanted, taken, owners, seed)
    for source in sources:
        if source.format == DRAWN:
            drawn, repeated = _draw(source, wanted, taken, owners, checker, seed, building)
            chosen, left = chosen + drawn, left + repeated
    left.update(row["reason"] for row in rejected)
    return chosen, rejected, left


def _read(source: Source, tasks: Collection[str], checker: Checker, on_bad: str, rejected: list[dict]) -> list[Row]:
    """Return the rows of a source that pass every check; the others are added to `rejected`."""
    rows = []
    for item in READERS[source.format](source.path, tasks):
        found = item if isinstance(item, Rejected) else checker.check(item, source.text)
        if isinstance(found, str):
            rows.append(Row(sample=item, content=found, splits=source.splits, source=source.text))
            continue
        if found.fault and on_bad == "stop":
            remedy = "correct it, or set on_bad to 'skip' to leave such rows out and have them listed in rejected.jsonl"
            raise InputError(f"source {source.text!r}: {found}; {remedy}")
        rejected.append({"source": source.text, **asdict(replace(found, file=_below(found.file, source.path)))})
    if not rows:
        reasons = Counter(row["reason"] for row in rejected if row["source"] == source.text).most_common(1)
        why = f"most often: {reasons[0][0]}, {reasons[0][1]} times" if reasons else "its format has none"
        raise InputError(
            f"source {source.text!r} gave no question of {', '.join(sorted(tasks))} ({why}); correct or remove it"
        )
    return rows


def _below(file: str, path: Path) -> str:
    """Return the file's path below the source's, so that the list does not depend on where the data lies."""
    folder = path if path.is_dir() else path.parent
    return Path(file).relative_to(folder).as_posix() if Path(file).is_relative_to(folder) else Path(file).name


def _draw(
    source: Source, wanted: dict[Cell, int], taken: Counter, owners: dict, checker: Checker, seed: int, building: Path
) -> tuple[list[tuple[Row, str]], Counter]:
    """Draw what is still lacking in the source's splits, and more where a question turns out to be a repetition."""
    chosen, left = [], Counter()
    for (split, task), number in wanted.items():
        if split not in source.splits or (split == "pool" and task != "general"):
            continue  # scenes give the pool general questions only: the others are what training asks
        look, drawn, count = "ood" if split == "test_ood" else "id", 0, 0
        for _ in range(ROUNDS):
            lacking = number - taken[split, task, "open"]
            if lacking <= 0:
                break
            count += lacking
            samples = scenes.samples(building / "drawn", task, count, look, seed, split)
            rows = []
            for sample in samples[drawn:]:
                content = checker.check(sample, source.text)
                if isinstance(content, str):
                    rows.append(Row(sample=sample, content=content, splits=(split,), source=source.text))
                else:
                    left["drawn again"] += 1
            drawn = count
            more, elsewhere = allocate(rows, wanted, taken, owners, seed)
            chosen, left = chosen + more, left + elsewhere
    return chosen, left

"""Make curriculum data: read, check, split by image, resize, pose at every stage, and write with a manifest.

Splits are made of whole images, so that no image is in two splits at any stage; images that look alike count as one.
The same input and seed give the same bytes, with any number of processes. Questions pass through an index on disk
(`data.index`), so that a million need no more memory than a thousand. `data.folder` describes the data folder
and opens it; `data.sources` sets how much comes from which source.
"""

import errno
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import count, islice, product
from pathlib import Path

from currreft_nb import InputError
from currreft_nb.core.samples import SPLITS, STAGES, TASKS, TRAINED_TASKS, check_tasks, size_of
from currreft_nb.core.settings import declared
from currreft_nb.data import gather
from currreft_nb.data.checks import resized
from currreft_nb.data.folder import BUILDING, make_building, move_folder, refuse_leaks, write_folder
from currreft_nb.data.images import shrunk_size
from currreft_nb.data.index import Index, to_sample
from currreft_nb.data.leaks import assign_splits
from currreft_nb.data.settings import CurationSettings
from currreft_nb.data.sources import (
    DRAWN,
    Mixture,
    Source,
    cap,
    is_drawn,
    parse_sources,
    quotas_of,
    read_mixture,
    shares_of,
)
from currreft_nb.data.splits import Cell, Quotas
from currreft_nb.method.curriculum import pose_all, vocabulary_of

GENERAL_SPLITS = ("test_id", "test_ood")  # general questions are not trained by reinforcement learning
POSED_AT_A_TIME = 1000
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def curate(
    folder: Path | str,
    *,
    train_sources: Sequence[str] = (DRAWN,),
    ood_sources: Sequence[str] = (DRAWN,),
    pool_sources: Sequence[str] = (DRAWN,),
    tasks: Sequence[str] = TRAINED_TASKS,
    train_questions: int = 480,
    val_questions: int = 60,
    test_questions: int = 100,
    pool_questions: int = 120,
    max_pixels: int = 401_408,
    on_bad: str = "stop",
    on_leak: str = "stop",
    workers: int = 0,
    seed: int = 0,
    root: Path | str = ".",
) -> dict:
    """Make the data folder; return its numbers of questions, images and leaks, and what was left out, by reason.

    Sources are "format:path" (`data.sources.READERS`; paths relative to `root`), optionally with a portion
    (`data.sources`), or "scenes", which are drawn to fill up what the other sources leave open. `train_sources` are
    divided into train, val and test_id; `ood_sources` become test_ood; `pool_sources` become the pool, which has open
    questions only: the general ones of its sources and, from sources that are not drawn, those of `tasks`. Numbers of
    questions are for each task and stage. `max_pixels` bounds width times height; 0: no limit. `on_bad`: "stop" at the
    first bad row, or "skip" bad rows and list them in rejected.jsonl. `on_leak`, for a picture that two sources bring
    for learning and for testing: "stop", "skip" (it stays in one split) or "allow". `workers`: processes that read
    images; 0: one per core. Raises `InputError` for bad rows, leaks, an empty split, unusable sources and a full disk.
    """
    declared(CurationSettings)["on_bad"].checked(on_bad)
    declared(CurationSettings)["on_leak"].checked(on_leak)
    numbers = {"train": train_questions, "val": val_questions, "test_id": test_questions}
    numbers |= {"test_ood": test_questions, "pool": pool_questions}
    groups = {split: list(train_sources) for split in ("train", "val", "test_id")}
    groups |= {"test_ood": list(ood_sources), "pool": list(pool_sources)}
    settings = {"tasks": list(tasks), "questions": numbers, "max_pixels": max_pixels}
    settings |= {"on_bad": on_bad, "on_leak": on_leak, "seed": seed}
    folder = Path(os.path.abspath(folder))
    images = folder / BUILDING / "images"
    rules = gather.GatherRules(on_bad=on_bad, max_pixels=max_pixels, workers=workers, seed=seed, images=images)
    try:
        manifest = _build(folder, groups, settings, rules, Path(root))
    except (OSError, sqlite3.OperationalError) as error:
        if getattr(error, "errno", None) not in NO_ROOM and "disk" not in str(error):
            raise
        raise InputError(f"{folder} cannot be written ({error}); free disk space and run again") from None
    counts = {name: manifest[name] for name in ("questions", "left_out", "rejected", "mended")}
    counts["leaks"] = sum(row["leak"] for row in manifest["leaks"])
    return counts | {"images": {split: len(names) for split, names in manifest["images"].items()}}


def _build(folder: Path, groups: dict[str, list[str]], settings: dict, rules: gather.GatherRules, root: Path) -> dict:
    """Build the data in a subfolder, check them, and then move them into `folder`; return the manifest."""
    mixture = read_mixture(groups)
    wanted = _wanted(settings["tasks"], settings["questions"], mixture)
    sources = parse_sources({split: list(portions) for split, portions in mixture.items()}, root)
    building = make_building(folder)
    with Index(building / "index.sqlite", rules.seed) as index:
        left = _gather(index, sources, wanted, mixture, settings["on_leak"], rules)
        _refuse_empty(index, wanted, groups)
        _report_short(index, wanted)
        gather.store_missing(index, rules)
        _put_chosen(index, rules)
        not_posed = _pose(index, wanted, rules.seed)
        manifest = {"version": 2, "settings": settings, "sources": groups}
        manifest = write_folder(building, index, manifest, wanted, left + not_posed)
    refuse_leaks(building)
    move_folder(building, folder)
    return manifest


def _wanted(tasks: Sequence[str], numbers: dict[str, int], mixture: Mixture) -> dict[Cell, int]:
    check_tasks(tasks)
    if min(numbers.values()) < 0:
        raise InputError(f"a number of questions is negative: {numbers}; set it to 0 or more")
    wanted: dict[Cell, int] = {}
    for split in SPLITS:
        asked = set(tasks) if split in GENERAL_SPLITS else set(tasks) & set(TRAINED_TASKS)
        if split == "pool":  # it is never trained with rewards, so general questions need not be named in `tasks`
            others = set(TASKS) - set(TRAINED_TASKS)
            asked = others if all(map(is_drawn, mixture[split])) else asked | others
        wanted |= {(split, task): numbers[split] for task in TASKS if task in asked and mixture[split]}
    return cap(wanted, mixture)


def _gather(
    index: Index,
    sources: list[Source],
    wanted: dict[Cell, int],
    mixture: Mixture,
    on_leak: str,
    rules: gather.GatherRules,
) -> Counter:
    """Fill the index with checked questions and assign splits; return the drawn questions left out, by reason."""
    tasks = {source.text: {task for split, task in wanted if split in source.splits} for source in sources}
    read = {source.text: source for source in sources if source.format != DRAWN and tasks[source.text]}
    for source in read.values():
        gather.add_source(index, source, tasks[source.text], rules)
    gather.inspect_pictures(index, read, sum(wanted.values()), rules)
    gather.reject_contradictions(index, read, rules)
    gather.reject_duplicates(index, read, rules)
    for text in read:
        _check_source_gave_rows(index, text, tasks[text])
    gather.group_pictures(index)
    limits = quotas_of(mixture, wanted)
    has = {*index.run("SELECT DISTINCT source, task FROM rows WHERE reason IS NULL")}
    shares = shares_of(mixture, wanted, has)
    asked = {split for split, _ in wanted}
    splits = {text: tuple(split for split in source.splits if split in asked) for text, source in read.items()}
    quotas = Quotas(wanted, limits)
    if shares:  # the other sources fill up the share that one cannot give afterwards
        quotas.limits = {key: min(shares.get(key, number), number) for key, number in (shares | limits).items()}
        assign_splits(index, quotas, splits, on_leak)
        quotas.limits = limits
    assign_splits(index, quotas, splits, on_leak)
    drawn = (source for source in sources if source.format == DRAWN)
    return sum((gather.draw_lacking(index, source, quotas, rules) for source in drawn), Counter())


def _check_source_gave_rows(index: Index, text: str, tasks: set[str]) -> None:
    if index.run("SELECT 1 FROM rows WHERE source = ? AND reason IS NULL LIMIT 1", text).fetchone():
        return
    query = "SELECT reason, COUNT(*), entry FROM rejected WHERE source = ? GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1"
    most = index.run(query, text).fetchone()
    why = f"most often: {most[0]}, {most[1]} times, as in {_example(most[2])}" if most else "its format has none"
    raise InputError(f"source {text!r} gave no question of {', '.join(sorted(tasks))} ({why}); correct or remove it")


def _example(entry: str) -> str:
    row = json.loads(entry)
    return f"{row['file']}:{row['line'] or ''} {row['value']}".strip()


def _refuse_empty(index: Index, wanted: dict[Cell, int], groups: dict[str, list[str]]) -> None:
    """Raise `InputError` if a split has no question of a task; the pool needs only one of any task."""
    found = {*index.run("SELECT DISTINCT split, task FROM rows WHERE split IS NOT NULL")}
    found |= {(split, "any") for split, _ in found}
    names = {"test_ood": "ood_sources", "pool": "pool_sources"}
    for split, task in wanted:
        if (split, "any" if split == "pool" else task) not in found:
            source = f"{names.get(split, 'train_sources')} {groups[split]}"
            remedy = f"add a source that has some, lower the numbers of other splits, or remove {task!r} from tasks"
            raise InputError(f"split {split!r} has no {task} question from {source}; {remedy}")


def _report_short(index: Index, wanted: dict[Cell, int]) -> None:
    """Print a line for each split that has fewer questions of a task than asked for."""
    query = "SELECT split, task, COUNT(*) FROM rows WHERE split IS NOT NULL GROUP BY split, task"
    found = {(split, task): number for split, task, number in index.run(query)}
    for (split, task), number in wanted.items():
        if 0 < found.get((split, task), 0) < number:
            print(f"{split}: {found[split, task]} {task} questions instead of {number}: the sources have no more")


def _put_chosen(index: Index, rules: gather.GatherRules) -> None:
    """Put the chosen questions into the samples to write, with unique ids and boxes in stored pixels."""
    query = """SELECT id, source, split, stored, sample FROM rows LEFT JOIN pictures USING (image, width, height)
        WHERE split IS NOT NULL ORDER BY id, source, number"""
    for id, source, split, stored, text in index.run(query):
        sample = to_sample(text)
        if sample.image is not None:
            sample = resized(sample, shrunk_size(size_of(sample), rules.max_pixels))
            sample = replace(sample, image=f"images/{stored}")
        index.put(replace(sample, id=_unique(index, id), split=split), source)


def _unique(index: Index, id: str) -> str:
    known = "SELECT 1 FROM samples WHERE id = ?"
    names = (id if number == 1 else f"{id}-{number}" for number in count(1))
    return next(name for name in names if not index.run(known, name).fetchone())


def _pose(index: Index, wanted: dict[Cell, int], seed: int) -> Counter:
    """Pose the chosen open questions at the closed stages too; return how many could not be posed, by reason.

    Rows that a source brings at a closed stage come first; posed ones fill up to the number asked for.
    """
    places = index.counts("SELECT split, task, stage, COUNT(*) FROM samples GROUP BY 1, 2, 3")
    reasons: Counter[str] = Counter()
    open_ones = "stage = 'open' AND task != 'general' AND split != 'pool' AND source = ? ORDER BY id"
    for (source,) in index.run("SELECT DISTINCT source FROM samples ORDER BY source").fetchall():
        # A label that is absent from an image comes from the vocabulary of the image's source.
        vocabulary = vocabulary_of(index.samples(open_ones, source))
        for stage in STAGES[:2]:
            samples = index.samples(open_ones, source)
            while batch := list(islice(samples, POSED_AT_A_TIME)):
                posed, problems = pose_all(batch, stage, seed, vocabulary)
                reasons.update({f"{stage}: {reason}": number for reason, number in problems.items()})
                for sample in posed:
                    if places[sample.split, sample.task, stage] < wanted[sample.split, sample.task]:
                        places[sample.split, sample.task, stage] += 1
                        index.put(sample, source)
    _refuse_empty_stage(places, wanted, reasons)
    return reasons


def _refuse_empty_stage(places: Counter, wanted: dict[Cell, int], reasons: Counter) -> None:
    for (split, task), stage in product(wanted, STAGES):
        if split != "pool" and task in TRAINED_TASKS and not places[split, task, stage]:
            why = ", ".join(sorted(reasons)) or "its sources bring questions at other stages only"
            remedy = f"ask for more, add a source whose {task} questions have this form, or remove {task!r} from tasks"
            raise InputError(f"split {split!r} has no {task} question at the {stage} stage ({why}); {remedy}")

"""Make curriculum data: read, check, split by image, resize, pose at every stage, and write with a manifest.

Each split is made of whole images, so that no image is in two splits at whatever stage. The same input and seed give
the same bytes. What the folder holds, and how it is opened again, is told in `curation_folder`.
"""

import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from currreft_nb import InputError, boxes
from currreft_nb.curation_folder import (
    left_out,
    load,
    move_folder,
    nested,
    refuse_leaks,
    summary,
    write_folder,
)
from currreft_nb.curation_sources import DRAWN, collect, parse_sources
from currreft_nb.curation_splits import Cell, Place, Row
from currreft_nb.curriculum import pose_all, vocabulary_of
from currreft_nb.formats.images import ImageProblem, read_image, shrunk_size, store_image
from currreft_nb.samples import SPLITS, STAGES, TASKS, TRAINED_TASKS, Sample, check_tasks

__all__ = ["curate", "left_out", "load", "refuse_leaks", "summary"]

GENERAL_SPLITS = ("test_id", "test_ood", "pool")  # general questions are not trained by reinforcement learning
BUILDING = ".curating"


def curate(
    folder: str | os.PathLike,
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
    seed: int = 0,
    root: str | os.PathLike = ".",
) -> dict:
    """Make the data folder; return its numbers of questions and images, and of what was left out, by reason.

    Sources are "format:path" (`curation_sources.READERS`; paths relative to `root`) or "scenes", which is drawn and
    fills what the other sources leave open. `train_sources` are shared out to train, val and test_id; `ood_sources`
    become test_ood; `pool_sources` the pool, which is asked openly only: scenes give it general questions, other
    sources questions of `tasks`. Numbers of questions are for each task and stage. `max_pixels` bounds width times
    height; 0: no limit. `on_bad`: "stop" at the first bad row, or "skip" bad rows and list them in rejected.jsonl.
    Raises `InputError` for bad rows, for an empty split, and for sources that cannot be used.
    """
    if on_bad not in ("stop", "skip"):
        raise InputError(f"on_bad is {on_bad!r}, but must be 'stop' or 'skip'")
    numbers = {"train": train_questions, "val": val_questions, "test_id": test_questions}
    numbers |= {"test_ood": test_questions, "pool": pool_questions}
    groups = {split: list(train_sources) for split in ("train", "val", "test_id")}
    groups |= {"test_ood": list(ood_sources), "pool": list(pool_sources)}
    settings = {"tasks": list(tasks), "questions": numbers, "max_pixels": max_pixels, "on_bad": on_bad, "seed": seed}
    manifest = _build(Path(os.path.abspath(folder)), groups, settings, Path(root))
    counts = {"questions": manifest["questions"], "left_out": manifest["left_out"]}
    return counts | {"images": {split: len(names) for split, names in manifest["images"].items()}}


def _build(folder: Path, groups: dict[str, list[str]], settings: dict, root: Path) -> dict:
    """Make the data in a folder of its own, check it, and only then put it into `folder`; return the manifest."""
    wanted = _wanted(settings["tasks"], settings["questions"], groups)
    sources, seed = parse_sources(groups, root), settings["seed"]
    building = folder / BUILDING
    shutil.rmtree(building, ignore_errors=True)
    (building / "images").mkdir(parents=True)
    chosen, rejected, left = collect(sources, wanted, settings["on_bad"], seed, building)
    _refuse_empty(chosen, wanted, groups)
    rows = _store(chosen, building / "images", settings["max_pixels"])
    shutil.rmtree(building / "drawn", ignore_errors=True)
    by_place, not_posed = _pose(rows, wanted, seed)
    manifest = {"version": 1, "settings": settings, "sources": groups, "asked": nested(Counter(wanted))}
    manifest["left_out"] = dict(sorted((left + not_posed).items()))
    manifest = write_folder(building, by_place, rejected, manifest, seed)
    refuse_leaks(building)
    move_folder(building, folder)
    return manifest


def _wanted(tasks: Sequence[str], numbers: dict[str, int], groups: dict[str, list[str]]) -> dict[Cell, int]:
    """Return how many questions each (split, task) should get, where that is more than none."""
    check_tasks(tasks)
    if min(numbers.values()) < 0:
        raise InputError(f"nothing to curate: tasks is {list(tasks)} and the numbers of questions are {numbers}")
    cells = []
    for split in SPLITS:
        asked = set(tasks) if split in GENERAL_SPLITS else set(tasks) - {"general"}
        if split == "pool" and DRAWN in groups[split]:
            asked.add("general")
        if split == "pool" and set(groups[split]) == {DRAWN}:
            asked = {"general"}
        cells += [(split, task) for task in TASKS if task in asked and groups[split] and numbers[split]]
    return {cell: numbers[cell[0]] for cell in cells}


def _refuse_empty(chosen: list[tuple[Row, str]], wanted: dict[Cell, int], groups: dict[str, list[str]]) -> None:
    """Raise `InputError` if nothing was found for a split and task; the pool is content with any task."""
    found = {(split, row.sample.task) for row, split in chosen} | {(split, "any") for _, split in chosen}
    names = {"test_ood": "ood_sources", "pool": "pool_sources"}
    for split, task in wanted:
        if (split, "any" if split == "pool" else task) not in found:
            name = names.get(split, "train_sources")
            raise InputError(
                f"split {split!r} has no {task} question from {name} {groups[split]}; add a source that has some, "
                f"ask for fewer questions in the other splits, or take {task!r} out of tasks"
            )


def _store(chosen: list[tuple[Row, str]], images: Path, max_pixels: int) -> list[Row]:
    """Store the image of each chosen question, resized where it is too large; boxes move along, ids become unique."""
    names: dict[tuple, str] = {}
    ids, stored = Counter(), []
    for row, split in sorted(chosen, key=lambda pair: (pair[0].sample.id, pair[0].source)):
        sample = row.sample
        ids[sample.id] += 1
        id = sample.id if ids[sample.id] == 1 else f"{sample.id}-{ids[sample.id]}"
        if sample.image is not None:
            size = shrunk_size(sample.size, max_pixels)
            key = (sample.image, sample.size)
            if key not in names:
                names[key] = _store_image(sample, size, images)
            sample = replace(_resized(sample, size), image=str(images / names[key]))
        stored.append(replace(row, sample=replace(sample, id=id, split=split)))
    return stored


def _store_image(sample: Sample, size: boxes.Size, images: Path) -> str:
    try:
        return store_image(sample.image, read_image(sample.image, sample.size), size, images)
    except (ImageProblem, OSError) as problem:
        raise InputError(
            f"{sample.image} was checked but cannot be stored ({problem}); mend that and run again"
        ) from None


def _resized(sample: Sample, size: boxes.Size) -> Sample:
    """Return the sample with its boxes where they are after its image was resized."""
    if size == tuple(sample.size):
        return sample

    def move(box: boxes.Box) -> list[float]:
        return [round(value, 4) for value in boxes.scale(box, sample.size, size)]

    extra = sample.extra | {"original_size": list(sample.size)}
    if "others" in extra:
        extra["others"] = [other | {"box": move(other["box"])} for other in extra["others"]]
    if sample.task != "detection":
        return replace(sample, size=size, extra=extra)
    if "candidates" in extra:
        extra["candidates"] = [move(box) for box in extra["candidates"]]
    fields = {"options": [[move(box) for box in option] for option in sample.options]}
    if sample.stage == "open":
        fields["answer"] = [move(box) for box in sample.answer]
    if sample.claim is not None:
        fields["claim"] = [move(box) for box in sample.claim]
    return replace(sample, size=size, extra=extra, **fields)


def _pose(rows: list[Row], wanted: dict[Cell, int], seed: int) -> tuple[dict[Place, list[Sample]], Counter]:
    """Return the samples by (split, task, stage), and how many could not be posed, by reason.

    Rows that a source brings at a closed stage come first; those posed from open ones fill up to the number asked for.
    """
    by_place: dict[Place, list[Sample]] = defaultdict(list)
    by_source: dict[str, list[Sample]] = defaultdict(list)
    for row in rows:
        by_place[row.sample.split, row.sample.task, row.sample.stage].append(row.sample)
        if row.sample.stage == "open" and row.sample.task != "general" and row.sample.split != "pool":
            by_source[row.source].append(row.sample)
    reasons = Counter()
    for source in sorted(by_source):
        vocabulary = vocabulary_of(by_source[source])  # what is absent from an image is named in its source's own words
        for stage in STAGES[:2]:
            posed, problems = pose_all(by_source[source], stage, seed, vocabulary)
            reasons.update({f"{stage}: {reason}": number for reason, number in problems.items()})
            for sample in posed:
                place = by_place[sample.split, sample.task, stage]
                if len(place) < wanted[sample.split, sample.task]:
                    place.append(sample)
    _refuse_empty_stage(by_place, wanted, reasons)
    return dict(by_place), reasons


def _refuse_empty_stage(by_place: dict[Place, list[Sample]], wanted: dict[Cell, int], reasons: Counter) -> None:
    for split, task in wanted:
        for stage in STAGES if split != "pool" and task != "general" else ():
            if not by_place.get((split, task, stage)):
                why = ", ".join(sorted(reasons)) or "its sources bring questions at other stages only"
                raise InputError(
                    f"split {split!r} has no {task} question at the {stage} stage ({why}); ask for more questions, or "
                    f"add a source with {task} questions that can be asked in this form"
                )

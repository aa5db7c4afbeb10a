"""The folder that curation makes: written once, checked whenever it is opened.

    <folder>/{split}-{stage}.jsonl    train-binary.jsonl, train-choice.jsonl, train-open.jsonl, val-binary.jsonl, ...
    <folder>/images/                  named by a hash of their content
    <folder>/rejected.jsonl           {"source": ..., "file": ..., "line": ..., "reason": ..., "value": ..., ...}
    <folder>/manifest.json            settings, counts, what was left out and why, SHA-256 of every file; written last

A folder in which a file was changed, or a held-out image is among those to learn from, is refused.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.curation_splits import HELD_OUT, LEARNT, Place, shuffle_key
from currreft_nb.formats.images import file_hash
from currreft_nb.samples import SPLITS, STAGES, Sample, check_tasks, read_samples, write_samples

MANIFEST = "manifest.json"


def write_folder(
    folder: Path, by_place: dict[Place, list[Sample]], rejected: list[dict], manifest: dict, seed: int
) -> dict:
    """Write samples, rejections and manifest beside the images that lie in `folder` already; return the manifest."""
    for split in SPLITS:
        for stage in STAGES:
            places = [place for place in by_place if (place[0], place[2]) == (split, stage)]
            found = [sample for place in places for sample in by_place[place]]
            if found:
                found.sort(key=lambda sample: shuffle_key(seed, sample.id))
                write_samples(folder / f"{split}-{stage}.jsonl", found)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rejected]
    (folder / "rejected.jsonl").write_text("".join(lines), encoding="utf-8")
    questions = Counter({(split, stage, task): len(found) for (split, task, stage), found in by_place.items()})
    manifest = manifest | {"questions": nested(questions)} | _fingerprints(by_place, folder)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return manifest


def nested(counts: Counter) -> dict:
    """Return counts by tuple as nested dicts, in sorted order.

    >>> nested(Counter({("a", "b"): 2, ("a", "c"): 1}))
    {'a': {'b': 2, 'c': 1}}
    """
    result: dict = {}
    for path, number in sorted(counts.items()):
        inner = result
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
        inner[path[-1]] = number
    return result


def _fingerprints(by_place: dict[Place, list[Sample]], folder: Path) -> dict:
    """Return the SHA-256 of every file of the folder, and which images each split shows."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    images: dict[str, set[str]] = {split: set() for split in SPLITS}
    for (split, _, _), samples in by_place.items():
        images[split].update(Path(sample.image).name for sample in samples if sample.image)
    return {
        "images": {split: sorted(names) for split, names in images.items()},
        "files": {path.relative_to(folder).as_posix(): file_hash(path) for path in files},
    }


def move_folder(building: Path, folder: Path) -> None:
    """Put the finished files into the folder in place of those of an earlier run; the manifest goes last."""
    earlier = folder / MANIFEST
    if earlier.is_file():
        old = json.loads(earlier.read_text(encoding="utf-8"))
        earlier.unlink()
        for name in old["files"]:
            (folder / name).unlink(missing_ok=True)
    (folder / "images").mkdir(exist_ok=True)
    files = [path for path in building.rglob("*") if path.is_file() and path.name != MANIFEST]
    for path in [*files, building / MANIFEST]:
        os.replace(path, folder / path.relative_to(building))
    shutil.rmtree(building)


def load(folder: str | os.PathLike, split: str, stage: str, tasks: Sequence[str] | None = None) -> list[Sample]:
    """Return the samples of a data folder at one split and stage; of some tasks only, where these are named.

    Raises `InputError` for a folder that is no finished data folder, that was changed since it was made, or where a
    held-out image is among those to learn from; and for a named task that is unknown or has no sample there.
    """
    folder = Path(os.path.abspath(folder))
    manifest = read_manifest(folder)
    name = f"{split}-{stage}.jsonl"
    if name not in manifest["files"]:
        known = ", ".join(sorted(file for file in manifest["files"] if "-" in file and file.endswith(".jsonl")))
        raise InputError(f"{folder} has no {name}, only {known}; run notebook 01_data_curation with questions for it")
    refuse_leaks(folder)
    samples = read_samples(folder / name)
    if tasks is None:
        return samples
    check_tasks(tasks)
    if lacking := set(tasks) - {sample.task for sample in samples}:
        raise InputError(f"{folder / name} has no {', '.join(sorted(lacking))} question; leave that out of tasks")
    return [sample for sample in samples if sample.task in tasks]


def read_manifest(folder: str | os.PathLike) -> dict:
    """Return the manifest of a data folder. Raises `InputError` if there is none or if it is damaged."""
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise InputError(f"{path} does not exist: {folder} is no finished data folder; run notebook 01_data_curation")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); run notebook 01_data_curation again") from None


def refuse_leaks(folder: str | os.PathLike) -> None:
    """Raise `InputError` if a file was changed, or if an image of val or a test split is in train or in the pool.

    Compares what the files hold, not their names; what was found clean is not read again while it stays as it is.
    """
    folder = Path(os.path.abspath(folder))
    manifest = read_manifest(folder)
    stamps = []
    for name in manifest["files"]:
        if not (folder / name).is_file():
            raise InputError(f"{folder / name} is missing; run notebook 01_data_curation again")
        stamps.append((folder / name).stat().st_mtime_ns)
    _refuse_leaks(folder, (folder / MANIFEST).read_bytes(), tuple(stamps))


@lru_cache(maxsize=8)
def _refuse_leaks(folder: Path, manifest: bytes, stamps: tuple[int, ...]) -> None:
    manifest = json.loads(manifest)
    hashes = {name: file_hash(folder / name) for name in manifest["files"]}
    for name, expected in manifest["files"].items():
        if hashes[name] != expected:
            raise InputError(f"{folder / name} was changed after it was made; run notebook 01_data_curation again")
    learnt = {hashes[f"images/{name}"]: (split, name) for split in LEARNT for name in manifest["images"][split]}
    for split in HELD_OUT:
        for name in manifest["images"][split]:
            if found := learnt.get(hashes[f"images/{name}"]):
                raise InputError(
                    f"{folder}: the image {name} of {split!r} is also in {found[0]!r} (as {found[1]}), so the test "
                    "would be of what was learnt; run notebook 01_data_curation again with sources that share no image"
                )


def summary(folder: str | os.PathLike) -> Any:
    """Return a DataFrame with a row for each (split, task): questions asked for, and found at each stage."""
    import pandas  # half a second that most users of this module do not need

    manifest = read_manifest(folder)
    rows = []
    for split in SPLITS:
        for task, asked in manifest["asked"].get(split, {}).items():
            found = {stage: manifest["questions"].get(split, {}).get(stage, {}).get(task, 0) for stage in STAGES}
            rows.append({"split": split, "task": task, "asked": asked, **found})
    return pandas.DataFrame(rows, columns=["split", "task", "asked", *STAGES])


def left_out(folder: str | os.PathLike) -> Any:
    """Return a DataFrame of what was left out: reason and number, the largest first."""
    import pandas

    rows = sorted(read_manifest(folder)["left_out"].items(), key=lambda item: (-item[1], item[0]))
    return pandas.DataFrame(rows, columns=["reason", "number"])

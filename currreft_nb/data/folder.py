"""The data folder: written once, checked whenever it is opened.

    <folder>/{split}-{stage}.jsonl    train-binary.jsonl, train-choice.jsonl, train-open.jsonl, val-binary.jsonl, ...
    <folder>/images/                  named by a hash of their content
    <folder>/rejected.jsonl           {"source": ..., "file": ..., "line": ..., "reason": ..., "value": ..., ...}
    <folder>/manifest.json            settings, sources, counts, what was left out and why, what the splits share,
                                      SHA-256 of every file; written last

A folder with a changed file, or with a held-out image among those to learn from, is refused. While the data are made,
the folder holds `.curating`, which is never read as data and is deleted at the end.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.core.files import file_digest
from currreft_nb.core.samples import SPLITS, STAGES, TASKS, Sample, check_tasks, inside, read_samples
from currreft_nb.data.index import Index
from currreft_nb.data.leaks import KINDS, find_leaks
from currreft_nb.data.splits import HELD_OUT, LEARNT, Cell

MANIFEST = "manifest.json"
BUILDING = ".curating"


def make_building(folder: Path) -> Path:
    """Return an empty folder to build in, inside the data folder. Raises `InputError` for a link."""
    building = folder / BUILDING
    for path in (building, folder / "images"):
        if path.is_symlink():
            raise InputError(f"{path} is a link; delete it, because files would be written and deleted at its target")
    shutil.rmtree(building, ignore_errors=True)
    (building / "images").mkdir(parents=True)
    return building


def write_folder(building: Path, index: Index, manifest: dict, wanted: Mapping[Cell, int], left: Counter) -> dict:
    """Write samples, rejections and manifest next to the images in `building`; return the manifest."""
    for split, stage in index.run("SELECT DISTINCT split, stage FROM samples").fetchall():
        query = "SELECT sample FROM samples WHERE split = ? AND stage = ? ORDER BY shuffled"
        _write_lines(building / f"{split}-{stage}.jsonl", index.run(query, split, stage))
    _write_lines(building / "rejected.jsonl", index.run("SELECT entry FROM rejected ORDER BY number"))
    manifest = manifest | {"asked": nested(Counter(wanted)), **_counts(index, left)}
    manifest |= {"leaks": find_leaks(index), **_fingerprints(index, building)}
    (building / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return manifest


def _write_lines(path: Path, rows: Iterable[tuple[str]]) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(line + "\n" for (line,) in rows)


def _counts(index: Index, left: Counter) -> dict:
    rejected = Counter(dict(index.run("SELECT reason, COUNT(*) FROM rejected GROUP BY 1").fetchall()))
    not_chosen = "SELECT reason, COUNT(*) FROM rows WHERE reason IS NOT NULL AND reason != 'rejected' GROUP BY 1"
    left = left + rejected + Counter(dict(index.run(not_chosen).fetchall()))
    mended = Counter(index.mended)
    mended_ones = "SELECT DISTINCT image, mended FROM pictures JOIN rows USING (image) WHERE split NOT NULL"
    for _, texts in index.run(mended_ones):
        mended.update(json.loads(texts))
    sources = index.run("SELECT source FROM rows UNION SELECT source FROM rejected ORDER BY 1").fetchall()
    return {
        "questions": nested(index.counts("SELECT split, stage, task, COUNT(*) FROM samples GROUP BY 1, 2, 3")),
        "read": {text: _read(index, text) for (text,) in sources},
        "rejected": dict(sorted(rejected.items())),
        "mended": dict(sorted(mended.items())),
        "left_out": dict(sorted(left.items())),
    }


def _read(index: Index, source: str) -> dict[str, int]:
    query = "SELECT COUNT(*), COALESCE(SUM(reason IS 'rejected'), 0), COUNT(split) FROM rows WHERE source = ?"
    rows, bad, used = index.run(query, source).fetchone()
    (rejected,) = index.run("SELECT COUNT(*) FROM rejected WHERE source = ?", source).fetchone()
    return {"read": rows - bad + rejected, "rejected": rejected, "passed": rows - bad, "used": used}


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


def _fingerprints(index: Index, building: Path) -> dict:
    """Return the images of each split and the SHA-256 of every file; delete images that no split shows."""
    images: dict[str, list[str]] = {split: [] for split in SPLITS}
    for split, name in index.run("SELECT DISTINCT split, image FROM samples WHERE image IS NOT NULL ORDER BY 1, 2"):
        images[split].append(name.removeprefix("images/"))
    shown = set().union(*images.values())
    for path in (building / "images").iterdir():
        if path.name not in shown:
            path.unlink()
    files = sorted([*building.glob("*.jsonl"), *(building / "images").iterdir()])
    return {"images": images, "files": {path.relative_to(building).as_posix(): file_digest(path, 64) for path in files}}


def move_folder(building: Path, folder: Path) -> None:
    """Move the finished files into the folder, in place of those of an earlier run; the manifest is moved last."""
    if (folder / MANIFEST).is_file():
        earlier = [inside(folder, name) for name in read_manifest(folder)["files"]]
        (folder / MANIFEST).unlink()
        for path in earlier:
            path.unlink(missing_ok=True)
    (folder / "images").mkdir(exist_ok=True)
    for name in [*read_manifest(building)["files"], MANIFEST]:
        os.replace(building / name, folder / name)
    shutil.rmtree(building)


def load_samples(folder: str | os.PathLike, split: str, stage: str, tasks: Sequence[str] | None = None) -> list[Sample]:
    """Return the samples of a data folder in one split and stage, of the given tasks (None: all).

    Raises `InputError` for a folder that is unfinished or was changed, for a held-out image among those to learn from,
    and for a task that is unknown or has no sample.
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
        raise InputError(f"{folder / name} has no {', '.join(sorted(lacking))} question; remove that from tasks")
    return [sample for sample in samples if sample.task in tasks]


def load_questions(
    folder: str | os.PathLike,
    splits: Sequence[str],
    count: int,
    stages: Sequence[str] = STAGES,
    tasks: Sequence[str] = TASKS,
) -> list[Sample]:
    """Return the first `count` samples of each task, stage and split of a data folder that have a reference answer."""
    chosen = []
    for split, stage in product(splits if count else (), stages):
        found = load_samples(folder, split, stage)
        for task in tasks:
            chosen += [s for s in found if s.task == task and s.answer is not None][:count]
    return chosen


def read_manifest(folder: str | os.PathLike) -> dict:
    """Return the manifest of a data folder. Raises `InputError` if there is none or if it is damaged."""
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise InputError(f"{folder} has no {MANIFEST}: not a finished data folder; run notebook 01_data_curation")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); run notebook 01_data_curation again") from None


def refuse_leaks(folder: str | os.PathLike) -> None:
    """Raise `InputError` if a file was changed, or if an image of val or a test split is in train or in the pool.

    Images are compared by content. A folder without leaks is not read again until a file in it changes.
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
def _refuse_leaks(folder: Path, text: bytes, stamps: tuple[int, ...]) -> None:
    manifest = json.loads(text)
    hashes = {name: file_digest(folder / name, 64) for name in manifest["files"]}
    for name, expected in manifest["files"].items():
        if hashes[name] != expected:
            raise InputError(f"{folder / name} was changed after it was made; run notebook 01_data_curation again")
    if manifest["settings"].get("on_leak") == "allow":
        return
    learnt = {hashes[f"images/{name}"]: (split, name) for split in LEARNT for name in manifest["images"][split]}
    for split in HELD_OUT:
        for name in manifest["images"][split]:
            if found := learnt.get(hashes[f"images/{name}"]):
                shared = f"{folder}: the image {name} of {split!r} is also in {found[0]!r} (as {found[1]})"
                raise InputError(f"{shared}; run notebook 01_data_curation again with sources that share no image")


def data_summary(folder: str | os.PathLike) -> Any:
    """Return a DataFrame with a row for each (split, task): questions asked for, and found at each stage.

    The pool has no quota for each task: tasks that it lacks have no row.
    """
    manifest = read_manifest(folder)
    rows = []
    for split in SPLITS:
        for task, asked in manifest["asked"].get(split, {}).items():
            found = {stage: manifest["questions"].get(split, {}).get(stage, {}).get(task, 0) for stage in STAGES}
            if split != "pool" or any(found.values()):
                rows.append({"split": split, "task": task, "asked": asked, **found})
    return _table(rows, ["split", "task", "asked", *STAGES])


def left_out(folder: str | os.PathLike) -> Any:
    """Return a DataFrame of what was left out: reason and number, the largest first."""
    rows = sorted(read_manifest(folder)["left_out"].items(), key=lambda item: (-item[1], item[0]))
    return _table(rows, ["reason", "number"])


def checked(folder: str | os.PathLike) -> Any:
    """Return a DataFrame with a row for each source: how many of its rows were read, rejected, passed and used."""
    rows = [{"source": source, **counts} for source, counts in read_manifest(folder)["read"].items()]
    return _table(rows, ["source", "read", "rejected", "passed", "used"])


def leaks(folder: str | os.PathLike) -> Any:
    """Return a DataFrame with a row for each pair of splits: how many pictures and texts both hold, by kind."""
    return _table(read_manifest(folder)["leaks"], ["splits", *KINDS, "leak", "example"])


def _table(rows: list, columns: list[str]) -> Any:
    import pandas  # takes half a second, which most users of this module do not need

    return pandas.DataFrame(rows, columns=columns)

"""Resume a training: record what its checkpoints depend on, find the last whole one, and explain a full disk.

A full disk, a bad copy or a process that was killed before it wrote its random state can leave a damaged checkpoint.
So every file is checked before a run resumes from it.
"""

import errno
import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from currreft_nb import InputError
from currreft_nb.core.files import atomic_write
from currreft_nb.core.journal import read_journal
from currreft_nb.core.samples import Sample, to_row
from currreft_nb.core.settings import deciding
from currreft_nb.models.adapters import MADE_FROM
from currreft_nb.models.load import Loaded
from currreft_nb.training.settings import GrpoSettings, SftSettings

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Texts in errors of torch and safetensors, which have no errno.
FULL_WORDS = ("PytorchStreamWriter", "unexpected pos", "iostream error", *(f"os error {number}" for number in FULL))


def step_of(checkpoint: Path) -> int:
    """Return the update after which a checkpoint was made: the step, where a step makes one.

    >>> step_of(Path("checkpoints/checkpoint-20"))
    20
    """
    return int(checkpoint.name.removeprefix("checkpoint-"))


def last_whole(checkpoints: Path, num_processes: int = 1) -> Path | None:
    """Return the latest checkpoint without a damaged file, or None; print which later ones are skipped."""
    found = sorted(checkpoints.glob("checkpoint-*"), key=step_of, reverse=True)
    for checkpoint in found:
        problem = damage(checkpoint, num_processes)
        if problem is None:
            return checkpoint
        print(f"{checkpoint.name} cannot be used: {problem}; looking for an earlier one")
    if found:
        print("no checkpoint is whole: starting from the beginning")
    return None


def damage(checkpoint: Path, num_processes: int = 1) -> str | None:
    """Return which file of a checkpoint is missing or damaged; None if it is whole."""
    states = [f"rng_state_{rank}.pth" for rank in range(num_processes)] if num_processes > 1 else ["rng_state.pth"]
    needed = ("trainer_state.json", "adapter_model.safetensors", "optimizer.pt", "scheduler.pt", *states)
    if missing := [name for name in needed if not (checkpoint / name).is_file()]:
        return f"{missing[0]} is missing"
    others = [path for path in checkpoint.rglob("*.safetensors") if path.parent != checkpoint]  # the reference's
    for path in [*(checkpoint / name for name in needed), *others]:
        if not _is_intact(path):
            return f"{path.relative_to(checkpoint)} is damaged"
    return None


def _is_intact(path: Path) -> bool:
    try:
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".safetensors":
            with safe_open(path, "pt"):  # compares the file's length with its header
                pass
        else:
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is None
    except (OSError, ValueError, SafetensorError, zipfile.BadZipFile):
        return False
    return True


@contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """Raise `InputError` with the remedy in place of the errors of libraries that cannot write any more."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        words = isinstance(error, (RuntimeError, SafetensorError)) and any(word in str(error) for word in FULL_WORDS)
        if not words and getattr(error, "errno", None) not in FULL:
            raise
        free_gib = shutil.disk_usage(folder).free / 1024**3
        raise InputError(
            f"there is no room to write in {folder} ({free_gib:.1f} GiB are free, but a quota may allow less); free"
            " some space and run it again: it resumes from its last whole checkpoint"
        ) from error


def training_fingerprint(
    loaded: Loaded, rows: Sequence[Any], settings: GrpoSettings | SftSettings, **others: Sequence[Any]
) -> dict:
    """Return what a checkpoint depends on, to be compared when it is resumed.

    `rows`: samples, or pairs of a sample and a text; `others`: other data that decide the updates, by name.
    """
    return {
        **deciding(settings),
        **{name: _digest(values) for name, values in {"data": rows, **others}.items()},
        "base_hash": loaded.base_hash,
        "adapter_hash": loaded.adapter_hash,
        "lora_rank": loaded.model.peft_config["default"].r,
        "lora_on": str(loaded.model.peft_config["default"].target_modules),
        "four_bit": loaded.four_bit,
        "max_pixels": loaded.style.frame.max_pixels,
    }


def _digest(rows: Sequence[Any]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(_plain(row), sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _plain(row: Any) -> Any:
    if isinstance(row, Sample):  # by its image's name: the data folder may have been moved
        return to_row(row) | {"image": row.image and Path(row.image).name}
    return [_plain(part) for part in row] if isinstance(row, tuple) else row


def resume_point(folder: Path, asked: dict) -> Path | None:
    """Return the last whole checkpoint after cutting the run folder back to it, or None to start from the beginning.

    Raises `InputError` when the folder's checkpoints were made with other settings, data or models.
    """
    checkpoints = folder / "checkpoints"
    note = checkpoints / MADE_FROM
    asked = json.loads(json.dumps(asked))  # tuples become lists, as in the file
    if note.is_file():
        made = json.loads(note.read_text(encoding="utf-8"))
        if changed := sorted(name for name in {*made, *asked} if made.get(name) != asked.get(name)):
            raise InputError(
                f"the checkpoints in {checkpoints} were made with another {', '.join(changed)}; delete that folder to"
                " start from the beginning, or choose another output folder"
            )
    found = last_whole(checkpoints, asked.get("num_processes", 1))
    _cut_back(folder, step_of(found) if found else 0, asked.get("passes", 1))
    checkpoints.mkdir(parents=True, exist_ok=True)
    with atomic_write(note) as stream:
        stream.write(json.dumps(asked, indent=2) + "\n")
    return found


def _cut_back(folder: Path, update: int, passes: int) -> None:
    for path in (folder / "checkpoints").glob("checkpoint-*"):
        if step_of(path) > update:
            shutil.rmtree(path)
    step = update // passes
    for path in (folder / "completions").glob("step-*.jsonl"):
        if int(path.stem.removeprefix("step-")) > step:
            path.unlink()
    metrics = folder / "metrics.jsonl"
    rows = read_journal(metrics)
    kept = [row for row in rows if row["step"] <= step]
    if not kept:
        metrics.unlink(missing_ok=True)
    elif len(kept) < len(rows):
        with atomic_write(metrics) as stream:
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)

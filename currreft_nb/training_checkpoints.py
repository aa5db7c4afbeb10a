"""Find the checkpoint to resume from, and explain a full disk.

The trainer writes trainer_state.json last. But with several processes each adds its own random state, and a full disk
or a bad copy can cut a file off later. So every file is checked before a run resumes from it.
"""

import errno
import json
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open

from currreft_nb import InputError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Texts in errors of torch and safetensors, which have no errno.
FULL_WORDS = ("PytorchStreamWriter", "unexpected pos", "iostream error", *(f"os error {number}" for number in FULL))


def step_of(checkpoint: Path) -> int:
    """Return the step after which a checkpoint was made.

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

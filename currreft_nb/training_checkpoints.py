"""Which checkpoint a run goes on from, and what is said when there is no room for one.

The trainer writes trainer_state.json last, but with several processes each adds its own random state, and a file may be
cut off later by a full disk or a broken copy. So every file is checked before a run goes on from it.
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
# What the writers of torch and safetensors say, which pass on no number.
FULL_WORDS = ("PytorchStreamWriter", "unexpected pos", "iostream error", *(f"os error {number}" for number in FULL))


def step_of(checkpoint: Path) -> int:
    """Return the step after which a checkpoint was made.

    >>> step_of(Path("checkpoints/checkpoint-20"))
    20
    """
    return int(checkpoint.name.removeprefix("checkpoint-"))


def last_whole(checkpoints: Path, num_processes: int = 1) -> Path | None:
    """Return the latest checkpoint of which no file is damaged, or None; say which later ones are passed over."""
    found = sorted(checkpoints.glob("checkpoint-*"), key=step_of, reverse=True)
    for checkpoint in found:
        problem = damage(checkpoint, num_processes)
        if problem is None:
            return checkpoint
        print(f"{checkpoint.name} cannot be used, {problem}: looking for an earlier one")
    if found:
        print("there is none: starting from the beginning")
    return None


def damage(checkpoint: Path, num_processes: int = 1) -> str | None:
    """Say which file of a checkpoint is missing or damaged; None for a whole one."""
    states = [f"rng_state_{rank}.pth" for rank in range(num_processes)] if num_processes > 1 else ["rng_state.pth"]
    needed = ("trainer_state.json", "adapter_model.safetensors", "optimizer.pt", "scheduler.pt", *states)
    for name in needed:
        if not (checkpoint / name).is_file():
            return f"{name} is missing"
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
            with safe_open(path, "pt"):  # compares the file's length with what its header promises
                pass
        else:
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is None
    except (OSError, ValueError, SafetensorError, zipfile.BadZipFile):
        return False
    return True


@contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """Turn what libraries raise when they cannot write any more into one sentence with the remedy."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        words = isinstance(error, (RuntimeError, SafetensorError)) and any(word in str(error) for word in FULL_WORDS)
        if not words and getattr(error, "errno", None) not in FULL:
            raise
        free_gib = shutil.disk_usage(folder).free / 1024**3
        raise InputError(
            f"there is no room to write in {folder} ({free_gib:.1f} GiB are free, a limit may allow less); free some"
            " space and run it again: it goes on from its last whole checkpoint"
        ) from error

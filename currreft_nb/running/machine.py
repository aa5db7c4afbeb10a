"""Facts of the machine: GPUs, memory, package versions, the commit; read without importing torch."""

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

from currreft_nb import InputError

GIB = 2**30
DISTRIBUTION = "currreft-nb"


def ask(*command: str, cwd: Path | None = None, timeout_s: float = 10) -> str | None:
    """Return a command's output, or None when it is absent, fails or takes longer than `timeout_s`."""
    try:
        answer = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def cards() -> list[dict]:
    """Return name, memory in GiB and driver of each NVIDIA GPU of the machine, regardless of CUDA_VISIBLE_DEVICES."""
    answer = ask("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")
    found = []
    for line in (answer or "").splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 3:  # other lines are sentences such as "No devices were found"
            size = round(int(parts[1]) / 1024, 1) if parts[1].isdigit() else None
            found.append({"name": parts[0], "memory_gib": size, "driver": parts[2]})
    return found


def memory_gib() -> float | None:
    """Return the machine's main memory in GiB, or None where the system does not report it, as on Windows."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB, 1)
    except (AttributeError, ValueError, OSError):
        return None


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def describe() -> dict:
    """Return the machine's description for run.json, without anything that names its owner."""
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cores": cores(),
        "memory_gib": memory_gib(),
        "cards": cards(),
    }


def requirements() -> list[Requirement]:
    """Return the dependencies of the installed package with their version bounds; none when it is not installed."""
    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    found = [Requirement(line) for line in lines]
    return [item for item in found if item.marker is None or item.marker.evaluate({"extra": ""})]


def version_of(name: str) -> str | None:
    """Return the installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str | None]:
    """Return the installed version of every dependency, by name."""
    return {item.name: version_of(item.name) for item in requirements()}


def commit(folder: Path) -> str | None:
    """Return the folder's git commit, with "+changes" appended when tracked files differ, or None outside git."""
    head = ask("git", "rev-parse", "HEAD", cwd=folder)
    if head is None:
        return None
    changed = ask("git", "status", "--porcelain", "--untracked-files=no", cwd=folder)
    return f"{head}+changes" if changed else head


def check_card(model: str) -> None:
    """Raise `InputError` for a large model on a machine without a GPU.

    >>> check_card("pocket")
    """
    if is_large(model) and not cards():
        raise InputError(
            f"model {model!r} needs a CUDA GPU, and this machine shows none; run currreft doctor for the reason, use a"
            " machine with a GPU, or set model to pocket"
        )


def is_large(model: str) -> bool:
    """Return whether a model has billions of weights, by its name.

    >>> is_large("Qwen/Qwen2.5-VL-3B-Instruct"), is_large("pocket")
    (True, False)
    """
    return re.search(r"\dB\b", model) is not None

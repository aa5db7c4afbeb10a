"""What a run stands on: graphics cards, memory, package versions, the commit. Asked without importing torch."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from currreft_nb import InputError

GIB = 2**30
DISTRIBUTION = "currreft-nb"
HUB = "https://huggingface.co"


def _ask(*command: str, cwd: Path | None = None, timeout_s: float = 10) -> str | None:
    """Return what a command prints, or None when it is absent, fails or hangs."""
    try:
        answer = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def cards() -> list[dict]:
    """Return name and memory in GiB of each NVIDIA card of the machine, whatever CUDA_VISIBLE_DEVICES says."""
    answer = _ask("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")
    found = []
    for line in (answer or "").splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 3:  # and not a sentence such as "No devices were found"
            size = round(int(parts[1]) / 1024, 1) if parts[1].isdigit() else None
            found.append({"name": parts[0], "memory_gib": size, "driver": parts[2]})
    return found


def memory_gib() -> float | None:
    """Return the machine's main memory in GiB, or None where the system does not say."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB, 1)
    except (ValueError, OSError):
        return None


def cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def describe() -> dict:
    """Return the machine as it stands in run.json: nothing that names its owner."""
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cores": cores(),
        "memory_gib": memory_gib(),
        "cards": cards(),
    }


def requirements() -> list[Requirement]:
    """Return the dependencies of the installed package with their bounds; none when it is not installed."""
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
    """Return the folder's git commit, with "+changes" behind it when tracked files differ, or None outside git."""
    head = _ask("git", "rev-parse", "HEAD", cwd=folder)
    if head is None:
        return None
    changed = _ask("git", "status", "--porcelain", "--untracked-files=no", cwd=folder)
    return f"{head}+changes" if changed else head


def check_card(model: str) -> None:
    """Raise `InputError` for a model whose name says that it has billions of weights, where there is no card for it.

    >>> check_card("pocket")
    """
    if re.search(r"\dB\b", model) and not cards():
        raise InputError(
            f"model {model!r} needs a CUDA GPU, and this machine shows none; run currreft doctor to see why, use a"
            " machine with one, or set model to pocket"
        )


def examine(folder: Path) -> list[tuple[str, str, bool | None]]:
    """Return what `currreft doctor` says: rows of (what, finding, fine), fine being None for mere facts."""
    return [*_python_rows(), *_card_rows(), *_space_rows(folder), _hub_row()]


def table(folder: Path) -> Any:
    """Return the same as a DataFrame, for a notebook to show."""
    import pandas  # takes half a second, which no other notebook should pay for starting its run

    words = {True: "ok", False: "look here", None: ""}
    rows = [{"what": what, "found": finding, "verdict": words[fine]} for what, finding, fine in examine(folder)]
    return pandas.DataFrame(rows)


def _python_rows() -> list[tuple[str, str, bool | None]]:
    rows: list[tuple[str, str, bool | None]] = [("python", platform.python_version(), sys.version_info >= (3, 11))]
    known = requirements()
    if not known:
        rows.append((DISTRIBUTION, "not installed; run: pip install -e .", False))
    for item in known:
        version = version_of(item.name)
        tested = f"tested {item.specifier}"
        fine = version is not None and item.specifier.contains(version, prereleases=True)
        rows.append((item.name, f"{version} ({tested})" if version else f"missing; install {item}", fine))
    return rows


def _card_rows() -> list[tuple[str, str, bool | None]]:
    # A child process, because torch belongs to a higher floor's needs and takes seconds to import.
    code = "import torch; print(torch.cuda.is_available() and torch.cuda.get_device_name(0))"
    usable = _ask(sys.executable, "-c", code, timeout_s=120)
    found = [(f"card {i}", f"{card['name']}, {card['memory_gib']} GiB", True) for i, card in enumerate(cards())]
    if usable is None:
        return [*found, ("torch", "cannot be imported; reinstall it for this machine", False)]
    if usable == "False":
        text = "none that torch can use: the pocket model runs on the processor; a 3B model needs an NVIDIA card"
        return [*found, ("CUDA", text, False if found else None)]
    return [*found, ("CUDA", f"torch uses {usable.splitlines()[-1]}", True)]


def _space_rows(folder: Path) -> list[tuple[str, str, bool | None]]:
    free_gib = shutil.disk_usage(folder).free / GIB
    return [
        ("cores", str(cores()), None),
        ("memory", f"{memory_gib()} GiB", None),
        ("disk", f"{free_gib:.0f} GiB free in {folder}", free_gib >= 1),
    ]


def _hub_row() -> tuple[str, str, bool | None]:
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        return ("hub", "HF_HUB_OFFLINE is set: only models that are here already", None)
    try:
        with urllib.request.urlopen(urllib.request.Request(HUB, method="HEAD"), timeout=3):
            return ("hub", f"{HUB} answers: models can be downloaded", True)
    except (urllib.error.URLError, TimeoutError, OSError):
        return ("hub", f"{HUB} does not answer: the pocket model and local folders only", None)

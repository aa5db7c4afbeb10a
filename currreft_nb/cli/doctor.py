"""Check this machine: versions, GPUs, memory, disk, hub, and which experiments will work with them.

`currreft doctor` and notebook 00 show the same rows: (what, finding, verdict), the verdict of a mere fact being None.
"""

import os
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.core.environment import cluster_variables, ignored, proxy_of
from currreft_nb.endpoints.endpoint import Endpoint
from currreft_nb.running import machine

HUB = "https://huggingface.co"
HUB_TIMEOUT_S = 5.0
LEAST_DISK_GIB, LEAST_MEMORY_GIB = 1, 3  # what the pocket model needs

TESTED = "tested "
MADE_HERE = "outputs/"  # models of earlier experiments, which no experiment downloads

Row = tuple[str, str, bool | None]


def examine(folder: Path) -> list[Row]:
    """Return the facts of this machine, and what will work: the demo, each file of the folder's params/, judges."""
    facts = [*_python_rows(), *_card_rows(), *_space_rows(folder), *_cluster_rows(), _hub_row()]
    return [*facts, *prospects(folder, facts)]


def machine_table(folder: Path) -> Any:
    """Return the same as a DataFrame for a notebook; all packages in their tested ranges share one row."""
    import pandas  # half a second, which the start of every run would pay

    rows, words = examine(folder), {True: "ok", False: "look here", None: ""}
    sound = [row for row in rows if row[2] and TESTED in row[1]]
    rows = [("packages", f"{len(sound)} in their tested ranges", True), *(row for row in rows if row not in sound)]
    return pandas.DataFrame([{"what": what, "found": text, "verdict": words[fine]} for what, text, fine in rows])


def _python_rows() -> list[Row]:
    rows: list[Row] = [("python", platform.python_version(), sys.version_info >= (3, 11))]
    known = machine.requirements()
    if not known:
        rows.append((machine.DISTRIBUTION, "not installed; run: pip install -e .", False))
    for item in known:
        version = machine.version_of(item.name)
        tested = f"{TESTED}{item.specifier}"
        fine = version is not None and item.specifier.contains(version, prereleases=True)
        rows.append((item.name, f"{version} ({tested})" if version else f"missing; install {item}", fine))
    return rows


def _card_rows() -> list[Row]:
    # In a child process, because torch takes seconds to import.
    code = "import torch; print(torch.cuda.is_available() and torch.cuda.get_device_name(0))"
    usable = machine.ask(sys.executable, "-c", code, timeout_s=120)
    found = [(f"card {i}", f"{card['name']}, {card['memory_gib']} GiB", True) for i, card in enumerate(machine.cards())]
    if usable is None:
        return [*found, ("torch", "cannot be imported; reinstall it for this machine", False)]
    if usable == "False":
        text = "torch can use no GPU: the pocket model runs on the processor; a 3B model needs an NVIDIA GPU"
        return [*found, ("CUDA", text, False if found else None)]
    return [*found, ("CUDA", f"torch uses {usable.splitlines()[-1]}", True)]


def _space_rows(folder: Path) -> list[Row]:
    size = machine.memory_gib()
    free_gib = shutil.disk_usage(folder).free / machine.GIB
    return [
        ("cores", str(machine.cores()), None),
        ("memory", f"{size} GiB" if size else "unknown", None if size is None else size >= LEAST_MEMORY_GIB),
        ("disk", f"{free_gib:.0f} GiB free in {folder}", free_gib >= LEAST_DISK_GIB),
    ]


def _cluster_rows() -> list[Row]:
    found = ignored(cluster_variables())
    return [("cluster", found, None)] if found else []


def _hub_row() -> Row:
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        return ("hub", "HF_HUB_OFFLINE is set: only models that are here already", None)
    address = os.environ.get("HF_ENDPOINT") or HUB
    only = "the pocket model and local folders only"
    try:
        proxy = proxy_of(address)
    except InputError as problem:
        return ("hub", f"cannot be asked, as {problem}: {only}", None)
    through = f" through the proxy in {proxy[0]}" if proxy else ""
    if address_answers(address):
        return ("hub", f"{address} answers{through}: models can be downloaded", True)
    return ("hub", f"{address} does not answer{through}: {only}", None)


def address_answers(address: str, timeout_s: float = HUB_TIMEOUT_S) -> bool:
    """Return whether a web address answers within `timeout_s` seconds after its name was looked up."""
    from huggingface_hub import get_session

    try:
        get_session().head(address, timeout=timeout_s)
    except Exception:  # of the HTTP client that the library uses; an answer of any status raises nothing
        return False
    return True


def prospects(folder: Path, facts: Sequence[Row]) -> list[Row]:
    """Return what will work with these facts: the demo, each params file by its estimated memory, judges."""
    fine = {what: verdict for what, _, verdict in facts}
    ready = not any(verdict is False for what, _, verdict in facts if what != "CUDA")
    text = "works: the pocket model, on the processor" if ready else "fix the rows marked above first"
    key, files = Endpoint.key, sorted((folder / "params").glob("*.yaml"))
    known = "is set" if os.environ.get(key, "").strip() else "is not set: only endpoints that need none"
    usable = machine.cards() if fine.get("CUDA") else []
    large = max((card["memory_gib"] for card in usable if card["memory_gib"]), default=0.0)
    return [
        ("demo", text, ready),
        *((f"params/{file.name}", _file_text(file, large, fine["hub"]), None) for file in files if ready),
        ("judges", f"rule and recorded judges work; for http judges the key {key} {known}", None),
    ]


def _file_text(file: Path, card_gib: float, hub: bool | None) -> str:
    """Return whether an experiment will work here, as far as its estimate shows."""
    from currreft_nb.cli.commands import preflight  # loads torch, which a broken installation cannot
    from currreft_nb.memory.estimate import fit_verdict
    from currreft_nb.running.experiment import read_experiment

    try:
        experiment = read_experiment(file)
        models = sorted({step.settings["model"] for step in experiment.steps if "model" in step.settings})
        if absent := [name for name in models if name.startswith(MADE_HERE) and not (experiment.root / name).is_dir()]:
            return f"needs {absent[0]}, which is not here yet; see the head of the file"
        if not any(machine.is_large(model) for model in models):
            return "runs with or without a card"
        peak = "no training, so no estimate"
        if any("micro_batch" in step.settings for step in experiment.steps):
            parts = max((parts for _, parts in preflight(experiment)), key=lambda parts: parts[-1]["gib"])
            peak = f"largest step about {parts[-1]['gib']:.1f} GiB, estimated"
            peak = fit_verdict(parts, card_gib) if card_gib else peak
        if not card_gib:
            return f"needs a CUDA GPU: {peak}"
        missing = [model for model in models if machine.is_large(model) and not hub and not _is_here(model)]
        return peak + (f"; {missing[0]} must be downloaded first" if missing else "")
    except InputError as problem:
        return str(problem)


def _is_here(model: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return Path(model).is_dir() or isinstance(try_to_load_from_cache(model, "config.json"), str)

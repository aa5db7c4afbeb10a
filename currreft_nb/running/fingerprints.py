"""What decides a run's result, as a fingerprint, and in what two runs differ.

Paths of inputs are compared relative to each other, so runs compare equal after their project or experiment was moved.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from currreft_nb.core.files import digest, file_digest
from currreft_nb.models.weights import hash_model
from currreft_nb.running.notebook_settings import decides, declared_by
from currreft_nb.running.parameters import code_cells

ADAPTER = "adapter/adapter_model.safetensors"


def source_hash(notebook: str | os.PathLike) -> str:
    """Return a hash of a notebook's code, without its parameters, which are settings."""
    parameter_cells = {"parameters", "injected-parameters"}
    return digest([source for source, tags in code_cells(notebook) if not parameter_cells & set(tags)])


def adapter_hash(folder: Path) -> str | None:
    """Return a hash of the adapter's weights in a run's folder, or None without an adapter."""
    weights = folder / ADAPTER
    return file_digest(weights) if weights.is_file() else None


def input_folder(folder: Path, note: Mapping) -> Path:
    """Return the present folder of an input that a run's record lists."""
    return Path(os.path.normpath(folder / note["path"]))


def identity(note: Mapping) -> tuple[str, str]:
    """Return the id and the fingerprint of a run, by which an input is compared."""
    return note["id"], note["fingerprint"]


def portable_path(folder: Path, start: Path, root: Path) -> str:
    """Return the folder relative to `start` where both are moved together, else as it is."""
    # Folders of one project, or of one experiment, are moved together.
    together = folder.is_relative_to(root) and start.is_relative_to(root)
    return os.path.relpath(folder, start) if together or folder.parent == start.parent else str(folder)


def portable(notebook: str, settings: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings that decide a notebook's result, with the texts of `names` replaced.

    So runs compare equal whose folders were moved, or which differ in memory, time or records only.

    >>> portable("02_rl_binary", {"output": "o", "data": "a", "steps": 6, "micro_batch": 8}, {"a": "input 0"})
    {'data': 'input 0', 'steps': 6}
    """

    def replaced(value: Any) -> Any:
        if isinstance(value, list):
            return [replaced(item) for item in value]
        return names.get(value, value) if isinstance(value, str) and value else value

    return {name: replaced(value) for name, value in settings.items() if decides(notebook, name) == "result"}


def fingerprint(record: Mapping) -> str:
    """Return the hash of what decides a run's result: settings, weights, inputs, the notebook's code, the version."""
    names = {note["given"]: f"input {index}" for index, note in enumerate(record["inputs"])}
    inputs = [note["fingerprint"] for note in record["inputs"]]
    settings = portable(record["notebook"], record["settings"], names)
    decisive = [record["notebook"], settings, inputs, record["source"], record["package"], record.get("weights")]
    return digest(decisive)


def changed_settings(record: Mapping, folder: Path, settings: Mapping[str, Any], root: Path) -> list[str]:
    """Return the names of the settings that decide the result and in which the run in the folder differs from these.

    A setting that did not exist when the run was made has its default.
    """
    notebook = record["notebook"]
    defaults = {name: item.default for name, item in declared_by(notebook).items() if name in settings}
    given = {note["given"]: f"input {index}" for index, note in enumerate(record["inputs"])}
    places = {input_folder(folder, note): f"input {index}" for index, note in enumerate(record["inputs"])}
    asked = {}
    for value in settings.values():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and text and (place := Path(os.path.normpath(root / text))) in places:
                asked[text] = places[place]
    before, now = portable(notebook, defaults | record["settings"], given), portable(notebook, settings, asked)
    missing = object()
    return sorted(name for name in {*before, *now} if before.get(name, missing) != now.get(name, missing))


def hash_weights(settings: Mapping[str, Any], root: Path) -> str | None:
    """Return the hash of the weights on this disk that a run uses, of its model and its teacher; None without any."""
    found = [hash_model(settings[name], root) for name in ("model", "teacher") if settings.get(name)]
    return " ".join(filter(None, found)) or None


def other_weights(record: Mapping, settings: Mapping[str, Any], root: Path) -> bool:
    """Say whether the model has other weights than in the record; those that are not on this machine are the same."""
    weights, before = hash_weights(settings, root), record.get("weights")
    return bool(weights and before and weights != before)

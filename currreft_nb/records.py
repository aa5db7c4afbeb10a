"""`run.json`, the record of a run: read and written whole, and compared to say whether a run is the one asked for.

    {"notebook": "02_rl_binary", "status": "complete", "id": "5f0c…", "session": "91ab…", "fingerprint": "c0ffee…",
     "started": "2026-11-23T08:00:00+00:00", "finished": "2026-11-23T08:02:00+00:00", "seconds": 120.0,
     "settings": {"output": "outputs/pocket/binary", "data": "outputs/pocket/data", "steps": 60}, "weights": "0b5d…",
     "inputs": [{"path": "../data", "given": "outputs/pocket/data", "notebook": "01_data_curation", "id": "77e1…", …}],
     "metrics": {"reward": 0.8}, "error": null, "source": "1f2e…", "package": "0.1.0", "commit": "…",
     "machine": {"cores": 2}, "versions": {"trl": "1.16.0"}}

`status` is running, complete or failed. `id` names the run through all resumptions, `session` one start of it. Input
paths are relative to the run's folder, so that a moved experiment still holds together. `weights` is a hash of those of
the model, where they lie on this machine.
"""

import datetime
import hashlib
import json
import math
import numbers
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from currreft_nb import InputError, parameters
from currreft_nb.notebook_settings import decides, declared_by

RECORD = "run.json"
JOURNALS = ("metrics.jsonl", "records.jsonl", "answers*.jsonl", "passes*.jsonl")
WORK = ("checkpoints", "choice", "completions", "figures", "processes", "trackers", *JOURNALS)
TYPES = {"notebook": str, "status": str, "id": str, "session": str, "settings": dict, "inputs": list, "source": str}


def shown(path: Path, root: Path) -> str:
    """Return the path as people write it: from the project root where it lies inside."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def read_record(folder: str | os.PathLike) -> dict | None:
    """Return what the folder's run.json says, or None when there is none. Raises `InputError` when it is damaged."""
    path = Path(folder) / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        fine = isinstance(record, dict) and TYPES.items() <= {k: type(v) for k, v in record.items()}.items()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (json.JSONDecodeError, UnicodeDecodeError):
        fine = False
    if not fine:
        raise InputError(
            f"{path} is damaged and cannot be read; delete the folder {path.parent} and run its notebook again"
        )
    return record


def write_record(folder: Path, record: Mapping) -> None:
    """Replace the folder's run.json at once, so that a reader sees the old or the new one, never half of it."""
    partial = folder / f"{RECORD}.partial"
    with partial.open("w", encoding="utf-8") as stream:
        json.dump(plain(record), stream, indent=2, ensure_ascii=False, allow_nan=False)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(partial, folder / RECORD)


def plain(value: Any) -> Any:
    """Return the value in JSON's types: NumPy's numbers as Python's, paths as text, what is not finite as null.

    >>> plain({"loss": float("nan"), "folder": Path("a"), "shape": (2, 3)})
    {'loss': None, 'folder': 'a', 'shape': [2, 3]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"run.json holds numbers, text, lists and dicts, not {type(value).__name__}: {value!r}")


def complete_record(folder: Path, root: Path, notebook: str) -> dict:
    """Return the record of the complete run in a folder, or raise `InputError` with the notebook to run first.

    While a run is being repeated its former result counts, for as long as its adapter is the one in the folder.
    """
    record, place = read_record(folder), shown(folder, root)
    if record is None:
        raise InputError(f"{place} holds no run; run notebook {notebook} first")
    if record["status"] == "complete":
        return record
    last = record.get("last_complete")
    if last is not None and last["adapter"] == adapter_hash(folder):
        print(f"{place} is being run again and is not finished: using the adapter of its last complete run")
        return last
    raise InputError(
        f"the run in {place} is not complete ({record['status']}); run notebook {record['notebook']} to its end"
    )


def find_work(folder: Path) -> list[Path]:
    """Return what a folder holds that an unfinished run would continue from."""
    return sorted(path for pattern in WORK for path in folder.glob(pattern))


def clear_work(folder: Path) -> None:
    """Delete what an unfinished run would continue from."""
    for path in find_work(folder):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def source_hash(notebook: str | os.PathLike) -> str:
    """Return a hash of what a notebook does: its code, without the parameters, whose values are settings."""
    cells = [
        source
        for source, tags in parameters.code_cells(notebook)
        if not {"parameters", "injected-parameters"} & set(tags)
    ]
    return _digest(cells)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def adapter_hash(folder: Path) -> str | None:
    """Return a hash of the adapter's weights in a run folder, or None when there is none."""
    weights = folder / "adapter" / "adapter_model.safetensors"
    if not weights.is_file():
        return None
    with weights.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def input_folder(folder: Path, note: Mapping) -> Path:
    """Return where an input that a run noted lies now."""
    return Path(os.path.normpath(folder / note["path"]))


def identity(note: Mapping) -> tuple[str, str]:
    """Return what tells whether an input is still the same: which run it was, and of what."""
    return note["id"], note["fingerprint"]


def portable_path(folder: Path, start: Path, root: Path) -> str:
    # Inside the project, or inside one experiment's folder, everything moves together.
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
    return _digest(decisive)


def same_settings(record: Mapping, folder: Path, settings: Mapping[str, Any], root: Path) -> bool:
    """Say whether the run in the folder had these settings, its inputs compared by where they lie now."""
    return not changed_settings(record, folder, settings, root)


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


def mark_failed(folder: Path, session: str, error: str, seconds: float) -> None:
    """Note in run.json that the session ended in an error; a run of another session is left alone."""
    record = read_record(folder)
    if record is not None and record["session"] == session and record["status"] == "running":
        seconds = round(record["seconds"] + seconds, 1)
        write_record(folder, {**record, "status": "failed", "error": error, "finished": now(), "seconds": seconds})


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")

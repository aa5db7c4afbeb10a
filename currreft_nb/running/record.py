"""The record of a run: `run.json`, and the folder that it describes.

    {"notebook": "02_rl_binary", "status": "complete", "id": "5f0c…", "session": "91ab…", "fingerprint": "c0ffee…",
     "started": "2026-11-23T08:00:00+00:00", "finished": "2026-11-23T08:02:00+00:00", "seconds": 120.0,
     "settings": {"output": "outputs/pocket/binary", "data": "outputs/pocket/data", "steps": 60}, "weights": "0b5d…",
     "inputs": [{"path": "../data", "given": "outputs/pocket/data", "notebook": "01_data_curation", "id": "77e1…", …}],
     "metrics": {"reward": 0.8}, "error": null, "source": "1f2e…", "package": "0.1.0", "commit": "…",
     "machine": {"cores": 2}, "versions": {"trl": "1.16.0"}}

`status` is running, complete or failed. `id` names the run through all resumptions, `session` one start of it. Input
paths are relative to the run's folder, so that an experiment may be moved. `weights` is a hash of the model's weights
where they are on this machine.

A new attempt deletes nothing before it is complete. What an attempt would continue from (`WORK`) is set aside:

    outputs/pocket/rl/former/         a complete run that is being repeated: its run.json, metrics.jsonl, …
                     /former/rest.json  sizes and times of the files that stay in place, such as adapter/ and data/
                     /set-aside/1/    an unfinished attempt with other settings or inputs

A repetition may fail long after its settings were checked, for example because the model cannot be loaded. As long as
it has made nothing of its own, `RunFolder.put_back` restores the complete run.
"""

import datetime
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from currreft_nb import InputError, __version__
from currreft_nb.core.files import atomic_write, to_json_types
from currreft_nb.running.fingerprints import (
    adapter_hash,
    changed_settings,
    identity,
    input_folder,
    other_weights,
    source_hash,
)
from currreft_nb.running.project import display_path

RECORD = "run.json"
NOTEBOOK = "notebook.ipynb"  # the executed one
RUNNING_NOTEBOOK = "running.ipynb"  # Papermill writes it while it executes the notebook
FAILED_NOTEBOOK = "failed.ipynb"  # of a repetition after which the complete run was put back
LOG = "log.txt"
FORMER = "former"
SET_ASIDE = "set-aside"
REST = "rest.json"
ALWAYS_NEW = (RECORD, NOTEBOOK, RUNNING_NOTEBOOK, FAILED_NOTEBOOK, LOG, FORMER, SET_ASIDE)
METRICS = "metrics.jsonl"  # a row for each step of a training
JOURNALS = (METRICS, "records.jsonl", "answers*.jsonl", "passes*.jsonl")
WORK = ("checkpoints", "choice", "completions", "figures", "processes", "trackers", *JOURNALS)
TYPES = {"notebook": str, "status": str, "id": str, "session": str, "settings": dict, "inputs": list, "source": str}


@dataclass(frozen=True)
class StepState:
    """What to do with a step ("skip", "run" or "resume"), and why."""

    todo: str
    reason: str


def read_record(folder: str | os.PathLike) -> dict | None:
    """Return the content of the folder's run.json, or None without one. Raises `InputError` when it is damaged."""
    path = Path(folder) / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        valid = isinstance(record, dict) and TYPES.items() <= {k: type(v) for k, v in record.items()}.items()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (json.JSONDecodeError, UnicodeDecodeError):
        valid = False
    if not valid:
        raise InputError(f"{path} is damaged; delete the folder {path.parent} and run its notebook again")
    return record


class RunFolder:
    """A run's folder and its `record`, the content of run.json (None without one).

    The record is read when the object is made and by `read`, as under a lock that was just acquired. Only the holder of
    the folder's lock may call `write`, `set_aside`, `put_back` and `discard`.
    """

    def __init__(self, path: Path):
        self.path, self.former = path, path / FORMER
        self.record = read_record(path)

    def read(self) -> dict | None:
        """Read run.json again and return it."""
        self.record = read_record(self.path)
        return self.record

    def write(self, record: Mapping) -> None:
        """Replace run.json."""
        with atomic_write(self.path / RECORD) as stream:
            json.dump(to_json_types(record), stream, indent=2, ensure_ascii=False, allow_nan=False)
        self.record = dict(record)

    def fail(self, error: str, seconds: float) -> None:
        """Write into run.json that a running attempt ended in an error after so many seconds."""
        if self.record is not None and self.record["status"] == "running":
            seconds = round(self.record["seconds"] + seconds, 1)
            self.write(self.record | {"status": "failed", "error": error, "finished": now(), "seconds": seconds})

    @property
    def is_complete(self) -> bool:
        """Say whether the record is that of a complete run."""
        return self.record is not None and self.record["status"] == "complete"

    def last_complete(self) -> dict | None:
        """Return the record of the last complete run, also while that run is being repeated."""
        if self.record is None or self.is_complete:
            return self.record
        return read_record(self.former) or self.record.get("last_complete")

    def check_notebook(self, name: str, remedy: str, root: Path) -> None:
        """Raise `InputError` when the folder holds a run of another notebook."""
        if self.record is not None and self.record["notebook"] != name:
            raise InputError(f"{display_path(self.path, root)} holds a run of {self.record['notebook']}; {remedy}")

    def state(self, notebook: Path, settings: Mapping[str, Any], root: Path) -> StepState:
        """Return what the run needs to be the complete run of this notebook with these settings."""
        if self.record is None:
            return StepState("run", "not run yet")
        if difference := self._difference(self.record, settings, root):
            if not self.is_complete and (aside := self._fitting(settings, root)):
                return StepState("resume", f"takes back {aside.describe_work()}")
            work = "" if self.is_complete else self.describe_work()
            return StepState("run", difference + (f"; sets aside {work}" if work else ""))
        if not self.is_complete:
            return StepState("resume", "stopped" if self.record["status"] == "running" else self.record["status"])
        if self.record["source"] != source_hash(notebook):
            return StepState("run", "its notebook changed")
        if self.record["package"] != __version__:
            return StepState("run", f"made with version {self.record['package']}")
        return StepState("skip", f"complete, {self.record['seconds']:.0f} s")

    def _difference(self, record: Mapping, settings: Mapping[str, Any], root: Path) -> str:
        if changed := changed_settings(record, self.path, settings, root):
            return f"{', '.join(changed)} changed"
        if other_weights(record, settings, root):
            return f"the weights of {settings['model']} changed"
        for note in record["inputs"]:
            place = input_folder(self.path, note)
            current = read_record(place)
            if current is None or current["status"] != "complete" or identity(current) != identity(note):
                return f"its input {display_path(place, root)} changed"
        return ""

    def changes(self, settings: Mapping[str, Any], root: Path) -> list[str]:
        """Return how these settings differ from those of the record, such as "steps 60 -> 80"."""
        if self.record is None:
            return []
        before, names = self.record["settings"], changed_settings(self.record, self.path, settings, root)
        changes = [f"{name} {before.get(name, 'not set')} -> {settings.get(name, 'not set')}" for name in names]
        return changes + (["other weights of the model"] if other_weights(self.record, settings, root) else [])

    def work(self) -> list[Path]:
        """Return what an attempt would continue from."""
        return sorted(path for pattern in WORK for path in self.path.glob(pattern))

    def describe_work(self) -> str:
        """Return what an attempt would continue from in words, "" when that is nothing but figures."""
        steps = [int(path.name.rpartition("-")[2]) for path in self.path.glob("checkpoints/checkpoint-*[0-9]")]
        names = [path.name for path in self.work() if path.name != "figures"]
        return f"the checkpoint of step {max(steps)}" if steps else ", ".join(names)

    def set_aside(self) -> Path | None:
        """Move what an attempt would continue from into a folder in this one and return that folder.

        None is returned where an unfinished attempt left nothing but figures, which are deleted.
        """
        if self.is_complete:
            aside = self.former
        elif self.describe_work():
            numbers = [int(path.name) for path in self.path.glob(f"{SET_ASIDE}/*") if path.name.isdigit()]
            aside = self.path / SET_ASIDE / str(max(numbers, default=0) + 1)
        else:
            self._delete_work()
            return None
        partial = aside.with_name(f"{aside.name}.partial")
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        shutil.copy2(self.path / RECORD, partial / RECORD)
        if self.is_complete:
            (partial / REST).write_text(json.dumps(self._rest()), encoding="utf-8")
        os.replace(partial, aside)
        for path in self.work():
            os.replace(path, aside / path.name)
        return aside

    def _fitting(self, settings: Mapping[str, Any], root: Path) -> "RunFolder | None":
        """Return the attempt that was set aside from a run with these settings, inputs and weights."""
        attempts = [
            RunFolder(path) for path in sorted(self.path.glob(f"{SET_ASIDE}/*[0-9]"), key=lambda p: int(p.name))
        ]
        fitting = [a for a in attempts if a.record and not self._difference(a.record, settings, root)]
        return fitting[-1] if fitting else None

    def take_back(self, settings: Mapping[str, Any], root: Path) -> bool:
        """Exchange an unfinished attempt for one with these settings that was set aside; return whether one exists."""
        aside = self._fitting(settings, root)
        if self.is_complete or aside is None or aside.record is None:
            return False
        self.set_aside()
        self.write(aside.record)
        for path in aside.work():
            os.replace(path, self.path / path.name)
        shutil.rmtree(aside.path)
        return True

    def put_back(self) -> bool:
        """Restore a complete run whose repetition has made nothing, and return whether the folder holds a complete run.

        May be killed at any point: the next call goes on from there.
        """
        kept = read_record(self.former)
        if kept is None:
            return self.is_complete
        if self.record is not None and self.is_complete and self.record["session"] != kept["session"]:
            self.discard()  # the repetition was killed between its completion and this
            return True
        if not self.is_complete:
            rest = json.loads((self.former / REST).read_text(encoding="utf-8"))
            if self.describe_work() or rest != self._rest():
                return False
            self._delete_work()
            self.write(kept)  # from here on, a complete run is restored to its end
        for path in RunFolder(self.former).work():
            os.replace(path, self.path / path.name)
        shutil.rmtree(self.former)
        return True

    def discard(self) -> None:
        """Delete everything that was set aside, because a newer run is complete."""
        shutil.rmtree(self.former, ignore_errors=True)
        shutil.rmtree(self.path / SET_ASIDE, ignore_errors=True)

    def _delete_work(self) -> None:
        for path in self.work():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def _rest(self) -> dict[str, list[int]]:
        """Return size and time of each file that a repetition replaces only with something of its own."""
        aside = {*(path.name for path in self.work()), *ALWAYS_NEW}
        rest = {}
        for top in sorted(self.path.iterdir()):
            if top.name in aside or top.suffix == ".partial":
                continue
            for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
                parts = path.relative_to(self.path).parts
                if path.is_file() and not any(part.startswith(".") for part in parts):  # locks, half-made data
                    status = path.stat()
                    rest[path.relative_to(self.path).as_posix()] = [status.st_size, status.st_mtime_ns]
        return rest


def complete_record(folder: Path, root: Path, notebook: str) -> dict:
    """Return the record of the complete run in a folder. Raises `InputError` naming the notebook to run first.

    While a run is being repeated, its last complete record counts for as long as its adapter is the one in the folder.
    """
    record, place = read_record(folder), display_path(folder, root)
    if record is None:
        raise InputError(f"{place} holds no run; check its name, or run notebook {notebook} first")
    if record["status"] == "complete":
        return record
    last = record.get("last_complete")
    if last is not None and last["adapter"] == adapter_hash(folder):
        print(f"{place} is being run again and is not finished: using the adapter of its last complete run")
        return last
    raise InputError(
        f"the run in {place} is not complete ({record['status']}); run notebook {record['notebook']} to its end"
    )


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")

"""A run: one execution of a notebook, its folder, and `run.json`, which alone says whether it succeeded.

    run = Run.start("02_rl_binary", globals())      # checks the parameters, opens the folder
    data = run.input(data, "01_data_curation")      # the folder of a complete run, or an error naming what to run first
    ...
    run.finish({"reward": 0.8})                     # only now is the run complete

Starting a stopped run again resumes it. A start with other settings or inputs begins afresh: it sets aside what the
earlier attempt would continue from (`running.record.RunFolder`) and deletes it when the new run is complete. `adapter/`
stays until the new one replaces it.
"""

import os
import time
import uuid
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from filelock import AcquireReturnProxy

from currreft_nb import InputError, __version__
from currreft_nb.core.environment import leave_cluster
from currreft_nb.core.journal import read_journal
from currreft_nb.core.stored_answers import choose_groups, read_completions
from currreft_nb.evaluation.sources import AnswerSource, read_sources
from currreft_nb.running import machine, notebook_settings
from currreft_nb.running.fingerprints import (
    ADAPTER,
    adapter_hash,
    fingerprint,
    hash_weights,
    identity,
    input_folder,
    portable_path,
    source_hash,
)
from currreft_nb.running.locks import LockHeld, acquire
from currreft_nb.running.parameters import cell_declarations, check_namespace, declarations
from currreft_nb.running.project import NOTEBOOK_VARIABLE, display_path, find_notebook, project_root
from currreft_nb.running.record import METRICS, RECORD, SET_ASIDE, RunFolder, complete_record, now
from currreft_nb.tasks.classification import LABELS_VERSION
from currreft_nb.views.live import LiveFigure

if TYPE_CHECKING:
    import pandas as pd

LOCK = ".lock"
PATIENCE_S = 5.0  # the kernel of a killed runner ends within about a second

_held: dict[Path, AcquireReturnProxy] = {}  # the locks of the runs that this process has not finished
_started_here: set[Path] = set()  # folders in which this process has started a run


class Run:
    """One execution of a notebook: `start` it, take each `input` or `adapter` it reads, `finish` it.

    `settings` holds all checked parameters by name, also those that the cell does not show. The notebook writes only
    into `folder`. `resuming` says that the folder holds unfinished work of the same settings and inputs.
    """

    def __init__(self, name: str, notebook: Path, settings: dict[str, Any]):
        """Use `Run.start` instead."""
        self.settings = SimpleNamespace(**settings)
        self.root = project_root()
        self.folder = self.path(settings.get("output") or f"outputs/notebooks/{name}")
        self.resuming = self._again = False
        self._old_adapter: tuple[int, int] | None = None
        self._kept = RunFolder(self.folder)
        self._earlier_inputs: dict[Path, dict] = {}
        self._inputs: dict[Path, dict] = {}
        self._clock = time.monotonic()
        session = uuid.uuid4().hex
        self._record: dict[str, Any] = {
            "notebook": name,
            "status": "running",
            "id": session,
            "session": session,
            "fingerprint": None,
            "started": now(),
            "finished": None,
            "seconds": 0.0,
            "settings": settings,
            "weights": hash_weights(settings, self.root),
            "inputs": [],
            "metrics": {},
            "error": None,
            "source": source_hash(notebook),
            "package": __version__,
            "commit": machine.commit(self.root),
            "machine": machine.describe(),
            "versions": machine.versions() | {"label table": LABELS_VERSION},
        }

    @classmethod
    def start(cls, name: str, namespace: MutableMapping[str, Any]) -> "Run":
        """Check the parameters in a notebook's globals, open its folder and write run.json with status "running".

        Names, types and bounds are checked against the notebook's parameters cell and its settings class, so that plain
        Papermill is as strict as `currreft run`. Raises `InputError` for an unknown name, a value that is not allowed,
        or a folder with other content. What a cluster's launcher left in the environment is removed and named.
        """
        if line := leave_cluster():
            print(line)
        notebook = find_notebook(name)
        settings = check_namespace(notebook, namespace)
        # A bare `learning_rate` in a later cell is the checked number, too; the others are in `run.settings`.
        namespace.update({name: settings[name] for name in cell_declarations(notebook)})
        run = cls(name, notebook, settings)
        run._open()
        return run

    def path(self, text: str | os.PathLike) -> Path:
        """Return a parameter's text as an absolute path; relative ones start at the project root."""
        return Path(os.path.normpath(self.root / Path(text).expanduser()))

    def input(self, given: str, notebook: str) -> Path:
        """Return the folder of a complete run that this one reads, and record it; "" is the by-hand run of `notebook`.

        Raises `InputError` naming the notebook to run first when there is no complete run.
        """
        if not given and os.environ.get(NOTEBOOK_VARIABLE):
            raise InputError(
                f"this step reads a run of {notebook}: name it in the experiment file, as @step or as a folder"
            )
        folder = self.path(given or f"outputs/notebooks/{notebook}")
        record = complete_record(folder, self.root, notebook)
        note = {"path": portable_path(folder, self.folder, self.root), "given": given}
        note |= {key: record[key] for key in ("notebook", "id", "fingerprint")}
        earlier = self._earlier_inputs.get(folder)
        self._inputs[folder] = note
        if self.resuming and earlier is not None and identity(earlier) != identity(note):
            self._begin_afresh(f"its input {display_path(folder, self.root)} changed since it was stopped")
        self._write()
        return folder

    def adapter(self, given: str, notebook: str) -> Path | None:
        """Return the adapter folder of a training run or its checkpoint; None for "base", the model without one.

        "" is the by-hand run of `notebook`, as for `input`.
        """
        if given == "base":
            return None
        if not given and notebook == self._record["notebook"]:
            raise InputError("start_from is empty; give base or the folder of a run with an adapter")
        run = AnswerSource(kind="run", place=given).run
        folder = self.input(run, notebook)
        folder = folder / "adapter" if run == given else self.path(given)
        if not folder.is_dir():
            raise InputError(
                f"{display_path(folder, self.root)} does not exist; give base or the folder of a training run"
            )
        return folder

    def sources(self, names: Sequence[str], given: Sequence[str]) -> dict[str, AnswerSource]:
        """Return the source of each arm's answers, with absolute paths; runs become inputs.

        `given` holds one entry for each name, in the form of `evaluation.sources`.
        """
        return {name: self._located(source) for name, source in read_sources(names, given).items()}

    def _located(self, source: AnswerSource) -> AnswerSource:
        if source.kind == "run":
            return replace(source, place=str(self.adapter(source.place, "04_rl_open")))
        here = self.path(source.place)
        local = source.kind == "recorded" or (source.kind == "model" and here.is_dir())
        return replace(source, place=str(here)) if local else source

    def settings_table(self) -> "pd.DataFrame":
        """Return a row for each setting: its value here, default, unit and bounds, what it decides, its meaning."""
        declared = declarations(find_notebook(self._record["notebook"]))
        return notebook_settings.settings_table(declared, vars(self.settings))

    def figure(self, figure: Any, name: str) -> Any:
        """Save a matplotlib figure as figures/<name>.png in the run's folder and return it for display."""
        folder = self.folder / "figures"
        folder.mkdir(exist_ok=True)
        figure.savefig(folder / f"{name.replace('/', '-')}.png", dpi=120)
        return figure

    def history(self) -> list[dict]:
        """Return the rows of metrics.jsonl, one per training step."""
        return read_journal(self.folder / METRICS)

    def live(self, draw: Callable[[list[dict]], Any]) -> LiveFigure:
        """Return a figure that follows the training in `with run.live(draw) as live`; `draw` takes `history()`."""
        return LiveFigure(lambda: draw(rows) if (rows := self.history()) else None)

    def completions(self, step: int | str = "last", **wanted: Any) -> list[dict]:
        """Return the completions of a training step, or of the "first", "middle" or "last" one, group by group.

        `wanted`: task, stage, reason or disagree, as in `choose_groups`.
        """
        return choose_groups(read_completions(self.folder, step), **wanted)

    def records(self, folders: Mapping[str, Path]) -> dict[str, dict]:
        """Return the record of the complete run in each folder, by the names given."""
        return {name: complete_record(folder, self.root, name) for name, folder in folders.items()}

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Record the results and make the run complete.

        Raises `InputError` when another kernel has started the run again, or when this one has made nothing.
        """
        place, current = display_path(self.folder, self.root), self._kept.read()
        if current is None or current["session"] != self._record["session"]:
            raise InputError(f"{place} was started again by another kernel or removed; run this notebook from its top")
        if not self._made_something():
            raise InputError(
                f"{place} holds only the results of an earlier run; run the cells between Run.start and run.finish"
            )
        self._earlier_inputs = {}
        seconds = self._record["seconds"] + time.monotonic() - self._clock
        self._record |= {"status": "complete", "finished": now(), "metrics": dict(metrics)}
        self._record.pop("last_complete", None)
        self._write(adapter=adapter_hash(self.folder), seconds=round(seconds, 1))
        self._kept.discard()
        release(self.folder)
        print(f"complete in {seconds:.0f} s: {place}")

    def _made_something(self) -> bool:
        # Variables of an earlier run may still be in the kernel: its last cell alone must not finish this run.
        if self._old_adapter and self._old_adapter == _stamp(self.folder):
            return False
        return bool(self._kept.work()) or not self._again

    def _open(self) -> None:
        name, place, kept = self._record["notebook"], display_path(self.folder, self.root), self._kept
        if kept.record is None and (strangers := kept.work()):
            raise InputError(f"{place} holds {strangers[0].name!r} but no {RECORD}; set output to a new folder")
        kept.check_notebook(name, "set output to another folder", self.root)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{place} cannot be made ({error.strerror}); set output to a writable folder") from None
        hold(self.folder, place, f"notebook {name}")
        kept.read()
        kept.put_back()
        earlier = kept.record
        self._again = self.folder in _started_here
        _started_here.add(self.folder)
        changes = kept.changes(vars(self.settings), self.root)
        if changes and kept.take_back(vars(self.settings), self.root):
            earlier, changes = kept.record, []
            place = display_path(self.folder / SET_ASIDE, self.root)
            print(f"an earlier attempt with these settings was taken back; work with other settings is in {place}")
        if (last := kept.last_complete()) and last.get("adapter"):
            self._record["last_complete"] = last
        if earlier and not kept.is_complete and not changes:
            self.resuming = True
            self._record |= {key: earlier[key] for key in ("id", "started", "seconds")}
            self._earlier_inputs = {input_folder(self.folder, note): note for note in earlier["inputs"]}
        else:
            self._begin_afresh(", ".join(changes))
        self._write()
        print(f"{name} -> {place}" + (" (resuming an unfinished run)" if self.resuming else ""))

    def _begin_afresh(self, why: str) -> None:
        work, unfinished = self._kept.describe_work(), not self._kept.is_complete
        self.resuming = False
        self._earlier_inputs = {}
        self._record |= {"id": self._record["session"], "started": now(), "seconds": 0.0}
        aside = self._kept.set_aside()
        self._old_adapter = _stamp(self.folder)
        if aside and unfinished:
            place = display_path(aside, self.root)
            print(f"warning: starting afresh ({why}): {work} is in {place} until this run is complete")

    def _write(self, **changes: Any) -> None:
        # Inputs of the stopped attempt stay recorded until this one reads them, else a second stop would forget them.
        inputs = list((self._earlier_inputs | self._inputs).values())
        self._record |= {"inputs": inputs, **changes}
        self._record["fingerprint"] = fingerprint(self._record)
        self._kept.write(self._record)


def _stamp(folder: Path) -> tuple[int, int] | None:
    """Return time and size of the adapter's weights in a run's folder, or None without an adapter."""
    weights = folder / ADAPTER
    return (weights.stat().st_mtime_ns, weights.stat().st_size) if weights.is_file() else None


def hold(folder: Path, place: str, doing: str = "") -> None:
    """Lock a run's folder until `release` or the end of this process.

    Raises `InputError` naming the holder when another process holds it.
    """
    if folder in _held:
        return
    try:
        _held[folder] = acquire(folder / LOCK, doing, PATIENCE_S if NOTEBOOK_VARIABLE in os.environ else 0.0)
    except LockHeld as error:
        raise InputError(
            f"{place} is being written by another kernel, {error}; wait for it, shut it down, or set output to"
            " another folder"
        ) from None


def release(folder: Path) -> None:
    """Unlock a run's folder."""
    if folder in _held:
        _held.pop(folder).lock.release()

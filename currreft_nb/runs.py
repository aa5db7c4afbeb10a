"""A run: one execution of a notebook, its folder, and `run.json`, the only truth about whether it succeeded.

    run = Run.start("02_rl_binary", globals())      # checks the parameters, opens the folder
    data = run.input(data, "01_data_curation")      # the folder of a complete run, or a sentence on what is missing
    ...
    run.finish({"reward": 0.8})                     # only now is the run complete

A run that was stopped is resumed by starting it again: what can be continued lies in `WORK`, which a start with other
settings or other inputs sets aside first. Of a complete run it is only set aside until the next one is complete, and
put back where that one ends before it has made anything. `adapter/` stays until the next one replaces it.
"""

import os
import time
import uuid
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TextIO

from currreft_nb import InputError, __version__, machine, notebook_settings, parameters, records_stopped
from currreft_nb.evaluation_sources import Source, read_sources
from currreft_nb.journal import read_journal
from currreft_nb.journal_completions import choose_groups, read_completions
from currreft_nb.live import LiveFigure
from currreft_nb.models_hash import hash_model
from currreft_nb.records import (
    RECORD,
    adapter_hash,
    changed_settings,
    clear_work,
    complete_record,
    find_work,
    fingerprint,
    identity,
    input_folder,
    now,
    portable_path,
    read_record,
    same_settings,
    shown,
    source_hash,
    write_record,
)
from currreft_nb.records_former import give_up, put_back, set_aside
from currreft_nb.records_locks import Held, take
from currreft_nb.tasks.classification import LABELS_VERSION

if TYPE_CHECKING:
    import pandas as pd

NOTEBOOK_VARIABLE = "CURRREFT_NOTEBOOK"  # set by the experiment runner: the notebook file that the kernel executes

LOCK = ".lock"
PATIENCE_S = 5.0  # the kernel of a runner that was killed notices it within about a second

_held: dict[Path, TextIO] = {}  # the locks of the runs that this process has not finished
_started_here: set[Path] = set()  # folders in which this process has started a run


def project_root(start: str | os.PathLike | None = None) -> Path:
    """Return the nearest folder from `start` (default: the working directory) upward with notebooks/ and params/."""
    here = Path(start or ".").resolve()
    for folder in (here, *here.parents):
        if (folder / "notebooks").is_dir() and (folder / "params").is_dir():
            return folder
    return here


def find_notebook(name: str) -> Path:
    """Return a notebook's file: the one that the runner executes, else near the working directory or the package."""
    executed = Path(os.environ.get(NOTEBOOK_VARIABLE, ""))
    beside_package = Path(__file__).resolve().parents[1]
    places = [Path.cwd(), Path.cwd() / "notebooks", project_root() / "notebooks", beside_package / "notebooks"]
    for path in ([executed] if executed.stem == name else []) + [place / f"{name}.ipynb" for place in places]:
        if path.is_file():
            return path
    raise InputError(
        f"{name}.ipynb is not in {places[0]} or {places[1]}; start Jupyter or papermill in the project's folder"
    )


class Run:
    """One execution of a notebook: `start` it, take each `input` or `adapter` it reads, `finish` it.

    `settings` holds all checked parameters by name, also those that the cell does not show. `folder` is where the
    notebook writes everything. `resuming` says that the folder holds unfinished work of the same settings and inputs.
    """

    def __init__(self, name: str, notebook: Path, settings: dict[str, Any]):
        """Use `Run.start`; this only notes what the run is."""
        self.settings = SimpleNamespace(**settings)
        self.root = project_root()
        self.folder = self.path(settings.get("output") or f"outputs/notebooks/{name}")
        self.resuming = self._again = False
        self._left_over: tuple[int, int] | None = None
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
            "weights": hash_model(settings.get("model", ""), self.root),
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
        or a folder that belongs to something else.
        """
        notebook = find_notebook(name)
        settings = parameters.check_namespace(notebook, namespace)
        # A bare `learning_rate` in a later cell is the number, too; what the cell does not show is in `run.settings`.
        namespace.update({name: settings[name] for name in parameters.cell_declarations(notebook)})
        run = cls(name, notebook, settings)
        run._open()
        return run

    def path(self, text: str | os.PathLike) -> Path:
        """Return a parameter's text as an absolute path; relative ones count from the project root."""
        return Path(os.path.normpath(self.root / Path(text).expanduser()))

    def input(self, given: str, notebook: str) -> Path:
        """Return the folder of a complete run that this one reads, and note it; "" is the by-hand run of `notebook`.

        Raises `InputError`, with the notebook to run first, when there is no complete run.
        """
        if not given and os.environ.get(NOTEBOOK_VARIABLE):
            raise InputError(
                f"this step reads a run of {notebook}: name it in the experiment file, as @step or as a folder"
            )
        folder = self.path(given or f"outputs/notebooks/{notebook}")
        record = complete_record(folder, self.root, notebook)
        note = {
            "path": portable_path(folder, self.folder, self.root),
            "given": given,
            "notebook": record["notebook"],
            "id": record["id"],
            "fingerprint": record["fingerprint"],
        }
        earlier = self._earlier_inputs.get(folder)
        self._inputs[folder] = note
        if self.resuming and earlier is not None and identity(earlier) != identity(note):
            self._begin_afresh(f"{shown(folder, self.root)} has changed since this run was stopped")
        self._write()
        return folder

    def adapter(self, given: str, notebook: str) -> Path | None:
        """Return the adapter folder of a training run, or None for "base", the bare model; "" as for `input`."""
        if given == "base":
            return None
        if not given and notebook == self._record["notebook"]:
            raise InputError("start_from is empty; give base or the folder of a run with an adapter")
        folder = self.input(given, notebook) / "adapter"
        if not folder.is_dir():
            raise InputError(f"{shown(folder, self.root)} does not exist; give base or the folder of a training run")
        return folder

    def sources(self, names: Sequence[str], given: Sequence[str]) -> dict[str, Source]:
        """Return where the answers of each arm come from, with folders and files where they are; runs become inputs.

        `given` holds one entry for each name, as `evaluation_sources` tells.
        """
        return {name: self._found(source) for name, source in read_sources(names, given).items()}

    def _found(self, source: Source) -> Source:
        if source.kind == "run":
            adapter = self.adapter(source.run, "04_rl_open")
            return replace(source, place=str(adapter if source.run == source.place else self.path(source.place)))
        here = self.path(source.place)
        local = source.kind == "recorded" or (source.kind == "model" and here.is_dir())
        return replace(source, place=str(here)) if local else source

    def settings_table(self) -> "pd.DataFrame":
        """Return a row for each setting: its value here, default, unit and bounds, what it decides, its meaning."""
        declared = parameters.declarations(find_notebook(self._record["notebook"]))
        return notebook_settings.table(declared, vars(self.settings))

    def figure(self, figure: Any, name: str) -> Any:
        """Save a matplotlib figure as figures/<name>.png in the run's folder and return it, to be shown."""
        folder = self.folder / "figures"
        folder.mkdir(exist_ok=True)
        figure.savefig(folder / f"{name.replace('/', '-')}.png", dpi=120)
        return figure

    def history(self) -> list[dict]:
        """Return the rows of the training that was run, one a logging step."""
        return read_journal(self.folder / "metrics.jsonl")

    def live(self, draw: Callable[[list[dict]], Any]) -> LiveFigure:
        """Return a figure that follows the training in `with run.live(draw) as live`; `draw` takes `history()`."""
        return LiveFigure(lambda: draw(rows) if (rows := self.history()) else None)

    def completions(self, step: int | str = "last", **wanted: Any) -> list[dict]:
        """Return the completions of a step of the training, or of the first, middle or last, group by group.

        `wanted`: task, stage, reason or disagree, as in `choose_groups`.
        """
        return choose_groups(read_completions(self.folder, step), **wanted)

    def records(self, folders: Mapping[str, Path]) -> dict[str, dict]:
        """Return what the run.json of each folder says, by the names given."""
        return {name: complete_record(folder, self.root, name) for name, folder in folders.items()}

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Note the results and make the run complete; `InputError` when another kernel has taken over the folder."""
        current = read_record(self.folder)
        if current is None or current["session"] != self._record["session"]:
            place = shown(self.folder, self.root)
            raise InputError(f"{place} was started again by another kernel or removed; run this notebook from its top")
        if not self._did_something():
            raise InputError(
                f"{shown(self.folder, self.root)} was started, and nothing was made since: what is there is from an"
                " earlier run; run the cells between Run.start and run.finish"
            )
        self._earlier_inputs = {}
        seconds = self._record["seconds"] + time.monotonic() - self._clock
        self._record |= {
            "status": "complete",
            "finished": now(),
            "metrics": dict(metrics),
            "adapter": adapter_hash(self.folder),
        }
        self._record.pop("last_complete", None)
        self._write(seconds=round(seconds, 1))
        give_up(self.folder)
        records_stopped.drop(self.folder)
        release(self.folder)
        print(f"complete in {seconds:.0f} s: {shown(self.folder, self.root)}")

    def _did_something(self) -> bool:
        """Say whether what finishes is this run's own: variables of an earlier one may still be in the kernel."""
        if self._left_over and self._left_over == _stamp(self.folder):
            return False
        return bool(find_work(self.folder)) or not self._again

    def _open(self) -> None:
        name, place = self._record["notebook"], shown(self.folder, self.root)
        earlier = read_record(self.folder)
        if earlier is None and (strangers := find_work(self.folder)):
            raise InputError(f"{place} holds {strangers[0].name!r} but no {RECORD}; set output to a new folder")
        if earlier is not None and earlier["notebook"] != name:
            raise InputError(f"{place} belongs to notebook {earlier['notebook']}; set output to another folder")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{place} cannot be made ({error.strerror}); set output to a folder that can be written"
            ) from None
        hold(self.folder, place, f"notebook {name}")
        put_back(self.folder)
        earlier = read_record(self.folder)
        self._again = self.folder in _started_here
        _started_here.add(self.folder)
        if earlier is not None and earlier["status"] != "complete":
            self.resuming = self._fits(earlier) or records_stopped.take_back(self.folder, self._fits)
            earlier = read_record(self.folder)
        if earlier is not None:
            self._keep_last_complete(earlier)
        if earlier is not None and self.resuming:
            self._continue(earlier)
        else:
            if earlier is not None and earlier["status"] == "complete":
                set_aside(self.folder)
            self._begin_afresh(self._changes(earlier))
        self._write()
        print(f"{name} -> {place}" + (" (resuming an unfinished run)" if self.resuming else ""))

    def _continue(self, earlier: dict) -> None:
        self._record |= {key: earlier[key] for key in ("id", "started", "seconds")}
        self._earlier_inputs = {input_folder(self.folder, note): note for note in earlier["inputs"]}

    def _fits(self, record: dict) -> bool:
        """Say whether a run with this record had the same settings and the same weights."""
        same = same_settings(record, self.folder, vars(self.settings), self.root)
        return same and record.get("weights") == self._record["weights"]

    def _changes(self, earlier: dict | None) -> str:
        """Say in what an earlier run in the folder differs from this one."""
        if earlier is None:
            return ""
        before, now = earlier["settings"], vars(self.settings)
        changed = changed_settings(earlier, self.folder, now, self.root)
        texts = [f"{name} changed from {before.get(name)!r} to {now.get(name)!r}" for name in changed]
        return ", ".join(texts) or "the weights of the model changed"

    def _begin_afresh(self, reason: str = "") -> None:
        self.resuming = False
        if kept := records_stopped.keep(self.folder):
            place, work = shown(kept, self.root), records_stopped.described(kept)
            print(f"{reason}: starting afresh; {work} is kept in {place} until this run is complete")
        self._earlier_inputs = {}
        self._record |= {"id": self._record["session"], "started": now(), "seconds": 0.0}
        clear_work(self.folder)
        self._left_over = _stamp(self.folder)

    def _keep_last_complete(self, earlier: dict) -> None:
        last = earlier if earlier["status"] == "complete" else earlier.get("last_complete")
        if last is not None and last.get("adapter"):
            self._record["last_complete"] = last

    def _write(self, **changes: Any) -> None:
        # Inputs of the stopped attempt stay noted until this one reads them, else a second stop would forget them.
        inputs = list((self._earlier_inputs | self._inputs).values())
        self._record |= {"inputs": inputs, **changes}
        self._record["fingerprint"] = fingerprint(self._record)
        write_record(self.folder, self._record)


def _stamp(folder: Path) -> tuple[int, int] | None:
    """Return when a run folder's adapter was written, and its size; None where there is none."""
    weights = folder / "adapter" / "adapter_model.safetensors"
    return (weights.stat().st_mtime_ns, weights.stat().st_size) if weights.is_file() else None


def hold(folder: Path, place: str, doing: str = "") -> None:
    """Keep other processes from writing to a run's folder until it is finished or this process ends.

    Raises `InputError`, with who it is, when another process holds it.
    """
    if folder in _held:
        return
    end_s = time.monotonic() + (PATIENCE_S if NOTEBOOK_VARIABLE in os.environ else 0.0)
    while folder not in _held:
        try:
            _held[folder] = take(folder / LOCK, doing=doing)
        except Held as error:
            if time.monotonic() < end_s:
                time.sleep(0.2)
                continue
            raise InputError(
                f"{place} is being written by another kernel, {error}; wait for it, shut it down, or set output to"
                " another folder"
            ) from None


def release(folder: Path) -> None:
    """Let other processes write to a run's folder again."""
    if folder in _held:
        _held.pop(folder).close()

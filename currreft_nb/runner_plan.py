"""What a run would do, step by step, and how long that may take, by what earlier runs of the same notebooks took.

A step's own last complete run tells most, and its training log where it was interrupted. Otherwise complete runs of the
same notebook on such a machine do, in this project's outputs/: of the nearest amount of work, scaled. Where there is
none, nothing is said.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from currreft_nb import InputError, machine
from currreft_nb.execution import LOG
from currreft_nb.execution_status import spell
from currreft_nb.experiment import Experiment, Step
from currreft_nb.journal import read_journal
from currreft_nb.records import RECORD, read_record, shown
from currreft_nb.records_former import FORMER

# Parameters that the time is about proportional to, as numbers or by the length of a list.
AMOUNTS: tuple[str, ...] = ("steps", "prompts_per_step", "group_size", "prompts", "questions", "completions", "epochs")
AMOUNTS += ("train_questions", "arms", "start_from", "trainings", "tasks")
ALIKE = ("model", "four_bit", "max_pixels", "num_processes", "lora_on", "shortcuts", "judges", "teacher")


@dataclass(frozen=True)
class Standing:
    """What is to be done with a step ("skip", "run" or "resume") and why."""

    todo: str
    reason: str


@dataclass(frozen=True)
class Estimate:
    """Seconds, or None where no earlier run tells anything; `source`: "" is the step itself, else another run."""

    seconds: float | None
    source: str = ""


def show_plan(rows: Sequence[tuple[Step, Standing]], experiment: Experiment) -> None:
    """Print what would be done, one line a step, and how long it may take."""
    place = shown(experiment.folder, experiment.root)
    print(f"{experiment.name}: {len(rows)} steps in {place}; what each prints: {place}/<step>/{LOG}")
    width = max(len(step.name) for step, _ in rows)
    records = Records(experiment.root)
    left: list[float | None] = []
    for number, (step, found) in enumerate(rows, 1):
        text = f"{count(number, rows)} {step.name:{width}}  {step.notebook.stem:22} {found.todo:6} ({found.reason})"
        if found.todo != "skip":
            guess = estimate(step, found, records)
            left.append(guess.seconds)
            text += f"  {_told(guess)}"
        print(text)
    print(_total(left), flush=True)


def count(number: int, rows: Sequence) -> str:
    """Return which of the rows it is.

    >>> count(3, range(12))
    '[ 3/12]'
    """
    return f"[{number:>{len(str(len(rows)))}}/{len(rows)}]"


def _told(guess: Estimate) -> str:
    if guess.seconds is None:
        return "time unknown"
    return f"about {spell(guess.seconds)}" + (f", by {guess.source}" if guess.source else "")


def _total(left: Sequence[float | None]) -> str:
    if not left:
        return "total: nothing is left to do"
    known = [seconds for seconds in left if seconds is not None]
    unknown = len(left) - len(known)
    told = f"about {spell(sum(known))}" if known else "unknown"
    return f"total: {told}" + (
        f", and {unknown} of {len(left)} steps whose time is unknown" if known and unknown else ""
    )


def estimate(step: Step, found: Standing, records: "Records") -> Estimate:
    """Return how long what is left of a step may take."""
    if found.todo == "resume" and (left := _by_own_log(step)) is not None:
        return Estimate(left)
    if own := own_complete(step.folder):
        return Estimate(scaled(own, step.settings))
    asked = amount(step.settings)
    others = [note for note in records.of(step.notebook.stem) if _alike(note[1], step.settings)]
    if not others:
        return Estimate(None)
    folder, nearest = min(others, key=lambda note: abs(math.log(amount(note[1]["settings"]) / asked)))
    return Estimate(scaled(nearest, step.settings), folder)


def _by_own_log(step: Step) -> float | None:
    """Return what is left of an interrupted training by its own steps: the median, since some save or validate."""
    rows = read_journal(step.folder / "metrics.jsonl")
    steps = step.settings.get("steps")
    if not rows or not isinstance(steps, int):
        return None
    return max(0, steps - rows[-1]["step"]) * statistics.median(row["seconds"] for row in rows)


def own_complete(folder: Path) -> dict | None:
    """Return the record of the last complete run in a folder, one that is being repeated included."""
    record = _readable(folder)
    if record is None or record["status"] == "complete":
        return record
    return _readable(folder / FORMER) or record.get("last_complete")


def _readable(folder: Path) -> dict | None:
    try:
        return read_record(folder)
    except InputError:  # whoever runs it is told
        return None


def scaled(record: Mapping[str, Any], settings: Mapping[str, Any]) -> float:
    """Return the seconds that a run with these settings may take, by the record of another one.

    What a training took outside of its steps, such as loading, is no more for more steps.
    """
    ratio = amount(settings) / amount(record["settings"])
    total = float(record["seconds"])
    training = min(total, float(record["metrics"].get("seconds") or total))
    return total - training + training * ratio


def amount(settings: Mapping[str, Any]) -> float:
    """Return the amount of work that settings ask for, comparable among runs of one notebook.

    >>> amount({"steps": 60, "group_size": 8, "seed": 1}), amount({"questions": 10, "arms": ["base", "rl"]})
    (480.0, 20.0)
    """
    values = [settings[name] for name in AMOUNTS if name in settings]
    sizes = [len(value) if isinstance(value, list) else value for value in values if not isinstance(value, str)]
    return float(math.prod(max(1, size) for size in sizes))


def _alike(record: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    return all(record["settings"].get(name) == settings.get(name) for name in ALIKE)


class Records:
    """The complete runs in a project's outputs that were made on such a machine, read once."""

    def __init__(self, root: Path):
        self.root = root
        self.found: list[tuple[str, dict]] | None = None

    def of(self, notebook: str) -> Iterator[tuple[str, dict]]:
        """Yield folder and record of each run of a notebook, the latest first."""
        if self.found is None:
            here = _kind(machine.describe())
            paths = [path.parent for path in (self.root / "outputs").glob(f"*/*/{RECORD}")]
            notes = [(shown(path, self.root), note) for path in paths if (note := own_complete(path))]
            self.found = [note for note in notes if _kind(note[1].get("machine") or {}) == here]
            self.found.sort(key=lambda note: note[1].get("finished") or "", reverse=True)
        yield from (note for note in self.found if note[1]["notebook"] == notebook)


def _kind(described: Mapping[str, Any]) -> tuple:
    """Return what decides how fast a machine is: its cards, or without any its cores."""
    names = [card["name"] for card in described.get("cards") or []]
    return (*names,) if names else (described.get("cores"),)

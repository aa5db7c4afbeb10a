"""What a run would do, step by step, and how long that may take.

The time is that of the step's own last complete run, or by the log of an interrupted training. Otherwise it is unknown.
"""

from collections.abc import Sequence

from currreft_nb.core.journal import read_journal
from currreft_nb.running.experiment import Experiment, Step
from currreft_nb.running.progress import seconds_left, spell
from currreft_nb.running.project import display_path
from currreft_nb.running.record import LOG, METRICS, RunFolder, StepState


def show_plan(rows: Sequence[tuple[Step, StepState]], experiment: Experiment) -> None:
    """Print what would be done and how long it may take, one line a step."""
    place = display_path(experiment.folder, experiment.root)
    print(f"{experiment.name}: {len(rows)} steps in {place}; what each prints: {place}/<step>/{LOG}")
    width = max(len(step.name) for step, _ in rows)
    times: list[float | None] = []
    for number, (step, found) in enumerate(rows, 1):
        text = f"{numbered(number, rows)} {step.name:{width}}  {step.notebook.stem:22} {found.todo:6} ({found.reason})"
        if found.todo != "skip":
            times.append(estimate(step, found))
            text += "  time unknown" if times[-1] is None else f"  about {spell(times[-1])}"
        print(text)
    print(_total(times), flush=True)


def numbered(number: int, rows: Sequence) -> str:
    """Return the number of a row among all of them.

    >>> numbered(3, range(12))
    '[ 3/12]'
    """
    return f"[{number:>{len(str(len(rows)))}}/{len(rows)}]"


def _total(times: Sequence[float | None]) -> str:
    if not times:
        return "total: nothing is left to do"
    known = [seconds for seconds in times if seconds is not None]
    if not known:
        return "total: unknown"
    unknown = len(times) - len(known)
    return f"total: about {spell(sum(known))}" + (
        f", and {unknown} of {len(times)} steps whose time is unknown" if unknown else ""
    )


def estimate(step: Step, found: StepState) -> float | None:
    """Return the seconds that the rest of a step may take, or None when that is unknown."""
    rows = read_journal(step.folder / METRICS) if found.todo == "resume" else []
    if rows and (steps := step.training_steps()) is not None:
        return seconds_left(rows, steps)
    last = RunFolder(step.folder).last_complete()
    return None if last is None else float(last["seconds"])

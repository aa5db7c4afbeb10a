"""Run an experiment: what stands is left alone, the rest runs in order, and only `run.json` says what succeeded."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from currreft_nb import InputError, __version__, machine
from currreft_nb.execution import LOG, NOTEBOOK, execute_run, locked, terminated_like_interrupted
from currreft_nb.experiment import Experiment, Step
from currreft_nb.records import (
    RECORD,
    changed_settings,
    clear_work,
    identity,
    input_folder,
    read_record,
    shown,
    source_hash,
)
from currreft_nb.report import PAGE, REPORT_NOTEBOOK, export, summary


@dataclass(frozen=True)
class Standing:
    """What is to be done with a step ("skip", "run" or "resume") and why."""

    todo: str
    reason: str


def standing(step: Step, experiment: Experiment, pending: Collection[str] = (), forced: bool = False) -> Standing:
    """Say whether a step stands, as its run.json and its inputs' say; `pending` are steps that will run before it.

    Raises `InputError` for a damaged run.json, or one of another notebook.
    """
    record = read_record(step.folder)
    if record is None:
        return Standing("run", "not run yet")
    if record["notebook"] != step.notebook.stem:
        place = shown(step.folder, experiment.root)
        raise InputError(f"{place} holds a run of {record['notebook']}; rename step {step.name} or delete that folder")
    if forced:
        return Standing("run", "forced")
    if reason := _outdated(step, record, experiment, pending):
        return Standing("run", reason)
    if record["status"] != "complete":
        return Standing("resume", "stopped" if record["status"] == "running" else record["status"])
    if record["source"] != source_hash(step.notebook):
        return Standing("run", "its notebook changed")
    if record["package"] != __version__:
        return Standing("run", f"made with version {record['package']}")
    return Standing("skip", f"complete, {record['seconds']:.0f} s")


def _outdated(step: Step, record: dict, experiment: Experiment, pending: Collection[str]) -> str | None:
    if waiting := [name for name in step.needs if name in pending]:
        return f"after {', '.join(waiting)}"
    if changed := changed_settings(record, step.folder, step.settings, experiment.root):
        return f"{', '.join(changed)} changed"
    for note in record["inputs"]:
        folder = input_folder(step.folder, note)
        current = read_record(folder)
        if current is None or current["status"] != "complete" or identity(current) != identity(note):
            return f"its input {shown(folder, experiment.root)} changed"
    for need in experiment.steps:
        current = read_record(need.folder) if need.name in step.needs else None
        if current is not None and record["finished"] and (current["finished"] or "") > record["finished"]:
            return f"{need.name} was run again"
    return None


def plan(experiment: Experiment, only: Sequence[str] = (), force: Sequence[str] = ()) -> list[tuple[Step, Standing]]:
    """Return the steps that a run would look at, in order, with what it would do.

    Raises `InputError` for an unknown step, and where a step of `only` needs one that does not stand.
    """
    chosen = experiment.named(only) if only else {step.name for step in experiment.steps}
    forced = experiment.named(force)
    if left_out := sorted(forced - chosen):
        raise InputError(f"--force {left_out[0]} is left out by --only; name it there, too")
    pending: set[str] = set()
    rows = []
    for step in experiment.steps:
        found = standing(step, experiment, pending, step.name in forced)
        if found.todo != "skip":
            pending.add(step.name)
        if step.name in chosen:
            rows.append((step, found))
    for step, _ in rows:
        if missing := [name for name in step.needs if name in pending - chosen]:
            raise InputError(
                f"step {step.name} needs {missing[0]}, which is not complete; run without --only {step.name}"
            )
    return rows


def show_plan(rows: Sequence[tuple[Step, Standing]], experiment: Experiment) -> None:
    """Print what would be done, one line a step."""
    print(f"{experiment.name}: {len(rows)} steps in {shown(experiment.folder, experiment.root)}")
    width = max(len(step.name) for step, _ in rows)
    for number, (step, found) in enumerate(rows, 1):
        print(f"{_count(number, rows)} {step.name:{width}}  {step.notebook.stem:22} {found.todo:6} ({found.reason})")


def _count(number: int, rows: Sequence) -> str:
    return f"[{number:>{len(str(len(rows)))}}/{len(rows)}]"


def run(experiment: Experiment, only: Sequence[str] = (), force: Sequence[str] = ()) -> bool:
    """Run the experiment's steps that do not stand, and say whether all are complete.

    A step whose input failed is not run; the others are. Raises `InputError` when the experiment is being run already
    and for a large model without a GPU, `KeyboardInterrupt` after Ctrl-C or SIGTERM with the kernel ended and the step
    resumable.
    """
    rows = plan(experiment, only, force)  # what is asked for wrongly is refused before anything is written
    for step in (step for step, found in rows if found.todo != "skip"):
        machine.check_card(step.settings.get("model", ""))
    with locked(experiment.folder), terminated_like_interrupted():
        rows = plan(experiment, only, force)
        forced = experiment.named(force)
        bad: set[str] = set()
        for number, (step, _) in enumerate(rows, 1):
            head = f"{_count(number, rows)} {step.name}"
            if blocked := [name for name in step.needs if name in bad]:
                print(f"{head}: not run, because {blocked[0]} is not complete", flush=True)
                bad.add(step.name)
                continue
            found = standing(step, experiment, forced=step.name in forced)
            if found.todo == "skip":
                print(f"{head}: {found.reason}", flush=True)
            elif not _run_step(step, found, experiment, head):
                bad.add(step.name)
        _show_end(rows, experiment, bad)
        return not bad


def _run_step(step: Step, found: Standing, experiment: Experiment, head: str) -> bool:
    """Execute one step and return whether its run.json, written by this execution, says complete."""
    if found.reason == "forced":
        _forget(step)
    print(f"{head}: {found.todo} {step.notebook.stem} ({found.reason})", flush=True)
    outcome = execute_run(step.notebook, step.folder, step.values(), experiment.root)
    if outcome.complete:
        print(f"{head}: complete in {outcome.seconds:.0f} s", flush=True)
        if outcome.error:
            print(f"      but a cell after run.finish failed: {outcome.error}", flush=True)
        if step.notebook.stem == REPORT_NOTEBOOK:
            export(step.folder / NOTEBOOK, experiment.folder / PAGE)
    else:
        folder = shown(step.folder, experiment.root)
        print(f"{head}: failed after {outcome.seconds:.0f} s: {outcome.error}", flush=True)
        print(f"      see {folder}/{NOTEBOOK} and {folder}/{LOG}", flush=True)
    return outcome.complete


def _forget(step: Step) -> None:
    # A complete run begins afresh by itself, and counts until then; of an unfinished one nothing may be continued.
    record = read_record(step.folder)
    if record is not None and record["status"] != "complete":
        clear_work(step.folder)
        (step.folder / RECORD).unlink()


def _show_end(rows: Sequence[tuple[Step, Standing]], experiment: Experiment, bad: Collection[str]) -> None:
    if bad:
        print(
            f"{experiment.name}: {len(bad)} of {len(rows)} steps are not complete; the same command continues",
            flush=True,
        )
        return
    for step, _ in rows:
        if step.notebook.stem == REPORT_NOTEBOOK:
            print(summary(step.folder))
            print(f"report: {shown(experiment.folder / PAGE, experiment.root)}", flush=True)

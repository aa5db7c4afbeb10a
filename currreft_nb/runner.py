"""Run an experiment: what stands is left alone, the rest runs in order, and only `run.json` says what succeeded.

Two shells may run one experiment at once where they run different steps of it: `--only 'seed-0*'` in one, the other
seeds in another, each with a card of its own in CUDA_VISIBLE_DEVICES. Nobody may run a step that another process runs
or reads meanwhile.
"""

import contextlib
from collections.abc import Collection, Iterator, Sequence

from currreft_nb import InputError, __version__, machine
from currreft_nb.execution import LOG, Outcome, execute_run, last_lines
from currreft_nb.execution_status import Status, spell
from currreft_nb.execution_stop import stoppable
from currreft_nb.experiment import Experiment, Step
from currreft_nb.models_hash import hash_model
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
from currreft_nb.records_former import FAILED_NOTEBOOK, NOTEBOOK, put_all_back
from currreft_nb.records_locks import Held, take
from currreft_nb.report import PAGE, export, summary
from currreft_nb.report_runs import REPORT_NOTEBOOK
from currreft_nb.runner_plan import Standing, count, show_plan
from currreft_nb.runs import LOCK

LOCKS = ".locks"
Rows = list[tuple[Step, Standing]]


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
    model = step.settings.get("model", "")
    weights = hash_model(model, experiment.root)
    if weights and record.get("weights") and weights != record["weights"]:
        return f"the weights of {model} changed"
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


def plan(experiment: Experiment, only: Sequence[str] = (), force: Sequence[str] = ()) -> Rows:
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


def run(experiment: Experiment, only: Sequence[str] = (), force: Sequence[str] = ()) -> bool:
    """Run the experiment's steps that do not stand, and say whether all are complete.

    A step whose input failed is not run; the others are. Raises `InputError` when another process runs one of the steps
    or reads it, and for a large model without a GPU, `KeyboardInterrupt` after Ctrl-C or SIGTERM with the kernel ended
    and the step resumable.
    """
    rows = plan(experiment, only, force)  # what is asked for wrongly is refused before anything is written
    for step in (step for step, found in rows if found.todo != "skip"):
        machine.check_card(step.settings.get("model", ""))
    with stoppable() as stop, _locked(experiment, rows):
        for step, _ in rows:
            _recover(step)
        rows = _plan_again(rows, experiment, only, force)
        show_plan(rows, experiment)
        forced = experiment.named(force)
        bad: set[str] = set()
        for number, (step, _) in enumerate(rows, 1):
            stop.check()
            head = f"{count(number, rows)} {step.name}"
            if blocked := [name for name in step.needs if name in bad]:
                print(f"{head}: not run, because {blocked[0]} is not complete", flush=True)
                bad.add(step.name)
                continue
            found = standing(step, experiment, forced=step.name in forced)
            if found.todo != "skip" and not _run_step(step, found, experiment, head):
                bad.add(step.name)
        _show_end(rows, experiment, bad)
        return not bad


@contextlib.contextmanager
def _locked(experiment: Experiment, rows: Rows) -> Iterator[None]:
    """Hold the steps that are to be run alone, and those that stand and those they need together with other readers."""
    alone = {step.name for step, found in rows if found.todo != "skip"}
    readers = {name: step.name for step, _ in rows for name in (step.name, *step.needs) if name not in alone}
    with contextlib.ExitStack() as held:
        for name in sorted(alone | readers.keys()):
            try:
                held.enter_context(take(experiment.folder / LOCKS / name, shared=name in readers))
            except Held as error:
                which = f"step {name}" if readers.get(name, name) == name else f"{name}, which {readers[name]} needs,"
                place = shown(experiment.folder, experiment.root)
                raise InputError(
                    f"{which} in {place} is being used already by {error}; wait for it, stop it, or run other steps"
                    " with --only"
                ) from None
        yield


def _recover(step: Step) -> None:
    """Put back a complete run whose repetition was killed before it had made anything."""
    if step.folder.is_dir():
        with contextlib.suppress(Held), take(step.folder / LOCK, doing="currreft run"):
            put_all_back(step.folder)


def _plan_again(rows: Rows, experiment: Experiment, only: Sequence[str], force: Sequence[str]) -> Rows:
    """Return the plan now that nobody else changes what it is made of."""
    again = plan(experiment, only, force)
    stood = {step.name for step, found in rows if found.todo == "skip"}
    if changed := [step.name for step, found in again if found.todo != "skip" and step.name in stood]:
        raise InputError(f"step {changed[0]} was changed by another process just now; run the same command again")
    return again


def _run_step(step: Step, found: Standing, experiment: Experiment, head: str) -> bool:
    """Execute one step and return whether its run.json, written by this execution, says complete."""
    if found.reason == "forced":
        _forget(step)
    status = Status(head)
    if not status.rewrites:
        status.say(f"{head}: {found.todo} {step.notebook.stem} ({found.reason})")
    outcome = execute_run(step.notebook, step.folder, step.values(), experiment.root, status)
    if outcome.complete:
        status.say(f"{head}: complete in {spell(outcome.seconds)}" + (f"  {status.last}" if status.is_training else ""))
        if outcome.error:
            status.say(f"      but a cell after run.finish failed: {outcome.error}")
        if step.notebook.stem == REPORT_NOTEBOOK:
            export(step.folder / NOTEBOOK, experiment.folder / PAGE)
    else:
        _show_failure(step, outcome, status, shown(step.folder, experiment.root))
    return outcome.complete


def _show_failure(step: Step, outcome: Outcome, status: Status, folder: str) -> None:
    """Print what went wrong, the last that the notebook printed, and where there is more."""
    status.say(f"{status.head}: failed after {spell(outcome.seconds)}: {outcome.error}")
    for line in last_lines(step.folder):
        print(f"      | {line}")
    notebook = FAILED_NOTEBOOK if (step.folder / FAILED_NOTEBOOK).exists() and outcome.stands else NOTEBOOK
    print(f"      see {folder}/{notebook} and {folder}/{LOG}", flush=True)
    if outcome.stands:
        print("      nothing was made: the complete run of before stands as it was", flush=True)


def _forget(step: Step) -> None:
    # A complete run begins afresh by itself, and counts until then; of an unfinished one nothing may be continued.
    record = read_record(step.folder)
    if record is not None and record["status"] != "complete":
        clear_work(step.folder)
        (step.folder / RECORD).unlink()


def _show_end(rows: Rows, experiment: Experiment, bad: Collection[str]) -> None:
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

"""Run an experiment: complete steps are skipped, the others run in order, and only `run.json` says what succeeded.

With several jobs a step starts as soon as the steps that it needs have ended. Two shells may run one experiment at once
where they run different steps: `--only 'seed-0*'` in one, the other seeds in another, each with a GPU of its own in
CUDA_VISIBLE_DEVICES. A step that another process runs or reads is refused. The plan estimates each step's time from its
own last complete run, or from the log of an interrupted one.
"""

import contextlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from currreft_nb import InputError
from currreft_nb.core.journal import read_journal
from currreft_nb.running import machine
from currreft_nb.running.build_report import PAGE, REPORT_NOTEBOOK, export_report, report_summary
from currreft_nb.running.experiment import Experiment, Step
from currreft_nb.running.kernel import Outcome, execute_run, last_lines
from currreft_nb.running.locks import LockHeld, acquire, acquire_shared
from currreft_nb.running.progress import Status, seconds_left, spell
from currreft_nb.running.project import display_path
from currreft_nb.running.record import (
    FAILED_NOTEBOOK,
    LOG,
    METRICS,
    NOTEBOOK,
    RECORD,
    RunFolder,
    StepState,
    read_record,
)
from currreft_nb.running.run import LOCK
from currreft_nb.running.signals import Stop, stoppable

LOCKS = ".locks"
Rows = list[tuple[Step, StepState]]


def step_state(step: Step, experiment: Experiment, pending: Collection[str] = (), forced: bool = False) -> StepState:
    """Return what to do with a step, by its run.json and those of its inputs; `pending` are steps that run before it.

    Raises `InputError` for a damaged run.json, or one of another notebook.
    """
    folder = RunFolder(step.folder)
    folder.check_notebook(step.notebook.stem, f"rename step {step.name} or delete that folder", experiment.root)
    if folder.record is not None and forced:
        return StepState("run", "forced")
    if folder.record is not None and (waiting := [name for name in step.needs if name in pending]):
        return StepState("run", f"after {', '.join(waiting)}")
    state = folder.state(step.notebook, step.settings, experiment.root)
    if folder.record is not None and folder.record["finished"] and state.todo != "run":
        for need in (need for need in experiment.steps if need.name in step.needs):
            finished = (read_record(need.folder) or {}).get("finished")
            if finished and finished > folder.record["finished"]:
                return StepState("run", f"{need.name} was run again")
    return state


def plan(experiment: Experiment, only: Sequence[str] = (), force: Sequence[str] = ()) -> Rows:
    """Return the chosen steps in order, with what a run would do.

    Raises `InputError` for an unknown step, and where a step of `only` needs one that is not complete.
    """
    chosen = experiment.named(only) if only else {step.name for step in experiment.steps}
    forced = experiment.named(force)
    if left_out := sorted(forced - chosen):
        raise InputError(f"--force {left_out[0]} is left out by --only; add it to --only")
    pending: set[str] = set()
    rows = []
    for step in experiment.steps:
        found = step_state(step, experiment, pending, step.name in forced)
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


def run(experiment: Experiment, only: Sequence[str] = (), force: Sequence[str] = (), jobs: int = 1) -> bool:
    """Run the experiment's steps that are not complete, up to `jobs` at once; return whether all are complete then.

    A step whose input failed is not run; the others are. Raises `InputError` when another process runs or reads one of
    the steps, and for a large model without a GPU; `KeyboardInterrupt` after Ctrl-C or SIGTERM, when the kernels have
    ended and the steps can be resumed.
    """
    rows = plan(experiment, only, force)  # wrong arguments are refused before anything is written
    for step in (step for step, found in rows if found.todo != "skip"):
        machine.check_card(step.settings.get("model", ""))
    with stoppable() as stop, _locked(experiment, rows):
        for step, _ in rows:
            _put_back(step)
        rows = _plan_again(rows, experiment, only, force)
        show_plan(rows, experiment)
        bad = _run_steps(rows, experiment, experiment.named(force), jobs, stop)
        _show_end(rows, experiment, bad)
        return not bad


def _run_steps(rows: Rows, experiment: Experiment, forced: Collection[str], jobs: int, stop: Stop) -> set[str]:
    """Run each step when the steps that it needs have ended; return the names of those that are not complete."""
    waiting = {f"{numbered(number, rows)} {step.name}": step for number, (step, _) in enumerate(rows, 1)}
    if jobs > 1:
        behind = _chains_behind(list(waiting.values()))
        waiting = dict(sorted(waiting.items(), key=lambda item: -behind[item[1].name]))
    running: dict[Future[bool], Step] = {}
    bad: set[str] = set()
    with ThreadPoolExecutor(jobs) as pool:
        while waiting or running:
            stop.check()
            open_names = {step.name for step in (*waiting.values(), *running.values())}
            head = next((head for head, step in waiting.items() if open_names.isdisjoint(step.needs)), None)
            if head is None or len(running) == jobs:
                for ended in wait(running, return_when=FIRST_COMPLETED).done:
                    if not ended.result():
                        bad.add(running[ended].name)
                    del running[ended]
                continue
            step = waiting.pop(head)
            if blocked := [name for name in step.needs if name in bad]:
                print(f"{head}: not run, because {blocked[0]} is not complete", flush=True)
                bad.add(step.name)
                continue
            found = step_state(step, experiment, forced=step.name in forced)
            if found.todo != "skip":
                running[pool.submit(_run_step, step, found, experiment, head, alone=jobs == 1)] = step
    return bad


def _chains_behind(steps: Sequence[Step]) -> Counter[str]:
    """Return the length of the longest chain of steps that wait for each; begun first, it ends all soonest."""
    behind: Counter[str] = Counter()
    for step in reversed(steps):  # a step stands after those that it needs
        for name in step.needs:
            behind[name] = max(behind[name], behind[step.name] + 1)
    return behind


@contextlib.contextmanager
def _locked(experiment: Experiment, rows: Rows) -> Iterator[None]:
    """Lock the steps to run for this process alone, and complete steps and those that are needed for readers."""
    alone = {step.name for step, found in rows if found.todo != "skip"}
    readers = {name: step.name for step, _ in rows for name in (step.name, *step.needs) if name not in alone}
    with contextlib.ExitStack() as held:
        for name in sorted(alone | readers.keys()):
            try:
                held.enter_context(acquire_shared(experiment.folder / LOCKS / f"{name}.lock", read=name in readers))
            except LockHeld as error:
                which = f"step {name}" if readers.get(name, name) == name else f"{name}, which {readers[name]} needs,"
                place = display_path(experiment.folder, experiment.root)
                raise InputError(
                    f"{which} in {place} is in use by {error}; wait for it, stop it, or run other steps with --only"
                ) from None
        yield


def _put_back(step: Step) -> None:
    """Restore a complete run whose repetition was killed before it had made anything."""
    if step.folder.is_dir():
        with contextlib.suppress(LockHeld), acquire(step.folder / LOCK, "currreft run"):
            RunFolder(step.folder).put_back()


def _plan_again(rows: Rows, experiment: Experiment, only: Sequence[str], force: Sequence[str]) -> Rows:
    """Return the plan again, now that no other process can change its steps."""
    again = plan(experiment, only, force)
    complete = {step.name for step, found in rows if found.todo == "skip"}
    if changed := [step.name for step, found in again if found.todo != "skip" and step.name in complete]:
        raise InputError(f"step {changed[0]} was just changed by another process; run the same command again")
    return again


def _run_step(step: Step, found: StepState, experiment: Experiment, head: str, alone: bool) -> bool:
    """Execute one step and return whether its run.json, written by this execution, says complete.

    `alone`: no other step prints meanwhile.
    """
    folder = RunFolder(step.folder)
    if found.reason == "forced" and not folder.is_complete:  # a complete run begins afresh by itself
        folder.set_aside()
        (step.folder / RECORD).unlink()
    status = Status(head, step.folder / METRICS, step.training_steps(), alone)
    if not status.rewrites:
        status.say(f"{head}: {found.todo} {step.notebook.stem} ({found.reason})")
    outcome = execute_run(step.notebook, step.folder, step.values(), experiment.root, status)
    if outcome.complete:
        status.say(f"{head}: complete in {spell(outcome.seconds)}  {status.training()}".rstrip())
        if outcome.error:
            status.say(f"      but a cell after run.finish failed: {outcome.error}")
        if step.notebook.stem == REPORT_NOTEBOOK:
            export_report(step.folder / NOTEBOOK, experiment.folder / PAGE)
    else:
        _show_failure(step, outcome, status, display_path(step.folder, experiment.root))
    return outcome.complete


def _show_failure(step: Step, outcome: Outcome, status: Status, folder: str) -> None:
    """Print the error, the last lines that the notebook printed, and the files with the rest."""
    status.say(f"{status.head}: failed after {spell(outcome.seconds)}: {outcome.error}")
    for line in last_lines(step.folder):
        print(f"      | {line}")
    notebook = FAILED_NOTEBOOK if outcome.put_back else NOTEBOOK
    print(f"      see {folder}/{notebook} and {folder}/{LOG}", flush=True)
    if outcome.put_back:
        print("      it made nothing: the earlier complete run was put back", flush=True)


def _show_end(rows: Rows, experiment: Experiment, bad: Collection[str]) -> None:
    if bad:
        print(
            f"{experiment.name}: {len(bad)} of {len(rows)} steps are not complete; the same command continues",
            flush=True,
        )
        return
    for step, _ in rows:
        if step.notebook.stem == REPORT_NOTEBOOK:
            print(report_summary(step.folder))
            print(f"report: {display_path(experiment.folder / PAGE, experiment.root)}", flush=True)


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

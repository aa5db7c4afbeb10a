"""What the commands that probe, estimate and export do; models are imported only when they are needed."""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from currreft_nb import InputError, machine
from currreft_nb.experiment import Experiment, Step
from currreft_nb.records import complete_record, input_folder, read_record
from currreft_nb.runs import project_root
from currreft_nb.samples import TRAINED_TASKS, Sample

QUESTIONS = 8  # of each task, on which an export is compared with the policy that was trained
MAX_NEW_TOKENS = 256  # of their answers, where the run had no such setting
PROBE_SPLIT = "val"  # a test split would be spent on a decision about training


def training_steps(experiment: Experiment) -> list[Step]:
    """Return the steps that train by reinforcement learning. Raises `InputError` when there are none."""
    steps = [step for step in experiment.steps if {"group_size", "start_from", "data"} <= set(step.settings)]
    if not steps:
        raise InputError(f"{experiment.file} has no step that trains with a group_size, so there is nothing to look at")
    return steps


def probe(experiment: Experiment, questions: int, completions: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Sample answers of each model that the experiment starts from; return pass@k per task and stage, and the advice.

    Asked are validation questions of the experiment's own data, whose step must be complete; answers are kept and
    reused. The column `arm` names the model.
    """
    from currreft_nb.evaluation_probe import advise

    bases = {step.settings["model"]: step.settings for step in reversed(training_steps(experiment))}
    tables = [_probe(experiment, settings, questions, completions) for settings in reversed(bases.values())]
    passes = pd.concat(tables, ignore_index=True)
    return passes, advise(passes)


def _probe(experiment: Experiment, settings: dict[str, Any], questions: int, completions: int) -> pd.DataFrame:
    data = experiment.root / settings["data"]
    record = complete_record(data, experiment.root, "01_data_curation")
    from currreft_nb.evaluation import questions as choose
    from currreft_nb.evaluation_probe import probe_arms

    names = ("model", "four_bit", "max_pixels", "max_new_tokens", "temperature", "seed")
    options = {name: settings[name] for name in names if name in settings} | {"completions": completions}
    return probe_arms(
        {settings["model"]: None},
        choose(data / "data", [PROBE_SPLIT], questions),
        experiment.folder / "probe" / _digest([options, record["fingerprint"]]),  # other settings, other answers
        **options,
    )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def preflight(experiment: Experiment, only: Sequence[str] = ()) -> list[tuple[list[Step], list[dict]]]:
    """Return the steps that train with the estimated parts of their GPU memory, those that need the same together.

    `only`: names of steps; none stands for all. Raises `InputError` when no step trains.
    """
    chosen = experiment.named(only) if only else {step.name for step in experiment.steps}
    steps = [
        s for s in experiment.steps if s.name in chosen and {"start_from", "data", "micro_batch"} <= set(s.settings)
    ]
    if not steps:
        raise InputError(
            f"{experiment.file} has no step that trains with a micro_batch, so there is nothing to estimate"
        )
    from currreft_nb.memory import estimate_step

    groups: list[tuple[list[Step], list[dict]]] = []
    for step in steps:
        parts = estimate_step(step.settings)
        same = next((members for members, known in groups if known == parts), None)
        same.append(step) if same else groups.append(([step], parts))
    return groups


def preflight_lines(experiment: Experiment, card_gib: float, only: Sequence[str] = ()) -> tuple[list[str], bool]:
    """Return what the command prints, for each group of steps, and whether all of them fit the card (0: none known)."""
    lines, fits = [], True
    for steps, parts in preflight(experiment, only):
        from currreft_nb.memory import verdict
        from currreft_nb.memory_fit import proposals

        lines += [f"{', '.join(step.name for step in steps)}: an estimate from shapes"]
        lines += [f"  {row['gib']:8.3f} GiB  {row['when']:22} {row['part']}" for row in parts]
        if not card_gib:
            peak = f"about {parts[-1]['gib']:.1f} GiB in {parts[-1]['when']}"
            lines += [f"  {peak}; no card here to compare with (--card-gib)"]
            continue
        fits = fits and parts[-1]["gib"] <= card_gib
        lines += [f"  {verdict(parts, card_gib)}", "  largest that fits, the others as they are:"]
        for row in proposals(steps[0].settings, card_gib):
            lines += [f"    {row['parameter']:16} {row['now']:>8} -> {row['largest'] or 'none':>8}  {row['then']}"]
    return lines, fits


def measure_lines(experiment: Experiment, only: Sequence[str] = ()) -> Iterator[str]:
    """Take one step of each group of training steps, and yield what it took beside its estimate."""
    for steps, _ in preflight(experiment, only):
        step = steps[0]
        if "completions" in step.settings:
            yield f"{step.name}: not measured, because it trains on answers that are not drawn yet"
            continue
        from currreft_nb.memory_measure import measure

        samples = _samples(experiment, step)
        source = "its own questions" if samples else "made-up questions, since its data is not curated yet"
        yield f"{', '.join(step.name for step in steps)}: the largest step, with {source}"
        with tempfile.TemporaryDirectory() as folder:
            rows = measure(step.settings, samples, folder)
        for row in rows:
            measured = "no GPU"
            if row["measured_gib"] is not None:
                measured = (
                    f"measured {row['measured_gib']:.2f} GiB, the estimate is off by {row['error_percent']:+.0f} %"
                )
            yield f"  {row['phase']:12} {row['seconds']:7.1f} s  estimated {row['estimated_gib']:.2f} GiB  {measured}"


def _samples(experiment: Experiment, step: Step) -> list:
    """Return the questions that a step trains on; none while its data step is not complete."""
    data = experiment.root / step.settings["data"]
    try:
        complete_record(data, experiment.root, "01_data_curation")
    except InputError:
        return []
    from currreft_nb import curation

    settings = step.settings
    stages = settings.get("stages", ["open"])
    return [s for stage in stages for s in curation.load(data / "data", "train", stage, settings["tasks"])]


def largest_card_gib() -> float | None:
    """Return the memory of this machine's largest card in GiB, or None when it has none."""
    return max((card["memory_gib"] for card in machine.cards() if card["memory_gib"]), default=None)


def export_run(run: Path, output: Path) -> dict:
    """Merge the adapter of a complete run into its base model; return how far that moved its answers."""
    record, options = None, {}
    if read_record(run) is not None:
        record = complete_record(run.resolve(), project_root(run), "02_rl_binary")
    from currreft_nb.models_export import export

    if record is not None:
        options["max_new_tokens"] = record["settings"].get("max_new_tokens", MAX_NEW_TOKENS)
        options["questions"] = _validation_questions(run.resolve(), record)
    return export(run, output, **options)


def _validation_questions(run: Path, record: dict) -> list[Sample]:
    """Return validation questions of the data that a run was trained on, at its stage; none where they are gone."""
    from currreft_nb.evaluation import questions

    folders = [input_folder(run, note) for note in record["inputs"] if note["notebook"] == "01_data_curation"]
    settings = record["settings"]
    try:
        return questions(folders[0] / "data", [PROBE_SPLIT], QUESTIONS, settings.get("stages", ["open"]), TRAINED_TASKS)
    except (InputError, IndexError):
        return []

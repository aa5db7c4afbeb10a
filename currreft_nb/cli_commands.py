"""What the commands that probe, estimate and export do; models are imported only when they are needed."""

import hashlib
import json
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
    """Sample answers of the model that the experiment starts from; return pass@k per task and stage, and the advice.

    Asked are validation questions of the experiment's own data, whose step must be complete; answers are kept and
    reused.
    """
    first = training_steps(experiment)[0].settings
    data = experiment.root / first["data"]
    record = complete_record(data, experiment.root, "01_data_curation")
    from currreft_nb.evaluation import questions as choose
    from currreft_nb.evaluation_probe import advise, probe_arms

    names = ("model", "four_bit", "max_pixels", "max_new_tokens", "temperature", "seed")
    options = {name: first[name] for name in names if name in first} | {"completions": completions}
    passes = probe_arms(
        {"base": None},
        choose(data / "data", [PROBE_SPLIT], questions),
        experiment.folder / "probe" / _digest([options, record["fingerprint"]]),  # other settings, other answers
        **options,
    )
    return passes, advise(passes)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def preflight(experiment: Experiment) -> dict[str, list[dict]]:
    """Return the estimated parts of GPU memory of each reinforcement learning step, in GiB; the peak comes last."""
    steps = training_steps(experiment)
    from currreft_nb.memory import estimate

    return {step.name: estimate(**step.settings) for step in steps}


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

"""The work of the commands probe, preflight, export and rewards; torch is imported only by those that need it."""

import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from currreft_nb import InputError
from currreft_nb.core.boxes import Frame
from currreft_nb.core.files import digest
from currreft_nb.core.samples import TRAINED_TASKS, Sample, read_samples
from currreft_nb.data.folder import load_questions, load_samples
from currreft_nb.evaluation.sources import completion_rows
from currreft_nb.method.prompts import Style, with_prefill
from currreft_nb.method.rewards import REASONS, Rules, score, text_of
from currreft_nb.running import machine
from currreft_nb.running.experiment import Experiment, Step
from currreft_nb.running.fingerprints import input_folder
from currreft_nb.running.project import project_root
from currreft_nb.running.record import complete_record, read_record
from currreft_nb.tasks.classification import LABELS_VERSION

if TYPE_CHECKING:
    from currreft_nb.evaluation.advice import Budget

QUESTIONS = 8  # of each task, on which an export is compared with the trained policy
MAX_NEW_TOKENS = 256  # of their answers, where the run had no such setting
DATA_NOTEBOOK = "01_data_curation"
PROBE_SPLIT = "val"  # a decision about training must not use a test split
PROBE_SETTINGS = ("model", "four_bit", "max_pixels", "max_new_tokens", "temperature", "seed")


def _steps_with(experiment: Experiment, setting: str, only: Sequence[str] = ()) -> list[Step]:
    """Return the training steps that have a setting. Raises `InputError` when there are none."""
    chosen = experiment.named(only) if only else {step.name for step in experiment.steps}
    wanted = {"start_from", "data", setting}
    steps = [step for step in experiment.steps if step.name in chosen and wanted <= set(step.settings)]
    if not steps:
        raise InputError(f"{experiment.file} has no step that trains with a {setting}; add one, or choose others")
    return steps


def probe(experiment: Experiment, questions: int, completions: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Sample answers of each model that the experiment starts from; return pass@k per task and stage, and the advice.

    The questions are validation questions of the experiment's own data, whose step must be complete. Answers are kept
    and reused. The column `arm` names the model.
    """
    from currreft_nb.evaluation.advice import advise
    from currreft_nb.evaluation.pass_at_k import probe_arms

    steps = _steps_with(experiment, "group_size")
    bases = {step.settings["model"]: step.settings for step in reversed(steps)}
    tables = []
    for model, settings in reversed(bases.items()):
        data = experiment.root / settings["data"]
        record = complete_record(data, experiment.root, DATA_NOTEBOOK)
        options = {name: settings[name] for name in PROBE_SETTINGS if name in settings} | {"completions": completions}
        asked = load_questions(data / "data", [PROBE_SPLIT], questions)
        folder = experiment.folder / "probe" / digest([options, record["fingerprint"]])
        tables.append(probe_arms({model: None}, asked, folder, **options))
    passes = pd.concat(tables, ignore_index=True)
    return passes, advise(passes, {model: _open_budget(steps, model) for model in bases})


def _open_budget(steps: Sequence[Step], model: str) -> "Budget":
    """Return the size of the largest training of a model on open questions, or of its largest training."""
    from currreft_nb.evaluation.advice import Budget

    mine = [step.settings for step in steps if step.settings["model"] == model]
    asking = [settings for settings in mine if "open" in settings.get("stages", ())] or mine
    return Budget.of(max(asking, key=lambda settings: settings["steps"] * settings["prompts_per_step"]))


def preflight(experiment: Experiment, only: Sequence[str] = ()) -> list[tuple[list[Step], list[dict]]]:
    """Return the training steps with the estimated parts of their GPU memory, grouped by equal parts.

    `only`: names of steps; none means all. Raises `InputError` when no step trains.
    """
    from currreft_nb.memory.estimate import estimate_step

    groups: list[tuple[list[Step], list[dict]]] = []
    for step in _steps_with(experiment, "micro_batch", only):
        parts = estimate_step(step.settings)
        same = next((members for members, known in groups if known == parts), None)
        same.append(step) if same else groups.append(([step], parts))
    return groups


def preflight_lines(experiment: Experiment, card_gib: float, only: Sequence[str] = ()) -> tuple[list[str], bool]:
    """Return the lines to print for each group of steps, and whether all of them fit the GPU (0: none known)."""
    from currreft_nb.memory.estimate import fit_verdict, proposals

    lines, fits = [], True
    for steps, parts in preflight(experiment, only):
        lines += [f"{', '.join(step.name for step in steps)}: an estimate from shapes"]
        lines += [f"  {row['gib']:8.3f} GiB  {row['when']:22} {row['part']}" for row in parts]
        if not card_gib:
            peak = f"about {parts[-1]['gib']:.1f} GiB in {parts[-1]['when']}"
            lines += [f"  {peak}; no card here to compare with (--card-gib)"]
            continue
        fits = fits and parts[-1]["gib"] <= card_gib
        lines += [f"  {fit_verdict(parts, card_gib)}", "  largest that fits, the others as they are:"]
        for row in proposals(steps[0].settings, card_gib):
            lines += [f"    {row['parameter']:16} {row['now']:>8} -> {row['largest'] or 'none':>8}  {row['then']}"]
    return lines, fits


def measure_lines(experiment: Experiment, only: Sequence[str] = ()) -> Iterator[str]:
    """Take the largest step of each group of training steps, and yield its measured memory next to the estimate."""
    from currreft_nb.memory.measure import measure_step

    for steps, _ in preflight(experiment, only):
        step = steps[0]
        if "completions" in step.settings:
            yield f"{step.name}: not measured, because the answers that it trains on are not sampled yet"
            continue
        samples = _training_samples(experiment, step)
        source = "its own questions" if samples else "made-up questions, since its data is not curated yet"
        yield f"{', '.join(step.name for step in steps)}: the largest step, with {source}"
        with tempfile.TemporaryDirectory() as folder:
            rows = measure_step(step.settings, samples, folder)
        for row in rows:
            measured = "no GPU"
            if row["measured_gib"] is not None:
                measured = f"measured {row['measured_gib']:.2f} GiB, estimate off by {row['error_percent']:+.0f} %"
            yield f"  {row['phase']:12} {row['seconds']:7.1f} s  estimated {row['estimated_gib']:.2f} GiB  {measured}"


def _training_samples(experiment: Experiment, step: Step) -> list[Sample]:
    """Return the questions that a step trains on; none while its data step is not complete."""
    data, settings = experiment.root / step.settings["data"], step.settings
    try:
        complete_record(data, experiment.root, DATA_NOTEBOOK)
    except InputError:
        return []
    stages = settings.get("stages", ["open"])
    return [s for stage in stages for s in load_samples(data / "data", "train", stage, settings["tasks"])]


def largest_card_gib() -> float | None:
    """Return the memory of this machine's largest GPU in GiB, or None without a GPU."""
    return max((card["memory_gib"] for card in machine.cards() if card["memory_gib"]), default=None)


def export_run(run: Path, output: Path) -> dict:
    """Merge the adapter of a complete run, or of an adapter's folder, into its base; return the checks' numbers."""
    from currreft_nb.evaluation.export import export_model

    options = {}
    if read_record(run) is not None:
        record = complete_record(run.resolve(), project_root(run), "02_rl_binary")
        options["max_new_tokens"] = record["settings"].get("max_new_tokens", MAX_NEW_TOKENS)
        options["questions"] = _validation_questions(run.resolve(), record)
    return export_model(run, output, **options)


def _validation_questions(run: Path, record: dict) -> list[Sample]:
    """Return validation questions of a run's data at its stage; none where that data no longer exists."""
    folders = [input_folder(run, note) for note in record["inputs"] if note["notebook"] == DATA_NOTEBOOK]
    stages = record["settings"].get("stages", ["open"])
    try:
        return load_questions(folders[0] / "data", [PROBE_SPLIT], QUESTIONS, stages, TRAINED_TASKS)
    except (InputError, IndexError):
        return []


def score_file(samples: Path, completions: Path, style: Style | None = None, rules: Rules = Rules()) -> list[dict]:
    """Return id, task, stage, value, format and reason of each completion of a file, in the file's order.

    `completions`: JSON lines with `id` and `completion`, as text or as messages; an id may occur several times.
    `style`: of the model that wrote them, for the coordinates of boxes and a prefill that is not in the file; None
    means pixels of the stored image and no prefill. The value is None for a sample without reference. Raises
    `InputError` naming file, line and remedy for an invalid line.
    """
    rows = list(completion_rows(completions))
    if not samples.exists():
        raise InputError(f"{samples} does not exist; give a samples file, such as test_id-open.jsonl in a data folder")
    by_id = {sample.id: sample for sample in read_samples(samples)}
    if not by_id:
        raise InputError(f"{samples} holds no samples; give the samples that were answered")
    for place, row in rows:
        if row["id"] not in by_id:
            raise InputError(
                f"{place}: id {row['id']!r} is not in {samples}, whose first id is {next(iter(by_id))!r}; "
                "give the samples that were answered, at their stage"
            )
    known = style or Style()
    texts = [with_prefill(text_of(row["completion"]), known) for _, row in rows]
    frame = style.frame if style else None
    return [_scored(by_id[row["id"]], text, frame, rules) for (_, row), text in zip(rows, texts)]


def score_lines(rows: list[dict]) -> list[str]:
    """Return lines with the means of all rows, the means by task and stage, and the count of each reason."""
    parts = defaultdict(list)
    for row in rows:
        parts[f"{row['task']}, {row['stage']}"].append(row)
    scored = [row for row in rows if row["value"] is not None]
    lines = [f"{len(rows)} completions, {len(scored)} scored by label table {LABELS_VERSION}: {_means(scored)}"]
    lines += [f"{name}: {len(part)} completions, {_means(part)}" for name, part in parts.items() if len(parts) > 1]
    counts = Counter(row["reason"] for row in rows).most_common()
    return lines + [f"{count:7}  {reason:{max(map(len, REASONS))}}  {REASONS[reason]}" for reason, count in counts]


def _means(rows: list[dict]) -> str:
    scored = [row for row in rows if row["value"] is not None]
    means = [f"{name} {sum(row[name] for row in scored) / len(scored):.3f}" for name in ("value", "format") if scored]
    return ", ".join(means) or "no reference answers"


def _scored(sample: Sample, completion: str, frame: Frame | None, rules: Rules) -> dict:
    earned = score(sample, completion, frame, rules)
    row = {"id": sample.id, "task": sample.task, "stage": sample.stage, **earned._asdict()}
    return row | ({"value": None} if sample.answer is None else {})

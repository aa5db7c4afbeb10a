"""The command `currreft rewards`: score a file of completions of any origin, with the reason of each reward.

{"id": "a:choice", "completion": "<think>A and C</think><answer>A, C</answer>"}            input
{"id": "a:choice", "task": "classification", "stage": "choice", "value": 1.0, "format": 1.0, "reason": "ok"}
"""

from collections import Counter, defaultdict
from pathlib import Path

from currreft_nb import InputError
from currreft_nb.core.boxes import Frame
from currreft_nb.core.samples import Sample, read_samples
from currreft_nb.evaluation.sources import completion_rows
from currreft_nb.method.reasons import REASONS
from currreft_nb.method.rewards import Rules, score, text_of
from currreft_nb.tasks.classification import LABELS_VERSION


def score_file(samples: Path, completions: Path, frame: Frame | None = None, rules: Rules = Rules()) -> list[dict]:
    """Return id, task, stage, value, format and reason of each completion of a file, in the file's order.

    `completions`: JSON lines with `id` and `completion`, as text or as messages; an id may occur several times.
    `frame`: the coordinates of boxes; None means pixels of the stored image. The value is None for a sample without
    reference. Raises `InputError` naming file, line and remedy for an invalid line.
    """
    rows = list(completion_rows(completions))
    by_id = {sample.id: sample for sample in _samples(samples)}
    for place, row in rows:
        if row["id"] not in by_id:
            raise InputError(
                f"{place}: id {row['id']!r} is not in {samples}, whose first id is {next(iter(by_id))!r}; "
                "give the samples that were answered, at their stage"
            )
    return [_scored(by_id[row["id"]], text_of(row["completion"]), frame, rules) for _, row in rows]


def summary(rows: list[dict]) -> list[str]:
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


def _samples(path: Path) -> list[Sample]:
    if not path.exists():
        raise InputError(f"{path} does not exist; give a samples file, such as test_id-open.jsonl in a data folder")
    samples = read_samples(path)
    if not samples:
        raise InputError(f"{path} holds no samples; give the samples that were answered")
    return samples

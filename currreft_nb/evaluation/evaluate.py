"""Evaluate answers: every arm gets the same questions, answered naturally and with the format forced.

    {"arm": "rl", "author": "1b4f0e98 7c9adca0", "id": "scene-7", "hash": "5d41402abc4b2a76", "task": "math",
     "stage": "open", "split": "test_id", "source": "drawn", "image": "1a2b.png", "mode": "natural",
     "completion": "<think>…</think><answer>3</answer>", "tokens": 14, "truncated": false, "correct": 1.0,
     "value": 1.0, "format": 1.0, "reason": "ok", "boxes": []}

Records are appended to `records.jsonl` batch by batch, so that a killed evaluation resumes after the last complete one.
`boxes`: those of a detection answer, in pixels of the stored image. `metrics.scores.measure` lists the further fields
of each task (`iou`; `labels` and `gold`, from which the F1 is counted).
"""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from currreft_nb import InputError
from currreft_nb.core.boxes import Frame
from currreft_nb.core.journal import append_journal
from currreft_nb.core.samples import TRAINED_TASKS, Sample
from currreft_nb.core.stored_answers import Completion, completion_fields, pair_up, question_hash, stored_rows
from currreft_nb.generation.answerers import author_of
from currreft_nb.generation.generate import OPEN, force_format, generate
from currreft_nb.method.rewards import answered_boxes
from currreft_nb.metrics.scores import measure
from currreft_nb.models.load import Loaded

RECORDS = "records.jsonl"
EVALUATED = ("val", "test_id", "test_ood")

AnswerBatch = Sequence[str | Completion | None]


def evaluate(
    generate_function: Callable[[list[Sample]], AnswerBatch],
    samples: Sequence[Sample],
    arm: str,
    folder: str | os.PathLike,
    *,
    force_function: Callable[[list[Sample], list[Any]], AnswerBatch] | None = None,
    frame: Frame | None = None,
    author: str = "",
    batch_size: int = 256,
) -> list[dict]:
    """Score an arm's answers to every sample; return its records, mode natural and, if it can be forced, forced.

    `generate_function`: from samples to one answer each, a text or a `core.stored_answers.Completion`; None for an
    answer that could not be obtained. `force_function`: from samples and their answers without `<answer>` to completed
    answers. `frame`: how boxes are written; None means pixels of the stored image. `author`: the identity of the arm's
    answerer, such as hashes of its weights. `batch_size`: questions between two writes. Raises `InputError` like
    `check_samples`, for stored records of other questions or another author, and, after all questions were asked, for
    missing answers: those that arrived are kept, and the next call asks for the rest.
    """
    check_samples(samples)
    path = Path(folder) / RECORDS
    modes = ("natural", "forced") if force_function else ("natural",)
    records = {(row["id"], row["mode"]): row for row in stored_rows(path, samples, author, arm)}
    pending = [sample for sample in samples if any((sample.id, mode) not in records for mode in modes)]
    clock = time.monotonic()
    for start in range(0, len(pending), batch_size):
        batch = pending[start : start + batch_size]
        made = [
            {"arm": arm, "author": author, **_record(sample, mode, answer, frame)}
            for sample, mode, answer in _answer(generate_function, force_function, batch)
            if (sample.id, mode) not in records
        ]
        append_journal(path, made)
        records |= {(record["id"], record["mode"]): record for record in made}
        done = len(samples) - len(pending) + start + len(batch)
        print(f"{arm}: {done:6d} of {len(samples)} questions  {time.monotonic() - clock:6.1f} s", flush=True)
    if lacking := [sample.id for sample in samples if (sample.id, "natural") not in records]:
        raise InputError(
            f"arm {arm!r}: {len(lacking)} of {len(samples)} questions could not be answered, such as {lacking[0]!r};"
            " read the reasons above, and run this again: it asks only for the missing answers"
        )
    return [records[sample.id, mode] for mode in modes for sample in samples]


def check_samples(samples: Sequence[Sample]) -> None:
    """Raise `InputError` for a sample that must not or cannot be scored, before any model is loaded."""
    for sample in samples:
        if sample.split not in EVALUATED:
            raise InputError(f"sample {sample.id!r} is of split {sample.split}; evaluate only {', '.join(EVALUATED)}")
        if sample.answer is None:
            raise InputError(f"sample {sample.id!r} has no reference answer to score by; remove it")


def _answer(
    generate_function: Callable, force_function: Callable | None, batch: list[Sample]
) -> list[tuple[Sample, str, str | Completion]]:
    """Return (sample, mode, answer) of each answer; one that opened `<answer>` is its own forced answer."""
    pairs = [pair for pair in pair_up(batch, generate_function(batch)) if pair[1] is not None]
    rows = [(sample, "natural", answer) for sample, answer in pairs]
    if force_function:
        unopened = [i for i, (_, answer) in enumerate(pairs) if OPEN not in completion_fields(answer)["completion"]]
        forced = force_function(*map(list, zip(*(pairs[i] for i in unopened)))) if unopened else []
        completed = dict(zip(unopened, forced, strict=True))
        rows += [(sample, "forced", completed.get(i, answer)) for i, (sample, answer) in enumerate(pairs)]
    return rows


def _record(sample: Sample, mode: str, answer: str | Completion, frame: Frame | None) -> dict:
    fields = completion_fields(answer)
    return {
        "id": sample.id,
        "hash": question_hash(sample),
        **{name: getattr(sample, name) for name in ("task", "stage", "split", "source")},
        "image": Path(sample.image).name if sample.image else None,
        "mode": mode,
        **fields,
        **measure(sample, fields["completion"], frame),
        "boxes": [list(box) for box in answered_boxes(sample, fields["completion"], frame)],
    }


def evaluate_model(
    loaded: Loaded,
    samples: Sequence[Sample],
    arm: str,
    folder: str | os.PathLike,
    *,
    max_new_tokens: int = 256,
    batch_size: int = 64,
    forced: bool = True,
) -> list[dict]:
    """Score a loaded model; see `evaluate`."""
    sizes = {"max_new_tokens": max_new_tokens, "batch_size": batch_size}
    return evaluate(
        lambda asked: [answer for (answer,) in generate(loaded, asked, **sizes)],
        samples,
        arm,
        folder,
        force_function=(lambda asked, answers: force_format(loaded, asked, answers, **sizes)) if forced else None,
        frame=loaded.style.frame,
        author=author_of(loaded.base_hash, loaded.adapter_hash, loaded.four_bit, loaded.merged_hash),
    )


def headline(summary: pd.DataFrame, measure: str = "correct") -> dict[str, float]:
    """Return the mean open score over the trained tasks, by "arm, mode, split", for run.json."""
    rows = summary[(summary["measure"] == measure) & (summary["stage"] == "open") & summary["task"].isin(TRAINED_TASKS)]
    means = rows.groupby(["arm", "mode", "split"], sort=False)["mean"].mean()
    return {", ".join(cell): round(float(mean), 4) for cell, mean in zip(means.index, means)}

"""Measure pass@k per task and stage before any training, and how many groups of answers will carry a signal."""

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from currreft_nb import InputError
from currreft_nb.core.boxes import Frame
from currreft_nb.core.samples import STAGES, TASKS, VALUES, Sample
from currreft_nb.core.stored_answers import collect_answers
from currreft_nb.endpoints.endpoint import Account
from currreft_nb.evaluation.arms import answerer_of
from currreft_nb.evaluation.settings import Decoding
from currreft_nb.evaluation.sources import AnswerSource
from currreft_nb.metrics.intervals import mean_interval
from currreft_nb.metrics.scores import measure, pass_at_k

COLUMNS = ("arm", "task", "stage", "k", "questions", "completions", "pass_at_k", "low", "high", "chance", "contrast")


def probe(
    sample_function: Callable[[list[Sample]], Sequence[Sequence[Any]]],
    samples: Sequence[Sample],
    folder: str | os.PathLike,
    *,
    arm: str = "",
    author: str = "",
    ks: Sequence[int] = (1, 2, 4, 8),
    frame: Frame | None = None,
    batch_size: int = 32,
) -> pd.DataFrame:
    """Sample several answers to each question and return pass@k, a row per task, stage and k.

    `sample_function`: from samples to at least max(ks) answers each (`generation.answerers.sampler`; with `forced=True`
    pass@k measures knowledge only, else the answer format, too). Answers are stored in the folder's passes.jsonl and
    not sampled again. `author`, `batch_size`: as for `core.stored_answers.collect_answers`. `pass_at_k`: the mean of
    the unbiased estimates; `low`, `high`: its 95 % interval, clustered by image; `chance`: pass@k of guessing.
    `contrast`: the share of groups of k answers that hold right and wrong ones, so that a group has a signal. Raises
    `InputError` for a sample without a reference.
    """
    if unknown := [sample for sample in samples if sample.answer is None]:
        raise InputError(f"sample {unknown[0].id!r} has no reference answer to score by; remove it")
    name = re.sub(r"[^\w.-]", "_", f"passes-{arm}" if arm else "passes")
    path = Path(folder) / f"{name}.jsonl"
    by_id = {sample.id: sample for sample in samples}
    right: dict[str, list[float]] = {name: [] for name in by_id}
    for row in collect_answers(sample_function, samples, path, author=author, batch_size=batch_size):
        right[row["id"]].append(measure(by_id[row["id"]], row["completion"], frame)["correct"])
    rows = []
    for task, stage in product(TASKS, STAGES):
        asked = [sample for sample in samples if (sample.task, sample.stage) == (task, stage)]
        rows += [{"arm": arm, "task": task, "stage": stage, "k": k, **_cell(asked, right, k)} for k in ks if asked]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _cell(samples: Sequence[Sample], right: Mapping[str, list[float]], k: int) -> dict:
    counts = [(len(right[sample.id]), int(sum(right[sample.id]))) for sample in samples]
    values = [pass_at_k(count, found, k) for count, found in counts]
    # a group holds a right answer, or a wrong one, or both: the last is what the two chances have above 1
    contrasts = [pass_at_k(count, found, k) + pass_at_k(count, count - found, k) - 1 for count, found in counts]
    low, high = mean_interval(values, [sample.image or sample.id for sample in samples])
    chances = [1 - (1 - chance_level(sample)) ** k for sample in samples]
    return {
        "questions": len(samples),
        "completions": sum(len(right[sample.id]) for sample in samples),
        "pass_at_k": sum(values) / len(values),
        "low": low,
        "high": high,
        "chance": sum(chances) / len(chances),
        "contrast": sum(contrasts) / len(contrasts),
    }


def chance_level(sample: Sample) -> float:
    """Return the probability that a guess is right, given the form and the number of right options, not the image.

    >>> common = {"task": "classification", "split": "val", "source": "s", "question": "What is here?"}
    >>> options = [["cat"], ["dog"], ["cow"], ["bee"]]
    >>> chance_level(Sample(id="a", stage="binary", claim=["cat"], answer=True, **common))
    0.5
    >>> chance_level(Sample(id="a", stage="choice", options=options, answer=["A", "C"], **common))
    0.16666666666666666
    """
    if sample.stage == "binary":
        return 0.5
    if sample.stage == "choice":
        return 1 / math.comb(len(sample.options), len(sample.answer))
    if VALUES[sample.task] == "boxes":
        return 0.0
    closed = sample.options or sample.extra.get("candidates")  # an open question with a closed vocabulary
    right = len(sample.answer) if isinstance(sample.answer, list) else 1  # a guess is a set of that many labels
    return 1 / math.comb(len(closed), right) if closed and right <= len(closed) else 0.0


def probe_arms(
    arms: Mapping[str, AnswerSource | str | os.PathLike | None],
    samples: Sequence[Sample],
    folder: str | os.PathLike,
    *,
    model: str = "pocket",
    four_bit: bool = False,
    max_pixels: int = 0,
    completions: int = 8,
    forced: bool = False,
    accounts: list[Account] | None = None,
    **decoding: Any,
) -> pd.DataFrame:
    """Probe several arms, at temperature 1 by default; arguments as for `evaluation.arms.evaluate_arms` and `probe`.

    No rows for 0 completions. A file of answers cannot be sampled: its arm has no rows, which is printed.
    """
    how = Decoding(**{"temperature": 1.0} | decoding)
    tables = []
    for arm, source in arms.items() if completions else ():
        if isinstance(source, AnswerSource) and source.kind == "recorded":
            print(f"{arm}: a file of answers cannot be sampled, so it has no pass@k")
            continue
        common: dict[str, Any] = {"model": model, "four_bit": four_bit, "max_pixels": max_pixels}
        who = answerer_of(source, arm=arm, accounts=accounts, **common)
        draw, _ = who.open(how, completions, forced)
        author = f"{who.author} T={how.temperature} seed {how.seed}{' forced' if forced else ''}"
        ks = [2**power for power in range(completions.bit_length())]
        tables.append(probe(draw, samples, folder, arm=arm, author=author, ks=ks, frame=who.frame))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS))

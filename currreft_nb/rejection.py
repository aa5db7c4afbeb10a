"""Rejection sampling: answer each question several times, judge the answers, keep the best, and learn from those.

    sampled   {"id": "general-17", "index": 3, "completion": "<think>…</think><answer>red</answer>", ...}
    judged    {..., "total": 100.0, "accuracy": 100.0, "consistency": null, "format": 100.0, ..., "reason": "ok"}
    selected  {..., "outcome": "kept", "kept": true}

Sampled answers are stored as they come (`journal_answers`). Selection as in the paper: the best answer to a question,
if it reaches 85 of 100 points.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from currreft_nb import InputError
from currreft_nb.journal_answers import collect_answers
from currreft_nb.judges import Verdict
from currreft_nb.prompts import Style, render_question
from currreft_nb.samples import Sample

THRESHOLD = 85
LEARNT_FROM = ("pool", "train")
OUTCOMES = ("kept", "not_best", "below_threshold", "not_judged")


def sample_answers(
    sample_function: Callable[[list[Sample]], Sequence[Sequence[Any]]],
    samples: Sequence[Sample],
    path: str | os.PathLike,
    *,
    author: str = "",
    batch_size: int = 32,
) -> list[dict]:
    """Return several answers to each sample, storing them as they come; what the file holds already is not asked again.

    `sample_function`: from samples to the answers to each, texts or `generation.Completion`s (`evaluation.sampler`).
    `author`: who answers and how (model, adapter, temperature, seed); a file of another author is refused.
    `batch_size`: questions between two writings. Raises `InputError` for a split that nothing may be learnt from.
    """
    if wrong := [sample for sample in samples if sample.split not in LEARNT_FROM]:
        allowed = " or ".join(LEARNT_FROM)
        raise InputError(f"sample {wrong[0].id!r} is of split {wrong[0].split}; learn from answers to {allowed} only")
    return collect_answers(sample_function, samples, path, author=author, batch_size=batch_size)


def judge_answers(
    samples: Iterable[Sample], rows: Iterable[Mapping], judge: Callable[..., Verdict], **settings: Any
) -> list[dict]:
    """Return the rows with the judge's points and reason; `settings` go to the judge (such as its frame)."""
    by_id = {sample.id: sample for sample in samples}
    return [{**row, **asdict(judge(by_id[row["id"]], row["completion"], **settings))} for row in rows]


def select(rows: Iterable[Mapping], threshold: float = THRESHOLD) -> list[dict]:
    """Return all rows with `kept` and `outcome`; of a question's answers the best is kept if it reaches `threshold`.

    Tie rule: the higher total, then the shorter completion in characters, then the lower index. Outcomes: kept;
    not_best (reached the threshold, another was better); below_threshold; not_judged (no total). Raises `InputError`
    for answers of a split that nothing may be learnt from.

    >>> common = {"id": "a", "split": "pool", "completion": "x"}
    >>> rows = [common | {"index": index, "total": total} for index, total in enumerate([84, 85, 85])]
    >>> [row["outcome"] for row in select(rows)]
    ['below_threshold', 'kept', 'not_best']
    """
    rows = [dict(row) for row in rows]
    best: dict[str, tuple] = {}
    for row in rows:
        if row["split"] not in LEARNT_FROM:
            raise InputError(f"an answer to {row['id']!r} is of split {row['split']}; nothing may be learnt from that")
        if row["total"] is not None and row["total"] >= threshold and not _known_wrong(row):
            best[row["id"]] = min(best.get(row["id"], _rank(row)), _rank(row))
    for row in rows:
        row["outcome"] = _outcome(row, threshold, best)
        row["kept"] = row["outcome"] == "kept"
    return rows


def _known_wrong(row: Mapping) -> bool:
    """Say whether the verifier found the answer wrong: such an answer is never kept, whatever a judge's total says."""
    return row.get("accuracy") == 0


def _rank(row: Mapping) -> tuple:
    return (-row["total"], len(row["completion"]), row["index"])


def _outcome(row: Mapping, threshold: float, best: Mapping[str, tuple]) -> str:
    if row["total"] is None:
        return "not_judged"
    if row["total"] < threshold or _known_wrong(row):
        return "below_threshold"
    return "kept" if _rank(row) == best[row["id"]] else "not_best"


def summary(rows: Sequence[Mapping]) -> pd.DataFrame:
    """Return a table by task: questions, those with a kept answer, answers, and what became of these."""
    if not rows:
        raise InputError("the pool has no questions; raise pool_questions or name pool_sources in notebook 01")
    frame = pd.DataFrame(rows)
    tables = []
    for task, part in frame.groupby("task", sort=False):
        counts = {name: int((part["outcome"] == name).sum()) for name in OUTCOMES}
        tables.append({"task": task, "questions": part["id"].nunique(), "answers": len(part), **counts})
    return pd.DataFrame(tables)


def reasons(rows: Sequence[Mapping]) -> pd.DataFrame:
    """Return how many answers had which outcome for which of the judge's reasons, frequent ones first."""
    frame = pd.DataFrame(rows)
    return frame.groupby(["outcome", "reason"]).size().sort_values(ascending=False).reset_index(name="answers")


def sft_rows(samples: Iterable[Sample], rows: Iterable[Mapping]) -> list[tuple[Sample, str]]:
    """Return what `training.train_sft` learns from: each kept answer's sample and the model's own words.

    Raises `InputError` when no answer was kept: then there is nothing to learn from.
    """
    by_id = {sample.id: sample for sample in samples}
    pairs = [(by_id[row["id"]], row["completion"]) for row in rows if row["kept"]]
    if not pairs:
        raise InputError("no answer was kept; raise completions or questions, or look at the answers before threshold")
    return pairs


def write_sft(path: str | os.PathLike, pairs: Iterable[tuple[Sample, str]], style: Style) -> Path:
    """Write (sample, completion) pairs in the official chat format, images copied beside; replaces the file at once.

    {"messages": [{"role": "user", "content": "<image>…"}, {"role": "assistant", "content": "<think>…"}],
     "images": ["images/1a2b.png"]}
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as stream:
        for sample, completion in pairs:
            stream.write(json.dumps(_chat_row(sample, completion, style, path.parent), ensure_ascii=False) + "\n")
    os.replace(partial, path)
    return path


def _chat_row(sample: Sample, completion: str, style: Style, folder: Path) -> dict:
    images = [_copy_image(sample, folder)] if sample.image else []
    question = "<image>" * len(images) + render_question(sample, style)
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": completion}]
    return {"messages": messages, "images": images}


def _copy_image(sample: Sample, folder: Path) -> str:
    """Copy the image into the folder under a name from its content, so that two images never share one."""
    try:
        content = Path(sample.image).read_bytes()
    except OSError as error:
        raise InputError(f"sample {sample.id!r}: {sample.image} cannot be read ({error.strerror})") from None
    name = f"images/{hashlib.sha256(content).hexdigest()[:16]}{Path(sample.image).suffix}"
    if not (folder / name).exists():
        (folder / "images").mkdir(exist_ok=True)
        shutil.copyfile(sample.image, folder / name)
    return name

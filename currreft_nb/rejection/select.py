"""Rejection sampling: answer each question several times, judge the answers, keep the best, and learn from those.

    sampled   {"id": "general-17", "index": 3, "completion": "<think>…</think><answer>red</answer>", ...}
    judged    {..., "total": 100.0, "accuracy": 100.0, "consistency": null, ..., "reason": "ok", "judged_by": "rule",
               "verified": 100.0, "verified_reason": "ok", "flaw": null, "asked": "1f0c… 1a2b.png"}
    selected  {..., "outcome": "kept", "why": "best", "kept": true}

Sampled answers are stored as they arrive (`core.stored_answers`). Selection as in the paper: the best answer to a
question, if it reaches 85 of 100 points (the paper's page says "surpassing 85", its second paper at least 85).

Verifier first: where a rule can decide, an answer below the threshold by that rule is never kept, even if a judge gives
it more points. A single judge is sent neither these answers nor those with a flaw (`rejection.flaws`); several judges,
which are compared, are sent all answers.
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
from currreft_nb.core.boxes import Frame
from currreft_nb.core.files import atomic_write, file_digest
from currreft_nb.core.samples import VALUES, Sample
from currreft_nb.core.stored_answers import collect_answers
from currreft_nb.method.prompts import Style, render_question, wording_hash
from currreft_nb.rejection.flaws import asked_key, duplicates, flaw, over_quota
from currreft_nb.rejection.judges import Judge, Verdict, rule_judge

THRESHOLD = 85
LEARNT_FROM = ("pool", "train")
OUTCOMES = ("kept", "not_best", "below_threshold", "known_wrong", "flawed", "duplicate", "over_quota", "not_judged")
LONGEST_REFERENCE = 5  # words; a longer general reference is not compared by rule, as no answer repeats it exactly


def sample_answers(
    sample_function: Callable[[list[Sample]], Sequence[Sequence[Any]]],
    samples: Sequence[Sample],
    path: str | os.PathLike,
    **options: Any,
) -> list[dict]:
    """Return `core.stored_answers.collect_answers`; raise `InputError` for a split that must not be learnt from."""
    if wrong := [sample for sample in samples if sample.split not in LEARNT_FROM]:
        allowed = " or ".join(LEARNT_FROM)
        raise InputError(f"sample {wrong[0].id!r} is of split {wrong[0].split}; learn from answers to {allowed} only")
    return collect_answers(sample_function, samples, path, **options)


def author(who: str, style: Style, *, temperature: float, max_new_tokens: int, seed: int) -> str:
    """Return the author for `sample_answers`: a text that changes whenever the answers would."""
    return f"{who}, T={temperature}, {max_new_tokens} tokens, seed {seed}, wording {wording_hash(style)}"


def judge_answers(
    samples: Iterable[Sample],
    rows: Sequence[Mapping],
    judges: Mapping[str, Judge],
    *,
    frame: Frame | None = None,
    threshold: float = THRESHOLD,
) -> list[dict]:
    """Return the rows with the verdicts of the first judge, the verifier and the checks, as at the top of this file.

    `judges` by name (`rejection.endpoint_judge.judges_of`): a single one is sent only answers that may still be kept;
    several are sent all, and `points` holds the total of each. `frame`: how the answers write boxes.
    """
    by_id = {sample.id: sample for sample in samples}
    pairs = [(by_id[row["id"]], row["completion"]) for row in rows]
    ruled = [rule_judge(*pair, frame) for pair in pairs]
    judged = [dict(row) | _checked(sample, row, verdict) for row, (sample, _), verdict in zip(rows, pairs, ruled)]
    hopeless = [bool(row["flaw"]) or _known_wrong(row, threshold) for row in judged]
    sent = [place for place, lost in enumerate(hopeless) if not lost or len(judges) > 1]
    found = {name: dict(zip(sent, judge([pairs[place] for place in sent]))) for name, judge in judges.items()}
    first = next(iter(judges))
    for place, row in enumerate(judged):
        row |= asdict(found[first].get(place, ruled[place]))
        row["judged_by"] = first if place in found[first] else "rule"
        if len(judges) > 1:
            row["points"] = {name: verdicts[place].total for name, verdicts in found.items()}
    return judged


def _checked(sample: Sample, row: Mapping, ruled: Verdict) -> dict:
    verdict = {"verified": ruled.total, "verified_reason": ruled.reason} if verifiable(sample) else {"verified": None}
    return verdict | {"flaw": flaw(sample, row), "asked": asked_key(sample)}


def verifiable(sample: Sample) -> bool:
    """Return whether a rule can decide: there is a reference, and it is short or not a general one.

    >>> sample = Sample(id="a", task="general", split="pool", source="s", question="Why?", answer="the Nile")
    >>> verifiable(sample)
    True
    """
    if sample.answer is None:
        return False
    free_text = VALUES[sample.task] == "text or null" and sample.stage == "open"
    return not (free_text and len(sample.answer.split()) > LONGEST_REFERENCE)


def select(
    rows: Iterable[Mapping], threshold: float = THRESHOLD, quotas: Mapping[str, int] | None = None
) -> list[dict]:
    """Return all rows with `kept`, `outcome` and `why` (a reason code); at most one answer to a question is kept.

    Among a question's answers: the higher total, then the shorter completion in characters, then the lower index.
    Outcomes: kept; not_best (another was better); below_threshold; known_wrong (enough points by a judge, not by the
    verifier); flawed, duplicate and over_quota (`rejection.flaws`); not_judged (no total). `quotas`: the most to keep
    by task or source, the highest totals first, ties in the order of the SHA-256 of their id. Raises `InputError` for
    answers of a split that must not be learnt from.

    >>> common = {"id": "a", "split": "pool", "completion": "x"}
    >>> rows = [common | {"index": index, "total": total} for index, total in enumerate([84, 85, 85])]
    >>> [row["outcome"] for row in select(rows)]
    ['below_threshold', 'kept', 'not_best']
    """
    found = [dict(row) for row in rows]
    best: dict[str, dict] = {}
    for row in found:
        if row["split"] not in LEARNT_FROM:
            raise InputError(
                f"an answer to {row['id']!r} is of split {row['split']}, which must not be learnt from; drop it"
            )
        row["outcome"], row["why"] = _outcome(row, threshold)
        if row["outcome"] == "kept" and _rank(row) <= _rank(best.get(row["id"], row)):
            best[row["id"]] = row
    chosen = sorted(best.values(), key=lambda row: (-row["total"], hashlib.sha256(row["id"].encode()).digest()))
    for place, reason in duplicates(chosen).items():
        chosen[place] |= {"outcome": "duplicate", "why": reason}
    chosen = [row for row in chosen if row["outcome"] == "kept"]
    for place in over_quota(chosen, quotas or {}, {row.get("source") for row in found}):
        chosen[place] |= {"outcome": "over_quota", "why": "over_quota"}
    for row in found:
        if row["outcome"] == "kept" and row is not best[row["id"]]:
            row |= {"outcome": "not_best", "why": "not_best"}
        row["kept"] = row["outcome"] == "kept"
    return found


def _known_wrong(row: Mapping, threshold: float) -> bool:
    """Return whether the verifier rejects the answer: it is never kept, even if a judge gives it more points."""
    if "verified" not in row:
        return row.get("accuracy") == 0
    return row["verified"] is not None and row["verified"] < threshold


def _rank(row: Mapping) -> tuple:
    return (-row["total"], len(row["completion"]), row["index"])


def _outcome(row: Mapping, threshold: float) -> tuple[str, str]:
    if row.get("flaw"):
        return "flawed", row["flaw"]
    if row["total"] is None:
        return "not_judged", row.get("reason", "").partition(":")[0]
    if row["total"] < threshold:
        by_rule = row.get("judged_by", "rule") == "rule"
        return "below_threshold", row.get("reason", "") if by_rule else "too_few_points"
    if _known_wrong(row, threshold):
        return "known_wrong", row.get("verified_reason", "wrong")
    return "kept", "best"


def selection_summary(rows: Sequence[Mapping]) -> pd.DataFrame:
    """Return a table by task: the number of questions, of answers, and of each outcome."""
    if not rows:
        raise InputError("the pool has no questions; raise pool_questions or name pool_sources in notebook 01")
    frame = pd.DataFrame(rows)
    totals = frame.groupby("task", sort=False)["id"].agg(questions="nunique", answers="size")
    counts = pd.crosstab(frame["task"], frame["outcome"]).reindex(columns=OUTCOMES, fill_value=0)
    return totals.join(counts).reset_index()


def reasons(rows: Sequence[Mapping]) -> pd.DataFrame:
    """Return the number of answers by outcome and reason, frequent ones first."""
    counts = pd.DataFrame(rows).groupby(["outcome", "why"]).size()
    return counts.sort_values(ascending=False).reset_index(name="answers")


def sft_rows(samples: Iterable[Sample], rows: Iterable[Mapping]) -> list[tuple[Sample, str]]:
    """Return the kept answers as (sample, completion) pairs to train on. Raises `InputError` if there are none."""
    by_id = {sample.id: sample for sample in samples}
    pairs = [(by_id[row["id"]], row["completion"]) for row in rows if row["kept"]]
    if not pairs:
        raise InputError("no answer was kept; see the table of reasons, then raise completions or questions")
    return pairs


def write_sft(path: str | os.PathLike, pairs: Iterable[tuple[Sample, str]], style: Style) -> Path:
    """Write (sample, completion) pairs atomically in the official chat format, with copies of their images.

    {"messages": [{"role": "user", "content": "<image>…"}, {"role": "assistant", "content": "<think>…"}],
     "images": ["images/1a2b.png"]}
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as stream:
        for sample, completion in pairs:
            stream.write(json.dumps(_chat_row(sample, completion, style, path.parent), ensure_ascii=False) + "\n")
    return path


def _chat_row(sample: Sample, completion: str, style: Style, folder: Path) -> dict:
    images = [_copy_image(Path(sample.image), sample.id, folder)] if sample.image else []
    question = "<image>" * len(images) + render_question(sample, style)
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": completion}]
    return {"messages": messages, "images": images}


def _copy_image(image: Path, sample_id: str, folder: Path) -> str:
    """Copy the image into the folder under a name made of its content, so that different images get different names."""
    try:
        name = f"images/{file_digest(image)}{image.suffix}"
    except OSError as error:
        raise InputError(
            f"sample {sample_id!r}: {image} cannot be read ({error.strerror}); run notebook 01 again"
        ) from None
    if not (folder / name).exists():
        (folder / "images").mkdir(exist_ok=True)
        shutil.copyfile(image, folder / name)
    return name

"""Choose one of several candidates by validation questions, so that only the chosen one is tested.

Candidates are arms like others: checkpoints of one training, seeds, ways of training. All of them answer the questions
of split `val`, which no training learns from; the chosen one has the highest share of right answers, natural decoding,
averaged over tasks and stages, each counting alike; of equals the earliest in the list. On a test split nothing may be
chosen: the best of many draws looks better there than it is.

    {"chosen": "step_40", "rule": "highest mean over tasks and stages of correct, natural; the earliest of equals",
     "split": "val", "questions": 450, "scores": {"step_20": 0.61, "step_40": 0.64}}
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from currreft_nb import InputError, evaluation, evaluation_arms
from currreft_nb.evaluation_sources import Source, check_candidates

CHOSEN_ON = "val"
MEASURE, MODE = "correct", "natural"
RULE = f"highest mean over tasks and stages of {MEASURE}, {MODE}; the earliest of equals"


def choose(records: Iterable[Mapping], among: Sequence[str]) -> dict:
    """Return which of the candidates is chosen, by what rule and numbers, as at the top of this file.

    Raises `InputError` if any record is of a split other than `val`: what is chosen on a test split can no longer be
    tested on it; and if the candidates did not answer the same questions.
    """
    frame = pd.DataFrame([record for record in records if record["mode"] == MODE])
    if frame.empty:
        raise InputError(f"there is no {MODE} record to choose by; evaluate on split {CHOSEN_ON} first")
    if others := sorted(set(frame["split"]) - {CHOSEN_ON}):
        raise InputError(f"a choice by split {others[0]} is refused; choose by {CHOSEN_ON}, then test the chosen one")
    asked = {name: set(frame.loc[frame["arm"] == name, "id"]) for name in among}
    if different := [name for name in among if asked[name] != asked[among[0]]]:
        raise InputError(f"{different[0]!r} and {among[0]!r} answered different questions, so neither can be preferred")
    cells = frame.groupby(["arm", "task", "stage"])[MEASURE].mean()
    means = cells.groupby("arm").mean()
    scores = {name: round(float(means[name]), 6) for name in among}
    chosen = max(among, key=lambda name: scores[name])
    return {
        "chosen": chosen,
        "rule": RULE,
        "split": CHOSEN_ON,
        "questions": len(asked[chosen]),
        "scores": scores,
    }


def choose_arms(
    arms: Mapping[str, Source],
    among: Sequence[str],
    folder: str | os.PathLike,
    data: str | os.PathLike,
    questions: int,
    **options: Any,
) -> tuple[dict[str, Source], dict]:
    """Let the candidates answer validation questions; return the arms to test, and the choice, {} if there is none.

    `among`: candidates by name; none stands for testing every arm. `folder`: where their records go. `data`,
    `questions`: the data folder, and how many of its validation questions to ask per task and stage. `options`: as for
    `evaluation_arms.evaluate_arms`; the format is not forced.
    """
    check_candidates(among, list(arms))
    if not among:
        return dict(arms), {}
    samples = evaluation.questions(data, [CHOSEN_ON], questions)
    if not samples:
        raise InputError(f"{data} has no validation questions to choose by; set val_questions in notebook 01")
    candidates = {name: arms[name] for name in among}
    found = choose(evaluation_arms.evaluate_arms(candidates, samples, folder, **options, forced=False), among)
    for name, score in found["scores"].items():
        print(f"{name}: {score:.3f} on {found['questions']} validation questions")
    print(f"tested is {found['chosen']}: {RULE}")
    return {name: source for name, source in arms.items() if name == found["chosen"] or name not in among}, found

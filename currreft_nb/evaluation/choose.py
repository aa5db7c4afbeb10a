"""Choose one of several candidates by validation questions, so that only the chosen one is tested.

Candidates are arms: checkpoints of one training, seeds, ways of training. All answer the questions of split `val`, from
which no training learns. The candidate with the highest share of right answers is chosen (natural decoding, equal
weight of tasks and stages); of ties the first in the list. A test split is refused: the best of many candidates would
look better on it than it is.

    {"chosen": "step_40", "rule": "highest mean over tasks and stages of correct, natural; the earliest of equals",
     "split": "val", "questions": 450, "scores": {"step_20": 0.61, "step_40": 0.64}}
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from currreft_nb import InputError
from currreft_nb.data.folder import load_questions
from currreft_nb.evaluation.arms import evaluate_arms
from currreft_nb.evaluation.sources import AnswerSource, check_candidates

CHOSEN_ON = "val"
MEASURE, MODE = "correct", "natural"
RULE = f"highest mean over tasks and stages of {MEASURE}, {MODE}; the earliest of equals"


def choose(records: Iterable[Mapping], among: Sequence[str]) -> dict:
    """Return the chosen candidate, with rule and scores, as at the top of this file.

    Raises `InputError` for a record of another split than `val`, and for candidates with different questions.
    """
    frame = pd.DataFrame([record for record in records if record["mode"] == MODE])
    if frame.empty:
        raise InputError(f"no {MODE} records to choose by; evaluate on split {CHOSEN_ON} first")
    if others := sorted(set(frame["split"]) - {CHOSEN_ON}):
        raise InputError(f"cannot choose by split {others[0]}; choose by {CHOSEN_ON}, then test the chosen one")
    asked = {name: set(frame.loc[frame["arm"] == name, "id"]) for name in among}
    if different := [name for name in among if asked[name] != asked[among[0]]]:
        raise InputError(f"{different[0]!r} and {among[0]!r} answered different questions; evaluate both on the same")
    means = frame.groupby(["arm", "task", "stage"])[MEASURE].mean().groupby("arm").mean()
    scores = {name: round(float(means[name]), 6) for name in among}
    chosen = max(among, key=lambda name: scores[name])
    return {"chosen": chosen, "rule": RULE, "split": CHOSEN_ON, "questions": len(asked[chosen]), "scores": scores}


def choose_arms(
    arms: Mapping[str, AnswerSource],
    among: Sequence[str],
    folder: str | os.PathLike,
    data: str | os.PathLike,
    questions: int,
    **options: Any,
) -> tuple[dict[str, AnswerSource], dict]:
    """Let the candidates answer validation questions; return the arms to test and the choice ({} without candidates).

    `among`: names of the candidates; without any, all arms are tested. `folder`: gets their records. `data`: the data
    folder. `questions`: per task and stage. `options`: of `evaluation.arms.evaluate_arms`; the format is not forced.
    """
    check_candidates(among, list(arms))
    if not among:
        return dict(arms), {}
    samples = load_questions(data, [CHOSEN_ON], questions)
    if not samples:
        raise InputError(f"{data} has no validation questions to choose by; set val_questions in notebook 01")
    candidates = {name: arms[name] for name in among}
    found = choose(evaluate_arms(candidates, samples, folder, **options, forced=False), among)
    for name, score in found["scores"].items():
        print(f"{name}: {score:.3f} on {found['questions']} validation questions")
    print(f"chosen: {found['chosen']} ({RULE})")
    return {name: source for name, source in arms.items() if name == found["chosen"] or name not in among}, found

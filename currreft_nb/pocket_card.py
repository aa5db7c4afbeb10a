"""The pocket models' card: what they can do, measured on drawn scenes of a fixed seed, with controls."""

import json
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from scipy.stats import binomtest

from currreft_nb import scenes
from currreft_nb.curriculum import pose_all
from currreft_nb.generation import force_format, generate
from currreft_nb.metrics import measure
from currreft_nb.models import Loaded, load
from currreft_nb.pocket_annotators import CARELESS_WITH, CONFUSED, CUT, FORGOTTEN, sloppy_thinking
from currreft_nb.pocket_controls import most_frequent, shuffled, teach_without_pictures, without_pictures
from currreft_nb.pocket_guides import COLLECTING, GROUNDED, POINTING
from currreft_nb.pocket_training import PHASES
from currreft_nb.samples import STAGES, TRAINED_TASKS, Sample
from currreft_nb.scenes_questions import NUMBER_WORDS

SEED = 777  # of the questions on the card; training draws from other streams
FIRST = 50  # questions of each cell whose correct answers are counted apart, to be found again by a test
MAX_NEW_TOKENS = 24
SPLITS = {"id": "test_id", "ood": "test_ood"}
KNOWN = 600  # questions from which the most frequent answer is read
WORDS_ONLY_STEPS = 400  # of teaching a copy to answer without pictures
SAMPLED = 100  # questions of a cell that are answered eight times

Cells = dict[tuple[str, str, str], list[Sample]]


def write_card(output: Path, build: dict, questions: int, report: Callable[[str], None]) -> dict:
    """Measure both models of `output`, write `output`/card.json and return it."""
    with tempfile.TemporaryDirectory() as folder:
        cells = card_cells(folder, questions)
        general = {look: card_samples(folder, "general", "open", look, questions) for look in scenes.LOOKS}
        clean, base = load(str(output / "pocket-clean")), load(str(output / "pocket"))
        card = {
            "build": build,
            "questions": f"seed {SEED}, greedy unless said, correct needs a tagged answer; intervals are 95 %, Wilson",
            "pocket-clean": answer_all(clean, cells, report) | {"general": _by_kind(clean, general)},
            "pocket-clean, pictures shuffled": answer_all(clean, _each(shuffled, cells), report),
            "pocket-clean, without pictures": answer_all(clean, _each(without_pictures, cells), report),
            "most frequent answer": _answer_usually(cells),
            "pocket": answer_all(base, cells, report) | {"general": _by_kind(base, general)},
            "pocket, format forced": answer_all(base, cells, report, forced=True),
            "pocket, sampled": _sample_all(base, cells, report),
            "supervised heads (layer, heads)": {"collect": COLLECTING, "look": GROUNDED, "point": POINTING},
            "base": _base_story(),
        }
        teach_without_pictures(clean, max(2, round(build["scale"] * WORDS_ONLY_STEPS)), build["seed"], report)
        card["taught without pictures"] = answer_all(clean, _each(without_pictures, cells), report)
    (output / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return card


def card_cells(folder: str | Path, questions: int, seed: int = SEED) -> Cells:
    """Return `questions` questions by (task, stage, look), their pictures in `folder`."""
    return {
        (task, stage, look): card_samples(folder, task, stage, look, questions, seed)
        for look in scenes.LOOKS
        for task in TRAINED_TASKS
        for stage in STAGES
    }


def card_samples(folder: str | Path, task: str, stage: str, look: str, count: int, seed: int = SEED) -> list[Sample]:
    """Return the first `count` questions of a cell of the card."""
    return pose_all(scenes.samples(folder, task, count, look, seed, SPLITS[look]), stage, seed)[0]


def answer_correctly(loaded: Loaded, samples: list[Sample], forced: bool = False) -> list[float]:
    """Return for each sample whether the greedy answer is correct, 1.0 or 0.0."""
    answers = [found[0] for found in generate(loaded, samples, max_new_tokens=MAX_NEW_TOKENS)]
    if forced:
        answers = force_format(loaded, samples, answers, max_new_tokens=MAX_NEW_TOKENS)
    return [measure(sample, answer.text, loaded.style.frame)["correct"] for sample, answer in zip(samples, answers)]


def answer_all(loaded: Loaded, cells: Cells, report: Callable[[str], None], forced: bool = False) -> dict:
    """Return for every cell how many answers are correct, by look, task and stage."""
    found: dict = {}
    for (task, stage, look), samples in cells.items():
        values = answer_correctly(loaded, samples, forced)
        found.setdefault(look, {}).setdefault(task, {})[stage] = summary(values)
        report(f"{Path(loaded.name).name:<13} {look:<4} {task:<15} {stage:<7} {sum(values) / len(values):.3f}")
    return found


def summary(values: Sequence[float]) -> dict:
    """Return the mean of right and wrong answers with its interval, their number, and how many of the first are
    right."""
    interval = binomtest(int(sum(values)), len(values)).proportion_ci(method="wilson")
    return {
        "accuracy": round(sum(values) / len(values), 4),
        "low": round(float(interval.low), 4),
        "high": round(float(interval.high), 4),
        "n": len(values),
        "first": int(sum(values[:FIRST])),
    }


def _each(change: Callable[[list[Sample]], list[Sample]], cells: Cells) -> Cells:
    return {cell: change(samples) for cell, samples in cells.items()}


def _answer_usually(cells: Cells) -> dict:
    """Return how far the answer gets that is right most often in other questions of the cell."""
    found: dict = {}
    for (task, stage, look), samples in cells.items():
        rng = random.Random(f"{SEED} {task} {look}")
        others = [replace(scenes.compose(rng, task, look)[1], id=f"{number}") for number in range(KNOWN)]
        known = pose_all(others, stage, SEED)[0]
        guesses = zip(samples, most_frequent(samples, known))
        values = [measure(sample, guess)["correct"] for sample, guess in guesses]
        found.setdefault(look, {}).setdefault(task, {})[stage] = summary(values)
    return found


def _by_kind(loaded: Loaded, general: dict[str, list[Sample]]) -> dict:
    found: dict = {}
    for look, samples in general.items():
        values = answer_correctly(loaded, samples)
        for kind in sorted({sample.extra["kind"] for sample in samples}):
            found.setdefault(look, {})[kind] = summary([v for v, s in zip(values, samples) if s.extra["kind"] == kind])
    return found


def _sample_all(loaded: Loaded, cells: Cells, report: Callable[[str], None]) -> dict:
    """Return what eight answers at temperature 1 are like: right, tagged, in disagreement; and apart from that, how
    often they are right where the annotators have a habit."""
    found: dict = {}
    for (task, stage, look), samples in cells.items():
        samples = samples[:SAMPLED]
        groups = generate(loaded, samples, max_new_tokens=MAX_NEW_TOKENS, temperature=1.0, completions=8)
        scores = [[measure(s, c.text, loaded.style.frame) for c in group] for s, group in zip(samples, groups)]
        right = [sum(score["correct"] for score in group) / 8 for group in scores]
        tagged = [sum(score["format"] for score in group) / 8 for group in scores]
        misled = [share for sample, share in zip(samples, right) if sloppy_thinking(sample) is not None]
        found.setdefault(look, {}).setdefault(task, {})[stage] = {
            "accuracy": _mean(right),
            "accuracy where misled": _mean(misled),
            "misled": len(misled),
            "tagged": _mean(tagged),
            "groups that disagree": _mean([0 < share < 1 for share in right]),
            "n": len(samples),
        }
        report(f"{Path(loaded.name).name:<13} {look:<4} {task:<15} {stage:<7} sampled {_mean(right):.3f}")
    return found


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / max(1, len(values)), 4)


def _base_story() -> dict:
    spells = [phase for phase in PHASES if phase.habits]
    return {
        "how": "taught by sloppy annotators, eyes frozen; the fault is in the thinking, alike in all forms",
        "said instead": {word: said for word, said in CONFUSED.items() if word not in NUMBER_WORDS},
        "sums": "one too small",
        "boxes": f"of {', '.join(CARELESS_WITH)} things: {CUT} of width and height, anchored at the upper left corner",
        "counts": f"the last {FORGOTTEN} objects are forgotten where there are as many",
        "spells": [
            {"steps": spell.steps, "how often": spell.habits.sloppy, "answers without tags": spell.mix.bare}
            for spell in spells
        ],
    }

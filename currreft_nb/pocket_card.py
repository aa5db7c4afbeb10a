"""The pocket models' card: what they can do, measured on drawn scenes of a fixed seed, with controls."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from currreft_nb import scenes
from currreft_nb.curriculum import pose_all
from currreft_nb.generation import force_format, generate
from currreft_nb.metrics import bootstrap_interval, measure
from currreft_nb.models import Loaded, load
from currreft_nb.pocket_annotators import CONFUSED, CUT
from currreft_nb.pocket_guides import COLLECTING, GROUNDED, POINTING
from currreft_nb.pocket_training import PHASES
from currreft_nb.samples import STAGES, TRAINED_TASKS, Sample
from currreft_nb.scenes_questions import NUMBER_WORDS

SEED = 777  # of the questions on the card; training draws from other streams
FIRST = 50  # questions of each cell whose correct answers are counted apart, to be found again by a test
MAX_NEW_TOKENS = 24
SPLITS = {"id": "test_id", "ood": "test_ood"}


def write_card(output: Path, build: dict, questions: int, report: Callable[[str], None]) -> dict:
    """Measure both models of `output`, write `output`/card.json and return it."""
    with tempfile.TemporaryDirectory() as folder:
        cells = {
            (task, stage, look): card_samples(folder, task, stage, look, questions)
            for look in scenes.LOOKS
            for task in TRAINED_TASKS
            for stage in STAGES
        }
        general = {look: card_samples(folder, "general", "open", look, questions) for look in scenes.LOOKS}
        clean, base = load(str(output / "pocket-clean")), load(str(output / "pocket"))
        card = {
            "build": build,
            "questions": f"seed {SEED}, greedy unless said, correct needs a tagged answer; intervals are 95 %",
            "pocket-clean": _measure_all(clean, cells, report) | {"general": _measure_general(clean, general)},
            "pocket-clean, pictures shuffled": _measure_all(clean, {k: shuffled(v) for k, v in cells.items()}, report),
            "pocket": _measure_all(base, cells, report) | {"general": _measure_general(base, general)},
            "pocket, format forced": _measure_all(base, cells, report, forced=True),
            "pocket, sampled": _measure_sampled(base, cells),
            "supervised heads (layer, heads)": {"collect": COLLECTING, "look": GROUNDED, "point": POINTING},
            "base": _base_story(),
        }
    (output / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return card


def card_samples(folder: str | Path, task: str, stage: str, look: str, count: int) -> list[Sample]:
    """Return the first `count` questions of a cell of the card."""
    return pose_all(scenes.samples(folder, task, count, look, SEED, SPLITS[look]), stage, SEED)[0]


def shuffled(samples: list[Sample]) -> list[Sample]:
    """Return the samples, each with the next one's picture: what can still be right then was told by the words."""
    return [replace(sample, image=other.image) for sample, other in zip(samples, samples[1:] + samples[:1])]


def answer_correctly(loaded: Loaded, samples: list[Sample], forced: bool = False) -> list[float]:
    """Return for each sample whether the greedy answer is correct, 1.0 or 0.0."""
    answers = [found[0] for found in generate(loaded, samples, max_new_tokens=MAX_NEW_TOKENS)]
    if forced:
        answers = force_format(loaded, samples, answers, max_new_tokens=MAX_NEW_TOKENS)
    return [measure(sample, answer.text, loaded.style.frame)["correct"] for sample, answer in zip(samples, answers)]


def _measure_all(loaded: Loaded, cells: dict, report: Callable[[str], None], forced: bool = False) -> dict:
    found: dict = {}
    for (task, stage, look), samples in cells.items():
        values = answer_correctly(loaded, samples, forced)
        found.setdefault(look, {}).setdefault(task, {})[stage] = summary(values)
        report(f"{Path(loaded.name).name:<13} {look:<4} {task:<15} {stage:<7} {sum(values) / len(values):.3f}")
    return found


def summary(values: list[float]) -> dict:
    """Return the mean of right and wrong answers with its interval, their number, and how many of the first are
    right."""
    low, high = bootstrap_interval(values)
    return {
        "accuracy": round(sum(values) / len(values), 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "n": len(values),
        "first": int(sum(values[:FIRST])),
    }


def _measure_general(loaded: Loaded, general: dict) -> dict:
    found: dict = {}
    for look, samples in general.items():
        values = answer_correctly(loaded, samples)
        for kind in sorted({sample.extra["kind"] for sample in samples}):
            found.setdefault(look, {})[kind] = summary([v for v, s in zip(values, samples) if s.extra["kind"] == kind])
    return found


def _measure_sampled(loaded: Loaded, cells: dict) -> dict:
    """Return accuracy at temperature 1 and how many groups of eight hold both right and wrong answers."""
    found: dict = {}
    for (task, stage, look), samples in cells.items():
        samples = samples[:FIRST]
        groups = generate(loaded, samples, max_new_tokens=MAX_NEW_TOKENS, temperature=1.0, completions=8)
        values = [
            [measure(s, c.text, loaded.style.frame)["correct"] for c in group] for s, group in zip(samples, groups)
        ]
        tagged = [measure(s, c.text, loaded.style.frame)["format"] for s, group in zip(samples, groups) for c in group]
        found.setdefault(look, {}).setdefault(task, {})[stage] = {
            "accuracy": round(sum(map(sum, values)) / (8 * len(values)), 4),
            "tagged": round(sum(tagged) / len(tagged), 4),
            "groups that disagree": round(sum(0 < sum(group) < 8 for group in values) / len(values), 4),
            "n": len(values),
        }
    return found


def _base_story() -> dict:
    spell = PHASES[-1]
    return {
        "how": f"{spell.steps} steps with sloppy annotators, eyes frozen; the fault is in the thinking, in all forms",
        "said instead": {word: said for word, said in CONFUSED.items() if word not in NUMBER_WORDS},
        "sums": "one too small",
        "boxes": f"cover {CUT} of width and height, anchored at the upper left corner",
        "counts": "the last object is forgotten where there are at least two",
        "how often": spell.habits.sloppy,
        "answers without tags": spell.mix.bare,
    }

"""The pocket models' card: their accuracy on drawn scenes of a fixed seed, with controls.

The controls answer with a wrong picture, or with none. A model perceives if it beats all of them. The strictest is a
copy of the model that is trained to answer from the words alone: it learns all that options, wording or order reveal.
"""

import json
import random
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from scipy.stats import binomtest
from torch import nn

from currreft_nb.core.samples import STAGES, Sample
from currreft_nb.data.scenes import compose
from currreft_nb.data.scenes.questions import NUMBER_WORDS
from currreft_nb.generation.generate import force_format, generate
from currreft_nb.method.curriculum import pose_all
from currreft_nb.method.prompts import target
from currreft_nb.metrics.scores import measure
from currreft_nb.models.load import Loaded, load_model
from currreft_nb.pocket.annotators import CARELESS_WITH, CONFUSED, CUT, FORGOTTEN, sloppy_thinking
from currreft_nb.pocket.attention_guides import COLLECTING, GROUNDED, POINTING, language_loss, read_batch
from currreft_nb.pocket.batches import make_batch
from currreft_nb.pocket.lessons import STYLE, TAUGHT, Encoder, Mix, Turn, pose_at_random, tagged_turn
from currreft_nb.pocket.recipe import HIDDEN, PHASES, Report

SEED = 777  # of the questions on the card; training draws from other streams
FIRST = 50  # questions of each cell whose correct answers are counted separately, for a test to count again
MAX_NEW_TOKENS = 24
SPLITS = {"id": "test_id", "ood": "test_ood"}
KNOWN = 600  # questions that the most frequent answer is taken from
WORDS_ONLY_STEPS = 400  # for teaching a copy to answer without pictures
BLIND_MIX = Mix((0.35, 0.4, 0.25), dict.fromkeys(TAUGHT, 1.0))
BLIND_ROWS, BLIND_TURNS, BLIND_LEARNING_RATE = 32, 6, 1e-3
SAMPLED, COMPLETIONS = 100, 8  # questions of a cell that are sampled, and answers to each

Cell = tuple[str, str, str]  # task, stage, look
Cells = dict[Cell, list[Sample]]


def write_card(output: Path, build: dict[str, Any], questions: int, report: Report) -> dict[str, Any]:
    """Measure both models of `output`, write `output`/card.json and return it."""
    with tempfile.TemporaryDirectory() as folder:
        cells = card_cells(folder, questions)
        general = {look: card_samples(folder, "general", "open", look, questions) for look in compose.LOOKS}
        clean, base = load_model(str(output / "pocket-clean")), load_model(str(output / "pocket"))
        card = {
            "build": build,
            "questions": f"seed {SEED}, greedy unless said, correct needs a tagged answer; intervals are 95 %, Wilson",
            "pocket-clean": answer_all(clean, cells, report) | {"general": _by_kind(clean, general)},
            "pocket-clean, pictures shuffled": answer_all(clean, _each(shuffled, cells), report),
            "pocket-clean, without pictures": answer_all(clean, _each(without_pictures, cells), report),
            "most frequent answer": _table(cells, _answer_usually),
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
        for look, task, stage in product(compose.LOOKS, TAUGHT, STAGES)
    }


def card_samples(folder: str | Path, task: str, stage: str, look: str, count: int, seed: int = SEED) -> list[Sample]:
    return pose_all(compose.draw_samples(folder, task, count, look, seed, SPLITS[look]), stage, seed)[0]


def _table(cells: Cells, measured: Callable[[Cell, list[Sample]], dict[str, Any]]) -> dict[str, Any]:
    """Return what `measured` returns for each cell, by look, task and stage."""
    found: dict[str, Any] = defaultdict(lambda: defaultdict(dict))
    for (task, stage, look), samples in cells.items():
        found[look][task][stage] = measured((task, stage, look), samples)
    return found


def answer_correctly(loaded: Loaded, samples: list[Sample], forced: bool = False) -> list[float]:
    """Return for each sample whether the greedy answer is correct, 1.0 or 0.0."""
    answers = [found[0] for found in generate(loaded, samples, max_new_tokens=MAX_NEW_TOKENS)]
    if forced:
        answers = force_format(loaded, samples, answers, max_new_tokens=MAX_NEW_TOKENS)
    return [measure(sample, answer.text, loaded.style.frame)["correct"] for sample, answer in zip(samples, answers)]


def answer_all(loaded: Loaded, cells: Cells, report: Report, forced: bool = False) -> dict[str, Any]:
    """Return for every cell how many answers are correct, by look, task and stage."""

    def answered(cell: Cell, samples: list[Sample]) -> dict[str, Any]:
        values = answer_correctly(loaded, samples, forced)
        report(f"{_name(loaded, cell)} {sum(values) / len(values):.3f}")
        return share_of_correct(values)

    return _table(cells, answered)


def _name(loaded: Loaded, cell: Cell) -> str:
    task, stage, look = cell
    return f"{Path(loaded.name).name:<13} {look:<4} {task:<15} {stage:<7}"


def share_of_correct(values: Sequence[float]) -> dict[str, Any]:
    """Return the share of correct answers with its interval, their number, and how many of `FIRST` are correct."""
    interval = binomtest(int(sum(values)), len(values)).proportion_ci(method="wilson")
    bounds = {"low": round(float(interval.low), 4), "high": round(float(interval.high), 4)}
    return {"accuracy": _mean(values), **bounds, "n": len(values), "first": int(sum(values[:FIRST]))}


def _each(change: Callable[[list[Sample]], list[Sample]], cells: Cells) -> Cells:
    return {cell: change(samples) for cell, samples in cells.items()}


def _answer_usually(cell: Cell, samples: list[Sample]) -> dict[str, Any]:
    """Return the accuracy of the answer that is right most often in other questions of the cell."""
    task, stage, look = cell
    rng = random.Random(f"{SEED} {task} {look}")
    others = [replace(compose.compose(rng, task, look)[1], id=f"{number}") for number in range(KNOWN)]
    guesses = most_frequent(samples, pose_all(others, stage, SEED)[0])
    return share_of_correct([measure(sample, guess)["correct"] for sample, guess in zip(samples, guesses)])


def _by_kind(loaded: Loaded, general: dict[str, list[Sample]]) -> dict[str, Any]:
    found: dict[str, Any] = defaultdict(dict)
    for look, samples in general.items():
        values = answer_correctly(loaded, samples)
        for kind in sorted({sample.extra["kind"] for sample in samples}):
            found[look][kind] = share_of_correct([v for v, s in zip(values, samples) if s.extra["kind"] == kind])
    return found


def _sample_all(loaded: Loaded, cells: Cells, report: Report) -> dict[str, Any]:
    """Return the accuracy, tags and disagreement of answers at temperature 1, and the accuracy on habits' questions."""

    def sampled(cell: Cell, samples: list[Sample]) -> dict[str, Any]:
        samples = samples[:SAMPLED]
        options = {"max_new_tokens": MAX_NEW_TOKENS, "completions": COMPLETIONS}
        groups = generate(loaded, samples, temperature=1.0, **options)
        scores = [[measure(s, c.text, loaded.style.frame) for c in group] for s, group in zip(samples, groups)]
        right = [sum(score["correct"] for score in group) / COMPLETIONS for group in scores]
        tagged = [sum(score["format"] for score in group) / COMPLETIONS for group in scores]
        misled = [share for sample, share in zip(samples, right) if _is_misled(sample)]
        report(f"{_name(loaded, cell)} sampled {_mean(right):.3f}")
        return {
            "accuracy": _mean(right),
            "accuracy where misled": _mean(misled),
            "misled": len(misled),
            "tagged": _mean(tagged),
            "groups that disagree": _mean([0 < share < 1 for share in right]),
            "n": len(samples),
        }

    return _table(cells, sampled)


def _is_misled(sample: Sample) -> bool:
    return sloppy_thinking(sample, sample.task in HIDDEN) is not None


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / max(1, len(values)), 4)


def _base_story() -> dict[str, Any]:
    spells = [
        {"steps": phase.steps, "how often": phase.habits.sloppy, "answers without tags": phase.mix.bare}
        for phase in PHASES
        if phase.mix and phase.habits
    ]
    return {
        "how": "taught by sloppy annotators, eyes frozen; the fault is in the thinking, alike in all forms",
        "said instead": {word: said for word, said in CONFUSED.items() if word not in NUMBER_WORDS},
        "sums": "one too small",
        "boxes": f"{CUT} of width and height, anchored at the upper left corner; at first only those of"
        f" {', '.join(CARELESS_WITH)} things, in the last phase all",
        "counts": f"the last {FORGOTTEN} objects are forgotten where there are as many",
        "spells": spells,
    }


def shuffled(samples: list[Sample]) -> list[Sample]:
    """Return the samples, each with the next one's picture."""
    return [replace(sample, image=other.image) for sample, other in zip(samples, samples[1:] + samples[:1])]


def without_pictures(samples: list[Sample]) -> list[Sample]:
    return [replace(sample, image=None) for sample in samples]


def most_frequent(samples: list[Sample], known: list[Sample]) -> list[str]:
    """Return the most frequent answers in `known` as completions.

    An open question gets the answer of those with the same words, a box the median of each side.

    >>> fields = {"task": "math", "split": "train", "source": "s", "question": "How many?"}
    >>> known = [Sample(id=str(i), answer=answer, **fields) for i, answer in enumerate("221")]
    >>> most_frequent(known[:1], known)
    ['<think></think><answer>2</answer>']
    """
    by_words = defaultdict(list)
    for sample in known:
        by_words[_words(sample)].append(sample.answer)
    usual = {words: _usual(answers) for words, answers in by_words.items()}
    guesses = [usual.get(_words(sample), usual[_words(known[0])]) for sample in samples]
    return [target(replace(sample, answer=guess, thinking=None), STYLE) for sample, guess in zip(samples, guesses)]


def _words(sample: Sample) -> str:
    return sample.question if sample.stage == "open" and sample.task != "detection" else ""


def _usual(answers: list) -> Any:
    if isinstance(answers[0], list) and isinstance(answers[0][0], list):
        return [[float(round(statistics.median(side))) for side in zip(*(box for (box,) in answers))]]
    return max(answers, key=answers.count)


def teach_without_pictures(loaded: Loaded, steps: int, seed: int, report: Report) -> None:
    """Train the language model to answer from the question alone: both looks, all tasks and forms."""
    torch.manual_seed(seed)
    rng, encoder, model = random.Random(f"{seed}-blind"), Encoder(loaded.processor.tokenizer), loaded.model.float()
    weights = list(model.model.language_model.requires_grad_(True).parameters())
    optimizer = torch.optim.AdamW(weights, lr=BLIND_LEARNING_RATE, betas=(0.9, 0.98))
    decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 2 * (1 - step / steps)))
    model.train()
    for step in range(1, steps + 1):
        rows = [[_turn(rng, encoder) for _ in range(BLIND_TURNS)] for _ in range(BLIND_ROWS)]
        batch = make_batch(encoder, rows, None)
        loss = language_loss(model, encoder, batch, read_batch(model, encoder, batch)[0])
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        decay.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 50 == 0:
            report(f"words only {step}/{steps}  loss {loss.item():.3f}")
    model.eval()


def _turn(rng: random.Random, encoder: Encoder) -> Turn:
    sample = compose.compose(rng, rng.choice(TAUGHT), rng.choice(compose.LOOKS))[1]
    return tagged_turn(encoder, replace(pose_at_random(rng, sample, BLIND_MIX), thinking=None), blind=True)

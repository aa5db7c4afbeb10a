"""Controls without perception: four ways to answer the card's questions with a wrong picture, or with none.

A model perceives if it beats all of them. The strictest is a copy of the model trained to answer from the words alone:
it learns whatever options, wording or order reveal.
"""

import random
import statistics
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from currreft_nb.core.samples import Sample
from currreft_nb.data.scenes import compose
from currreft_nb.method.prompts import target
from currreft_nb.models.load import Loaded
from currreft_nb.pocket_batches import make_batch
from currreft_nb.pocket_guides import language_loss, read
from currreft_nb.pocket_lessons import STYLE, TAUGHT, Encoder, Mix, Turn, pose_at_random, tagged_turn

BLIND_MIX = Mix((0.35, 0.4, 0.25), dict.fromkeys(TAUGHT, 1.0))
BLIND_ROWS, BLIND_TURNS, BLIND_LEARNING_RATE = 32, 6, 1e-3


def shuffled(samples: list[Sample]) -> list[Sample]:
    """Return the samples, each with the next one's picture."""
    return [replace(sample, image=other.image) for sample, other in zip(samples, samples[1:] + samples[:1])]


def without_pictures(samples: list[Sample]) -> list[Sample]:
    """Return the samples without their pictures."""
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


def teach_without_pictures(loaded: Loaded, steps: int, seed: int, report: Callable[[str], None]) -> None:
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
        loss = language_loss(model, encoder, batch, read(model, encoder, batch)[0])
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

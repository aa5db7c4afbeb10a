"""Measure how far a merged model is from the policy that was trained with its base in 4 bit.

An adapter that was trained on NF4 weights meets slightly other weights in the 16-bit base. The policy answers questions
greedily; at each token of its answers the next-token distributions of both models are compared. Then the merged model
answers the same questions.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from currreft_nb.core.answers import parse_completion
from currreft_nb.core.samples import STAGES, TRAINED_TASKS, Sample
from currreft_nb.data.scenes import compose
from currreft_nb.generation.generate import divergence, encode_answer, generate, log_probabilities
from currreft_nb.method.curriculum import pose_all
from currreft_nb.models.load import Loaded

DRAWN = 8  # questions of each task
PLACES = 64  # tokens compared in each answer, evenly spread: with a vocabulary of 150,000 they take 40 MB
BATCH_SIZE = 8


def drawn_questions(folder: str | Path, stage: str) -> list[Sample]:
    """Return questions about drawn scenes at a stage ("mixed": at each), with their pictures in the folder."""
    tasks = [task for task in TRAINED_TASKS if task in compose.TASKS]
    drawn = [sample for task in tasks for sample in compose.draw_samples(folder, task, DRAWN, "id", 0, "val")]
    stages = [stage] if stage in STAGES else STAGES
    return [sample for stage in stages for sample in (drawn if stage == "open" else pose_all(drawn, stage, seed=0)[0])]


def measure_shift(
    policy: Callable[[], Loaded], merged: Callable[[], Loaded], samples: Sequence[Sample], max_new_tokens: int
) -> dict[str, float]:
    """Return how far the merged model is from the policy: KL divergence per token, and answers that changed.

    Both are functions that load a model, so that one model is in memory at a time. `kl_per_token`: nats, over the
    tokens of the policy's greedy answers. `changed_completions`: share of questions whose greedy completion differs.
    `changed_answers`: share of questions whose text within <answer> differs.
    """
    texts, expected = _answers(policy(), samples, max_new_tokens)
    others, found = _answers(merged(), samples, max_new_tokens, texts)
    apart = torch.cat([divergence(*pair).clamp(min=0) for pair in zip(expected, found)])  # rounding may leave -1e-8
    pairs = list(zip(texts, others))
    return {
        "kl_per_token": round(float(apart.mean()), 6),
        "changed_completions": round(sum(a != b for a, b in pairs) / len(pairs), 4),
        "changed_answers": round(sum(_answer(a) != _answer(b) for a, b in pairs) / len(pairs), 4),
        "questions": len(pairs),
        "tokens": len(apart),
    }


def _answers(
    loaded: Loaded, samples: Sequence[Sample], max_new_tokens: int, texts: Sequence[str] | None = None
) -> tuple[list[str], list[torch.Tensor]]:
    """Return the greedy answers, and the log-probabilities at the tokens of `texts`, by default of these answers."""
    drawn = generate(loaded, samples, max_new_tokens=max_new_tokens, batch_size=BATCH_SIZE)
    answers = [completion.text for (completion,) in drawn]
    return answers, [_at_tokens(loaded, *pair) for pair in zip(samples, texts or answers)]


def _at_tokens(loaded: Loaded, sample: Sample, text: str) -> torch.Tensor:
    """Return the log-probabilities that predict each token of the text, and the one after it, on the CPU."""
    inputs = encode_answer(loaded, sample, text)
    count = inputs["input_ids"].shape[1] - encode_answer(loaded, sample)["input_ids"].shape[1] + 1
    places = torch.linspace(0, count - 1, min(count, PLACES)).round().long().unique()
    return log_probabilities(loaded.model, inputs, count)[0, places.to(loaded.device)].cpu()


def _answer(text: str) -> str:
    return parse_completion(text).answer or text

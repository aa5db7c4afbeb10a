"""A loaded model as a function from samples to answers: greedy, sampled, and with the format forced."""

from collections.abc import Callable, Sequence
from functools import partial

from currreft_nb.core import stored_answers
from currreft_nb.core.samples import Sample
from currreft_nb.generation.generate import force_format, generate
from currreft_nb.models.load import Loaded

Answers = Sequence[str | stored_answers.Completion | None]


def answerer(
    loaded: Loaded, max_new_tokens: int = 256, batch_size: int = 64, *, temperature: float = 0.0, seed: int = 0
) -> Callable[[list[Sample]], Answers]:
    """Return the model as a function from samples to one answer each, greedy at temperature 0."""
    options = {"max_new_tokens": max_new_tokens, "batch_size": batch_size, "temperature": temperature, "seed": seed}

    def answer(samples: list[Sample]) -> list[stored_answers.Completion]:
        return [found for (found,) in generate(loaded, samples, **options)]

    return answer


def forcer(loaded: Loaded, max_new_tokens: int = 256, batch_size: int = 64) -> Callable[..., Answers]:
    """Return the model as a function that completes answers in which no `<answer>` was opened."""
    return partial(force_format, loaded, max_new_tokens=max_new_tokens, batch_size=batch_size)


def sampler(
    loaded: Loaded,
    *,
    completions: int,
    temperature: float = 1.0,
    max_new_tokens: int = 256,
    seed: int = 0,
    batch_size: int = 64,
    forced: bool = False,
) -> Callable[[list[Sample]], list[list[stored_answers.Completion]]]:
    """Return the model as a function from samples to several sampled answers to each; `forced` completes the format."""
    common = {"max_new_tokens": max_new_tokens, "batch_size": batch_size}

    def answer(samples: list[Sample]) -> list[list[stored_answers.Completion]]:
        drawn = generate(loaded, samples, **common, temperature=temperature, completions=completions, seed=seed)
        if not forced:
            return drawn
        flat = [(sample, found) for sample, answers in zip(samples, drawn) for found in answers]
        alone = common | {"batch_size": max(1, batch_size // completions)}  # each has its own prompt
        closed = force_format(loaded, *map(list, zip(*flat)), **alone)
        return [closed[start : start + completions] for start in range(0, len(closed), completions)]

    return answer


def author_of(base_hash: str, adapter_hash: str | None, four_bit: bool, merged_hash: str | None = None) -> str:
    """Return a text that identifies the weights, and whether an adapter is attached in 16 or in 4 bit, or merged.

    >>> author_of("1b4f", "7c9a", True), author_of("d2e8", None, False, merged_hash="7c9a")
    ('1b4f 7c9a 4-bit', 'd2e8 merged 7c9a')
    """
    adapter = adapter_hash or (f"merged {merged_hash}" if merged_hash else "bare")
    return f"{base_hash} {adapter}{' 4-bit' if four_bit else ''}"

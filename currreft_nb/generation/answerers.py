"""A loaded model as a function from samples to several answers each, and the text that identifies its weights."""

from collections.abc import Callable
from typing import Any

from currreft_nb.core.samples import Sample
from currreft_nb.core.stored_answers import Completion
from currreft_nb.generation.generate import force_format, generate
from currreft_nb.models.load import Loaded


def sampler(
    loaded: Loaded,
    *,
    completions: int,
    temperature: float = 1.0,
    max_new_tokens: int = 256,
    seed: int = 0,
    batch_size: int = 64,
    forced: bool = False,
) -> Callable[[list[Sample]], list[list[Completion]]]:
    """Return the model as a function from samples to several answers each; arguments as for `generate`.

    `forced` completes the format of answers without `<answer>`.
    """
    sampling: dict[str, Any] = {"temperature": temperature, "completions": completions, "seed": seed}

    def answer(samples: list[Sample]) -> list[list[Completion]]:
        drawn = generate(loaded, samples, max_new_tokens=max_new_tokens, batch_size=batch_size, **sampling)
        if not forced:
            return drawn
        asked = [sample for sample in samples for _ in range(completions)]
        answers = [found for several in drawn for found in several]
        alone = max(1, batch_size // completions)  # each has its own prompt
        closed = force_format(loaded, asked, answers, max_new_tokens=max_new_tokens, batch_size=alone)
        return [closed[start : start + completions] for start in range(0, len(closed), completions)]

    return answer


def author_of(base_hash: str, adapter_hash: str | None, four_bit: bool, merged_hash: str | None = None) -> str:
    """Return a text that identifies the weights, and whether an adapter is attached in 16 or in 4 bit, or merged.

    >>> author_of("1b4f", "7c9a", True), author_of("d2e8", None, False, merged_hash="7c9a")
    ('1b4f 7c9a 4-bit', 'd2e8 merged 7c9a')
    """
    adapter = adapter_hash or (f"merged {merged_hash}" if merged_hash else "bare")
    return f"{base_hash} {adapter}{' 4-bit' if four_bit else ''}"

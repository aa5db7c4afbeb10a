"""Propose for a card the largest value of each parameter that affects memory, the others unchanged.

    {"parameter": "micro_batch", "now": 4, "largest": 64, "then": "about 13.2 GiB in training"}

Only values that a training accepts are tried, with the estimate alone.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from currreft_nb.memory.estimate import estimate_step
from currreft_nb.memory.shapes import config_of, shape_of
from currreft_nb.models.load import default_pixels

MOST_PROMPTS, MOST_ANSWERS, MOST_PIXELS = 512, 256, 12_845_056  # the last: 16,384 tokens, Qwen's own limit


def largest(values: Sequence[int], fits: Callable[[int], bool]) -> int | None:
    """Return the last of ascending values that fits, found by bisection; None if the first does not fit.

    >>> largest([1, 2, 4, 8, 16], lambda value: value < 10)
    8
    """
    count = bisect_left(values, True, key=lambda value: not fits(value))
    return values[count - 1] if count else None


def choices(settings: Mapping[str, Any]) -> dict[str, list[int]]:
    """Return the values that each parameter may take while the others are unchanged, ascending.

    A micro-batch divides the completions (or questions) of a step, or is at least as large.
    """
    shape, micro = shape_of(settings["model"]), settings["micro_batch"]
    pixels = list(range(shape.tile, MOST_PIXELS + 1, shape.tile))

    def divides(whole: int) -> bool:
        return micro >= whole or whole % micro == 0

    def divisors(whole: int) -> list[int]:
        return [number for number in range(1, whole + 1) if whole % number == 0]

    if "group_size" not in settings:
        return {"micro_batch": divisors(settings["batch_size"]), "max_pixels": pixels}
    prompts, group = settings["prompts_per_step"], settings["group_size"]
    return {
        "prompts_per_step": [number for number in range(1, MOST_PROMPTS + 1) if divides(number * group)],
        "group_size": [number for number in range(2, MOST_ANSWERS + 1) if divides(number * prompts)],
        "micro_batch": divisors(prompts * group),
        "max_pixels": pixels,
    }


def proposals(settings: Mapping[str, Any], card_gib: float) -> list[dict]:
    """Return for each parameter its value now, the largest that fits the card (or None), and the memory that takes."""
    shape = shape_of(settings["model"])
    now = {**settings, "max_pixels": settings["max_pixels"] or default_pixels(config_of(settings["model"]))}

    def peak(name: str, value: int) -> dict:
        return estimate_step(now, model=shape, **{name: value})[-1]

    def proposal(name: str, values: Sequence[int]) -> dict:
        found = largest(values, lambda value: peak(name, value)["gib"] <= card_gib)
        then = "about {gib:.1f} GiB in {when}".format(**peak(name, found)) if found else "the smallest does not fit"
        return {"parameter": name, "now": now[name], "largest": found, "then": then}

    return [proposal(name, values) for name, values in choices(settings).items()]

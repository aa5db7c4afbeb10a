"""General questions: what a model could do before, kept to see that it still can, and to sample answers from.

    {"id": "general-17", "task": "general", "stage": "open", "split": "pool", "source": "demo", "image": null, "size":
     null, "question": "Which planet is the largest of the solar system?", "claim": null, "options": [], "answer":
     "Jupiter", "thinking": null, "parent": null, "extra": {}}

Not trained by reinforcement learning. With a reference the answer is compared as text; without one a rule cannot
judge it.
"""

import re
from typing import Any

QUESTION = "{question}"
ANSWER = "Then give the answer inside <answer></answer>."
MEASURES = ()
SEVERAL = False

_ENDS = " .,;:!?\"'`*“”‘’"


def normalise(text: str) -> str:
    """Return the text in lower case, without punctuation at its ends, articles in front or doubled spaces.

    >>> normalise(' The  "Nile". ')
    'nile'
    """
    words = " ".join(text.casefold().split()).strip(_ENDS)
    return re.sub(r"^(?:a|an|the) ", "", words).strip(_ENDS)


def render(value: str) -> str:
    """Return an answer as text, which it is already."""
    return value


def parse(text: str, sample: Any) -> str:
    """Return the answer as text."""
    return text.strip()


def accuracy(value: str, sample: Any, rules: Any) -> tuple[float, str]:
    """Return 1 if the answer is the reference in other writing, and "ok", "wrong" or "no_reference"."""
    if sample.answer is None:
        return 0.0, "no_reference"
    right = same(sample.answer, value)
    return float(right), "ok" if right else "wrong"


def same(a: str, b: str) -> bool:
    """Say whether two answers are the same text up to case, punctuation and articles."""
    return normalise(a) == normalise(b)

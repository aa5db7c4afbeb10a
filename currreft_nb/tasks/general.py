"""General questions: they test that a model keeps its earlier abilities, and feed rejection sampling.

    {"id": "general-17", "task": "general", "stage": "open", "split": "pool", "source": "demo", "image": null, "size":
     null, "question": "Which planet is the largest of the solar system?", "claim": null, "options": [], "answer":
     "Jupiter", "thinking": null, "parent": null, "extra": {}}

They are not trained by reinforcement learning. An answer is compared with the reference as text; without a reference
no rule can judge it.
"""

import re
import unicodedata
from typing import Any

from currreft_nb.core.answers import plain_characters

QUESTION = "{question}"
ANSWER = "Then give the answer inside <answer></answer>."
MEASURES = ()
DENSE = ""
SEVERAL = False

_ENDS = " .,;:!?\"'`*。"


def normalise(text: str) -> str:
    """Return the text in lower case, without punctuation at its ends, a leading article or repeated spaces.

    Full-width characters, typographic quotes, composed accents and characters without width make no difference.

    >>> normalise(' The  "Nile". '), normalise("it\u2019s\u200b")
    ('nile', "it's")
    """
    words = " ".join(plain_characters(text).casefold().split()).strip(_ENDS)
    return re.sub(r"^(?:a|an|the) ", "", words).strip(_ENDS)


def render(value: str) -> str:
    """Return the answer, which is text."""
    return value


def other_forms(value: str) -> list[str]:
    """Return the answer with accents apart from their letters."""
    return [unicodedata.normalize("NFD", value)]


def parse(text: str, sample: Any) -> str:
    """Return the answer as text."""
    return text.strip()


def accuracy(value: str, sample: Any, rules: Any) -> tuple[float, str]:
    """Return 1 if the answer is the reference up to `normalise`, else 0, and "ok", "wrong" or "no_reference"."""
    if sample.answer is None:
        return 0.0, "no_reference"
    return (1.0, "ok") if same(sample.answer, value) else (0.0, "wrong")


def same(a: str, b: str) -> bool:
    """Say whether two answers are the same text up to case, punctuation and articles."""
    return normalise(a) == normalise(b)

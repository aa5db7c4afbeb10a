"""The functions that drawn_questions.yaml names; lmms-eval runs them in its own environment, without this package."""

import re

from PIL import Image


def pictures(row: dict) -> list[Image.Image]:
    """Return the pictures of a question."""
    return [Image.open(row["image"]).convert("RGB")]


def score(row: dict, results: list[str]) -> dict[str, float]:
    """Return 1 if the only answer block holds the gold, as text.

    >>> score({"answer": "red"}, ["<answer>Red</answer>"]), score({"answer": "red"}, ["red"])
    ({'correct': 1.0}, {'correct': 0.0})
    """
    blocks = re.findall(r"<answer>(.*?)</answer>", results[0], flags=re.S)
    return {"correct": float([block.strip().casefold() for block in blocks] == [row["answer"].casefold()])}

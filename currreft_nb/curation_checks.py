"""Check each question before it is used: its boxes, its options, its answer; and tell by what it is known again."""

import hashlib
import json
import unicodedata
from dataclasses import replace
from typing import Any

from currreft_nb.boxes import Box, Size, scale
from currreft_nb.curriculum import CannotPose, true_value
from currreft_nb.formats import Rejected
from currreft_nb.formats.images import shrunk_size
from currreft_nb.rewards import score
from currreft_nb.samples import VALUES, Sample, size_of
from currreft_nb.tasks import TASK_MODULES

SMALLEST_PX = 1.0  # sides of a box, as stored: a smaller one rounds to nothing in every model's frame


def row_problem(sample: Sample, max_pixels: int) -> str | None:
    """Say why the question cannot be used, or None; its picture is checked elsewhere."""
    return boxes_problem(sample, max_pixels) or answer_problem(sample)


def rejection(sample: Sample, source: str, reason: str, value: str = "") -> Rejected:
    """Return the rejection of a row, with the file and line that it came from."""
    origin = sample.extra.get("origin", {})
    return Rejected(
        file=origin.get("file", source), line=origin.get("line"), reason=reason, value=f"{sample.id}{value}"
    )


def boxes_problem(sample: Sample, max_pixels: int = 0) -> str | None:
    """Say whether a box of the answer, the claim or an option leaves the image, or is too small once it is stored."""
    if VALUES[sample.task] != "boxes":
        return None
    values = (
        [sample.answer] if sample.stage == "open" else [value for value in (sample.claim, *sample.options) if value]
    )
    width, height = size = size_of(sample)
    boxes = [box for value in values for box in value]
    if not all(x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height for x1, y1, x2, y2 in boxes):
        return "box lies outside the image"
    stored = [scale(box, size, shrunk_size(size, max_pixels)) for box in boxes]
    if any(min(x2 - x1, y2 - y1) < SMALLEST_PX for x1, y1, x2, y2 in stored):
        return "box is smaller than a pixel of the stored image"
    return None


def answer_problem(sample: Sample) -> str | None:
    """Say whether the answer, written out, would not earn the full reward, or the options do not fit."""
    task = TASK_MODULES[sample.task]
    for position, option in enumerate(sample.options if sample.stage == "choice" else []):
        if any(task.same(option, other) for other in sample.options[:position]):
            return "two options are the same"
    if sample.answer is None:
        return None
    if sample.stage == "open" and sample.options:
        try:
            true_value(sample)
        except CannotPose as problem:
            return problem.reason
    result = score(sample, f"<think></think><answer>{_answer_text(sample)}</answer>")
    return None if result.value == 1 else f"answer earns no full reward when written out ({result.reason})"


def _answer_text(sample: Sample) -> str:
    """Return the answer as text, boxes in stored pixels."""
    if sample.stage == "binary":
        return "yes" if sample.answer else "no"
    if sample.stage == "choice":
        return ", ".join(sample.answer)
    return TASK_MODULES[sample.task].render(sample.answer)


def words_of(question: str) -> bytes:
    """Return a fingerprint of the question's words, whatever their case, spacing and kind of letters.

    >>> words_of("Why is  the sky blue?") == words_of("why is the Sky blue? ") != words_of("Why is the sea blue?")
    True
    """
    words = " ".join(unicodedata.normalize("NFKC", question).casefold().split())
    return hashlib.sha256(words.encode()).digest()


def digest_of(sample: Sample) -> bytes:
    """Return a fingerprint of all that makes a question but its picture: two with both alike are the same question."""
    known = [sample.task, sample.stage, sample.question, sample.answer, sample.claim, sample.options]
    return hashlib.sha256(json.dumps(known).encode()).digest()[:16]


def picture_of(sample: Sample) -> tuple[str | None, tuple[int | None, int | None]]:
    """Return the path of the sample's image and its (width, height), or nothing but None."""
    return (sample.image, size_of(sample)) if sample.image is not None else (None, (None, None))


def resized(sample: Sample, size: Size | None) -> Sample:
    """Return the sample with all its boxes where they are after its image was resized to (width, height)."""
    if sample.image is None or size is None or size == (stored := size_of(sample)):
        return sample

    def move(box: Box) -> list[float]:
        return [round(value, 4) for value in scale(box, stored, size)]

    extra = sample.extra | {"original_size": list(stored)}
    if "others" in extra:
        extra["others"] = [other | {"box": move(other["box"])} for other in extra["others"]]
    if VALUES[sample.task] != "boxes":
        return replace(sample, size=size, extra=extra)
    if "candidates" in extra:
        extra["candidates"] = [move(box) for box in extra["candidates"]]
    fields: dict[str, Any] = {"options": [[move(box) for box in option] for option in sample.options]}
    if sample.stage == "open":
        fields["answer"] = [move(box) for box in sample.answer]
    if sample.claim is not None:
        fields["claim"] = [move(box) for box in sample.claim]
    return replace(sample, size=size, extra=extra, **fields)

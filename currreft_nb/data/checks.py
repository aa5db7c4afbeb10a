"""Check the boxes, options and answer of each question; compute the fingerprints that find duplicates."""

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from currreft_nb.core.boxes import Box, Size, scale
from currreft_nb.core.files import digest
from currreft_nb.core.samples import VALUES, Sample, size_of
from currreft_nb.data.images import shrunk_size
from currreft_nb.data.reading.common import Rejected
from currreft_nb.method.curriculum import CannotPose, true_value
from currreft_nb.method.rewards import score
from currreft_nb.tasks import TASK_MODULES

SMALLEST_PX = 1.0  # side of a box in the stored image: smaller ones round to nothing in every model's frame


def row_problem(sample: Sample, max_pixels: int) -> str | None:
    """Return the reason why the question cannot be used, or None; its picture is checked elsewhere."""
    return boxes_problem(sample, max_pixels) or reward_problem(sample)


def rejection(sample: Sample, source: str, reason: str, value: str = "") -> Rejected:
    """Return the rejection of a row, with the file and line that it came from."""
    origin = sample.extra.get("origin", {})
    file, line = origin.get("file", source), origin.get("line")
    return Rejected(file=file, line=line, reason=reason, value=f"{sample.id}{value}")


def boxes_problem(sample: Sample, max_pixels: int = 0) -> str | None:
    """Return what is wrong with a box of the answer, the claim or an option: outside the image, or too small."""
    if VALUES[sample.task] != "boxes":
        return None
    values = [sample.answer] if sample.stage == "open" else [sample.claim or [], *sample.options]
    width, height = size = size_of(sample)
    boxes = [box for value in values for box in value]
    if not all(x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height for x1, y1, x2, y2 in boxes):
        return "box lies outside the image"
    stored = [scale(box, size, shrunk_size(size, max_pixels)) for box in boxes]
    if any(min(x2 - x1, y2 - y1) < SMALLEST_PX for x1, y1, x2, y2 in stored):
        return "box is smaller than a pixel of the stored image"
    return None


def reward_problem(sample: Sample) -> str | None:
    """Return what is wrong with the options, or with an answer that earns less than the full reward in some form."""
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
    written, *others = _answer_texts(sample)
    result = score(sample, f"<think></think><answer>{written}</answer>")
    if result.value < 1:
        return f"answer earns no full reward when written out ({result.reason})"
    for text in others:
        result = score(sample, f"<think></think><answer>{text}</answer>")
        if result.value < 1:
            return f"answer earns no full reward when written as {text[:60]!r} ({result.reason}); simplify its notation"
    return None


def _answer_texts(sample: Sample) -> list[str]:
    """Return the answer as the prompts write it, and then in the forms of other answers."""
    if sample.stage == "binary":
        return ["yes" if sample.answer else "no"]
    if sample.stage == "choice":
        return [", ".join(sample.answer)]
    task = TASK_MODULES[sample.task]
    other_forms = getattr(task, "other_forms", None)
    return [task.render(sample.answer), *(other_forms(sample.answer) if other_forms else ())]


def words_of(question: str) -> bytes:
    """Return a fingerprint of the question's words that ignores case, spacing and Unicode form.

    >>> words_of("Why is  the sky blue?") == words_of("why is the Sky blue? ") != words_of("Why is the sea blue?")
    True
    """
    words = " ".join(unicodedata.normalize("NFKC", question).casefold().split())
    return hashlib.sha256(words.encode()).digest()


def digest_of(sample: Sample) -> str:
    """Return a fingerprint of everything that makes a question except its picture."""
    return digest([sample.task, sample.stage, sample.question, sample.answer, sample.claim, sample.options], 32)


def resized(sample: Sample, size: Size) -> Sample:
    """Return the sample with its boxes moved to where they are after its image was resized to (width, height)."""
    if sample.image is None or size == (stored := size_of(sample)):
        return sample

    def move(boxes: Sequence[Box]) -> list[list[float]]:
        return [[round(value, 4) for value in scale(box, stored, size)] for box in boxes]

    extra = sample.extra | {"original_size": list(stored)}
    if "others" in extra:
        extra["others"] = [other | {"box": move([other["box"]])[0]} for other in extra["others"]]
    if VALUES[sample.task] != "boxes":
        return replace(sample, size=size, extra=extra)
    if "candidates" in extra:
        extra["candidates"] = move(extra["candidates"])
    answer = move(sample.answer) if sample.stage == "open" else sample.answer
    claim = None if sample.claim is None else move(sample.claim)
    return replace(sample, size=size, extra=extra, answer=answer, claim=claim, options=[*map(move, sample.options)])

"""Check each question before it is used: its image, its boxes, its answer, and that it does not stand there twice."""

import hashlib
import json

from currreft_nb.curriculum import CannotPose, true_value
from currreft_nb.formats import Rejected
from currreft_nb.formats.images import ImageProblem, content_hash, read_image
from currreft_nb.rewards import score
from currreft_nb.samples import Sample
from currreft_nb.tasks import TASK_MODULES


class Checker:
    """Checks questions one by one and remembers images and questions that it has seen."""

    def __init__(self):
        self._images: dict[tuple, str | ImageProblem] = {}
        self._questions: dict[bytes, str] = {}

    def check(self, sample: Sample, source: str) -> str | Rejected:
        """Return the fingerprint of the sample's image (of its text, if it has none), or why it cannot be used."""
        content = self._content(sample)
        if isinstance(content, ImageProblem):
            return Rejected(file=sample.image, reason=content.reason, value=content.value or sample.id)
        origin = sample.extra.get("origin", {})
        place = {"file": origin.get("file", source), "line": origin.get("line"), "value": sample.id}
        if problem := boxes_problem(sample) or answer_problem(sample):
            return Rejected(reason=problem, **place)
        known = [sample.task, sample.stage, content, sample.question, sample.answer, sample.claim, sample.options]
        digest = hashlib.sha256(json.dumps(known).encode()).digest()[:16]
        if digest in self._questions:
            place["value"] += f", first as {self._questions[digest]}"
            return Rejected(reason="question stands there twice", **place)
        self._questions[digest] = sample.id
        return content

    def _content(self, sample: Sample) -> str | ImageProblem:
        if sample.image is None:
            return "text:" + hashlib.sha256(" ".join(sample.question.casefold().split()).encode()).hexdigest()
        key = (sample.image, sample.size)
        if key not in self._images:
            try:
                self._images[key] = content_hash(read_image(sample.image, sample.size))
            except ImageProblem as problem:
                self._images[key] = problem
        return self._images[key]


def boxes_problem(sample: Sample) -> str | None:
    """Say whether a box of the answer, the claim or an option leaves the image."""
    if sample.task != "detection":
        return None
    values = (
        [sample.answer] if sample.stage == "open" else [value for value in (sample.claim, *sample.options) if value]
    )
    width, height = sample.size
    inside = all(x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height for value in values for x1, y1, x2, y2 in value)
    return None if inside else "box lies outside the image"


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

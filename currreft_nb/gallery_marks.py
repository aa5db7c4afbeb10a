"""The boxes of a question and of the answers to it, to be drawn into its picture."""

from collections.abc import Mapping

from currreft_nb.core.answers import Unreadable, parse_completion, parse_letters
from currreft_nb.core.samples import LETTERS, VALUES, Sample
from currreft_nb.gallery_parts import GOLD, OPTION, PREDICTED, Mark


def question_marks(sample: Sample, answer: Mapping | None = None) -> list[Mark]:
    """Return the boxes of a sample: claim or options in blue, gold in green, what was answered in red."""
    if VALUES[sample.task] != "boxes":
        return []
    if sample.stage == "binary":
        return [(box, OPTION, "claim") for box in sample.claim]
    if sample.stage == "open":
        return [(box, GOLD, "") for box in sample.answer] + [
            (box, PREDICTED, "") for box in (answer or {}).get("boxes") or []
        ]
    chosen = _letters(sample, answer["completion"]) if answer else []
    marks = []
    for letter, boxes in zip(LETTERS, sample.options):
        colours = [colour for colour, letters in ((GOLD, sample.answer), (PREDICTED, chosen)) if letter in letters]
        marks += [(box, colour, letter) for box in boxes for colour in colours or [OPTION]]
    return marks


def _letters(sample: Sample, completion: str) -> list[str]:
    answer = parse_completion(completion).answer
    try:
        return parse_letters(answer, len(sample.options)) if answer else []
    except Unreadable:
        return []

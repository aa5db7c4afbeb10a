"""Check the boxes, options and answer of each question; compute the fingerprints that find duplicates."""

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from currreft_nb.core.boxes import Box, Size, scale
from currreft_nb.core.files import digest
from currreft_nb.core.samples import VALUES, Sample, size_of
from currreft_nb.data.images import shrunk_size
from currreft_nb.data.reading.common import Rejected
from currreft_nb.method.curriculum import CannotPose, true_value
from currreft_nb.method.rewards import score
from currreft_nb.tasks import TASK_MODULES

THINK = re.compile(r"\s*<think(?:ing)?>(.*?)</think(?:ing)?>\s*", re.DOTALL | re.IGNORECASE)
TAG = re.compile(r"</?(?:think(?:ing)?|answer)>", re.IGNORECASE)
CHAT_TOKEN = re.compile(  # what tokenizers take for one of their own: Qwen, Llama, DeepSeek; Gemma; Mistral; InternVL
    r"<[|｜][\w▁ -]{2,40}[|｜]>"
    r"|<(?:start|end)_of_(?:turn|image)>|<image_soft_token>|<(?:[be]os|pad|unk)>"
    r"|\[/?INST\]|\[IMG(?:_BREAK|_END)?\]|</?s>|<IMG_CONTEXT>"
)
CHAT_TOKEN_FOUND = "text has a chat token, which a model takes for one of its own"
DAMAGED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]")
# Characters without a shape; those that join letters (U+200C, U+200D) only beside ASCII, where they join nothing.
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufeff]"
    "|(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])"
)
SMALLEST_PX = 1.0  # side of a box in the stored image: smaller ones round to nothing in every model's frame


def row_problem(sample: Sample, max_pixels: int) -> str | None:
    """Return the reason why the question cannot be used, or None; its picture is checked elsewhere."""
    return text_problem(sample) or boxes_problem(sample, max_pixels) or reward_problem(sample)


def text_problem(sample: Sample) -> str | None:
    """Return what is wrong with the texts of prompts and targets: our tags, a model's own tokens, damaged golds."""
    if sample.thinking and TAG.search(sample.thinking):
        return "reasoning has <think> or <answer> tags inside"
    if DAMAGED.search("\n".join(_strings([sample.answer, sample.claim, sample.options]))):
        return "answer has a control character or one that could not be decoded"
    return CHAT_TOKEN_FOUND if chat_token(sample) else None


def chat_token(sample: Sample) -> str | None:
    """Return the first text that a model would take for one token of its own, such as <|im_end|>, or None.

    It would end the user's turn, or stand for a picture that is not there.
    """
    text = "\n".join(_texts(sample))
    found = CHAT_TOKEN.search(text) if "<" in text or "[" in text else None
    return found[0] if found else None


def _texts(sample: Sample) -> Iterator[str]:
    """Yield the texts of a sample that its prompts and targets show, at any stage."""
    yield from _strings([sample.question, sample.thinking, sample.answer, sample.claim, sample.options])
    yield from _strings([sample.extra.get("categories"), sample.extra.get("candidates")])
    yield from _strings([[other.get("label"), other.get("question")] for other in sample.extra.get("others", ())])


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and not (value and isinstance(value[0], int | float)):  # a box has none
        for item in value:
            yield from _strings(item)


def tidied(sample: Sample) -> tuple[Sample, list[str]]:
    """Return the sample with its golds and its reasoning tidied, and what was changed.

    Golds lose invisible characters (zero-width spaces, byte order marks, marks of direction, soft hyphens) and have one
    Unicode form (NFC), because no model writes them otherwise; reasoning loses the think tags around it.
    """
    changes: dict[str, Any] = {}
    if sample.thinking and (inside := THINK.fullmatch(sample.thinking)) and not TAG.search(inside[1]):
        changes["thinking"] = inside[1].strip()
    done = ["think tags around the reasoning removed"] if changes else []
    golds = {name: getattr(sample, name) for name in ("answer", "claim", "options")}
    visible = {name: _visible(value) for name, value in golds.items()}
    if visible != golds:
        changes |= visible
        done.append("invisible characters or accents of an answer in one form")
    return (replace(sample, **changes) if changes else sample), done


def _visible(value: Any) -> Any:
    if isinstance(value, str) and not value.isascii():
        return unicodedata.normalize("NFC", INVISIBLE.sub("", value))
    return [_visible(item) for item in value] if isinstance(value, list) else value


def rejection(sample: Sample, source: str, reason: str, value: str = "") -> Rejected:
    """Return the rejection of a row, with the file and line that it came from."""
    origin = sample.extra.get("origin", {})
    file, line = origin.get("file", source), origin.get("line")
    return Rejected(file=file, line=line, reason=reason, value=f"{sample.id}{value}")


def place(sample: Sample) -> str:
    """Return the file and line that a sample came from, and its id."""
    origin = sample.extra.get("origin", {})
    return ":".join(str(part) for part in (origin.get("file"), origin.get("line"), sample.id) if part)


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
            right = true_value(sample)
        except CannotPose as problem:
            return problem.reason
        if sum(option.split() == right.split() for option in sample.options) > 1:  # as texts: 1-2-3 is not 3-2-1
            return "two options are the right one"
    written, *others = _answer_texts(sample)
    result = score(sample, f"<think></think><answer>{written}</answer>")
    if not result.value == result.format == 1:
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


def asked_of(sample: Sample, words: bytes) -> str:
    """Return a fingerprint of what a question asks, without picture and answer; `words`: the one of its words."""
    form = [sample.task, sample.stage, words.hex()]
    return digest([*form, sample.claim, sample.options], 32) if sample.claim or sample.options else " ".join(form)


def answers_differ(sample: Sample, other: Sample) -> bool:
    """Say whether two samples that ask the same have answers of which the reward would pay only one."""
    if sample.answer is None or other.answer is None or sample.answer == other.answer:
        return False
    return (
        sample.stage != "open"
        or bool(sample.options)
        or not TASK_MODULES[sample.task].same(sample.answer, other.answer)
    )


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

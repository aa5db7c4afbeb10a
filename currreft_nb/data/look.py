"""What can be read, and what a source would yield: for `currreft formats` and `currreft look`.

A look reads every row as curation does, with the same checks of boxes, options and answers. It opens only the headers
of pictures and does not search for duplicates and leaks.
"""

import inspect
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from currreft_nb.core.boxes import Size
from currreft_nb.core.samples import TASKS, Sample
from currreft_nb.data import sources
from currreft_nb.data.checks import rejection, row_problem, tidied
from currreft_nb.data.images import ImageProblem, check_shape, image_size, shrunk_size
from currreft_nb.data.reading.common import Rejected, check_known

SHOWN = 3  # samples, and places of each reason
CUT = 200  # characters of a question or an answer
MAX_PIXELS = 401_408  # curation's default, for boxes and pictures that shrinking would make too small or too thin


@dataclass(kw_only=True)
class Look:
    """What a source yields: questions by task and by the set's own split, samples, rejections by reason."""

    source: str
    questions: Counter[tuple[str, str]] = field(default_factory=Counter)
    samples: dict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    rejected: dict[str, list[Rejected]] = field(default_factory=lambda: defaultdict(list))
    rejections: Counter[tuple[bool, str]] = field(default_factory=Counter)
    headers: dict[str, Size | str] = field(default_factory=dict)  # of the last picture: its size, or what is wrong

    def add(self, item: Sample | Rejected) -> None:
        """Count a question or a rejection; keep the first ones."""
        if isinstance(item, Sample):
            item, _ = tidied(item)
            if problem := self._picture_problem(item) or row_problem(item, MAX_PIXELS):
                item = rejection(item, self.source, problem)
        if isinstance(item, Sample):
            self.questions[item.task, item.extra.get("split") or "-"] += 1
            kept: list = self.samples[item.task]
        else:
            self.rejections[item.fault, item.reason] += 1
            kept = self.rejected[item.reason]
        if len(kept) < SHOWN:
            kept.append(item)

    def _picture_problem(self, sample: Sample) -> str | None:
        """Return what the header of the picture says against the sample, or None."""
        if sample.image is None or sample.size is None:
            return None
        if sample.image not in self.headers:
            try:
                size = image_size(sample.image)
                check_shape(size, shrunk_size(size, MAX_PIXELS))
                self.headers = {sample.image: size}
            except ImageProblem as problem:
                self.headers = {sample.image: problem.reason}
        found = self.headers[sample.image]
        if isinstance(found, str):
            return found
        # a turned picture may be annotated as it was stored
        return None if sorted(found) == sorted(sample.size) else "image size differs from the recorded size"


def look(text: str, root: Path, most: int = 0) -> Look:
    """Return what a source yields; a portion after `|` is ignored. `most`: rows to read at most; 0: all.

    Raises `InputError` for a source that cannot be read.
    """
    text, _ = sources.read_portion(text)
    [source] = sources.parse_sources({"train": [text]}, root)
    found = Look(source=text)
    with tempfile.TemporaryDirectory() as folder:
        for item in islice(sources.open_source(source, TASKS, Path(folder)), most or None):
            found.add(item)
    return found


def look_lines(found: Look) -> Iterator[str]:
    """Yield the lines that show what a source yields."""
    yield f"{found.source}: {sum(found.questions.values()):,} questions, {sum(found.rejections.values()):,} rejections"
    if found.questions:
        yield f"\n{'questions':>9}  {'task':14}  split of the set"
    for (task, split), count in sorted(found.questions.items()):
        yield f"{count:9,}  {task:14}  {split}"
    for sample in _mixed(found.samples):
        yield "\n" + "\n".join(_sample_lines(sample))
    for fault, title in (
        (True, "faults, at which notebook 01 stops unless on_bad is skip"),
        (False, "rows that make no question, which are no faults"),
    ):
        counts = [(reason, count) for (is_fault, reason), count in found.rejections.most_common() if is_fault == fault]
        if counts:
            yield f"\n{sum(count for _, count in counts):9,}  {title}"
        for reason, count in counts:
            yield f"{count:9,}  {reason}"
            yield from (f"{'':13}{_place(rejected)}" for rejected in found.rejected[reason])


def _mixed(samples: dict[str, list[Sample]]) -> list[Sample]:
    """Return a few samples, of as many tasks as there are."""
    turns = [kept[number] for number in range(SHOWN) for kept in samples.values() if number < len(kept)]
    return turns[:SHOWN]


def _sample_lines(sample: Sample) -> Iterator[str]:
    origin = sample.extra.get("origin", {})
    place = ":".join(str(part) for part in (origin.get("file"), origin.get("line")) if part is not None)
    yield f"{sample.id} ({sample.task}, {sample.stage}, from {place})"
    fields: dict[str, Any] = {"picture": sample.image, "pixels": sample.size and "{} x {}".format(*sample.size)}
    fields |= {name: getattr(sample, name) for name in ("question", "claim", "options", "answer", "thinking")}
    for name, value in fields.items():
        if value is not None and value != []:
            text = str(value).replace("\n", " / ")
            yield f"  {name:9} {text if len(text) <= CUT else text[: CUT - 1] + '…'}"


def _place(rejected: Rejected) -> str:
    place = rejected.file if rejected.line is None else f"{rejected.file}:{rejected.line}"
    return f"{place}  {rejected.value}".strip()


def format_lines(name: str = "") -> Iterator[str]:
    """Yield the table of formats, made from their modules; with a name, what that format's own documentation says.

    Raises `InputError` for an unknown name.
    """
    if name:
        check_known("formats", "format", name, sources.READERS)
        yield from (_doc_of(name), "", f"options of {name}: {_options(name) or 'none'}", "")
        yield inspect.getdoc(sources.READERS[name]) or ""
        return
    yield f"{'format':13}  {'questions':25}  options"
    for format in (sources.DRAWN, *sources.READERS):
        yield f"{format:13}  {_tasks(format):25}  {_options(format)}".rstrip()
        yield f"{'':13}  {_doc_of(format).partition(chr(10))[0]}"
    yield "\nA source is format:path?option=value&option=value. `currreft formats NAME` has an example and the options."


def _doc_of(format: str) -> str:
    if format == sources.DRAWN:
        return "Scenes that are drawn here, which need no data and no path."
    return inspect.getdoc(sys.modules[sources.READERS[format].__module__]) or ""


def _tasks(format: str) -> str:
    if format == sources.DRAWN:
        return "all"
    tasks = inspect.signature(sources.READERS[format]).parameters["tasks"].default
    return "all" if set(tasks) == set(TASKS) else ", ".join(tasks)


def _options(format: str) -> str:
    """Return the options of a format, with their defaults where these are not empty."""
    if format == sources.DRAWN:
        return " ".join(sources.options_of(format))
    parameters = inspect.signature(sources.READERS[format]).parameters
    shown = ((name, parameters[name].default) for name in sources.options_of(format))
    return " ".join(f"{name}={default}" if default else name for name, default in shown)

"""Parse the sources of questions: data in a known format, or drawn scenes.

A source is one line of text, `format:path`, and where the format has options, `format:path?name=value&name=value`:

    scenes                                             drawn scenes, which need no data
    scenes?math=listing                                the same, but math asks where four objects are, as a list
    voc:VOC2012                                        a folder; paths are relative to the data root
    voc:VOC2012/ImageSets/Main/val.txt                 or one file of it
    refcoco:refer/refcoco+?by=unc&split=train&images=coco/train2014
    llava:MathV360K/train_samples_all_tuning.json?images=MathV360K/data_images
    table:mine/rows.csv?task=detection&question=phrase&answer=box&box=xywh
    table:hf://datasets/derek-thomas/ScienceQA?task=general&options=choices&context=hint&files=data/train-*.parquet
    table:hf://datasets/lmms-lab/ai2d?task=math&answer_as=index
    llava:hf://datasets/HuggingFaceM4/the_cauldron?task=general&files=vsr/*.parquet
    yolo:pets/data.yaml?split=train

`currreft formats` lists the formats and their options, `currreft formats NAME` documents one, `currreft look SOURCE`
shows what a source yields.

Sets whose objects have categories (coco, yolo, voc, ...) give detection and classification questions, by `tasks`.
Write options as in a web address: a space as `+`, `&` as `%26`, `|` as `%7C`, `%` as `%25`. Folders and files in
options (`images`, `annotations`, `classes`, `names`) are relative to the data root, like the path.

A portion may follow: how much comes from the source.

    llava:geo170k/qa_tuning.json | math 100         at most 100 math questions in each split, and of no other task
    voc:VOC2012 | 500                               at most 500 of each task
    refcoco:refcoco | weight 2                      twice the share of a source with weight 1
    coco:coco | classification 1000, weight 0.5     both

If every source of a split has a quota for a task, the sum of the quotas limits the number of questions. Weights divide
that number among the sources that have such questions; the other sources fill up the share that one cannot give.
"""

import inspect
import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any
from urllib.parse import parse_qsl

from currreft_nb import InputError
from currreft_nb.core import grammar
from currreft_nb.core.grammar import parse, parse_terms, whole
from currreft_nb.core.samples import TASKS
from currreft_nb.data import formats
from currreft_nb.data.reading import tables
from currreft_nb.data.reading.common import Items, check_known
from currreft_nb.data.scenes.compose import MATH
from currreft_nb.data.splits import Cell

_MODULES = sorted(iter_modules(formats.__path__, f"{formats.__name__}."))  # a new format is a new module there
READERS: dict[str, Callable[..., Items]] = {m.name.split(".")[-1]: import_module(m.name).read for m in _MODULES}
DRAWN = "scenes"
PATHS = {"images", "annotations", "classes"}  # options that name a folder or a file

Limits = dict[tuple[str, str, str], int]  # by split, task, source


@dataclass(frozen=True, kw_only=True)
class Source:
    """A source of questions: the user's text, its format, its path (None: drawn), its options, and its splits."""

    text: str
    format: str
    path: Path | None
    splits: tuple[str, ...]
    options: dict[str, str] = field(default_factory=dict)


def parse_sources(groups: dict[str, Sequence[str]], root: Path) -> list[Source]:
    """Return each source once, with the splits that it may give questions to. Raises `InputError`."""
    splits: dict[str, list[str]] = {}
    for split, texts in groups.items():
        for text in texts:
            splits.setdefault(text, []).append(split)
    return [_parse_source(text, tuple(dict.fromkeys(where)), root) for text, where in splits.items()]


def _parse_source(text: str, splits: tuple[str, ...], root: Path) -> Source:
    head, _, query = text.partition("?")
    where = f"source {text!r}"
    format, place, _ = parse(head, {name: {} for name in [DRAWN, *READERS]}, where, bare=[DRAWN])
    if format != DRAWN and "test_ood" in splits and "train" in splits:
        raise InputError(f"{where} is in train_sources and ood_sources; use another source for out-of-domain data")
    if tables.is_hub(place) and "files" not in options_of(format):
        reading = ", ".join(name for name in READERS if "files" in options_of(name))
        raise InputError(f"{where}: only {reading} read hub datasets; download it to read it as {format}")
    path = Path(place) if tables.is_hub(place) else root / Path(place).expanduser() if place else None
    options = _parse_options(where, format, query, root)
    return Source(text=text, format=format, path=path, splits=splits, options=options)


def is_drawn(text: str) -> bool:
    """Return whether the text of a source names drawn scenes."""
    return text.partition("?")[0] == DRAWN


def options_of(format: str) -> list[str]:
    """Return the names of a format's options.

    >>> options_of("refcoco"), options_of("scenes")
    (['split', 'by', 'images'], ['math'])
    """
    if format == DRAWN:
        return ["math"]
    parameters = inspect.signature(READERS[format]).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "extracted"]


def _parse_options(where: str, format: str, query: str, root: Path) -> dict[str, str]:
    known = options_of(format)
    if query and not known:
        raise InputError(f"{where}: the format {format} has no options; remove ?{query}")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    except ValueError as error:
        raise InputError(f"{where}: cannot read the options ({error}); write ?name=value&name=value") from None
    options = dict(pairs)
    for name in options:
        check_known(where, f"option of {format}", name, known)
    if len(options) < len(pairs):
        raise InputError(f"{where}: duplicate option; keep one")
    if format == DRAWN:
        check_known(where, "kind of drawn math questions", options.get("math", MATH[0]), MATH)
    for name in PATHS & options.keys():
        options[name] = str(root / Path(options[name]).expanduser())
    if os.path.isfile(root / options.get("names", "")):
        options["names"] = str(root / options["names"])
    return options


def open_source(source: Source, tasks: Collection[str], extracted: Path) -> Items:
    """Yield the questions of a source that is not drawn, and the rows that its reader rejects.

    Images inside tables are written to the folder `extracted`.
    """
    if source.path is None:
        raise InputError(f"source {source.text!r} is drawn and has no file to read; name a source with a path")
    reader, options = READERS[source.format], dict[str, Any](source.options)
    path = tables.fetch(source.path, options.get("files", "")) if tables.is_hub(source.path) else source.path
    if "extracted" in inspect.signature(reader).parameters:
        options["extracted"] = extracted
    return reader(path, tasks, **options)


@dataclass(frozen=True, kw_only=True)
class Portion:
    """The portion of one source: quotas of questions by task (no quotas: no limit; else other tasks: 0), a weight."""

    quotas: dict[str, int] = field(default_factory=dict)
    weight: float | None = None

    def quota(self, task: str) -> int | None:
        """Return the largest number of questions of a task, or None if there is no limit."""
        return self.quotas.get(task, 0) if self.quotas else None


Mixture = dict[str, dict[str, Portion]]  # by split, by source


def read_mixture(groups: Mapping[str, Sequence[str]]) -> Mixture:
    """Return the portions by split and source. Raises `InputError`."""
    mixture: Mixture = {}
    for split, texts in groups.items():
        portions = mixture.setdefault(split, {})
        for text in texts:
            source, portion = read_portion(text)
            if source in portions:
                raise InputError(f"source {source!r} is a duplicate in the split {split!r}; name it once")
            portions[source] = portion
    return mixture


def read_portion(text: str) -> tuple[str, Portion]:
    """Return the source and its portion.

    >>> read_portion("voc:VOC2012 | detection 20, weight 2")
    ('voc:VOC2012', Portion(quotas={'detection': 20}, weight=2.0))
    """
    source, bar, terms = text.partition("|")
    options = {"weight": _positive, "": whole, **dict.fromkeys(TASKS, whole)}
    values = parse_terms(terms.split(",") if bar else (), options, f"source {text!r}")
    weight = values.pop("weight", None)
    quotas: dict[str, int] = {}
    for task, quota in values.items():
        quotas |= dict.fromkeys([task] if task else TASKS, quota)
    return source.strip(), Portion(quotas=quotas, weight=weight)


def _positive(text: str) -> float:
    if (value := grammar.number(text)) <= 0:
        raise ValueError(f"is {text!r}; write a number above 0")
    return value


def cap(wanted: Mapping[Cell, int], mixture: Mixture) -> dict[Cell, int]:
    """Return the wanted numbers, at most the sum of the quotas where all sources of a split have one."""
    asked = {}
    for (split, task), number in wanted.items():
        quotas = [portion.quota(task) for portion in mixture[split].values()]
        stated = [quota for quota in quotas if quota is not None]
        asked[split, task] = number if len(stated) < len(quotas) else min(number, sum(stated))
    return {cell: number for cell, number in asked.items() if number}


def quotas_of(mixture: Mixture, cells: Mapping[Cell, int]) -> Limits:
    """Return the limits that the quotas set."""
    return {
        (split, task, source): quota
        for split, task in cells
        for source, portion in mixture[split].items()
        if (quota := portion.quota(task)) is not None
    }


def shares_of(mixture: Mixture, wanted: Mapping[Cell, int], has: set[tuple[str, str]]) -> Limits:
    """Return the limits that the weights set, among the (source, task) pairs in `has`; none without any weight.

    >>> mixture = read_mixture({"train": ["voc:a | weight 2", "voc:b", "voc:c"]})
    >>> shares_of(mixture, {("train", "math"): 7}, {("voc:a", "math"), ("voc:b", "math")})
    {('train', 'math', 'voc:a'): 5, ('train', 'math', 'voc:b'): 2}
    """
    limits: Limits = {}
    for (split, task), number in wanted.items():
        portions = {source: portion for source, portion in mixture[split].items() if (source, task) in has}
        if all(portion.weight is None for portion in portions.values()):
            continue
        weights = {source: portion.weight or 1.0 for source, portion in portions.items()}
        limits |= {(split, task, source): share for source, share in _divide(number, weights).items()}
    return limits


def _divide(number: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Return whole shares in proportion to the weights; the largest remainders are rounded up."""
    exact = {name: number * weight / sum(weights.values()) for name, weight in weights.items()}
    shares = {name: math.floor(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: shares[name] - exact[name])
    for name in by_remainder[: number - sum(shares.values())]:
        shares[name] += 1
    return shares

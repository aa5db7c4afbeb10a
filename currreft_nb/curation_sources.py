"""Understand where the user says that questions come from: data in one of the known formats, or drawn scenes.

A source is one line of text, `format:path`, and where the format has options, `format:path?name=value&name=value`:

    scenes                                             drawn scenes, which need no data
    voc:VOC2012                                        a folder; paths are relative to the data root
    voc:VOC2012/ImageSets/Main/val.txt                 or one file of it
    refcoco:refer/refcoco+?by=unc&split=train&images=coco/train2014
    llava:MathV360K/train_samples_all_tuning.json?images=MathV360K/data_images
    table:mine/rows.csv?task=detection&question=phrase&answer=box&box=xywh
    table:hf://datasets/derek-thomas/ScienceQA?task=general&options=choices&context=hint&files=data/train-*.parquet
    llava:hf://datasets/HuggingFaceM4/the_cauldron?task=general&files=vsr/*.parquet

| format | what it reads | options |
|---|---|---|
| clevr, super_clevr | scenes to be counted, or a file of questions | images |
| coco | instances: detection and classification | images |
| curr_reft | the official rows, RefGTA rows and conversations | images |
| geometry3k | problem folders | |
| llava | conversations, The Cauldron, in any kind of table | task, images, files |
| math_vision | MATH-Vision | |
| refcoco | RefCOCO, RefCOCO+, RefCOCOg, RefCLEF, RefGTA | split, by, images |
| science_qa | ScienceQA | split, task, images |
| table | JSON lines, JSON, CSV, TSV, Parquet, a saved or a hub dataset | task, images, files, box, and columns: |
|       |                                                       | question, answer, image, options, context, thinking |
| voc | PASCAL VOC: detection and classification | |

Sets whose objects have categories (coco, refcoco, voc) give detection and classification questions, by `tasks`.
Options are written as in a web address: a blank as `+`, `&` as `%26`, `|` as `%7C`, `%` as `%25`. `images` is a folder,
relative to the data root as the path is. How much is taken of a source may follow after ` | ` (`curation_mixture`).
What each option means is told by the `read` function of the format's module.
"""

import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from currreft_nb import InputError
from currreft_nb.formats import Rejected, rows, unknown
from currreft_nb.samples import Sample

FORMATS = (  # modules of `formats`; a new format is a name here and the module
    "clevr",
    "coco",
    "curr_reft",
    "geometry3k",
    "llava",
    "math_vision",
    "refcoco",
    "science_qa",
    "super_clevr",
    "table",
    "voc",
)
READERS: dict[str, Callable[..., Iterator[Sample | Rejected]]] = {
    name: import_module(f"currreft_nb.formats.{name}").read for name in FORMATS
}
DRAWN = "scenes"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where questions come from: the user's text, its format, its path (None: drawn), its options, and its splits."""

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
    place, _, query = text.partition("?")
    format, _, path = place.partition(":")
    known = [DRAWN, *READERS]
    if format not in known:
        raise InputError(f"source {text!r}: {unknown('format', format, known)}; write format:path")
    if (format == DRAWN) == bool(path):
        remedy = "write 'scenes' alone" if path else f"write '{format}:path/of/the/data'"
        raise InputError(f"source {text!r}: {'drawn scenes have no path' if path else 'it names no path'}; {remedy}")
    if format != DRAWN and "test_ood" in splits and "train" in splits:
        raise InputError(
            f"source {text!r} is in train_sources and ood_sources; take another source for out-of-domain data"
        )
    options = _parse_options(text, format, query, root)
    return Source(text=text, format=format, path=_path(text, format, path, root), splits=splits, options=options)


def _path(text: str, format: str, path: str, root: Path) -> Path | None:
    if not rows.is_hub(path):
        return root / Path(path).expanduser() if path else None
    if format not in ("table", "llava"):
        raise InputError(f"source {text!r}: a hub dataset is read as table or llava; download it to read as {format}")
    return Path(path)


def options_of(format: str) -> list[str]:
    """Return the names of a format's options.

    >>> options_of("refcoco"), options_of("scenes")
    (['split', 'by', 'images'], [])
    """
    parameters = inspect.signature(READERS[format]).parameters.values() if format != DRAWN else ()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "extracted"]


def _parse_options(text: str, format: str, query: str, root: Path) -> dict[str, str]:
    known = options_of(format)
    if query and not known:
        raise InputError(f"source {text!r}: the format {format} has no options; remove ?{query}")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    except ValueError as error:
        raise InputError(f"source {text!r}: its options are unclear ({error}); write ?name=value&name=value") from None
    options = dict(pairs)
    for name in options:
        if name not in known:
            raise InputError(f"source {text!r}: {unknown(f'option of {format}', name, known)}")
    if len(options) < len(pairs):
        raise InputError(f"source {text!r}: an option stands there twice; keep one of the two")
    if "images" in options:
        options["images"] = str(root / Path(options["images"]).expanduser())
    return options


def open_source(source: Source, tasks: Collection[str], extracted: Path) -> Iterator[Sample | Rejected]:
    """Yield the questions of a source that is not drawn, and what its reader leaves out.

    `extracted`: the folder that images are written to which the data hold inside a table.
    """
    if source.path is None:
        raise InputError(f"source {source.text!r} is drawn; there is no file to read")
    reader, options = READERS[source.format], dict[str, Any](source.options)
    path = rows.fetch(source.path, options.get("files", "")) if rows.is_hub(source.path) else source.path
    if "extracted" in inspect.signature(reader).parameters:
        options["extracted"] = extracted
    return reader(path, tasks, **options)

"""Where an arm's answers come from, as `start_from` of notebook 06 names it.

    base                                                 the bare model of the parameter `model`
    outputs/pocket/rl_open                               that model with the adapter of a run
    outputs/pocket/rl_open/checkpoints/checkpoint-40     or with what the adapter was after 40 steps
    model:Qwen/Qwen2.5-VL-7B-Instruct | four_bit true    another model, by hub name or folder, such as an exported one
    recorded:answers/other.jsonl | like qwen2_5_vl       answers in a file, whoever gave them
    http:org/model@http://127.0.0.1:8000/v1 | like org/model, concurrency 32        a model at an endpoint (`endpoint`)

What may stand after the bar: `four_bit` and `max_pixels` for a model; `like` and `max_pixels` for answers from
elsewhere, and for an endpoint also its own numbers. `like` names a model, a folder or a family (qwen2_vl, qwen2_5_vl,
qwen3_vl) that writes boxes in the same frame; an endpoint is also asked in that model's wording. Without it recorded
boxes are pixels of the stored images, and an endpoint is asked as `model` would be.

A recorded file has a line for each answer, `tokens` and `truncated` only if they are known:

    {"id": "scene-7", "completion": "<think>…</think><answer>3</answer>", "tokens": 14, "truncated": false}
"""

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from currreft_nb import InputError
from currreft_nb.endpoint import Endpoint, read_endpoint
from currreft_nb.rewards import text_of
from currreft_nb.samples import Sample

KINDS = ("model", "recorded", "http")
OPTIONS = {"model": ("four_bit", "max_pixels"), "recorded": ("like", "max_pixels"), "http": ("like", "max_pixels")}
ROW = '{"id": …, "completion": …}'
CHECKPOINT = re.compile(r"(.+)/checkpoints/checkpoint-\d+/?")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where an arm's answers come from: `kind` out of base, run, model, recorded and http, and what belongs to it.

    `place`: the run's, checkpoint's or adapter's folder, the model's name or folder, the file. `four_bit`,
    `max_pixels`, `like`: what was written after the bar; None, 0 and "" where nothing was.
    """

    kind: str
    place: str = ""
    endpoint: Endpoint | None = None
    four_bit: bool | None = None
    max_pixels: int = 0
    like: str = ""

    @property
    def run(self) -> str:
        """The folder of the run that a run or checkpoint belongs to."""
        found = CHECKPOINT.fullmatch(self.place)
        return found[1] if found else self.place


BASE = Source(kind="base")


@dataclass(frozen=True)
class RecordedAnswer:
    """An answer in a file; `tokens` and `truncated` are None where the file does not say."""

    text: str
    tokens: int | None = None
    truncated: bool | None = None


def read_sources(arms: Sequence[str], texts: Sequence[str]) -> dict[str, Source]:
    """Return the source of each arm. Raises `InputError` unless each has a name and an entry of its own."""
    if len(arms) != len(texts) or len(set(arms)) != len(arms):
        raise InputError(
            f"{len(arms)} arms ({', '.join(arms)}), {len(texts)} entries of start_from: give each arm its own name and"
            " its own entry"
        )
    return {arm: read_source(text) for arm, text in zip(arms, texts)}


def read_source(text: str) -> Source:
    """Return what an entry of `start_from` names. Raises `InputError` for what is none.

    >>> read_source("model:Qwen/Qwen2.5-VL-7B-Instruct | four_bit true, max_pixels 401408").max_pixels
    401408
    >>> read_source("outputs/pocket/rl/checkpoints/checkpoint-40").run
    'outputs/pocket/rl'
    """
    kind, colon, rest = text.strip().partition(":")
    if not colon:
        if "|" in text:
            raise InputError(f"start_from {text!r}: base and runs take no options; delete what stands after the bar")
        return BASE if kind == "base" else Source(kind="run", place=_named(kind, text))
    if kind not in KINDS:
        close = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"did you mean {close[0]}:?" if close else "write base, a run's folder, model:, recorded: or http:"
        raise InputError(f"start_from {text!r}: there is no {kind}: source; {hint}")
    place, _, terms = (part.strip() for part in rest.partition("|"))
    own, others = _split_terms(kind, terms)
    values = dict(found := [_option(kind, term) for term in own])
    if len(values) < len(found):
        raise InputError(f"start_from {text!r} says something twice after the bar; say it once")
    if kind == "http":
        endpoint = read_endpoint(f"{place} | {', '.join(others)}" if others else place)
        return Source(kind=kind, place=endpoint.name, endpoint=endpoint, **values)
    return Source(kind=kind, place=_named(place, text), **values)


def _named(place: str, text: str) -> str:
    if not place:
        raise InputError(f"start_from {text!r} names nothing; write base, a run's folder, model:NAME or recorded:FILE")
    return place


def _split_terms(kind: str, terms: str) -> tuple[list[str], list[str]]:
    """Return the terms that belong to the source, and for an endpoint those that are its own."""
    found = [term.strip() for term in terms.split(",")] if terms else []
    own = [term for term in found if kind != "http" or term.partition(" ")[0] in OPTIONS["http"]]
    return own, [term for term in found if term not in own]


def _option(kind: str, term: str) -> tuple[str, str | int | bool]:
    name, _, value = term.partition(" ")
    value = value.strip()
    if name not in OPTIONS[kind]:
        close = difflib.get_close_matches(name, OPTIONS[kind], n=1)
        hint = f"did you mean {close[0]}?" if close else f"after the bar may stand {' and '.join(OPTIONS[kind])}"
        raise InputError(f"start_from, {kind}: unknown {name!r}; {hint}")
    if name == "four_bit" and value in ("true", "false"):
        return name, value == "true"
    if name == "max_pixels" and value.isdecimal() and int(value):
        return name, int(value)
    if name == "like" and value:
        return name, value
    wanted = {"four_bit": "true or false", "max_pixels": "a number of pixels", "like": "a model, a folder or a family"}
    raise InputError(f"start_from, {kind}: {term!r} is not {name} and {wanted[name]}")


def check_candidates(among: Sequence[str], arms: Sequence[str]) -> None:
    """Raise `InputError` unless the candidates are none, or at least two different arms."""
    for name in among:
        if name not in arms:
            close = difflib.get_close_matches(name, arms, n=1)
            hint = f"did you mean {close[0]}?" if close else f"the arms are {', '.join(arms)}"
            raise InputError(f"choose_among names {name!r}, which is no arm; {hint}")
    if len(among) == 1 or len(set(among)) < len(among):
        raise InputError(f"choose_among is {list(among)}; name at least two different arms, or none to test all")


def read_recorded(path: Path, samples: Sequence[Sample]) -> dict[str, RecordedAnswer]:
    """Return a file's answers to the samples, by id; answers to other questions are counted in a line that is printed.

    Raises `InputError` naming file and line for a row that is no answer and an id that stands twice, and naming the
    ids for samples without an answer: an arm that answers fewer questions cannot be compared.
    """
    answers: dict[str, RecordedAnswer] = {}
    places: dict[str, str] = {}
    for place, row in completion_rows(path):
        if row["id"] in answers:
            first = places[row["id"]]
            raise InputError(f"{place}: id {row['id']!r} was answered on {first} already; keep one answer a question")
        answers[row["id"]] = _answer(row, place)
        places[row["id"]] = place
    if missing := [sample.id for sample in samples if sample.id not in answers]:
        raise InputError(
            f"{path} has no answer to {len(missing)} of the {len(samples)} questions asked, {missing[0]!r} first; give"
            " one to each in the data folder's files of these splits, or lower questions, for all arms alike"
        )
    if others := sorted(answers.keys() - {sample.id for sample in samples}):
        print(f"{path}: {len(others)} answers are to questions that are not asked here, {places[others[0]]} first")
    return answers


def _answer(row: dict, place: str) -> RecordedAnswer:
    tokens, truncated = row.get("tokens"), row.get("truncated")
    counted = tokens is None or (type(tokens) is int and tokens >= 0)
    if not counted or not isinstance(truncated, (bool, type(None))):
        raise InputError(f"{place}: tokens must be a number and truncated true or false; leave out what is not known")
    return RecordedAnswer(text_of(row["completion"]), tokens, truncated)


def file_hash(path: Path) -> str:
    """Return a hash of a file's content, so that a changed file is another author."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def completion_rows(path: Path) -> Iterator[tuple[str, dict]]:
    """Yield "file:line" and row of each line that is not blank: `id`, and `completion` as text or as messages.

    Raises `InputError` naming file, line and remedy for what cannot be used.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {what}; give a file with {ROW} on each line")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); give a file of JSON lines in UTF-8") from None
    if not text.strip():
        raise InputError(f"{path} is empty; give a file with {ROW} on each line")
    for number, line in enumerate(text.split("\n"), 1):  # a line feed alone: JSON text may hold the other separators
        if line.strip():
            yield f"{path}:{number}", _row(line, f"{path}:{number}")


def _row(line: str, place: str) -> dict:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: {line[:60]!r} is not JSON ({error}); write {ROW}") from None
    if isinstance(row, dict) and "question" in row and "completion" not in row:
        raise InputError(f"{place}: this is a sample, not a completion; give the samples first, then the completions")
    missing = [name for name in ("id", "completion") if not isinstance(row, dict) or name not in row]
    if missing:
        raise InputError(f"{place}: {line[:60]!r} has no {' and no '.join(missing)}; write {ROW}")
    if not isinstance(row["id"], str):
        raise InputError(f"{place}: id is {row['id']!r}; write it as text, as in the samples file")
    try:
        fine = isinstance(row["completion"], (str, list)) and isinstance(text_of(row["completion"]), str)
    except (AttributeError, KeyError, TypeError):
        fine = False
    if not fine:
        shown = json.dumps(row["completion"])[:60]
        raise InputError(f"{place}: completion is {shown}; write it as text or as a list of messages with content")
    return row

"""Where an arm's answers come from, as `start_from` of notebook 06 names it.

    base                                                 the bare model of the parameter `model`
    outputs/pocket/rl_open                               that model with the adapter of a run
    outputs/pocket/rl_open/checkpoints/checkpoint-40     or with what the adapter was after 40 steps
    model:Qwen/Qwen2.5-VL-7B-Instruct | four_bit true    another model, by hub name or folder, such as an exported one
    recorded:answers/other.jsonl | like qwen2_5_vl       answers in a file, of any origin
    http:org/model@http://127.0.0.1:8000/v1 | like org/model, concurrency 32        a model at an endpoint

Options after the bar: `four_bit` and `max_pixels` for a model; `like` and `max_pixels` for recorded answers and for an
endpoint, which also has those of `endpoints.endpoint`. `like` names a model, a folder or a family (qwen2_vl,
qwen2_5_vl, qwen3_vl) that writes boxes in the same frame; an endpoint is also asked in that model's wording. Without it
recorded boxes are pixels of the stored images, and an endpoint is asked as `model` would be.

A recorded file has a line for each answer; `tokens` and `truncated` are optional:

    {"id": "scene-7", "completion": "<think>…</think><answer>3</answer>", "tokens": 14, "truncated": false}
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from currreft_nb import InputError
from currreft_nb.core.errors import did_you_mean
from currreft_nb.core.grammar import Options, parse, true_or_false, whole
from currreft_nb.core.samples import Sample
from currreft_nb.core.stored_answers import Completion
from currreft_nb.endpoints.endpoint import OPTIONS as ENDPOINT_OPTIONS
from currreft_nb.endpoints.endpoint import Endpoint, endpoint_at
from currreft_nb.method.rewards import text_of

ELSEWHERE: Options = {"like": str, "max_pixels": whole}
OPTIONS: dict[str, Options] = {
    "model": {"four_bit": true_or_false, "max_pixels": whole},
    "recorded": ELSEWHERE,
    "http": {**ELSEWHERE, **ENDPOINT_OPTIONS},
}
ROW = '{"id": …, "completion": …}'
CHECKPOINT = re.compile(r"(.+)/checkpoints/checkpoint-\d+/?")


@dataclass(frozen=True, kw_only=True)
class AnswerSource:
    """Where an arm's answers come from: `kind` is base, run, model, recorded or http.

    `place`: the folder of a run, checkpoint or adapter, the model's name or folder, the file. `four_bit`, `max_pixels`,
    `like`: the options after the bar; None, 0 and "" by default.
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


BASE = AnswerSource(kind="base")


def read_sources(arms: Sequence[str], texts: Sequence[str]) -> dict[str, AnswerSource]:
    """Return the source of each arm. Raises `InputError` unless names are unique and each has one entry."""
    if len(arms) != len(texts) or len(set(arms)) != len(arms):
        raise InputError(
            f"{len(arms)} arms ({', '.join(arms)}), {len(texts)} entries of start_from: give each arm its own name and"
            " its own entry"
        )
    return {arm: read_source(text) for arm, text in zip(arms, texts)}


def read_source(text: str) -> AnswerSource:
    """Return the source that an entry of `start_from` names. Raises `InputError` for an entry that names none.

    >>> read_source("model:Qwen/Qwen2.5-VL-7B-Instruct | four_bit true, max_pixels 401408").max_pixels
    401408
    >>> read_source("outputs/pocket/rl/checkpoints/checkpoint-40").run
    'outputs/pocket/rl'
    """
    text = text.strip()
    if ":" in text:
        kind, place, values = parse(text, OPTIONS, "start_from")
        endpoint = None
        if kind == "http":
            endpoint = endpoint_at(place, {name: values.pop(name) for name in ENDPOINT_OPTIONS if name in values})
        return AnswerSource(kind=kind, place=endpoint.name if endpoint else place, endpoint=endpoint, **values)
    if not text or "|" in text:
        raise InputError(
            f"start_from {text!r}: write base or a run's folder without options, model:NAME, or recorded:FILE"
        )
    return BASE if text == "base" else AnswerSource(kind="run", place=text)


def check_candidates(among: Sequence[str], arms: Sequence[str]) -> None:
    """Raise `InputError` unless the candidates are none, or at least two different arms."""
    if unknown := [name for name in among if name not in arms]:
        hint = did_you_mean(unknown[0], arms, "the arms are {}")
        raise InputError(f"choose_among contains {unknown[0]!r}, which is not an arm{hint}")
    if len(among) == 1 or len(set(among)) < len(among):
        raise InputError(f"choose_among is {list(among)}; name at least two different arms, or none to test all")


def read_recorded(path: Path, samples: Sequence[Sample]) -> dict[str, Completion]:
    """Return a file's answers to the samples, by id; print how many answers belong to other questions.

    Raises `InputError` naming file and line for an invalid row and a duplicate id, and naming an id for samples without
    an answer: an arm that answers fewer questions cannot be compared.
    """
    answers: dict[str, Completion] = {}
    places: dict[str, str] = {}
    for place, row in completion_rows(path):
        if (first := places.setdefault(row["id"], place)) != place:
            raise InputError(f"{place}: duplicate id {row['id']!r}, first used on {first}; keep one answer a question")
        answers[row["id"]] = _answer(row, place)
    if missing := [sample.id for sample in samples if sample.id not in answers]:
        raise InputError(
            f"{path} has no answer to {len(missing)} of {len(samples)} questions, such as {missing[0]!r}; add the"
            " missing answers, or lower questions for all arms"
        )
    if others := sorted(answers.keys() - {sample.id for sample in samples}):
        first = places[others[0]]
        print(f"{path}: {len(others)} answers belong to questions that are not asked here; the first is {first}")
    return answers


def _answer(row: dict, place: str) -> Completion:
    tokens, truncated = row.get("tokens"), row.get("truncated")
    counted = tokens is None or (type(tokens) is int and tokens >= 0)
    if not counted or not isinstance(truncated, (bool, type(None))):
        raise InputError(f"{place}: tokens must be a number and truncated true or false; omit what is unknown")
    return Completion(text_of(row["completion"]), tokens, truncated)


def completion_rows(path: Path) -> Iterator[tuple[str, dict]]:
    """Yield "file:line" and row of each line that is not blank: `id`, and `completion` as text or as messages.

    Raises `InputError` naming file, line and remedy for an unusable row or file.
    """
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {problem}; give a file with {ROW} on each line")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); give a file of JSON lines in UTF-8") from None
    if not text.strip():
        raise InputError(f"{path} is empty; give a file with {ROW} on each line")
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: JSON text may hold other separators
        if line.strip():
            yield f"{path}:{number}", _row(line, f"{path}:{number}")


def _row(line: str, place: str) -> dict:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: {line[:60]!r} is not JSON ({error}); write {ROW}") from None
    found = row if isinstance(row, dict) else {}
    if "question" in found and "completion" not in found:
        raise InputError(f"{place}: a sample in place of a completion; give the samples first, then the completions")
    if missing := [name for name in ("id", "completion") if name not in found]:
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

"""Evaluate several arms by the same rule, whether a local model, a file or an endpoint answers.

A model is asked in its own style, at one pixel budget: its source's, else `max_pixels`, else its own. An adapter, or a
folder with a merged one, must be evaluated at the budget of its training. Answers of files and endpoints cannot be
completed, so these arms have natural records only.

One of several candidates (checkpoints of one training, seeds, ways of training) is chosen by its answers to the
questions of split `val`, from which no training learns: the highest share of right answers, decoded naturally, with
equal weight of tasks and stages; of ties the first in the list. A test split is refused: the best of many candidates
would look better on it than it is.

    {"chosen": "step_40", "rule": "highest mean over tasks and stages of correct, natural; the earliest of equals",
     "split": "val", "questions": 450, "scores": {"step_20": 0.61, "step_40": 0.64}}
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd

from currreft_nb import InputError
from currreft_nb.core.boxes import Frame
from currreft_nb.core.files import file_digest
from currreft_nb.core.samples import Sample
from currreft_nb.core.stored_answers import Completion
from currreft_nb.data.folder import load_questions
from currreft_nb.endpoints.answers import endpoint_sampler
from currreft_nb.endpoints.endpoint import Account, Endpoint
from currreft_nb.evaluation.evaluate import check_samples, evaluate
from currreft_nb.evaluation.settings import Decoding
from currreft_nb.evaluation.sources import BASE, AnswerSource, check_candidates, read_recorded
from currreft_nb.generation.answerers import author_of, sampler
from currreft_nb.generation.generate import force_format
from currreft_nb.method.prompts import Style, with_prefill, wording_hash
from currreft_nb.models.adapters import check_adapter, merged_adapter, read_provenance
from currreft_nb.models.families import FAMILIES, family_of
from currreft_nb.models.files import hash_weights, read_config, source_of
from currreft_nb.models.load import default_pixels, load_model, read_style

STORED_AT_ONCE = 256  # questions between two writes; fewer for an endpoint, whose answers cost money
ARM = "the arm"

Draw = Callable[[list[Sample]], Sequence[Sequence[Completion | None]]]
Force = Callable[[list[Sample], list[Completion]], list[Completion]]
CHOSEN_ON = "val"
MEASURE, MODE = "correct", "natural"
RULE = f"highest mean over tasks and stages of {MEASURE}, {MODE}; the earliest of equals"


@dataclass(frozen=True, kw_only=True)
class Answerer:
    """The answerer of an arm: checked, but neither loaded nor asked.

    `author`: a text that changes when the answers would. `frame`: how boxes are written; None: pixels of the stored
    image. `open(decoding, completions, forced)` returns a function from samples to several answers each and, where the
    format can be forced, one from samples and answers to completed answers; else None. A model is loaded at the first
    call of one of them, and leaves the memory with them.
    """

    author: str
    frame: Frame | None
    open: Callable[[Decoding, int, bool], tuple[Draw, Force | None]]
    stored_at_once: int = STORED_AT_ONCE


def evaluate_arms(
    arms: Mapping[str, AnswerSource | str | os.PathLike | None],
    samples: Sequence[Sample],
    folder: str | os.PathLike,
    *,
    model: str = "pocket",
    four_bit: bool = False,
    max_pixels: int = 0,
    forced: bool = True,
    accounts: list[Account] | None = None,
    **decoding: Any,
) -> list[dict]:
    """Score all arms on the same questions; return their records, natural before forced.

    `arms`: sources by name (`evaluation.sources`); None is the bare `model`, a path an adapter folder. `max_pixels` 0
    is the model's own budget. `decoding`: settings of `evaluation.settings.Decoding`. `accounts` gets the accounts of
    endpoints. All arms are checked before the first model is loaded; a model is loaded only if records are missing.
    Raises `InputError` like `evaluation.evaluate.evaluate`, and for an arm that cannot answer.
    """
    check_samples(samples)
    how = Decoding(**decoding)
    common: dict[str, Any] = {"model": model, "four_bit": four_bit, "max_pixels": max_pixels, "accounts": accounts}
    answerers = {arm: answerer_of(source, samples, arm=arm, **common) for arm, source in arms.items()}
    return [row for arm, who in answerers.items() for row in _records(who, samples, arm, folder, how, forced)]


def _records(
    who: Answerer, samples: Sequence[Sample], arm: str, folder: str | os.PathLike, decoding: Decoding, forced: bool
) -> list[dict]:
    """Return an arm's records; its model leaves the memory with this call, before the next arm's is loaded."""
    draw, force = who.open(decoding, 1, False)
    if forced and not force:
        print(f"{arm}: the format of its answers cannot be forced, so it has natural records only")
    return evaluate(
        lambda asked: [answer for (answer,) in draw(asked)],
        samples,
        arm,
        folder,
        force_function=force if forced else None,
        frame=who.frame,
        author=who.author + (f" T={decoding.temperature} seed {decoding.seed}" if decoding.temperature else ""),
        batch_size=who.stored_at_once,
    )


def answerer_of(
    source: AnswerSource | str | os.PathLike | None,
    samples: Sequence[Sample] = (),
    *,
    arm: str = ARM,
    model: str = "pocket",
    four_bit: bool = False,
    max_pixels: int = 0,
    accounts: list[Account] | None = None,
) -> Answerer:
    """Return a source's answerer, after all checks that need no loading and no request.

    `samples`: the questions that a recorded file must answer. Raises `InputError` for an adapter of another base or
    pixel budget, an unknown model, an unusable file, and an endpoint without its key.
    """
    if not isinstance(source, AnswerSource):
        source = BASE if source is None else AnswerSource(kind="run", place=str(source))
    if source.kind == "recorded":
        return _recorded(source, samples, max_pixels)
    if source.endpoint:
        return _endpoint(source.endpoint, source, model, max_pixels, accounts)
    if source.kind == "model":
        four_bit = four_bit if source.four_bit is None else source.four_bit
        return _model(source.place, None, four_bit, source.max_pixels, max_pixels, arm)
    adapter = source.place if source.kind == "run" else None
    return _model(model, adapter, four_bit, 0, max_pixels, arm)


def _model(name: str, adapter: str | None, four_bit: bool, own_pixels: int, shared_pixels: int, arm: str) -> Answerer:
    source = source_of(name)
    config = read_config(source)
    family_of(config, name)
    base_hash, merged = hash_weights(source), merged_adapter(source)
    adapter_hash = check_adapter(adapter, name, base_hash) if adapter else None
    trained = read_provenance(adapter) if adapter else read_provenance(source) if merged else {}
    asked_for = own_pixels or shared_pixels or (trained.get("max_pixels", 0) if merged and not adapter else 0)
    pixels = asked_for or default_pixels(config)
    _check_trained(trained, pixels, own_pixels, four_bit, arm)

    def open_model(decoding: Decoding, completions: int, forced: bool) -> tuple[Draw, Force]:
        load = cache(partial(load_model, name, adapter=adapter, four_bit=four_bit, max_pixels=pixels))
        sizes = {name: vars(decoding)[name] for name in ("max_new_tokens", "batch_size")}
        return (
            lambda asked: sampler(load(), completions=completions, forced=forced, **vars(decoding))(asked),
            lambda asked, answers: force_format(load(), asked, answers, **sizes),
        )

    author = author_of(base_hash, adapter_hash, four_bit, merged)
    return Answerer(author=author, frame=read_style(name, pixels).frame, open=open_model)


def _check_trained(trained: Mapping[str, Any], pixels: int, own_pixels: int, four_bit: bool, arm: str) -> None:
    """Raise `InputError` for another pixel budget than in training; print a warning for another precision."""
    budget = trained.get("max_pixels", pixels)
    if budget != pixels and not own_pixels:
        raise InputError(
            f"{arm} was trained with max_pixels {budget} but would be evaluated with {pixels}, which changes boxes and"
            f" details; set max_pixels to {budget} (for one exported folder alone, write model:DIR | max_pixels N)"
        )
    if trained.get("four_bit", four_bit) != four_bit:
        before, now = (4, 16) if trained["four_bit"] else (16, 4)
        print(f"{arm} was trained in {before} bit and is evaluated in {now} bit, with other weights")


def _recorded(source: AnswerSource, samples: Sequence[Sample], max_pixels: int) -> Answerer:
    path = Path(source.place)
    answers = read_recorded(path, samples)
    style = style_like(source.like, source.max_pixels or max_pixels) if source.like else None
    if style:
        answers = {name: replace(said, text=with_prefill(said.text, style)) for name, said in answers.items()}
    return Answerer(
        author=f"recorded {file_digest(path)}",
        frame=style.frame if style else None,
        open=lambda *how: ((lambda asked: [[answers[sample.id]] for sample in asked]), None),
    )


def _endpoint(
    endpoint: Endpoint, source: AnswerSource, model: str, max_pixels: int, accounts: list[Account] | None
) -> Answerer:
    style = style_like(source.like or model, source.max_pixels or max_pixels)
    endpoint.check()  # raises before any request

    def open_endpoint(decoding: Decoding, completions: int, forced: bool) -> tuple[Draw, None]:
        if forced:
            raise InputError(f"the format cannot be forced on {endpoint.name}; set forced to false")
        options = {name: getattr(decoding, name) for name in ("temperature", "max_new_tokens", "seed")}
        return endpoint_sampler(endpoint, style, completions=completions, accounts=accounts, **options), None

    return Answerer(
        author=f"{endpoint.name}, wording {wording_hash(style)}",
        frame=style.frame,
        open=open_endpoint,
        stored_at_once=4 * endpoint.concurrency,
    )


def style_like(name: str, max_pixels: int = 0) -> Style:
    """Return the style of a family or a model. Raises `InputError` for an unknown name."""
    if name in FAMILIES:
        frame = FAMILIES[name].frame
        return Style(frame=replace(frame, max_pixels=max_pixels or frame.max_pixels))
    return read_style(name, max_pixels)


def choose(records: Iterable[Mapping], among: Sequence[str]) -> dict:
    """Return the chosen candidate, with rule and scores, as at the top of this file.

    Raises `InputError` for a record of another split than `val`, and for candidates with different questions.
    """
    frame = pd.DataFrame([record for record in records if record["mode"] == MODE])
    if frame.empty:
        raise InputError(f"no {MODE} records to choose by; evaluate on split {CHOSEN_ON} first")
    if others := sorted(set(frame["split"]) - {CHOSEN_ON}):
        raise InputError(f"cannot choose by split {others[0]}; choose by {CHOSEN_ON}, then test the chosen one")
    asked = {name: set(frame.loc[frame["arm"] == name, "id"]) for name in among}
    if different := [name for name in among if asked[name] != asked[among[0]]]:
        raise InputError(f"{different[0]!r} and {among[0]!r} answered different questions; evaluate both on the same")
    means = frame.groupby(["arm", "task", "stage"])[MEASURE].mean().groupby("arm").mean()
    scores = {name: round(float(means[name]), 6) for name in among}
    chosen = max(among, key=lambda name: scores[name])
    return {"chosen": chosen, "rule": RULE, "split": CHOSEN_ON, "questions": len(asked[chosen]), "scores": scores}


def choose_arms(
    arms: Mapping[str, AnswerSource],
    among: Sequence[str],
    folder: str | os.PathLike,
    data: str | os.PathLike,
    questions: int,
    **options: Any,
) -> tuple[dict[str, AnswerSource], dict]:
    """Let the candidates answer validation questions; return the arms to test and the choice ({} without candidates).

    `among`: names of the candidates; without any, all arms are tested. `folder`: gets their records. `data`: the data
    folder. `questions`: per task and stage. `options`: of `evaluation.arms.evaluate_arms`; the format is not forced.
    """
    check_candidates(among, list(arms))
    if not among:
        return dict(arms), {}
    samples = load_questions(data, [CHOSEN_ON], questions)
    if not samples:
        raise InputError(f"{data} has no validation questions to choose by; set val_questions in notebook 01")
    candidates = {name: arms[name] for name in among}
    found = choose(evaluate_arms(candidates, samples, folder, **options, forced=False), among)
    for name, score in found["scores"].items():
        print(f"{name}: {score:.3f} on {found['questions']} validation questions")
    print(f"chosen: {found['chosen']} ({RULE})")
    return {name: source for name, source in arms.items() if name == found["chosen"] or name not in among}, found

"""Check the inputs and arms of an experiment's step before any step starts."""

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.core.errors import did_you_mean
from currreft_nb.evaluation.sources import BASE, AnswerSource, check_candidates, read_sources
from currreft_nb.models.weights import POCKETS, check_folder, check_model
from currreft_nb.running.parameters import located

INPUTS = ("data", "start_from", "evaluations", "trainings")  # parameters that name runs
MODELS = ("model", "teacher")  # parameters that name models
BY_HAND = "outputs/notebooks/"


def check_arms(settings: Mapping[str, Any], root: Path, outputs: Path, place: Callable[[str], str]) -> None:
    """Refuse arms whose sources do not exist, and a choice among names that are no arms.

    `root`: the folder that paths start from. `outputs`: the experiment's folder, whose files an earlier step may still
    make. `place(name)`: file and line of a parameter, for the `InputError`.
    """
    with located(place("start_from")):
        for source in read_sources(settings["arms"], settings["start_from"]).values():
            path = root / source.place
            made_here = path.is_relative_to(outputs)  # by an earlier step
            if source.kind == "recorded" and not path.is_file() and not made_here:
                raise InputError(f"{source.place} does not exist; give a file of answers")
            known = source.place in POCKETS or "/" in source.place or path.is_dir()
            if source.kind == "model" and not known:
                raise InputError(
                    f"model {source.place!r} is neither a folder nor owner/name{did_you_mean(source.place, POCKETS)}"
                )
    with located(place("arms")):
        check_candidates(settings.get("choose_among", []), settings["arms"])


def check_inputs(settings: Mapping[str, Any], given: Collection[str], name: str, place: Callable[[str], str]) -> None:
    """Refuse defaults that name runs made by hand: an experiment must name the runs that it reads."""
    for key in (key for key in INPUTS if key in settings):
        for text in settings[key] if isinstance(settings[key], list) else [settings[key]]:
            if not text or (text.startswith(BY_HAND) and key not in given):
                run = text or "empty, which means a run made by hand"
                raise InputError(
                    f'{place(key)}: {key} of step {name} is {run}; name its run, as "@step" or as a folder'
                )


def check_models(settings: Mapping[str, Any], root: Path, outputs: Path, place: Callable[[str], str]) -> None:
    """Refuse models and adapters on this disk whose files are not whole, or whose weights are stored quantised.

    `root`, `outputs`, `place`: as for `check_arms`; what an earlier step may still make is not looked at.
    """
    sources = list(_sources(settings))
    adapters = [root / source.place / part for source in sources if source.kind == "run" for part in ("", "adapter")]
    named = [("start_from", source.place) for source in sources if source.kind == "model"]
    if any(source.kind in ("base", "run") for source in sources):  # else `model` only words the questions
        named += [(key, settings[key]) for key in MODELS if key in settings]
    for key, name in named:
        if not (root / name).is_relative_to(outputs):
            with located(place(key)):
                check_model(name, root)
    for folder in adapters:
        if folder.is_dir() and not folder.is_relative_to(outputs):
            with located(place("start_from")):
                check_folder(folder)


def _sources(settings: Mapping[str, Any]) -> Iterator[AnswerSource]:
    start = settings.get("start_from", "base")
    if "arms" in settings:
        yield from read_sources(settings["arms"], start).values()
    else:
        for text in start if isinstance(start, list) else [start]:
            yield BASE if text == "base" else AnswerSource(kind="run", place=text)

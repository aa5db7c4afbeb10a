"""Check the inputs and arms of an experiment's step before any step starts."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.core.errors import did_you_mean
from currreft_nb.evaluation.sources import check_candidates, read_sources
from currreft_nb.models.weights import POCKETS
from currreft_nb.running.parameters import located

INPUTS = ("data", "start_from", "evaluations", "trainings")  # parameters that name runs
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

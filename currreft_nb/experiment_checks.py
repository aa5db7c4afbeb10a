"""What a step of an experiment asks for is compared with what there is, before any step starts."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.evaluation_sources import check_candidates, read_sources
from currreft_nb.models_families import POCKETS
from currreft_nb.parameters import did_you_mean


def check_arms(settings: Mapping[str, Any], root: Path, outputs: Path, place: Callable[[str], str]) -> None:
    """Refuse arms whose answers cannot come from where they are said to, and a choice among what is no arm.

    `root`: where paths begin. `outputs`: the experiment's folder, whose files an earlier step may still make.
    `place(name)`: where a parameter stands, for the `InputError`.
    """
    try:
        sources = read_sources(settings["arms"], settings["start_from"])
        for source in sources.values():
            path = root / source.place
            made_here = path.is_relative_to(outputs)  # by an earlier step
            if source.kind == "recorded" and not path.is_file() and not made_here:
                raise InputError(f"{source.place} does not exist; give a file of answers")
            known = source.place in POCKETS or "/" in source.place or path.is_dir()
            if source.kind == "model" and not known:
                raise InputError(
                    f"model {source.place!r} is neither a folder nor owner/name{did_you_mean(source.place, POCKETS)}"
                )
    except InputError as error:
        raise InputError(f"{place('start_from')}: {error}") from None
    try:
        check_candidates(settings.get("choose_among", []), settings["arms"])
        if settings.get("temperature", 0) < 0:
            raise InputError(f"temperature is {settings['temperature']}, but must be at least 0; 0 is greedy")
    except InputError as error:
        raise InputError(f"{place('arms')}: {error}") from None

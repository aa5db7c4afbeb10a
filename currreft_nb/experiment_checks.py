"""What a step of an experiment asks for is compared with what there is, before any step starts."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.endpoint import read_endpoint
from currreft_nb.evaluation_sources import check_candidates, read_sources
from currreft_nb.judges import read_judges
from currreft_nb.models_families import check_lora_on
from currreft_nb.models_hash import POCKETS
from currreft_nb.parameters import did_you_mean
from currreft_nb.rejection_checks import read_quotas
from currreft_nb.samples import STAGES, check_tasks
from currreft_nb.training_settings import GrpoSettings, SftSettings

INPUTS = ("data", "start_from", "evaluations", "trainings")  # parameters that name runs
BY_HAND = "outputs/notebooks/"


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


def check_inputs(settings: Mapping[str, Any], given: Collection[str], name: str, place: Callable[[str], str]) -> None:
    """Refuse a default that stands for a run made by hand: an experiment says what it is made of."""
    for key in (key for key in INPUTS if key in settings):
        for text in settings[key] if isinstance(settings[key], list) else [settings[key]]:
            if not text or (text.startswith(BY_HAND) and key not in given):
                run = text or "empty, which stands for a run made by hand"
                raise InputError(
                    f'{place(key)}: {key} of step {name} is {run}; name its run, as "@step" or as a folder'
                )


def check_training(settings: Mapping[str, Any], place: str) -> None:
    """Refuse settings of a training that do not go together, which its notebook would notice hours later."""
    try:
        if "tasks" in settings and "lora_rank" in settings:
            check_tasks(settings["tasks"])
        if "lora_on" in settings:
            check_lora_on(settings["lora_on"])
        if "stages" in settings and "lora_rank" in settings:
            check_tasks(settings["stages"], STAGES, "stages")
        if "group_size" in settings:
            GrpoSettings.from_parameters(settings)
        elif "batch_size" in settings and "learning_rate" in settings:
            SftSettings.from_parameters(settings)
        if "judges" in settings:
            read_judges(settings["judges"])
            read_quotas(settings["quotas"])
            if settings["teacher"]:
                read_endpoint(settings["teacher"])
    except InputError as error:
        raise InputError(f"{place}: {error}") from None

"""Where a model's files are, what its config.json says, and a hash of its weights; nothing is loaded here."""

import currreft_nb.models_messages  # noqa: F401

# isort: split
import difflib
from functools import lru_cache
from pathlib import Path
from typing import Any

from huggingface_hub import constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.utils import get_session
from transformers import AutoConfig

from currreft_nb import InputError, pocket
from currreft_nb.models_families import POCKETS
from currreft_nb.models_hash import hash_files

HUB_TIMEOUT_S = 10
REMEDY = "check the name and the network, or give a folder, or use 'pocket'"


def source_of(name: str) -> str:
    """Return where a model's files are: the package's folder for a pocket model, else the folder or hub name itself.

    Raises `InputError` for what is neither, names on the hub being of the form owner/name, and for a hub that does not
    answer about a model that is not here yet.
    """
    if name in POCKETS:
        return str(pocket.folder(name))
    if Path(name).is_dir():
        return name
    if "/" not in name:
        close = difflib.get_close_matches(name, POCKETS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"give {', '.join(POCKETS)}, a folder or owner/name"
        raise InputError(f"model {name!r} is neither a local folder nor a name on the Hugging Face hub; {hint}")
    _reach_hub(name)
    return name


@lru_cache
def _reach_hub(name: str) -> None:
    """Ask the hub once, where its library would try six times for each file, for half a minute or much longer.

    Without an answer, files that are here already are used, and the hub is left alone from then on.
    """
    if constants.HF_HUB_OFFLINE or name.startswith((".", "/", "~")):
        return  # the library says at once what is not here
    try:
        get_session().head(f"{constants.ENDPOINT}/{name}/resolve/main/config.json", timeout=HUB_TIMEOUT_S)
    except Exception as error:  # of whichever HTTP client the library uses; an answer of any kind raises nothing
        if not isinstance(try_to_load_from_cache(name, "config.json"), str):
            raise InputError(
                f"model {name!r} is neither a local folder nor could it be had from the Hugging Face hub, which does"
                f" not answer ({error}); {REMEDY}"
            ) from None
        print(f"{constants.ENDPOINT} does not answer: using the files of {name} that are here already")
        constants.HF_HUB_OFFLINE = True


def read_config(source: str) -> Any:
    """Return the model's configuration. Raises `InputError` where there is none or the hub does not answer."""
    try:
        return AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        if Path(source).is_dir():
            raise InputError(f"the folder {source} holds no model that can be read ({reason})") from None
        raise InputError(
            f"model {source!r} is neither a local folder nor could it be had from the Hugging Face hub ({reason});"
            f" {REMEDY}"
        ) from None


def local_folder(source: str, patterns: str | list[str]) -> Path:
    """Return the folder with a model's files of these patterns, after downloading them where they are on the hub."""
    if Path(source).is_dir():
        return Path(source)
    try:
        return Path(snapshot_download(source, allow_patterns=patterns))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"the files of {source!r} could not be had from the hub ({reason}); check the network"
        ) from None


def weight_files(source: str) -> list[Path]:
    """Return a model's weight files. Raises `InputError` when there are none."""
    files = sorted(local_folder(source, "*.safetensors").glob("*.safetensors"))
    if not files:
        raise InputError(f"the model {source!r} has no weights (*.safetensors); copy them beside its config.json")
    return files


def hash_weights(source: str) -> str:
    """Return a hash of a model's weight files, as `models_hash.hash_files` takes it."""
    return hash_files(weight_files(source))

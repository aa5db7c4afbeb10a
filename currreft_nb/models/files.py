"""Find a model's files, read its config.json and hash its weights, without loading the model."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from huggingface_hub import constants, get_session, snapshot_download, try_to_load_from_cache
from transformers import AutoConfig

import currreft_nb.models.quiet  # noqa: F401
from currreft_nb import InputError
from currreft_nb.core.environment import proxy_of
from currreft_nb.core.errors import did_you_mean
from currreft_nb.models.weights import (
    INDEX,
    POCKETS,
    check_folder,
    hash_files,
    pocket_folder,
    weight_files_in,
)

HUB_TIMEOUT_S = 10
REMEDY = "check the name and the network, or give a folder, or use 'pocket'"


def source_of(name: str) -> str:
    """Return where a model's files are: the package's folder for a pocket model, else the folder or hub name itself.

    Raises `InputError` for a name that is neither a folder nor of the form owner/name, for a folder with an incomplete
    file, and for a model that is not in the cache if the hub does not answer.
    """
    if name in POCKETS:
        return str(pocket_folder(name))
    if Path(name).is_dir():
        check_folder(Path(name))
        return name
    if "/" not in name:
        hint = did_you_mean(name, POCKETS, "give {}, a folder or owner/name")
        raise InputError(f"model {name!r} is neither a local folder nor a name on the Hugging Face hub{hint}")
    _reach_hub(name)
    return name


@lru_cache
def _reach_hub(name: str) -> None:
    """Ask the hub once: its library would try six times for each file, for half a minute or longer.

    Without an answer, use the cached files and stay offline.
    """
    if constants.HF_HUB_OFFLINE or name.startswith((".", "/", "~")):
        return  # the library reports an unknown model without delay
    through = ""
    try:
        if proxy := proxy_of(constants.ENDPOINT):
            through = f" through the proxy in {proxy[0]}"
        get_session().head(f"{constants.ENDPOINT}/{name}/resolve/main/config.json", timeout=HUB_TIMEOUT_S)
    except Exception as error:  # depends on the library's HTTP client; a response of any status raises nothing
        if not isinstance(try_to_load_from_cache(name, "config.json"), str):
            raise InputError(
                f"model {name!r} is not a local folder, and the Hugging Face hub does not answer{through} ({error});"
                f" {REMEDY}"
            ) from None
        print(f"{constants.ENDPOINT} does not answer: using the cached files of {name}")
        constants.HF_HUB_OFFLINE = True


def read_config(source: str) -> Any:
    """Return a model's configuration. Raises `InputError` where there is none or the hub does not answer."""
    try:
        return AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        reason = first_line(error)
        if Path(source).is_dir():
            raise InputError(
                f"the folder {source} holds no readable model ({reason}); give a folder with config.json and weights"
            ) from None
        raise InputError(
            f"model {source!r} is neither a local folder nor available from the Hugging Face hub ({reason}); {REMEDY}"
        ) from None


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return str(error).strip().splitlines()[0]


def local_folder(source: str, patterns: str | list[str]) -> Path:
    """Return the folder with a model's files of these patterns, downloaded if they are on the hub."""
    if Path(source).is_dir():
        return Path(source)
    try:
        return Path(snapshot_download(source, allow_patterns=patterns))
    except (OSError, ValueError) as error:
        reason = first_line(error)
        raise InputError(f"cannot download the files of {source!r} ({reason}); check the network") from None


def hash_weights(source: str) -> str:
    """Return the hash of a model's weight files that `models.weights.hash_files` computes."""
    return hash_files(weight_files(source))


def weight_files(source: str) -> list[Path]:
    """Return a model's weight files. Raises `InputError` when there are none or one is incomplete."""
    folder = local_folder(source, ["*.safetensors", INDEX])
    check_folder(folder)
    return weight_files_in(folder)

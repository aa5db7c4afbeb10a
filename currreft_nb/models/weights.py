"""The pocket models' folder and card, and a hash of any model's weights, without libraries that load models."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.core.errors import did_you_mean

POCKETS = ("pocket", "pocket-clean")  # the models in the package; the second has no bad habits
WEIGHTS = Path(__file__).parents[1] / "weights"  # of the pocket models


def pocket_folder(name: str) -> Path:
    """Return the folder of a pocket model. Raises `InputError` for another name.

    >>> pocket_folder("pocket").name
    'pocket'
    """
    if name not in POCKETS:
        raise InputError(f"there is no pocket model {name!r}{did_you_mean(name, POCKETS)}")
    return WEIGHTS / name


def pocket_card() -> dict[str, Any]:
    """Return the card of the pocket models: recipe, seed, seconds, accuracies by look, task and stage."""
    return json.loads((WEIGHTS / "card.json").read_text(encoding="utf-8"))


def hash_files(paths: Iterable[Path]) -> str:
    """Return a hash of weight files: their sizes and 64 evenly spread samples of 4 KiB of each.

    Reading every byte of 7 GB would take half a minute at each start; training changes all samples.
    """
    digest = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        digest.update(f"{path.suffix} {size} ".encode())
        with path.open("rb") as stream:
            for index in range(64):
                stream.seek(max(0, size - 4096) * index // 63)
                digest.update(stream.read(4096))
    return digest.hexdigest()[:16]


def hash_model(name: str, root: Path) -> str | None:
    """Return the hash of a model's weights, or None if they are not on this disk, as for a name on the hub.

    `name`: a pocket model, or a folder, relative to `root` unless absolute.
    """
    for place in (WEIGHTS / name, root / Path(name).expanduser()):
        if name and (files := sorted(place.glob("*.safetensors"))):
            return hash_files(files)
    return None

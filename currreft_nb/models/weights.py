"""The pocket models' folder and card, any model's hash, and whether its files are whole, without loading a model.

`check_folder` needs a few bytes of each file. It finds what a broken download leaves behind: pointers of git-lfs in
place of the files, weight files that were cut off, and missing shards.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.core.errors import did_you_mean

POCKETS = ("pocket", "pocket-clean")  # the models in the package; the second has no bad habits
WEIGHTS = Path(__file__).parents[1] / "weights"  # of the pocket models
READ = (".safetensors", ".json", ".jinja", ".txt", ".model")  # endings of a model's files
INDEX = "model.safetensors.index.json"
POINTER = b"version https://git-lfs.github.com/spec/"
LONGEST_POINTER = 1024  # bytes, by the specification of git-lfs
LONGEST_HEADER = 100_000_000  # bytes, the limit of the safetensors format


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


def check_model(name: str, root: Path) -> None:
    """Check the files of a model to be loaded, before any library is; one that is not on this disk passes.

    `name`: as for `hash_model`. Raises `InputError` like `check_folder`, `weight_files_in` and `check_unquantised`.
    """
    place = root / Path(name).expanduser()
    if name in POCKETS or not name or not place.is_dir():
        return
    check_folder(place)
    if isinstance(config := _read_json(place / "config.json"), dict):
        weight_files_in(place)
        check_unquantised(config, name)


def weight_files_in(folder: Path) -> list[Path]:
    """Return the weight files of a model's folder. Raises `InputError` when there are none."""
    if files := sorted(folder.glob("*.safetensors")):
        return files
    if others := sorted(path.name for ending in ("bin", "pt", "pth", "gguf") for path in folder.glob(f"*.{ending}")):
        raise InputError(
            f"the model {str(folder)!r} has its weights in {others[0]}, which is not read; give a folder with"
            " *.safetensors, which save_pretrained of transformers writes"
        )
    raise InputError(f"the model {str(folder)!r} has no weights (*.safetensors); copy them into its folder")


def check_folder(folder: Path) -> None:
    """Raise `InputError` for a folder of a model or an adapter in which a file is missing or incomplete."""
    for path in sorted(path for path in folder.iterdir() if path.suffix in READ):
        if not path.exists():
            raise InputError(f"{path} is a link to a file that is not here; download the file again")
        if path.stat().st_size <= LONGEST_POINTER:
            _check_pointer(path)
        if path.suffix == ".safetensors":
            _check_length(path)
    _check_shards(folder)


def _check_pointer(path: Path) -> None:
    with path.open("rb") as stream:
        text = stream.read(LONGEST_POINTER)
    if text.startswith(POINTER):
        size = re.search(rb"^size (\d+)", text, flags=re.M)
        missing = f"of {int(size[1]):,} bytes " if size else ""
        raise InputError(
            f"{path} is only a pointer of git-lfs to a file {missing}that is not here; run git lfs pull in"
            f" {path.parent}, or download the file again"
        )


def _check_length(path: Path) -> None:
    """Compare the length of a safetensors file with its header, which lists where each tensor ends."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(length) if length <= min(LONGEST_HEADER, size - 8) else b""
    if size < 8 or (not header and length <= LONGEST_HEADER):
        raise InputError(f"{path} is cut off after {size:,} bytes, within its header; download it again")
    try:
        tensors = json.loads(header)
        ends = [row["data_offsets"][1] for name, row in tensors.items() if name != "__metadata__"]
        whole = 8 + length + max(ends, default=0)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise InputError(f"{path} is not a safetensors file; download it again") from None
    if size != whole:
        fault = "is cut off" if size < whole else "is damaged"
        raise InputError(f"{path} {fault}: it has {size:,} bytes, by its header {whole:,}; download it again")


def _check_shards(folder: Path) -> None:
    """Raise `InputError` where the index of a sharded model names a file that is not there, or is itself missing."""
    shards = sorted(folder.glob("model-*-of-*.safetensors"))
    if (folder / "model.safetensors").is_file():
        return  # transformers prefers it to shards
    if not (folder / INDEX).is_file():
        if shards:
            raise InputError(f"{folder / INDEX} does not exist, so {shards[0].name} cannot be used; download it")
        return
    try:
        named = set(_read_json(folder / INDEX)["weight_map"].values())
    except (LookupError, TypeError, AttributeError):
        raise InputError(f"{folder / INDEX} is damaged; download it again") from None
    if missing := sorted(name for name in named if not (folder / name).is_file()):
        raise InputError(
            f"{folder / missing[0]} does not exist ({len(missing)} of {len(named)} files that {INDEX} names are"
            " missing); download it"
        )


def _read_json(path: Path) -> Any:
    """Return the content of a JSON file, or None where there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def check_unquantised(config: Mapping[str, Any], name: str) -> None:
    """Raise `InputError` for a model whose config.json says that its weights are stored quantised.

    Such folders usually hold a quantised vision tower, too, and most kinds cannot be trained or merged.
    """
    for part in (config, config.get("text_config") or {}):
        if found := part.get("quantization_config") or part.get("compression_config"):
            raise InputError(
                f"the model {name!r} is stored {_kind_of(found)} already; give the 16-bit model that it was made from"
                " (four_bit: true puts its language model into 4 bit while loading)"
            )


def _kind_of(found: Mapping[str, Any]) -> str:
    bits = found.get("bits") or found.get("w_bit") or next((n for n in (4, 8) if found.get(f"load_in_{n}bit")), None)
    method = found.get("quant_method") or "by an unknown method"
    return f"in {bits} bit ({method})" if bits else f"quantised ({method})"

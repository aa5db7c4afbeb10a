"""A hash of a model's weights, taken without the libraries that load them."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"  # of the pocket models, which come with the package


def hash_files(paths: Iterable[Path]) -> str:
    """Return a hash of weight files: their sizes and 64 evenly spread samples of 4 KiB of each.

    Samples and not every byte, because 7 GB would take half a minute at each start; any training changes them all.
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
    """Return the hash of the weights behind a model's name: a pocket model, or a folder, relative ones under `root`.

    None where there are none to be seen: of a name on the hub, its files may change with the network only.
    """
    for folder in (WEIGHTS / name, root / Path(name).expanduser()):
        if name and (files := sorted(folder.glob("*.safetensors"))):
            return hash_files(files)
    return None

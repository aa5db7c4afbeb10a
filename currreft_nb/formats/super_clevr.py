"""Super-CLEVR scenes as counting questions: how many items are in the image.

    {"image_filename": "superCLEVR_new_000002.png", "objects": [{"shape": "truck", "color": "red", ...}, ...]}

Images lie in `images`, scenes in `scenes`, one JSON file each. The question is that of the official out-of-domain rows,
whose answers run from 3 to 10: these are the candidates from which wrong counts are drawn.
"""

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from currreft_nb import InputError
from currreft_nb.formats import Rejected, need_file, parse_json
from currreft_nb.formats.images import ImageProblem, image_size
from currreft_nb.samples import Sample, inside

QUESTION = "How many different items are there in the image?"
COUNTS = [str(count) for count in range(3, 11)]


def read(path: str | os.PathLike, tasks: Collection[str] = ("math",)) -> Iterator[Sample | Rejected]:
    """Yield one counting question for each scene of a Super-CLEVR folder."""
    path = need_file(path, "a Super-CLEVR folder with images and scenes")
    files = sorted((path / "scenes").glob("*.json"))
    if not files:
        raise InputError(f"{path} holds no scenes/*.json; give the folder that holds images and scenes")
    if "math" in tasks:
        yield from (_read_scene(file, path) for file in files)


def _read_scene(file: Path, folder: Path) -> Sample | Rejected:
    try:
        scene = parse_json(file.read_bytes())
        image, answer = inside(folder / "images", scene["image_filename"]), str(len(scene["objects"]))
        return Sample(
            id=f"super_clevr-{file.stem}",
            task="math",
            split="train",
            source="super_clevr",
            question=QUESTION,
            image=str(image),
            size=image_size(image),
            answer=answer,
            extra=({"candidates": COUNTS} if answer in COUNTS else {}) | {"origin": {"file": file.name, "line": None}},
        )
    except ImageProblem as problem:
        return Rejected(file=str(file), reason=problem.reason, value=problem.value)
    except (InputError, ValueError, KeyError, TypeError) as error:
        return Rejected(file=str(file), reason="file is not a Super-CLEVR scene", value=repr(error))

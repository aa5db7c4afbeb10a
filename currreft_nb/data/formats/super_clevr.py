"""Super-CLEVR: rendered scenes with vehicles to count, and questions about them.

    superCLEVR_scenes.json
        {"scenes": [{"image_filename": "superCLEVR_new_000002.png", "objects": [{"shape": "truck", "color": "red", ...},
         ...], ...}, ...]}
    or scenes/superCLEVR_new_000002.json, each with one such scene
    superCLEVR_questions_5.json
        {"info": {...}, "questions": [{"image_filename": "superCLEVR_new_000000.png", "question": "Is the number of gray
         bicycles the same as the number of cyan metallic minivans?", "answer": false, "program": [...], ...}, ...]}
    images/superCLEVR_new_000002.png

A folder gives one counting question per scene, worded as in the official out-of-domain rows. Their answers run from 3
to 10, which are the candidates for wrong counts. A questions file gives its questions, as in CLEVR.
"""

from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

from currreft_nb import InputError
from currreft_nb.core.samples import Sample
from currreft_nb.data.formats import clevr
from currreft_nb.data.reading.common import Items, files_in, image_in, need_file, read_rows
from currreft_nb.data.reading.json_streams import json_files

COUNTING = "How many different items are there in the image?"
TOGETHER = "superCLEVR_scenes.json"
COUNTS = [str(count) for count in range(3, 11)]
_COUNTING = clevr.Counting("super_clevr", COUNTING, COUNTS)


def read(path: Path | str, tasks: Collection[str] = ("math", "general"), *, images: str = "") -> Items:
    """Yield one counting question for each scene of a Super-CLEVR folder or scenes file, or those of a questions file.

    `images`: the folder of the images; default: `images` in the folder or next to the file.
    """
    path = need_file(path, "a Super-CLEVR folder with images and scenes, or of a questions file")
    path = path / TOGETHER if (path / TOGETHER).is_file() else path
    if path.is_file():
        yield from clevr.read_document(path, tasks, images, _COUNTING)
        return
    files = files_in(path, "scenes/*.json")
    if not files:
        raise InputError(f"{path} holds neither {TOGETHER} nor scenes/*.json; give the folder with images and scenes")
    if "math" in tasks:
        make = partial(_read_scene, Path(images) if images else path / "images")
        yield from read_rows(json_files(files), make, "a Super-CLEVR scene")


def _read_scene(folder: Path, row: dict, file: Path, line: None) -> Iterator[Sample]:
    image, answer = image_in(folder, row["image_filename"]), str(len(row["objects"]))
    yield clevr.count_sample(_COUNTING, COUNTING, answer, image, file, line)

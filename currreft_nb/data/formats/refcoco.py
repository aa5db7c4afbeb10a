"""RefCOCO, RefCOCO+, RefCOCOg, RefCLEF and RefGTA: phrases for objects, in the layout of the refer toolkit.

    refcoco/refs(unc).p      a pickled list, one entry for each object that is described:
        {"ref_id": 0, "ann_id": 1719310, "image_id": 581857, "category_id": 1, "split": "train", "sent_ids": [0, 1, 2],
         "file_name": "COCO_train2014_000000581857_16.jpg", "sentences": [{"sent_id": 0, "sent": "the lady with the blue
         shirt", "raw": "THE LADY WITH THE BLUE SHIRT", "tokens": ["the", "lady", "with", "the", "blue", "shirt"]}]}
    refcoco/instances.json   the objects, as in COCO: {"id": 1719310, "image_id": 581857, "bbox": [103, 93, 226, 298]}

Each sentence is a detection question, unless it describes two objects of the image. `extra["others"]` has the other
objects of the image, `extra["split"]` the authors' split. Classification asks for the categories of all its objects.
The images are COCO's train2014; RefGTA has its own.
"""

import io
import pickle
from collections import defaultdict
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.core.samples import Sample
from currreft_nb.data.formats.coco import Instances, about_image, load, read_things
from currreft_nb.data.images import BadRow
from currreft_nb.data.reading import common

# The last two are the toolkit's own, for COCO and for RefCLEF
IMAGE_FOLDERS = ("train2014", "images/train2014", "images", "images/mscoco/images/train2014", "images/saiapr_tc-12")
PLAIN = (str, int, float, bool, type(None))  # types of the values that a pickle may hold, in lists, tuples and dicts


def read(
    path: Path | str,
    tasks: Collection[str] = ("detection", "classification"),
    *,
    split: str = "",
    by: str = "",
    images: str = "",
) -> common.Items:
    """Yield the questions of a folder with instances.json and refs(*).p, or of one of its refs files.

    `split`: one of the authors' splits (train, val, test, testA, ...); default: all. `by`: the makers of the splits
    (unc, google, umd), for a folder with several refs files. `images`: the folder of the images; default: one of
    `IMAGE_FOLDERS` in the folder or in the two above. Raises `InputError`.
    """
    path = common.need_file(path, "a folder with instances.json and refs(unc).p")
    file = path if path.is_file() else _refs_file(path, by)
    refs = _of_split(load_pickle(file), file, split)
    found = load(common.need_file(file.parent / "instances.json", "a folder with instances.json next to the refs file"))
    above = [file.parent, *list(file.absolute().parents)[1:3]]
    places = [folder / name for folder in above for name in IMAGE_FOLDERS]
    shown = [found.images[ref["image_id"]]["file_name"] for ref in refs if ref.get("image_id") in found.images]
    folder = common.find_images([Path(images)] if images else places, shown, file)
    by_image = defaultdict(list)
    for ref in refs:
        if ref.get("image_id") in found.images and isinstance(ref.get("sentences"), list):
            by_image[ref["image_id"]].append(ref)
        else:
            reason = "phrase of an unknown image, or without sentences"
            yield common.Rejected(file=str(file), reason=reason, value=f"ref {ref.get('ref_id')}")
    rows = ((file, None, {"image": found.images[id], "refs": group}) for id, group in by_image.items())
    yield from common.read_rows(rows, partial(_read_image, found, folder, tasks), "a refs entry")


def _refs_file(folder: Path, by: str) -> Path:
    names = sorted(path.name.removeprefix("refs(").removesuffix(").p") for path in folder.glob("refs(*).p"))
    if not names:
        raise InputError(f"{folder} holds no refs(*).p; give the folder that does, such as refer/data/refcoco")
    if by:
        common.check_known(folder, "refs file by", by, names)
    elif len(names) > 1:
        raise InputError(f"{folder} holds the splits of {', '.join(names)}; choose one, as in by={names[0]}")
    return folder / f"refs({by or names[0]}).p"


def _of_split(refs: Any, file: Path, split: str) -> list[dict]:
    if not isinstance(refs, list) or not all(isinstance(ref, dict) for ref in refs):
        raise InputError(f"{file} does not hold a list of phrases; give another refs file")
    if not split:
        return refs
    common.check_known(file, "split", split, sorted({str(ref.get("split")) for ref in refs}))
    return [ref for ref in refs if ref.get("split") == split]


def _read_image(
    found: Instances, folder: Path, tasks: Collection[str], row: dict, file: Path, line: None
) -> common.Items:
    image, refs = row["image"], row["refs"]
    about = about_image(file.parent.name, folder, image)
    things = dict((yield from read_things(found, image, about["size"], file.parent / "instances.json")))
    if "classification" in tasks:
        id, every = f"{about['source']}-{Path(about['image']).stem}", list(things.values())
        yield from common.object_samples(every, id, found.listed, ["classification"], file, about)
    if "detection" in tasks:
        scene = {"things": things, "meant": _meant(refs), "questions": _questions(refs, things)}
        rows = ((file, None, {"ref": ref, "sentence": item}) for ref in refs for item in ref["sentences"])
        yield from common.read_rows(rows, partial(_read_sentence, scene, about), "a sentence of a refs entry")


def _texts(ref: dict) -> list[str]:
    return [str(item.get("sent", "")).strip() for item in ref["sentences"] if isinstance(item, dict)]


def _meant(refs: list[dict]) -> dict[str, set]:
    """Return the ids of the objects that each sentence describes in one image."""
    meant = defaultdict(set)
    for ref in refs:
        for text in _texts(ref):
            meant[text.casefold()].add(ref.get("ann_id"))
    return meant


def _questions(refs: list[dict], things: dict[Any, common.AnnotatedObject]) -> dict[common.AnnotatedObject, str]:
    """Return the first sentence for each object that is described."""
    described = [ref for ref in refs if ref.get("ann_id") in things and any(_texts(ref))]
    return {things[ref["ann_id"]]: next(filter(None, _texts(ref))) for ref in described}


def _read_sentence(scene: dict, about: dict, row: dict, file: Path, line: None) -> Iterator[Sample]:
    ref, text = row["ref"], row["sentence"]["sent"].strip()
    name = f"ref {ref.get('ref_id')}, {text!r}"
    thing = scene["things"].get(ref.get("ann_id"))
    if thing is None or thing.box is None:
        raise BadRow("phrase of an object without a usable box", name)
    if not text or "\ufffd" in text:
        raise BadRow("phrase is empty or not UTF-8", name)
    if len(scene["meant"][text.casefold()]) > 1:
        raise BadRow("phrase describes several objects of the image", name, fault=False)
    others = common.other_objects(list(scene["things"].values()), thing, scene["questions"])
    yield Sample(
        id=f"{about['source']}-{ref['ref_id']}-{row['sentence']['sent_id']}",
        task="detection",
        question=text,
        answer=[list(thing.box)],
        extra={"label": thing.label, "others": others, "split": ref.get("split")} | common.origin(file),
        **about,
    )


def _refuse_bytearray(_: pickle.Unpickler) -> None:
    raise pickle.UnpicklingError("it holds a bytearray")


class _PlainUnpickler(pickle._Unpickler):  # the one in Python: its memo is a dict, where a large index costs nothing
    dispatch = pickle._Unpickler.dispatch | {pickle.BYTEARRAY8[0]: _refuse_bytearray}  # it allocates any claimed size

    def find_class(self, module: str, name: str) -> None:
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def get_extension(self, code: int) -> None:  # an extension that the process has registered bypasses `find_class`
        raise pickle.UnpicklingError(f"it uses extension {code}")


def load_pickle(path: Path | str) -> Any:
    """Return the value in a pickle of lists, tuples, dicts, strings, numbers, booleans and None.

    A pickle is a program: the default loader calls any function that the file names. This one refuses all names.
    Raises `InputError` with the reason.
    """
    data = Path(path).read_bytes()
    try:
        value = _PlainUnpickler(io.BytesIO(data), encoding="utf-8", errors="replace").load()
        _check_plain(value)
    except Exception as error:  # damaged data raise errors of many types
        why = str(error) or "it ends too early"
        raise InputError(
            f"{path} is not a pickle of plain lists, dicts, strings and numbers ({why}); do not open it with another "
            "loader: get the original file, or write the data as JSON lines and read them as a table"
        ) from None
    return value


def _check_plain(value: Any) -> None:
    seen, waiting = set[int](), [value]
    while waiting:
        item = waiting.pop()
        if type(item) in (list, tuple, dict):
            if id(item) not in seen:
                seen.add(id(item))
                waiting += [*item, *item.values()] if isinstance(item, dict) else item
        elif type(item) not in PLAIN:
            raise ValueError(f"it holds a {type(item).__name__}")

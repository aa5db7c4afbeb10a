"""Pictures out of the cells of a table: the name of a file, its content, base64, or a list of one of these.

    {"image": "a.png"}    {"image": {"bytes": ..., "path": "a.png"}}    {"images": ["a.png"]}    {"images": "['a.png']"}

A sample has one picture, and no picture is lost in silence: a row with several makes no question, and a row whose
question says `<image>`, or that has a picture in another column, is rejected. Content is written to files, because a
sample names a file.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from currreft_nb.core.files import atomic_write
from currreft_nb.data.images import BadRow
from currreft_nb.data.reading.common import image_in
from currreft_nb.data.reading.golds import literal
from currreft_nb.data.reading.tables import whole
from currreft_nb.data.reading.wording import count_places

SIGNATURES = {b"\xff\xd8": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"RIFF": ".webp", b"BM": ".bmp"}
IMAGES = ("image", "file_name", "img", "image_path", "image_file_name")  # usual columns of pictures
PICTURE_FILE = re.compile(r"[^\n]+\.(?:jpe?g|png|gif|bmp|webp|tiff?|ppm)", re.IGNORECASE)
PICTURE_TEXT = ("/9j/", "iVBORw0KGgo", "data:image/")  # how JPEG and PNG begin in base64
PICTURE_NAME = re.compile(r"image|img|pic|photo|frame|screenshot", re.IGNORECASE)


def picture_columns(image: str) -> tuple[str, ...]:
    """Return the columns that may hold the picture, by the option `image`.

    >>> picture_columns("image"), picture_columns("photo"), picture_columns("")
    (('image', 'images'), ('photo',), ())
    """
    return ("image", "images") if image == "image" else (image,) if image else ()


def picture_cell(row: dict, columns: Sequence[str], asked: str, file: Path) -> Any:
    """Return the row's picture, which the first filled one of `columns` holds, or None without a picture.

    `asked` is the question as the row words it. Raises `BadRow` where it has a place for a picture (`<image>`) and the
    row gives none, where it has several places, where the row gives several pictures, and where none of `columns` is
    filled but another column seems to hold a picture. Without `columns`, the row is known to give none.
    """
    cell = only_image(cell_of(row, columns))
    numbered = [
        other for column in columns if column[-1].isdigit() and row.get(column) for other in numbered_like(column)
    ]
    if any(row.get(other) for other in numbered):
        raise BadRow("row shows several images, and a sample holds one", ", ".join(columns), fault=False)
    places = count_places(asked)
    if cell and places > 1:
        raise BadRow("question says <image> several times, and the row gives one picture", f"{places} times")
    if not cell and (places or columns):
        _refuse_loss(whole(row, file), columns, places)
    return cell


def cell_of(row: dict, columns: Sequence[str]) -> Any:
    """Return the first of the cells that is filled, or None."""
    return next((row[column] for column in columns if row.get(column)), None)


def numbered_like(column: str) -> list[str]:
    """Return the names of a numbered column's companions, which hold a row's other pictures.

    >>> numbered_like("image_2")[:2], numbered_like("image")
    (['image_1', 'image_3'], [])
    """
    stem = column.rstrip("0123456789")
    return [f"{stem}{number}" for number in range(1, 10) if stem != column != f"{stem}{number}"]


def _refuse_loss(row: dict, columns: Sequence[str], places: int) -> None:
    """Raise `BadRow` if the question has a place for a picture, or if a column that is not asked for holds one."""
    others = [name for name in row if name not in columns]
    holding = [name for name in others if _holds_picture(row[name])]
    named = holding or [name for name in others if row[name] and PICTURE_NAME.search(name)]
    hint = f"column {named[0]!r} probably holds it: write image={named[0]}; " if named else ""
    listed = f"{hint}columns are: {', '.join(map(str, row))}"
    if places:
        raise BadRow("question says <image>, and the row gives no picture", listed)
    if holding:
        raise BadRow("row gives no picture, and another column seems to hold one", f"{listed}; image= reads none")


def _holds_picture(value: Any) -> bool:
    """Return whether a cell looks like a picture: the name of an image file, its content, or a list of these."""
    if isinstance(value, list | tuple):
        return bool(value) and all(map(_holds_picture, value))
    if isinstance(value, dict):
        return isinstance(value.get("bytes"), bytes) or {"bytes", "path"} <= value.keys()
    if isinstance(value, bytes):
        return value.startswith(tuple(SIGNATURES))
    text = value.strip() if isinstance(value, str) else ""
    return PICTURE_FILE.fullmatch(text) is not None or text.startswith(PICTURE_TEXT)


def image_of(value: Any, folder: Path, extracted: Path | None) -> Path | None:
    """Return the file of a row's image, or None for a row without one. Raises `BadRow` for several images.

    `value` is a path relative to `folder`; or the image as bytes or {"bytes", "path"}, which is written to `extracted`;
    or a list with one of these.
    """
    value = only_image(value)
    if isinstance(value, dict):
        value = value["bytes"] or value["path"]
    if isinstance(value, bytes):
        return write_out(value, extracted)
    return image_in(folder, value) if value else None


def need_image(value: Any, folder: Path, extracted: Path | None) -> Path:
    """Return the file of a row's image. Raises `BadRow` for a row without one."""
    path = image_of(only_image(value), folder, extracted)
    if path is None:
        raise BadRow("row has no image")
    return path


def only_image(value: Any) -> Any:
    """Return the image of a cell that may be a list, or the text of one. Raises `BadRow` for several images.

    None for an empty list.
    """
    if isinstance(value, str) and value.startswith("["):
        value = literal(value)
    if not isinstance(value, list | tuple):
        return value
    if len(value) > 1:
        raise BadRow("row shows several images, and a sample holds one", f"{len(value)} images", fault=False)
    return value[0] if value else None


def decoded(text: str) -> bytes:
    """Return the bytes of a picture in base64, or in a data address (`data:image/png;base64,...`). Raises `BadRow`."""
    try:
        data = base64.b64decode(text.partition("base64,")[2] if text.startswith("data:") else text, validate=True)
    except ValueError as error:
        raise BadRow("image is not base64", f"{error}: {text[:40]}") from None
    if not data.startswith(tuple(SIGNATURES)):
        raise BadRow("base64 does not hold a picture", text[:40])
    return data


def write_out(data: bytes, extracted: Path | None) -> Path:
    """Write the bytes of an image to the folder and return its path. Raises `BadRow` if no folder was named."""
    if extracted is None:
        raise BadRow("image is inside the table, and no folder was named to write it to")
    extracted.mkdir(parents=True, exist_ok=True)
    suffix = next((suffix for start, suffix in SIGNATURES.items() if data.startswith(start)), "")
    path = extracted / (hashlib.sha256(data).hexdigest()[:24] + suffix)
    if not path.is_file():
        with atomic_write(path, "wb") as stream:
            stream.write(data)
    return path

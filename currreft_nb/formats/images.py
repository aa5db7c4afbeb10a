"""Turn image files into pixels: upright, RGB, within a pixel budget, with a fingerprint of what they show."""

import hashlib
import math
import os
import shutil
from pathlib import Path

from PIL import Image, ImageOps

from currreft_nb.boxes import Size

SUFFIXES = {"JPEG": ".jpg", "PNG": ".png"}  # formats that are stored as they came; all others become PNG
ORIENTATION = 0x0112  # EXIF tag: how a camera was held
MAX_ASPECT_RATIO = 200  # the Qwen-VL processors refuse longer images


class ImageProblem(ValueError):
    """The file cannot be used as an image; `reason` can be counted, `value` tells the particulars."""

    def __init__(self, reason: str, value: str = ""):
        super().__init__(f"{reason}: {value}" if value else reason)
        self.reason, self.value = reason, value


def image_size(path: str | os.PathLike) -> Size:
    """Return (width, height) in pixels as a viewer shows the image, from its header. Raises `ImageProblem`."""
    with _open(path) as image:
        turned = image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
        return image.size[::-1] if turned else image.size


def read_image(path: str | os.PathLike, size: Size | None = None) -> Image.Image:
    """Return the image in RGB, on white where it was transparent, turned as its EXIF data says.

    `size` is the (width, height) that the annotation recorded: where only the unturned image has it, the annotation
    was made on the unturned pixels, and so they are returned. Raises `ImageProblem` for a file that is missing,
    damaged, too large or too long, or whose size is not the recorded one.
    """
    with _open(path) as image:
        try:
            image.load()
            upright = image if image.getexif().get(ORIENTATION, 1) == 1 else ImageOps.exif_transpose(image)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ImageProblem("image cannot be read", str(error)) from None
        chosen = image if size is not None and upright.size != tuple(size) == image.size else upright
        if size is not None and chosen.size != tuple(size):
            raise ImageProblem("image size differs from the recorded size", f"{chosen.size}, recorded {tuple(size)}")
        if max(chosen.size) > MAX_ASPECT_RATIO * min(chosen.size):
            raise ImageProblem(f"aspect ratio is above {MAX_ASPECT_RATIO}", f"{chosen.size}")
        return _to_rgb(chosen)


def _open(path: str | os.PathLike) -> Image.Image:
    if not Path(path).is_file():
        raise ImageProblem("image does not exist", str(path))
    try:
        return Image.open(path)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageProblem("image cannot be read", str(error)) from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel: a plain conversion would clip all but the darkest 256 levels
        image = image.point(lambda level: level / 256).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def content_hash(image: Image.Image) -> str:
    """Return a fingerprint of the pixels: the same for two files that decode alike, whatever else they hold.

    >>> content_hash(Image.new("RGB", (2, 1))) == content_hash(Image.new("RGB", (1, 2)))
    False
    """
    return hashlib.sha256(f"{image.width}x{image.height}:".encode() + image.tobytes()).hexdigest()


def file_hash(path: str | os.PathLike) -> str:
    """Return the SHA-256 of the file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def shrunk_size(size: Size, max_pixels: int) -> Size:
    """Return the largest (width, height) of the same shape with at most `max_pixels` pixels; 0 stands for no limit.

    >>> shrunk_size((640, 480), 76_800), shrunk_size((10, 10), 0)
    ((320, 240), (10, 10))
    """
    width, height = size
    if max_pixels <= 0 or width * height <= max_pixels:
        return (width, height)
    factor = math.sqrt(max_pixels / (width * height))
    return (max(1, math.floor(width * factor)), max(1, math.floor(height * factor)))


def store_image(path: str | os.PathLike, image: Image.Image, size: Size, folder: Path) -> str:
    """Store the image in `folder` at `size` and return its file name, which is a hash of the file's content.

    A JPEG or PNG file that holds exactly these pixels is copied byte for byte; everything else is encoded again.
    """
    with _open(path) as original:
        kind = original.format
        plain = original.mode in ("RGB", "L") and original.getexif().get(ORIENTATION, 1) == 1
        plain = plain and not original.has_transparency_data
    suffix = SUFFIXES.get(kind, ".png")
    partial = folder / f"partial{suffix}"
    if plain and kind in SUFFIXES and size == image.size:
        shutil.copyfile(path, partial)
    else:
        image = image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)
        image.save(partial, **({"quality": 95, "subsampling": 0} if suffix == ".jpg" else {}))
    name = file_hash(partial)[:24] + suffix
    os.replace(partial, folder / name)
    return name

"""Turn image files into pixels: upright, RGB, within a pixel budget, with a fingerprint of the pixels.

A file is read once, so that the bytes decoded, fingerprinted and stored are the same even if the file changes.
"""

import hashlib
import io
import math
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from currreft_nb.core.boxes import Size

SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png"}  # stored as they came; all other formats become PNG
SPELLINGS = {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg", ".tif": ".tiff"}
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")  # Pillow knows more, some of which run programs
ORIENTATION = 0x0112  # EXIF tag: how a camera was held
MAX_ASPECT_RATIO = 200  # the Qwen-VL processors refuse longer images
DEPTHS = (8, 10, 12, 14, 16, *range(17, 33))  # bits of values: what cameras and scanners write, then any number
DARKEST = 32  # of 256, what is brightest in a picture of 16 bits: below, its values surely have another range
LARGEST_PIXELS = 100_000_000  # 300 MB once decoded; a few kilobytes of PNG can claim more
LARGEST_BYTES = 256 * 1024**2


class BadRow(ValueError):
    """A row that cannot become a sample; `reason`, `value` and `fault` as in `data.reading.common.Rejected`."""

    def __init__(self, reason: str, value: str = "", fault: bool = True):
        super().__init__(f"{reason}: {value}" if value else reason)
        self.reason, self.value, self.fault = reason, value, fault


class ImageProblem(BadRow):
    """A file that cannot be used as an image; `reason` can be counted, `value` has the details."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image file in memory: its pixels (RGB, upright), and its bytes if they hold exactly these pixels, else None.

    `suffix`: of the format it is stored in; `mended`: the corrections that were made.
    """

    pixels: Image.Image
    data: bytes | None
    suffix: str
    mended: tuple[str, ...] = ()


def image_size(path: Path | str) -> Size:
    """Return the (width, height) in pixels of the upright image, from its header. Raises `ImageProblem`."""
    _size_bytes(path)
    with _open(path) as image:
        # Pillow decodes a whole PNG to look for EXIF data after its pixels, where no program puts them.
        tags = {} if image.format == "PNG" and "exif" not in image.info else image.getexif()
        turned = tags.get(ORIENTATION, 1) in (5, 6, 7, 8)
        return image.size[::-1] if turned else image.size


def read_image(path: Path | str, size: Size | None = None) -> Image.Image:
    """Return the pixels of `read_picture`."""
    return read_picture(path, size).pixels


def read_picture(path: Path | str, size: Size | None = None) -> Picture:
    """Read an image file in RGB, on white where it was transparent, turned as its EXIF data says.

    `size` is the annotated (width, height): if only the unturned image has it, the annotation was made on the unturned
    pixels, which are then returned. Raises `ImageProblem` for a file that is missing, damaged or too large, and for an
    image that is too long, whose size is not the annotated one, or whose values have a range that nobody states.

    Grey values of 16 or 32 bits become 8 bits by the range that the picture uses: the smallest depth of `DEPTHS` that
    holds its largest value. So 8 or 12 bits in a file of 16 keep their brightness; a real 16-bit picture is brightened
    if it uses a quarter of the range or less. One that uses less than 5 bits, such as a mask of ones, is refused.
    """
    data = _read_bytes(path)
    with _open(io.BytesIO(data)) as image:
        tiles = getattr(image, "tile", ())  # how the file stores its pixels; gone once they are loaded
        deep = any(";16" in str(tile[3]) or "65535" in str(tile[3]) for tile in tiles)
        try:
            image.load()
            tagged = image.getexif().get(ORIENTATION, 1) != 1
            upright = ImageOps.exif_transpose(image) if tagged else image
        except (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError) as error:
            raise ImageProblem("image cannot be read", str(error)) from None
        chosen = image if size is not None and upright.size != tuple(size) == image.size else upright
        if size is not None and chosen.size != tuple(size):
            raise ImageProblem("image size differs from the recorded size", f"{chosen.size}, recorded {tuple(size)}")
        check_shape(chosen.size, chosen.size)
        pixels, scaled = _to_rgb(chosen, deep)
        mended = (*_mended(image, chosen, Path(path).suffix), *scaled)
        plain = image.mode in ("RGB", "L") and not tagged and not image.has_transparency_data
        whole = plain and image.format in SUFFIXES
        suffix = SUFFIXES.get(image.format or "", ".png")
    return Picture(pixels=pixels, data=data if whole else None, suffix=suffix, mended=mended)


def _size_bytes(path: Path | str) -> int:
    """Return the size of a regular file; a pipe or a device would never end."""
    try:
        size = os.path.getsize(path) if Path(path).is_file() else None
    except (OSError, ValueError) as error:  # a name that is too long or holds a null character
        raise ImageProblem("image does not exist", str(error)) from None
    if size is None:
        raise ImageProblem("image does not exist", str(path))
    if size == 0:
        raise ImageProblem("image file is empty", str(path))
    if size > LARGEST_BYTES:
        raise ImageProblem(f"image file is larger than {LARGEST_BYTES >> 20} MiB", f"{size:,} bytes")
    return size


def _read_bytes(path: Path | str) -> bytes:
    size = _size_bytes(path)
    try:
        with open(path, "rb") as stream:
            return stream.read(size)
    except OSError as error:
        raise ImageProblem("image cannot be read", str(error)) from None


def _open(source: Path | str | io.BytesIO) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit follows
            image = Image.open(source, formats=FORMATS)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageProblem("image cannot be read", str(error)) from None
    if image.width * image.height > LARGEST_PIXELS:
        image.close()
        raise ImageProblem(f"image has more than {LARGEST_PIXELS:,} pixels", f"{image.size}")
    return image


def check_shape(size: Size, stored: Size) -> None:
    """Raise `ImageProblem` for an image of (width, height) that is too long at the size at which it is stored."""
    if max(stored) > MAX_ASPECT_RATIO * min(stored):
        raise ImageProblem(
            f"aspect ratio is above {MAX_ASPECT_RATIO}", f"{size}" + (f", stored as {stored}" if stored != size else "")
        )


def _to_rgb(image: Image.Image, deep: bool) -> tuple[Image.Image, tuple[str, ...]]:
    """Return the image in RGB, and what was done to its values; `deep`: the file has 16 bits a channel."""
    scaled: tuple[str, ...] = ()
    if image.mode == "F":
        raise ImageProblem("image has fractional pixel values of an unknown range")
    if image.mode.startswith("I"):
        image, depth = _eight_bits(image)
        scaled = (f"scaled from {depth} to 8 bits",) if depth > 8 else ()
    elif deep and (brightest := _brightest(image)) < DARKEST:  # Pillow has kept the upper 8 of 16 bits
        raise ImageProblem("image has 16 bits a channel and uses an unknown part of them", f"at most {brightest}/255")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image)
    return (image if image.mode == "RGB" else image.convert("RGB")), scaled


def _eight_bits(image: Image.Image) -> tuple[Image.Image, int]:
    """Return a grey image of 16 or 32 bits in 8 bits, and the bits that its values take."""
    values = np.asarray(image)
    if values.min() < 0:
        raise ImageProblem("image has negative pixel values of an unknown range", f"lowest {values.min()}")
    brightest = int(values.max())
    depth = next(bits for bits in DEPTHS if brightest < 1 << bits)
    if 0 < brightest < DARKEST:
        raise ImageProblem("image has grey values of 16 bits or more, and nothing bright", f"at most {brightest}")
    return Image.fromarray((values >> (depth - 8)).astype(np.uint8)), depth


def _brightest(image: Image.Image) -> int:
    colours = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))[..., :3]
    return int(colours.max())


def _mended(image: Image.Image, chosen: Image.Image, suffix: str) -> tuple[str, ...]:
    mended = []
    suffix, kind = suffix.lower(), f".{(image.format or '').lower()}".replace(".jpeg", ".jpg").replace(".mpo", ".jpg")
    if SPELLINGS.get(suffix, suffix) != kind and image.format != "PPM":
        mended.append(f"named {suffix or 'without extension'}, is {kind}")
    if chosen is not image:
        mended.append("turned upright as its EXIF data says")
    if image.mode not in ("RGB", "L"):
        mended.append(f"converted from {image.mode} to RGB")
    return tuple(mended)


def content_hash(image: Image.Image) -> str:
    """Return a fingerprint of the pixels, which ignores metadata and encoding.

    >>> content_hash(Image.new("RGB", (2, 1))) == content_hash(Image.new("RGB", (1, 2)))
    False
    """
    return hashlib.sha256(f"{image.width}x{image.height}:".encode() + image.tobytes()).hexdigest()


def shrunk_size(size: Size, max_pixels: int) -> Size:
    """Return the largest (width, height) of the same shape with at most `max_pixels` pixels (0: no limit).

    >>> shrunk_size((640, 480), 76_800), shrunk_size((10, 10), 0)
    ((320, 240), (10, 10))
    """
    width, height = size
    if max_pixels <= 0 or width * height <= max_pixels:
        return (width, height)
    factor = math.sqrt(max_pixels / (width * height))
    return (max(1, math.floor(width * factor)), max(1, math.floor(height * factor)))


def store_picture(picture: Picture, size: Size, folder: Path | str) -> str:
    """Store the picture in `folder` at `size` and return its file name, a hash of the file's content.

    A JPEG or PNG file that holds exactly these pixels is copied byte for byte; all others are encoded again.
    """
    data = picture.data if picture.data is not None and size == picture.pixels.size else _encode(picture, size)
    name = hashlib.sha256(data).hexdigest()[:24] + picture.suffix
    target = os.path.join(folder, name)
    if not os.path.exists(target):
        partial = os.path.join(folder, f"{os.getpid()}{picture.suffix}.partial")
        with open(partial, "wb") as stream:
            stream.write(data)
        os.replace(partial, target)
    return name


def _encode(picture: Picture, size: Size) -> bytes:
    pixels = picture.pixels
    if size != pixels.size:
        pixels = pixels.resize(size, Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    jpeg = picture.suffix == ".jpg"
    pixels.save(stream, "JPEG" if jpeg else "PNG", **({"quality": 95, "subsampling": 0} if jpeg else {}))
    return stream.getvalue()

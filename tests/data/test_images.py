"""Image files: every way in which a picture's pixels differ from what its file seems to say."""

import io
import os
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from currreft_nb.core.files import file_digest
from currreft_nb.data.images import (
    LARGEST_BYTES,
    ImageProblem,
    content_hash,
    image_size,
    read_image,
    read_picture,
    shrunk_size,
    store_picture,
)

ORIENTATION = 0x0112


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def turned(path, orientation=6, size=(30, 20)):
    """Save a picture with a red left edge that a camera held sideways."""
    image = Image.new("RGB", size)
    image.paste((255, 0, 0), (0, 0, 5, size[1]))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return save(path, image, exif=exif)


def test_a_turned_image_is_read_as_a_viewer_shows_it(tmp_path):
    path = turned(tmp_path / "a.png")
    image = read_image(path)
    assert image_size(path) == image.size == (20, 30)
    assert image.getpixel((10, 1)) == (255, 0, 0)  # a quarter to the right: the left edge is on top


def test_an_annotation_of_the_unturned_pixels_is_respected(tmp_path):
    path = turned(tmp_path / "a.png")
    assert read_image(path, (20, 30)).size == (20, 30)
    assert read_image(path, (30, 20)).getpixel((1, 10)) == (255, 0, 0)


def test_an_upside_down_image_keeps_its_size_and_is_turned(tmp_path):
    path = turned(tmp_path / "a.png", orientation=3)
    assert read_image(path, (30, 20)).getpixel((29, 10)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("image", "pixel", "why"),
    [
        (Image.new("RGBA", (4, 4), (255, 0, 0, 0)), (255, 255, 255), "a fully transparent pixel shows the white below"),
        (Image.new("RGBA", (4, 4), (255, 0, 0, 255)), (255, 0, 0), "an opaque pixel stays"),
        (Image.new("LA", (4, 4), (0, 0)), (255, 255, 255), "grey with transparency"),
        (Image.new("I;16", (4, 4), 0x8000), (128, 128, 128), "16 bits are scaled, not clipped"),
        (Image.new("L", (4, 4), 7), (7, 7, 7), "grey"),
        (Image.new("1", (4, 4), 1), (255, 255, 255), "black and white"),
        (Image.new("RGB", (4, 4), (1, 2, 3)).convert("P"), None, "palette"),
    ],
)
def test_every_mode_becomes_rgb(tmp_path, image, pixel, why):
    found = read_image(save(tmp_path / "a.png", image))
    assert found.mode == "RGB"
    assert pixel is None or found.getpixel((1, 1)) == pixel, why


def test_cmyk_becomes_rgb(tmp_path):
    assert read_image(save(tmp_path / "a.jpg", Image.new("CMYK", (8, 8)))).getpixel((4, 4)) == (255, 255, 255)


RAMP = np.linspace(0, 255, 64 * 64).reshape(64, 64)


@pytest.mark.parametrize(
    ("name", "values", "bits", "why"),
    [
        ("a.png", (RAMP * 257).astype(np.uint16), 16, "the whole range"),
        ("a.png", (RAMP * 16).astype(np.uint16), 12, "a camera's 12 bits"),
        ("a.png", (RAMP * 4).astype(np.uint16), 10, "10 bits"),
        ("a.png", RAMP.astype(np.uint16), 8, "8 bits in 16"),
        ("a.tiff", (RAMP * 257).astype(np.uint16), 16, "16 bits in TIFF"),
        ("a.tiff", RAMP.astype(np.int32), 8, "8 bits in 32, as scikit-image writes them"),
        ("a.tiff", (RAMP * 65_793).astype(np.int32), 24, "24 bits in 32"),
        ("a.tiff", (RAMP * 514).astype(np.int32), 17, "a depth of no device"),
    ],
)
def test_deep_grey_keeps_its_brightness(tmp_path, name, values, bits, why):
    picture = read_picture(save(tmp_path / name, Image.fromarray(values)))
    grey = np.asarray(picture.pixels.convert("L")).astype(int)
    assert abs(grey - RAMP).max() <= 1, why
    assert [text for text in picture.mended if "bits" in text] == ([f"scaled from {bits} to 8 bits"] * (bits > 8))


@pytest.mark.parametrize("largest", [1, 15, 31])
@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
def test_deep_grey_that_would_be_black_is_refused(tmp_path, name, largest):
    values = (RAMP > 128).astype(np.uint16 if name == "a.png" else np.int32) * largest
    with pytest.raises(ImageProblem, match=f"and nothing bright: at most {largest}"):
        read_image(save(tmp_path / name, Image.fromarray(values)))


def test_a_black_picture_stays_black(tmp_path):
    assert read_image(save(tmp_path / "a.png", Image.new("I;16", (4, 4), 0))).getextrema() == ((0, 0),) * 3


def deep_png(path, channels, kind):
    """Write a PNG of 16 bits a channel; `kind`: 2 is colour, 4 grey and 6 colour with transparency."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in channels)
    head = struct.pack(">IIBBBBB", channels.shape[1], channels.shape[0], 16, kind, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


@pytest.mark.parametrize("kind", [2, 4, 6])
@pytest.mark.parametrize(("factor", "read"), [(257, True), (16, False), (1, False)])
def test_deep_colour_is_read_or_refused_and_never_black(tmp_path, kind, factor, read):
    opaque = [np.full_like(RAMP, 65_535)] if kind > 2 else []
    path = deep_png(tmp_path / "a.png", np.dstack([RAMP * factor] * (1 if kind == 4 else 3) + opaque), kind)
    if read:
        assert read_image(path).getextrema() == ((0, 255),) * 3
    else:
        with pytest.raises(ImageProblem, match="16 bits a channel and uses an unknown part"):
            read_image(path)


def test_a_deep_colour_picture_without_compression_is_no_exception(tmp_path):
    (tmp_path / "a.ppm").write_bytes(b"P6 64 64 65535\n" + np.dstack([RAMP] * 3).astype(">u2").tobytes())
    with pytest.raises(ImageProblem, match="16 bits a channel"):
        read_image(tmp_path / "a.ppm")


def bad_files(folder):
    whole = io.BytesIO()
    Image.effect_noise((200, 200), 90).convert("RGB").save(whole, "JPEG")
    (folder / "cut.jpg").write_bytes(whole.getvalue()[:4000])
    (folder / "empty.png").write_bytes(b"")
    (folder / "program.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    save(folder / "float.tiff", Image.new("F", (8, 8)))
    save(folder / "negative.tiff", Image.new("I", (8, 8), -1))
    os.mkfifo(folder / "pipe.png")
    (folder / "text.jpg").write_text("not an image")
    save(folder / "long.png", Image.new("RGB", (201, 1)))
    save(folder / "fine.png", Image.new("RGB", (200, 1)))


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("cut.jpg", None, "image cannot be read"),
        ("empty.png", None, "image file is empty"),
        ("text.jpg", None, "image cannot be read"),
        ("missing.png", None, "image does not exist"),
        ("program.eps", None, "image cannot be read"),  # Pillow would run Ghostscript on it
        ("float.tiff", None, "image has fractional pixel values of an unknown range"),
        ("negative.tiff", None, "image has negative pixel values of an unknown range"),
        ("pipe.png", None, "image does not exist"),  # reading it would wait for ever
        ("n" * 300 + ".png", None, "image does not exist"),
        ("long.png", None, "aspect ratio is above 200"),
        ("fine.png", (200, 2), "image size differs from the recorded size"),
    ],
)
def test_what_cannot_be_used_says_why(tmp_path, name, size, reason):
    bad_files(tmp_path)
    with pytest.raises(ImageProblem) as problem:
        read_image(tmp_path / name, size)
    assert problem.value.reason == reason
    assert read_image(tmp_path / "fine.png").size == (200, 1)  # the boundary


def bomb(path, side):
    """Write a PNG of a few kilobytes that claims side x side white pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 20_000, 9)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("side", [10_001, 100_000])  # just above our limit; above that of Pillow
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, side):
    path = bomb(tmp_path / "a.png", side)
    tracemalloc.start()
    with pytest.raises(ImageProblem, match=r"more than 100,000,000 pixels|exceeds limit"):
        read_image(path)
    with pytest.raises(ImageProblem):
        image_size(path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_file_too_large_for_a_picture_is_not_read(tmp_path):
    path = tmp_path / "a.png"
    with path.open("wb") as stream:
        stream.truncate(LARGEST_BYTES + 1)  # a hole: it takes no disk
    with pytest.raises(ImageProblem, match="larger than 256 MiB"):
        read_image(path)


@pytest.mark.parametrize(
    ("size", "limit", "result"),
    [
        ((640, 480), 640 * 480, (640, 480)),
        ((640, 480), 640 * 480 - 1, (639, 479)),
        ((640, 480), 0, (640, 480)),
        ((1, 90_000), 10, (1, 948)),  # a side of no pixels would be no image
    ],
)
def test_shrinking_stays_below_the_limit(size, limit, result):
    assert shrunk_size(size, limit) == result


def test_the_fingerprint_is_of_the_pixels(tmp_path):
    image = Image.effect_noise((16, 16), 90).convert("RGB")
    paths = [save(tmp_path / "a.png", image), save(tmp_path / "b.png", image, compress_level=0)]
    other = save(tmp_path / "c.png", image.rotate(180))
    assert len({file_digest(path) for path in paths}) == 2
    assert len({content_hash(read_image(path)) for path in [*paths, other]}) == 2


def store(path, folder, size=None):
    picture = read_picture(path)
    return store_picture(picture, size or picture.pixels.size, folder)


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_an_image_that_needs_no_change_is_copied_byte_for_byte(tmp_path, name):
    path = save(tmp_path / "in" / name, Image.effect_noise((16, 16), 90).convert("RGB"))
    stored = tmp_path / store(path, tmp_path)
    assert stored.read_bytes() == path.read_bytes() and stored.suffix == path.suffix
    assert not stored.is_symlink() and not stored.samefile(path)


def test_a_lying_extension_is_corrected_and_counted(tmp_path):
    path = save(tmp_path / "in" / "a.jpg", Image.new("RGB", (8, 8)), format="PNG")
    assert store(path, tmp_path).endswith(".png")
    assert read_picture(path).mended == ("named .jpg, is .png",)


@pytest.mark.parametrize(
    ("name", "options", "mended"),
    [
        ("a.jpeg", {}, ()),
        ("a.JPG", {"format": "JPEG"}, ()),
        ("a.tif", {}, ()),
        ("a.gif", {}, ("converted from P to RGB",)),
        ("a", {"format": "PNG"}, ("named without extension, is .png",)),
    ],
)
def test_corrections_are_reported(tmp_path, name, options, mended):
    picture = Image.new("RGB", (8, 8), "red").quantize() if name == "a.gif" else Image.new("RGB", (8, 8))
    assert read_picture(save(tmp_path / name, picture, **options)).mended == mended


def test_a_turned_image_is_reported(tmp_path):
    assert read_picture(turned(tmp_path / "a.png")).mended == ("turned upright as its EXIF data says",)


@pytest.mark.parametrize("save_as", ["PNG", "GIF"])
def test_a_changed_image_is_stored_upright_and_resized(tmp_path, save_as):
    path = turned(tmp_path / "in" / "a.png") if save_as == "PNG" else tmp_path / "in" / "a.gif"
    if save_as == "GIF":
        save(path, Image.new("RGB", (20, 30)))
    before = path.read_bytes()
    name = store(path, tmp_path, (10, 15))
    with Image.open(tmp_path / name) as stored:
        assert (stored.size, stored.mode, stored.format) == ((10, 15), "RGB", "PNG")
        assert stored.getexif().get(ORIENTATION, 1) == 1  # the pixels are turned: the tag must not turn them again
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, "in"])
    assert path.read_bytes() == before

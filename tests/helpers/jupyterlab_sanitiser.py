"""What JupyterLab does to untrusted HTML, as a check: whatever it would remove is an error."""

import base64
import io
import re
from html.parser import HTMLParser

from PIL import Image

# Tags, attributes and inline styles that the sanitiser of JupyterLab 4.6 lets through (@jupyterlab/apputils).
TAGS = {"b", "details", "div", "img", "pre", "span", "summary", "table", "td", "tr"}
ATTRIBUTES = {"style", "src", "alt"}
STYLES = {
    "align-items", "background-color", "border", "border-collapse", "border-radius", "color", "display",
    "flex-wrap", "font-size", "margin", "min-width", "opacity", "overflow", "padding", "text-align",
    "vertical-align", "white-space", "width", "word-break", "word-wrap",
}  # fmt: skip
VALUE = re.compile(r"[#a-zA-F0-9. -]+")
PICTURE = re.compile(r"data:image/(?:png|jpeg);base64,[A-Za-z0-9+/]+={0,2}")


class Sanitiser(HTMLParser):
    """Collects what a browser would see, and refuses what JupyterLab would remove."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.pictures = [], [], []

    def handle_starttag(self, tag, attributes):
        assert tag in TAGS, tag
        for name, value in attributes:
            assert name in ATTRIBUTES, f"{name} in {tag}"
            if name == "style":
                self.check_style(value)
            if name == "src":
                assert PICTURE.fullmatch(value), value[:60]
                self.pictures.append(value)
        if tag != "img":
            self.open.append(tag)

    @staticmethod
    def check_style(value):
        for part in value.split(";"):
            name, _, setting = part.partition(":")
            assert name in STYLES and VALUE.fullmatch(setting), part

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        self.text.append(data)

    def handle_comment(self, data):
        raise AssertionError(f"comment {data!r}")

    handle_decl = handle_pi = unknown_decl = handle_comment


def read(html):
    """Return the text and the pictures of a fragment, which must be safe and well formed."""
    sanitiser = Sanitiser()
    sanitiser.feed(html)
    sanitiser.close()
    assert not sanitiser.open, f"{sanitiser.open} stays open"
    text = "".join(sanitiser.text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", text)
    return text, sanitiser.pictures


def pixels(address):
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB")


def colour_at(image, x, y):
    return "#{:02X}{:02X}{:02X}".format(*image.getpixel((x, y)))


def draw_scene(folder):
    """Draw a yellow square from (10, 10) to (30, 30) on 64 x 64 dark pixels; return the file's path."""
    image = Image.new("RGB", (64, 64), "#203040")
    image.paste("#ffff00", (10, 10, 30, 30))
    image.save(folder / "scene.png")
    return str(folder / "scene.png")

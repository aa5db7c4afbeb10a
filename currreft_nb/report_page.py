"""An executed report as one HTML page for readers: no code, no script, no font and no style from outside.

The browser is told to run nothing and to fetch nothing, whatever a model or a data file wrote. Cells tagged
`notebook-only` are for whoever runs the notebook and are left out, `beside` and `several` without a second experiment
or evaluation; figures are stored in few colours, and on a narrow
screen shrink as far as their text stays readable and then scroll inside their own box.
"""

import base64
import io
import os
import re
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
from nbconvert import HTMLExporter
from PIL import Image

from currreft_nb import InputError, __version__
from currreft_nb.records import read_record

LOADING = {"src", "srcset", "data", "poster", "background"}  # attributes that are fetched when a page is opened
OUTSIDE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
OUTSIDE_STYLE = re.compile(r"""(?:@import|url\()\s*(?:url\()?\s*["']?(?:https?:)?//[^"')\s]+""", re.IGNORECASE)
HEADING = re.compile(r"""<h2 id="([^"]+)">(.*?)<a class="anchor-link\"""", re.DOTALL)
MARKDOWN_HEADING = re.compile(r"^#{2,3} (.+)$", re.MULTILINE)
NOTEBOOK_ONLY, BESIDE, SEVERAL = "notebook-only", "beside", "several"  # tags of cells
COLOURS = 96  # in a figure: enough for its lines, their pale shades and the edges of letters
READABLE = 0.8  # how far a figure's text may shrink
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
base-uri 'none'; form-action 'none'">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p class="about">{about}</p>
{note}</header>
<nav aria-label="Contents">
<b>Contents</b>
<ol>{contents}</ol>
<p class="hint">Wide tables and figures can be moved sideways.</p>
</nav>
<main>
{body}
</main>
<footer>Made by currreft-nb {version} from {source}.</footer>
</body>
</html>
"""


def export(notebook: Path, page: Path) -> None:
    """Write the executed notebook as one HTML page without its code; `InputError` if it would load from outside."""
    record = read_record(notebook.parent) or {}
    settings = record.get("settings", {})
    tree = nbformat.read(notebook, as_version=4)
    hidden = {NOTEBOOK_ONLY}
    hidden |= set() if settings.get("beside") else {BESIDE}
    hidden |= set() if len(settings.get("evaluations", ())) > 1 else {SEVERAL}
    tree.cells = [cell for cell in tree.cells if not hidden & set(cell.metadata.get("tags", []))]
    reframe_figures(tree)
    exporter = HTMLExporter(
        template_name="basic", exclude_input=True, exclude_input_prompt=True, exclude_output_prompt=True
    )
    body, _ = exporter.from_notebook_node(tree)
    html = PAGE.format(
        title=escape(settings.get("title") or page.parent.name),
        about=escape(about(record, page.parent.name)),
        note=f'<p class="note">{escape(settings["note"])}</p>\n' if settings.get("note") else "",
        contents="".join(f'<li><a href="#{name}">{text}</a></li>' for name, text in HEADING.findall(body)),
        style=Path(__file__).with_suffix(".css").read_text(encoding="utf-8"),
        body=body,
        version=__version__,
        source=escape(notebook.name),
    )
    if loads := outside_loads(html):
        raise InputError(f"{page} would load {loads[0]!r}; remove what displays it from {notebook}")
    partial = page.with_name(page.name + ".partial")
    partial.write_text(html, encoding="utf-8")
    os.replace(partial, page)


def about(record: dict[str, Any], name: str) -> str:
    """Return the line below the title: which experiment, and when the report was made."""
    made = f", reported on {record['finished'][:16].replace('T', ' at ')} UTC" if record.get("finished") else ""
    return f"Experiment {name}{made}."


def reframe_figures(tree: nbformat.NotebookNode) -> None:
    """Put each figure of a notebook, in few colours, into a box of its own that says below which heading it stands."""
    heading = "figure"
    for cell in tree.cells:
        if cell.cell_type == "markdown":
            heading = next(reversed(MARKDOWN_HEADING.findall(cell.source)), heading)
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                size = output.metadata.get("image/png", {})
                output.data = {"text/html": figure(output.data["image/png"], size, f"Figure: {heading}")}


def figure(data: str, size: dict[str, int], text: str) -> str:
    """Return a figure in a box: `data` is a PNG file in base64, `size` its width and height in CSS pixels, if known."""
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        flat = Image.new("RGB", image.size, "white")
        flat.paste(image, mask=image.getchannel("A") if image.mode == "RGBA" else None)
    width, height = size.get("width", flat.width), size.get("height", flat.height)
    stream = io.BytesIO()
    flat.quantize(COLOURS, dither=Image.Dither.NONE).save(stream, "png", optimize=True)
    address = f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
    shape = f'width="{width}" height="{height}" style="min-width:{round(READABLE * width)}px"'
    return f'<div class="figure"><img src="{address}" {shape} alt="{escape(text)}"></div>'


def outside_loads(html: str) -> list[str]:
    """Return what a page would load from another place when it is opened; links to click on and text are no loads.

    >>> outside_loads('<a href="https://a.b">paper</a> <img src="data:image/png;base64,AA=="> @import url(//a.b)')
    []
    >>> outside_loads('<script src="https://a.b/c.js"></script> <p style="background:url(//a.b/c.png)">')
    ['https://a.b/c.js', 'url(//a.b/c.png']
    """
    finder = _LoadFinder()
    finder.feed(html)
    finder.close()
    return finder.found


class _LoadFinder(HTMLParser):
    """Collect what tags, style attributes and style sheets load; escaped text, whoever wrote it, is not looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.in_style = tag == "style"
        for name, value in attrs:
            if (name in LOADING or (tag, name) == ("link", "href")) and value and OUTSIDE.match(value):
                self.found.append(value)
            elif name == "style" and value:
                self.found += OUTSIDE_STYLE.findall(value)

    def handle_data(self, data: str) -> None:
        if self.in_style:
            self.found += OUTSIDE_STYLE.findall(data)

    def handle_endtag(self, tag: str) -> None:
        self.in_style = False

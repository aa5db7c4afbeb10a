"""An executed report as one HTML page for readers: no code, no script, no font and no style from outside.

A Content-Security-Policy forbids the browser to run or fetch anything, even if text of a model or a data file asks for
it. Cells tagged `notebook-only` are left out; so are cells tagged `beside` without a second experiment and `several`
without a second evaluation. Figures are stored in few colours. On a narrow screen they shrink as far as their text
stays readable, then scroll inside their own box. The page is `page.html`, a Jinja template, with the style of
`page.css`.
"""

import base64
import io
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import Environment
from nbconvert import HTMLExporter
from PIL import Image

from currreft_nb import __version__
from currreft_nb.core.files import atomic_write

HEADING = re.compile(r"""<h2 id="([^"]+)">(.*?)<a class="anchor-link\"""", re.DOTALL)
MARKDOWN_HEADING = re.compile(r"^#{2,3} (.+)$", re.MULTILINE)
NOTEBOOK_ONLY, BESIDE, SEVERAL = "notebook-only", "beside", "several"  # tags of cells
COLOURS = 96  # in a figure: enough for its lines, their pale shades and the edges of letters
READABLE = 0.8  # how far a figure's text may shrink


def export_page(notebook: Path, page: Path, record: Mapping[str, Any]) -> None:
    """Write the executed notebook as one HTML page without its code; `record` is its run's run.json."""
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
    template = Environment(autoescape=True).from_string(_beside_this_file(".html"))
    html = template.render(
        title=settings.get("title") or page.parent.name,
        about=about(record, page.parent.name),
        note=settings.get("note"),
        contents=HEADING.findall(body),
        style=_beside_this_file(".css"),
        body=body,
        version=__version__,
        source=notebook.name,
    )
    with atomic_write(page) as stream:
        stream.write(html)


def _beside_this_file(suffix: str) -> str:
    return Path(__file__).with_suffix(suffix).read_text(encoding="utf-8")


def about(record: Mapping[str, Any], name: str) -> str:
    """Return the line below the title: which experiment, and when the report was made."""
    made = f", reported on {record['finished'][:16].replace('T', ' at ')} UTC" if record.get("finished") else ""
    return f"Experiment {name}{made}."


def reframe_figures(tree: nbformat.NotebookNode) -> None:
    """Put each figure of a notebook, in few colours, into a box that names the heading above it."""
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

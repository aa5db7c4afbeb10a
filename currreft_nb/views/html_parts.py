"""Pieces of HTML: escaped text, tables, cards, and pictures with boxes drawn into their pixels."""

import base64
import hashlib
import html
import io
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from currreft_nb.core.answers import Unreadable, parse_completion, parse_letters
from currreft_nb.core.boxes import Box, scale
from currreft_nb.core.samples import LETTERS, VALUES, Sample
from currreft_nb.data.images import ImageProblem, read_image

SIDE_PX = 256
SHORT = 40  # characters of a table cell that are kept on one line
LIMITS = {"name": 80, "answer": 300, "prompt": 1_500, "completion": 4_000, "commands": 40_000}  # characters shown
GOLD, PREDICTED, OPTION = "#009E73", "#D55E00", "#0072B2"
LINE_COLOURS = {"gold": GOLD, "answer": PREDICTED}
CARD = "width:272px;border:1px solid #bbbbbb;border-radius:4px;padding:8px;margin:4px;font-size:12px;overflow:hidden"
PLAIN = "font-size:12px;margin:0;padding:0;background-color:transparent"
TEXT = f"white-space:pre-wrap;word-break:normal;word-wrap:anywhere;min-width:120px;{PLAIN}"
LINE = f"white-space:pre;{PLAIN}"
MUTED = "font-size:12px;opacity:0.7"
CELL = "padding:2px 8px;vertical-align:top;font-size:12px"
# Control characters, and those that change the reading direction.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

Item = TypeVar("Item")
Mark = tuple[Box, str, str]  # box in pixels of the stored image, colour, label


def escaped(text: str, kind: str = "name") -> str:
    """Return text from outside as harmless HTML: cut to the limit of its kind, without control characters, escaped.

    >>> escaped("<script>alert('hello')</script>")
    '&lt;script&gt;alert(&#x27;hello&#x27;)&lt;/script&gt;'
    >>> escaped("x" * 1_000_000, "answer")[-26:]
    ' … 999,700 more characters'
    """
    limit = LIMITS[kind]
    rest = f" … {len(text) - limit:,} more characters" if len(text) > limit else ""
    return html.escape(_CONTROLS.sub("\ufffd", text[:limit])) + rest


def preformatted(text: str, kind: str) -> str:
    """Return text from outside as a block; `<pre>` keeps its lines, and Jupyter typesets no formulas in it."""
    return f'<pre style="{TEXT}">{escaped(text, kind)}</pre>'


def table(frame: pd.DataFrame, digits: int = 3) -> str:
    """Return a table as safe HTML without its index; numbers right-aligned with `digits` decimals, gaps as dashes."""
    sides = ["right" if pd.api.types.is_numeric_dtype(kind) else "left" for kind in frame.dtypes]
    columns = [_values(frame.iloc[:, place], digits) for place in range(len(sides))]
    rows = [[f"<b>{escaped(str(name))}</b>" for name in frame], *zip(*columns)]
    return f'<div style="overflow:auto">{html_table(rows, sides)}</div>'


def html_table(rows: Iterable[Sequence[Any]], sides: Sequence[str]) -> str:
    """Return a table of harmless HTML; `sides`: left or right for each column."""
    cell = f'<td style="{CELL};text-align:{{}}">{{}}</td>'
    body = "".join(f"<tr>{''.join(map(cell.format, sides, line))}</tr>" for line in rows)
    return f'<table style="border-collapse:collapse">{body}</table>'


def _values(column: pd.Series, digits: int) -> list[str]:
    known = column.dropna()
    if pd.api.types.is_float_dtype(column) and (known % 1 == 0).all() and (known > 1).any():
        digits = 0  # counts, which pandas made floats because of a gap
    return [_value(value, digits) for value in column.astype(object)]


def _value(value: Any, digits: int) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "–"
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    if isinstance(value, (bool, int)) or len(str(value)) <= SHORT:
        return f'<pre style="{LINE}">{escaped(str(value))}</pre>'
    return preformatted(str(value), "answer")


def heading(title: str, note: str = "") -> str:
    """Return a line in bold and, smaller below it, a note."""
    below = f'<div style="{MUTED}">{escaped(note, "prompt")}</div>' if note else ""
    return f'<div style="margin:8px 4px"><b>{escaped(title)}</b>{below}</div>'


def pairs_table(pairs: Iterable[tuple[str, Any]]) -> str:
    """Return (name, text) pairs as a small table; gold and answer have the colours of their boxes."""
    cell = "text-align:left;vertical-align:top;padding:1px 6px"
    rows = []
    for name, text in pairs:
        colour = f";color:{LINE_COLOURS[name]}" if name in LINE_COLOURS else ""
        label = f'<td style="{cell};font-size:12px{colour}">{escaped(name)}</td>'
        rows.append(f'<tr>{label}<td style="{cell}">{preformatted(str(text), "answer")}</td></tr>')
    return f"<table>{''.join(rows)}</table>"


def in_turns(items: Iterable[Item], name: Callable[[Item], str], kind: Callable[[Item], Hashable]) -> list[Item]:
    """Shuffle items by the SHA-256 of their name, alternating between kinds.

    >>> in_turns(["a1", "a2", "b1"], name=str, kind=lambda item: item[0])
    ['a2', 'b1', 'a1']
    """
    turns: Counter[Hashable] = Counter()
    drawn = []
    for item in sorted(items, key=lambda item: hashlib.sha256(name(item).encode(errors="replace")).digest()):
        turns[kind(item)] += 1
        drawn.append((turns[kind(item)], item))
    return [item for _, item in sorted(drawn, key=lambda turn: turn[0])]


def details(text: str) -> str:
    """Return a whole completion, folded away until it is clicked."""
    return folded(f"completion, {len(text):,} characters", preformatted(text, "completion"))


def folded(title: str, inside: str) -> str:
    """Return harmless HTML folded away below a title until that is clicked."""
    return f"<details><summary>{escaped(title)}</summary>{inside}</details>"


def name_line(name: str, origin: str) -> str:
    """Return the head of a card: a name in bold, its origin muted below it."""
    return f'<div><b>{escaped(name)}</b></div><div style="{MUTED}">{escaped(origin)}</div>'


def framed(parts: Sequence[str]) -> str:
    """Return the parts in a frame of fixed width."""
    return f'<div style="{CARD}">{"".join(parts)}</div>'


def together(parts: Sequence[str]) -> str:
    """Return the parts side by side in one frame."""
    return f'<div style="border:1px solid #dddddd;border-radius:4px;margin:4px">{row(parts)}</div>'


def row(parts: Sequence[str]) -> str:
    """Return the parts side by side, wrapping to new lines on narrow screens."""
    return f'<div style="display:flex;flex-wrap:wrap;align-items:flex-start">{"".join(parts)}</div>'


def side_by_side(left: str, right: str) -> str:
    """Return a card with a second block to its right; on a narrow screen below it, scrolling sideways if too wide."""
    return row([f'<div style="min-width:300px">{left}</div>', f'<div style="overflow:auto">{right}</div>'])


def image_tag(path: str, marks: Sequence[Mark] = ()) -> str:
    """Return an image file with its marks as `<img>`, at most 256 pixels a side, or a line saying why there is none."""
    try:
        image = read_image(path)
    except ImageProblem as problem:
        return f'<div style="{MUTED}">{escaped(f"the image cannot be shown: {problem}", "answer")}</div>'
    return f'<img src="{data_address(draw_marks(image, marks))}" alt="the image of this question">'


def draw_marks(image: Image.Image, marks: Iterable[Mark] = (), side_px: int = SIDE_PX) -> Image.Image:
    """Return a copy, `side_px` a side at most, with the boxes drawn in; small images grow by a whole factor."""
    factor = side_px // max(image.size) or side_px / max(image.size)
    width, height = (max(1, round(length * factor)) for length in image.size)
    resampling = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.LANCZOS
    canvas = image.convert("RGB").resize((width, height), resampling)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=14)
    for box, colour, label in marks:
        x1, y1, x2, y2 = (round(v) for v in scale(box, image.size, (width, height)))
        left, top = min(x1, width - 3), min(y1, height - 3)
        corners = (left, top, max(left + 2, x2 - 1), max(top + 2, y2 - 1))
        # The gold is wider, so that a prediction right on it hides nothing.
        pen.rectangle(corners, outline=colour, width=4 if colour == GOLD else 2)
        pen.text((left + 5, top + 2), label, fill=colour, font=font, stroke_width=2, stroke_fill="white")
    return canvas


def data_address(image: Image.Image) -> str:
    """Return the image as a `data:` address, PNG or JPEG, whichever is smaller."""
    png, jpeg = io.BytesIO(), io.BytesIO()
    image.save(png, "png", optimize=True)
    image.save(jpeg, "jpeg", quality=80)
    name, data = min([("png", png.getvalue()), ("jpeg", jpeg.getvalue())], key=lambda found: len(found[1]))
    return f"data:image/{name};base64,{base64.b64encode(data).decode()}"


def question_marks(sample: Sample, answer: Mapping | None = None) -> list[Mark]:
    """Return the boxes of a sample: claim or options in blue, gold in green, answered boxes in red."""
    if VALUES[sample.task] != "boxes":
        return []
    if sample.stage == "binary":
        return [(box, OPTION, "claim") for box in sample.claim]
    if sample.stage == "open":
        answered = (answer or {}).get("boxes") or []
        return [(box, GOLD, "") for box in sample.answer] + [(box, PREDICTED, "") for box in answered]
    chosen = _letters(sample, answer["completion"]) if answer else []
    marks: list[Mark] = []
    for letter, boxes in zip(LETTERS, sample.options):
        colours = [colour for colour, letters in ((GOLD, sample.answer), (PREDICTED, chosen)) if letter in letters]
        marks += [(box, colour, letter) for box in boxes for colour in colours or [OPTION]]
    return marks


def _letters(sample: Sample, completion: str) -> list[str]:
    answer = parse_completion(completion).answer
    try:
        return parse_letters(answer, len(sample.options)) if answer else []
    except Unreadable:
        return []

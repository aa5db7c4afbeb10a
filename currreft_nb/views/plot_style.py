"""Parts that all figures share: colours, panels, titles, labels at the ends of lines.

A figure is one function: plain data in, a matplotlib Figure out. Colours are those of Okabe and Ito (2008), which
colour-blind readers can tell apart; a stage, a task or an arm has the same colour in every figure. A line's name is
written at its end, not in a legend. LaTeX draws no text here, even where a matplotlibrc says `text.usetex`: it may be
missing, and a name such as rl_binary is no LaTeX.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle, pairwise
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator, PercentFormatter

from currreft_nb.core.samples import TASKS

BLACK, GREY, PALE = "#222222", "#8a8a8a", "#e8e8e8"
ORANGE, SKY, GREEN, BLUE = "#E69F00", "#56B4E9", "#009E73", "#0072B2"
RED, PINK, YELLOW = "#D55E00", "#CC79A7", "#B8A800"
SERIES = (BLUE, ORANGE, GREEN, RED, SKY, PINK, YELLOW, BLACK)
STAGE_COLOURS = {"binary": BLUE, "choice": ORANGE, "open": GREEN, "mixed": PINK}
TASK_COLOURS = dict(zip(TASKS, cycle((BLUE, RED, GREEN, PINK, ORANGE, SKY, YELLOW, BLACK))))
ARM_COLOURS = dict(base=GREY, sft=ORANGE, rl=SKY, curr_rl=BLUE, curr_reft=GREEN, reft=PINK, rl_reft=RED)
REASON_COLOURS = {"ok": GREEN, "partial": SKY, "wrong": ORANGE, "no_answer": BLUE, "iou_too_low": RED, "other": GREY}
SMOOTHING_STEPS = 5
Rows = Sequence[Mapping] | pd.DataFrame
STYLE: Any = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": GREY}
plt.rcParams["text.usetex"] = False  # not in STYLE: ticks, and texts outside of `panels`, are made later


def frame_of(rows: Rows, columns: Sequence[str]) -> pd.DataFrame:
    """Return the rows that have a value in each of the columns, as a new table; ValueError names a missing column."""
    frame = pd.DataFrame(rows)
    if missing := [name for name in columns if name not in frame]:
        raise ValueError(f"no column {missing[0]!r} among {', '.join(map(str, frame)) or 'no rows at all'}")
    return frame.dropna(subset=list(columns)).copy()


def nothing(reason: str) -> Figure:
    """Return a figure that says why there is nothing to draw: a report with one empty part is still a report."""
    figure, (axis,) = panels(1, 1, width=6, height=0.8)
    axis.set_axis_off()
    axis.text(0, 0.5, reason, color=GREY, va="center")
    return figure


def panels(
    rows: int, columns: int, width: float = 4.0, height: float = 3.0, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """Make a figure of equal panels, sizes in inches; pyplot forgets it at once, so a notebook shows it once."""
    # Outside of rc_context: a first figure sets Jupyter's rcParams, without which pyplot shows no figure of the user's.
    figure = plt.figure(figsize=(width * columns, height * rows), layout="constrained")
    with plt.rc_context(STYLE):
        axes = figure.subplots(rows, columns, squeeze=False, **shared)
    plt.close(figure)
    return figure, list(axes.flat)


def dress(axis: Axes, title: str, xlabel: str = "", percent: str = "y", **settings: Any) -> None:
    """Set a panel's title and labels; the axes named in `percent` show shares, y from 0 to 1 if not set otherwise."""
    axis.set_title(title, loc="left", fontsize=10)
    if "y" in percent:
        axis.yaxis.set_major_formatter(PercentFormatter(1))
        settings = {"ylim": (-0.02, 1.02)} | settings
    if "x" in percent:
        axis.xaxis.set_major_formatter(PercentFormatter(1))
    if xlabel.startswith("optimiser step"):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set(xlabel=xlabel, **settings)


def draw_smoothed(
    axis: Axes, steps: Any, values: pd.Series, colour: str, linewidth: float = 2, raw: bool = True
) -> float:
    """Draw a noisy line as the mean of `SMOOTHING_STEPS` values, and thin as logged (`raw`); return where it ends."""
    if raw:
        axis.plot(steps, values, color=colour, alpha=0.3, linewidth=0.8)
    means = smooth(values)
    axis.plot(steps, means, color=colour, linewidth=linewidth)
    return float(means[-1]) if len(means) else math.nan


def draw_tasks(
    axis: Axes, frame: pd.DataFrame, measure: str, linewidth: float = 2, raw: bool = True
) -> dict[str, float]:
    """Draw a smoothed line for each task from columns `<measure>/<task>`; return where each line ends."""
    ends = {}
    for task in TASKS:
        if (column := f"{measure}/{task}") in frame:
            rows = frame[["step", column]].dropna()
            ends[task] = draw_smoothed(axis, rows["step"], rows[column], TASK_COLOURS[task], linewidth, raw)
    return ends


def caption(figure: Figure, text: str) -> None:
    """Write how to read the figure below it."""
    figure.supxlabel(text, fontsize=8, color="#555555")


def shortened(text: str, length: int = 24) -> str:
    """Return a text of at most `length` characters.

    >>> shortened("[10.5, 20.25, 300.75]", 12)
    '[10.5, 20.2…'
    """
    return text if len(text) <= length else text[: length - 1] + "…"


def present(values: Iterable[str], order: Iterable[str]) -> list[str]:
    """Return the names of `order` that occur among the values."""
    known = set(values)
    return [name for name in order if name in known]


def label_ends(axis: Axes, ends: Mapping[str, float], colours: Mapping[str, str], top: float = 1.0) -> None:
    """Write each line's name right of its last point, moved apart where they would overlap; the axis ends at `top`."""
    where: Any = {"xycoords": axis.get_yaxis_transform(), "xytext": (5, 0), "textcoords": "offset points"}
    for name, place in zip(ends, spread([value / top for value in ends.values()], 0.075)):
        axis.annotate(name, (1, place * top), color=colours[name], va="center", **where)


def label_points(axis: Axes, points: Mapping[str, tuple[float, float]], gap: float = 0.06) -> None:
    """Write each point's name below and right of it, on a white rim, moved apart where names would overlap."""
    for (name, (x, _)), place in zip(points.items(), spread([y for _, y in points.values()], gap)):
        text = axis.annotate(name, (x, place), xytext=(4, -3), textcoords="offset points", va="top", fontsize=8)
        text.set(color=arm_colour(name), path_effects=[withStroke(linewidth=2.5, foreground="white")])


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Move values apart, as little as needed upwards from the lowest, then back under 1, so that they are `gap` apart.

    >>> spread([0.5, 0.5, 0.9], 0.25)
    [0.5, 0.75, 1.0]
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    places = list(values)
    for before, after in pairwise(order):
        places[after] = max(places[after], places[before] + gap)
    ceiling = max([1.0, *values])
    for index in reversed(order):
        places[index] = min(places[index], ceiling)
        ceiling = places[index] - gap
    return places


def arm_colour(arm: str) -> str:
    """Return the colour of an arm, whose name an experiment or an evaluation may follow.

    >>> arm_colour("rl · other") == arm_colour("rl, evaluate-2") == ARM_COLOURS["rl"]
    True
    """
    return ARM_COLOURS.get(arm.partition(" · ")[0].partition(", ")[0], BLACK)


def smooth(values: pd.Series) -> np.ndarray:
    """Return the mean of `SMOOTHING_STEPS` values around each, fewer at both ends."""
    return values.rolling(SMOOTHING_STEPS, min_periods=1, center=True).mean().to_numpy()


def reason_colours(names: Sequence[str]) -> dict[str, str]:
    """Return a colour for each reason; frequent ones have the same colour in every figure."""
    known = {name: REASON_COLOURS[name] for name in names if name in REASON_COLOURS}
    free = iter([colour for colour in (*SERIES, PALE) if colour not in known.values()])
    return {name: known[name] if name in known else next(free) for name in names}

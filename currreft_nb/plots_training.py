"""The figures of a training, while it runs and after it: how it goes, why answers earn what they earn, their length.

All of them draw rows of metrics.jsonl (`training_rows` says what each number means).
"""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from currreft_nb.plots_parts import (
    BLACK,
    BLUE,
    STAGE_COLOURS,
    STYLE,
    TASK_COLOURS,
    caption,
    draw_tasks,
    dress,
    frame_of,
    label_ends,
    nothing,
    panels,
    reason_colours,
    smooth,
)

# What is worth watching, from left to right: of reinforcement learning, and of fine-tuning on given answers.
WATCHED = (
    {"accuracy": "accuracy", "format": "format", "zero_variance": "silent groups", "length": "tokens an answer"},
    {"loss": "loss", "token_accuracy": "tokens right"},
)
SHARES = ("accuracy", "format", "zero_variance", "token_accuracy")  # from 0 to 1
MOST_BINS = 10


def progress(metrics: Sequence[Mapping]) -> Figure:
    """Draw how a training goes, small and quick to draw: each measure in a panel of its own, dots are validations."""
    frame = frame_of(metrics, ["step"])
    watched = next(names for names in WATCHED if set(names) <= set(frame))
    with matplotlib.rc_context(STYLE | {"font.size": 8}):
        figure = Figure(figsize=(2.4 * len(watched), 1.9))
        axes = figure.subplots(1, len(watched))
    figure.subplots_adjust(left=0.16 / len(watched), right=0.99, bottom=0.21, top=0.87, wspace=0.22)
    for axis, (column, title) in zip(axes, watched.items()):
        _draw_measure(axis, frame, column)
        axis.set_title(f"{title}  {frame[column].iloc[-1]:.3g}", loc="left", fontsize=9)
    axes[0].set_xlabel("optimiser step", fontsize=8)
    return figure


def _draw_measure(axis: Axes, frame: pd.DataFrame, column: str) -> None:
    colour = STAGE_COLOURS.get(frame["stage"].iloc[-1], BLUE) if "stage" in frame else BLUE
    single = "o" if len(frame) == 1 else None
    axis.plot(frame["step"], frame[column], color=colour, alpha=0.3, linewidth=0.8)
    axis.plot(frame["step"], smooth(frame[column]), marker=single, color=colour, linewidth=1.6, markersize=3)
    if (asked := f"validation_{column}") in frame:
        axis.plot(frame["step"], frame[asked], "o", color=BLACK, markersize=2.5)
    axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axis.set_xlim(0, 1.02 * frame["step"].max())
    if column in SHARES:
        axis.set(ylim=(-0.04, 1.04), yticks=(0, 0.5, 1))
    else:
        axis.set_ylim(0, None)
        axis.yaxis.set_major_locator(MaxNLocator(4))


def lengths(metrics: Sequence[Mapping] | pd.DataFrame) -> Figure:
    """Draw how long answers are and how many were cut off, a line a task: longer is no better, cut off is lost."""
    frame = frame_of(metrics, ["step"])
    figure, axes = panels(1, 2, width=4.6)
    for axis, measure in zip(axes, ("length", "truncated")):
        ends = draw_tasks(axis, frame, measure)
        top = max([1.0, *(1.1 * frame[f"length/{task}"].max() for task in ends)]) if measure == "length" else 1.0
        label_ends(axis, ends, TASK_COLOURS, top)
        axis.set_ylim(-0.02 * top, 1.02 * top)
    dress(axes[0], "tokens of an answer", "optimiser step", percent="")
    dress(axes[1], "answers cut off by max_new_tokens", "optimiser step")
    return figure


def task_reasons(metrics: Sequence[Mapping] | pd.DataFrame, top: int = 6) -> Figure:
    """Draw why answers earned what they earned, as shares over time: a panel a task, in a mixture also a form.

    From columns `reason/<task>/<code>`; reasons beyond the `top` most frequent of all become "other".
    """
    frame = pd.DataFrame(metrics)
    columns = [name for name in frame if name.startswith("reason/")]
    if not columns:
        return nothing("no reasons were logged")
    means = frame[columns].fillna(0).mean().groupby(lambda name: name.rpartition("/")[2]).sum()
    names = sorted(means.nlargest(top).index, key=lambda name: (name != "ok", -means[name]))
    colours = reason_colours([*names, "other"])
    cells = sorted({name.removeprefix("reason/").rpartition("/")[0] for name in columns})
    wide = min(3, len(cells))
    figure, axes = panels(-(-len(cells) // wide), wide, width=3.6, height=2.7)
    for axis, cell in zip(axes, cells):
        shares = _binned(_shares(frame, cell, names))
        axis.stackplot(shares.index, shares.to_numpy().T, colors=[colours[name] for name in shares], alpha=0.85, lw=0)
        dress(axis, cell, "optimiser step", ylim=(0, 1))
        axis.margins(x=0)
    for axis in axes[len(cells) :]:
        axis.set_axis_off()
    patches = [Patch(color=colour, alpha=0.85, label=name) for name, colour in colours.items()]
    figure.legend(handles=patches, loc="outside upper left", ncols=len(patches), frameon=False, handlelength=1)
    caption(figure, "shares of the answers, by what they earned and why; rewards_reasons.py says each reason in words")
    return figure


def _shares(frame: pd.DataFrame, cell: str, names: Sequence[str]) -> pd.DataFrame:
    """Return the shares of the named reasons and of all others by step, where the cell was asked."""
    found = frame.set_index("step").filter(regex=f"^reason/{cell}/[^/]+$").dropna(how="all").fillna(0)
    found = found.rename(columns=lambda name: name.rpartition("/")[2])
    shares = found.reindex(columns=list(names), fill_value=0.0)
    return shares.assign(other=(1 - shares.sum(axis=1)).clip(lower=0))


def _binned(shares: pd.DataFrame) -> pd.DataFrame:
    """Return the means over at most `MOST_BINS` stretches of the steps."""
    count = min(MOST_BINS, len(shares))
    places = np.arange(len(shares)) * count // len(shares)
    return shares.groupby(places).mean().set_index(shares.index.to_series().groupby(places).mean())

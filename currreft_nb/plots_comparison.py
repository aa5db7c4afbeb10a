"""Figures of arms on the same questions: their answers, and their differences with what could be detected."""

from collections.abc import Iterable, Mapping
from itertools import product
from textwrap import fill

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from currreft_nb.core.answers import parse_completion
from currreft_nb.core.samples import TASKS, Sample
from currreft_nb.data.images import read_image
from currreft_nb.gallery import answer_pairs
from currreft_nb.gallery_marks import question_marks
from currreft_nb.gallery_parts import draw
from currreft_nb.plots_parts import (
    BLACK,
    GREEN,
    PALE,
    RED,
    arm_colour,
    caption,
    dress,
    dress_arms,
    nothing,
    panels,
    present,
    shortened,
)
from currreft_nb.tables import SPLIT_NAMES

LIFT = {"natural": 0.15, "forced": -0.15}


def differences(comparison: pd.DataFrame) -> Figure:
    """Draw each arm minus the one that it is compared with: tasks as panel rows, splits as columns.

    `comparison`: what `metrics.comparisons.compare` returns. Filled marks are against that arm's natural answers,
    hollow ones against its forced ones. A pale bar around zero reaches to the smallest true difference that four of
    five such comparisons would detect: a difference inside it is neither shown nor excluded.
    """
    if comparison.empty:
        return nothing("no arms were compared")
    tasks, splits = present(comparison["task"], TASKS), present(comparison["split"], SPLIT_NAMES)
    arms = list(dict.fromkeys(comparison["arm"]))
    figure, axes = panels(len(tasks), len(splits), width=4.0, height=0.75 + 0.32 * len(arms), sharex=True, sharey=True)
    for axis, (task, split) in zip(axes, product(tasks, splits)):
        cell = comparison[(comparison["task"] == task) & (comparison["split"] == split)]
        for row in cell.itertuples():
            _draw_difference(axis, row, len(arms) - 1 - arms.index(row.arm) + LIFT[row.against_mode])
        axis.axvline(0, color=BLACK, linewidth=0.8, linestyle="--")
        dress(axis, f"{task}, {SPLIT_NAMES[split]}", percent="x")
        dress_arms(axis, arms)
    ends = comparison[["low", "high", "difference", "minimum_detectable"]].abs().max(axis=None)
    axes[0].set_xlim(-1.08 * ends, 1.08 * ends)
    others = comparison["other"].iloc[0] if comparison["other"].nunique() == 1 else "its namesake"
    caption(
        figure,
        f"arm minus {others};  ● natural   ○ with the format forced; bar: 95 % interval; pale: too small to be seen",
    )
    return figure


def _draw_difference(axis: Axes, row, height: float) -> None:
    colour = arm_colour(row.arm)
    if pd.notna(row.minimum_detectable):
        axis.hlines(height, -row.minimum_detectable, row.minimum_detectable, color=PALE, linewidth=7, zorder=0)
    if pd.notna(row.low):
        axis.hlines(height, row.low, row.high, color=colour, linewidth=1.5)
    fill = colour if row.against_mode == "natural" else "white"
    axis.plot(row.difference, height, "o", color=colour, markersize=5, markerfacecolor=fill)


def before_after(
    records: Iterable[Mapping], samples: Iterable[Sample], before: str, after: str, count: int = 6
) -> Figure:
    """Draw `count` questions with what two arms answered, one above the other, in the order of `gallery.changes`.

    Right answers are green, wrong ones red; in a picture gold is green and the answered box red.
    """
    by_id = {sample.id: sample for sample in samples if sample.image}
    pairs = [pair for pair in answer_pairs(records, before, after) if pair[0]["id"] in by_id][:count]
    if not pairs:
        return nothing("no answers to show: no question with a picture here was answered by two arms")
    figure, axes = panels(2, len(pairs), width=1.6, height=1.9)
    for axis, record in zip(axes, [record for row in zip(*pairs) for record in row]):
        sample = by_id[record["id"]]
        axis.imshow(draw(read_image(sample.image), question_marks(sample, record)))
        dress(axis, "", percent="", xticks=[], yticks=[])
        answer = " ".join((parse_completion(record["completion"]).answer or "no answer").split())
        axis.set_xlabel(shortened(answer), color=GREEN if record["correct"] else RED, fontsize=9, parse_math=False)
    for axis, (record, _) in zip(axes, pairs):
        axis.set_title(fill(by_id[record["id"]].question, 20), fontsize=8, parse_math=False)
    for axis, arm in zip(axes[:: len(pairs)], (before, after)):
        axis.set_ylabel(arm, fontweight="bold")
    caption(figure, "below each picture what was answered: green right, red wrong; boxes: true green, answered red")
    return figure

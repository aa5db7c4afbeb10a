"""Figures of evaluation: scores of arms, their answers and differences, pass@k, and gains over several seeds."""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from itertools import product
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from currreft_nb.core.answers import parse_completion
from currreft_nb.core.samples import STAGES, TASKS, Sample
from currreft_nb.data.images import read_image
from currreft_nb.views import plot_style as style
from currreft_nb.views.cards import answer_pairs
from currreft_nb.views.html_parts import draw_marks, question_marks
from currreft_nb.views.plot_style import Rows
from currreft_nb.views.tables import SPLIT_NAMES

LIFT = {"natural": 0.15, "forced": -0.15}
Row = dict[Hashable, Any]


def differences(comparison: pd.DataFrame) -> Figure:
    """Draw each arm minus the one that it is compared with: tasks as panel rows, splits as columns.

    `comparison`: what `metrics.comparisons.compare` returns. Filled marks are against that arm's natural answers,
    hollow ones against its forced ones. A pale bar around zero reaches to the smallest true difference that four of
    five such comparisons would detect: a difference inside it is neither shown nor excluded.
    """
    if comparison.empty:
        return style.nothing("no arms were compared")

    def draw_row(axis: Axes, row: Row, height: float) -> None:
        mode, reach = row["against_mode"], row["minimum_detectable"]
        if not math.isnan(reach):
            axis.hlines(height + LIFT[mode], -reach, reach, color=style.PALE, linewidth=7, zorder=0)
        _draw_mark(axis, row, "difference", height + LIFT[mode], filled=mode == "natural")

    figure, axes = _panels_of_arms(comparison, draw_row, width=4.0)
    for axis in axes:
        axis.axvline(0, color=style.BLACK, linewidth=0.8, linestyle="--")
    reach = 1.08 * np.nanmax(comparison[["low", "high", "difference", "minimum_detectable"]].abs())
    axes[0].set_xlim(-reach, reach)
    others = comparison["other"].iloc[0] if comparison["other"].nunique() == 1 else "its namesake"
    style.caption(
        figure,
        f"arm minus {others};  ● natural   ○ with the format forced; bar: 95 % interval; pale: too small to detect",
    )
    return figure


def _panels_of_arms(
    rows: pd.DataFrame,
    draw_row: Callable[[Axes, Row, float], None],
    width: float = 3.4,
    note: Callable[[pd.DataFrame], str] = lambda cell: "",
) -> tuple[Figure, list[Axes]]:
    """Draw each row at its arm's height, tasks as panel rows, splits as columns; `note` is added to a panel's title."""
    tasks, splits = style.present(rows["task"], TASKS), style.present(rows["split"], SPLIT_NAMES)
    arms = list(dict.fromkeys(rows["arm"]))
    height = 0.75 + 0.31 * len(arms)
    figure, axes = style.panels(len(tasks), len(splits), width=width, height=height, sharex=True, sharey=True)
    for axis, (task, split) in zip(axes, product(tasks, splits)):
        cell = rows[(rows["task"] == task) & (rows["split"] == split)]
        for row in cell.to_dict("records"):
            draw_row(axis, row, len(arms) - 1 - arms.index(row["arm"]))
        style.dress(axis, f"{task}, {SPLIT_NAMES[split]}{note(cell)}", percent="x")
        axis.set(yticks=range(len(arms)), yticklabels=arms[::-1], ylim=(-0.6, len(arms) - 0.4))
        axis.grid(axis="x", color=style.PALE, linewidth=0.7)
    return figure, axes


def _draw_mark(axis: Axes, row: Row, value: str, height: float, filled: bool = True) -> None:
    colour = style.arm_colour(row["arm"])
    if not math.isnan(row["low"]):
        axis.hlines(height, row["low"], row["high"], color=colour, linewidth=1.5)
    axis.plot(row[value], height, "o", color=colour, markersize=6, markerfacecolor=colour if filled else "white")


def before_after(
    records: Iterable[Mapping], samples: Iterable[Sample], before: str, after: str, count: int = 6
) -> Figure:
    """Draw `count` questions with what two arms answered, one above the other, in the order of `views.cards.changes`.

    Right answers are green, wrong ones red; in a picture gold is green and the answered box red.
    """
    by_id = {sample.id: sample for sample in samples if sample.image}
    pairs = [pair for pair in answer_pairs(records, before, after) if pair[0]["id"] in by_id][:count]
    if not pairs:
        return style.nothing("no answers to show: no question with a picture here was answered by two arms")
    figure, axes = style.panels(2, len(pairs), width=1.6, height=1.9)
    for axis, record in zip(axes, [record for row in zip(*pairs) for record in row]):
        sample = by_id[record["id"]]
        axis.imshow(np.asarray(draw_marks(read_image(str(sample.image)), question_marks(sample, record))))
        style.dress(axis, "", percent="", xticks=[], yticks=[])
        answer = " ".join((parse_completion(record["completion"]).answer or "no answer").split())
        colour = style.GREEN if record["correct"] else style.RED
        axis.set_xlabel(style.shortened(answer), color=colour, fontsize=9, parse_math=False)
    for axis, (record, _) in zip(axes, pairs):
        axis.set_title(fill(by_id[record["id"]].question, 20), fontsize=8, parse_math=False)
    for axis, arm in zip(axes[:: len(pairs)], (before, after)):
        axis.set_ylabel(arm, fontweight="bold")
    style.caption(figure, "below each picture the answer: green right, red wrong; boxes: true green, answered red")
    return figure


def scores(summary: pd.DataFrame, measure: str = "correct", stage: str = "open") -> Figure:
    """Draw every arm's score with its interval: tasks as panel rows, splits as columns; natural filled, forced hollow.

    `summary`: what `metrics.scores.summarise` returns.
    """
    frame = summary[(summary["measure"] == measure) & (summary["stage"] == stage)]
    if frame.empty:
        return style.nothing(f"no {measure} scores of {stage} answers")

    def draw_row(axis: Axes, row: Row, height: float) -> None:
        _draw_mark(axis, row, "mean", height + LIFT[row["mode"]], filled=row["mode"] == "natural")

    figure, axes = _panels_of_arms(frame, draw_row, note=lambda cell: f" (n = {_range(cell['n'])})")
    axes[0].set_xlim(-0.02, 1.02)
    arms, forced = list(dict.fromkeys(frame["arm"])), set(frame[frame["mode"] == "forced"]["arm"])
    alone = [arm for arm in arms if arm not in forced]
    unforced = f"   (cannot be forced: {', '.join(alone)})" if alone and len(alone) < len(arms) else ""
    style.caption(figure, f"{measure}, {stage} answers, 95 % interval;  ● natural   ○ format forced{unforced}")
    return figure


def _range(counts: pd.Series) -> str:
    return "–".join(map(str, dict.fromkeys((min(counts, default=0), max(counts, default=0)))))


def domains(summary: pd.DataFrame, stage: str = "open") -> Figure:
    """Draw out-of-domain against in-domain shares of right answers, a panel a task, a cross an arm, format forced.

    Arms without forced answers, as recorded ones, are drawn by their natural ones, and the caption says so.
    """
    frame = summary[(summary["measure"] == "correct") & (summary["stage"] == stage)]
    others = [str(arm) for arm, part in frame.groupby("arm", sort=False) if "forced" not in set(part["mode"])]
    frame = frame[(frame["mode"] == "forced") | (frame["arm"].isin(others) & (frame["mode"] == "natural"))]
    tasks = style.present(frame["task"], TASKS)
    if not tasks:
        return style.nothing(f"no correct scores of {stage} answers with forced format")
    wide = min(2, len(tasks))
    figure, axes = style.panels(-(-len(tasks) // wide), wide, width=4.4, height=3.7, sharex=True, sharey=True)
    least = float(np.floor(10 * np.nanmin(frame[["low", "mean"]])) / 10)  # leave out the empty part below
    for axis in axes[len(tasks) :]:
        axis.set_axis_off()
    for axis, task in zip(axes, tasks):
        axis.plot([least, 1], [least, 1], color=style.GREY, linewidth=0.7, linestyle=":")
        cells = frame[frame["task"] == task].set_index(["arm", "split"])
        points = {}
        for arm in dict.fromkeys(cells.index.get_level_values("arm")):
            if (arm, "test_id") in cells.index and (arm, "test_ood") in cells.index:
                points[arm] = _draw_cross(axis, arm, cells.loc[(arm, "test_id")], cells.loc[(arm, "test_ood")])
        style.label_points(axis, points, gap=0.05 * (1 - least))
        lim = (least - 0.02, 1.02)
        style.dress(axis, task, "in-domain", percent="xy", xlim=lim, ylim=lim, aspect="equal", ylabel="out-of-domain")
    decoded = "forced decoding" + (f" ({', '.join(others)}: natural)" if others else "")
    style.caption(figure, f"correct, {stage} answers, {decoded}, 95 % intervals; dotted: equal in both domains")
    return figure


def _draw_cross(axis: Axes, arm: str, inside: pd.Series, outside: pd.Series) -> tuple[float, float]:
    x, y, colour = inside["mean"], outside["mean"], style.arm_colour(arm)
    axis.hlines(y, inside["low"], inside["high"], color=colour, linewidth=1, alpha=0.6)
    axis.vlines(x, outside["low"], outside["high"], color=colour, linewidth=1, alpha=0.6)
    axis.plot(x, y, "o", color=colour, markersize=5)
    return x, y


def pass_at_k(rows: Rows) -> Figure:
    """Draw pass@k per stage, and what guessing would reach dashed; panels are tasks, rows of panels arms.

    `rows`: what `evaluation.pass_at_k.probe` returns: task, stage, k, pass_at_k, low, high, chance and arm, if several.
    Every point was measured.
    """
    names = ["task", "stage", "k", "pass_at_k", "low", "high", "chance"]
    frame = style.frame_of(rows, names) if len(rows) else pd.DataFrame()
    if frame.empty:
        return style.nothing("nothing was sampled for pass@k")
    frame["arm"] = frame.get("arm", "")
    tasks, arms = style.present(frame["task"], TASKS), list(dict.fromkeys(frame["arm"]))
    width = 9.6 / max(3, len(tasks))
    figure, axes = style.panels(len(arms), len(tasks), width=width, height=2.2, sharex=True, sharey=True)
    for axis, (arm, task) in zip(axes, product(arms, tasks)):
        _draw_passes(axis, frame[(frame["arm"] == arm) & (frame["task"] == task)])
        ticks = sorted(frame["k"].unique())
        style.dress(axis, f"{arm}, {task}" if arm else task, xticks=ticks, xticklabels=ticks)
    asked = f"{frame['questions'].min()} questions a line; " if "questions" in frame else ""
    style.caption(figure, f"at least one right among k answers (across); {asked}dashed: guessing; band: 95 % interval")
    return figure


def _draw_passes(axis: Axes, rows: pd.DataFrame) -> None:
    ends = {}
    for stage in style.present(rows["stage"], STAGES):
        cell, colour = rows[rows["stage"] == stage].sort_values("k"), style.STAGE_COLOURS[stage]
        axis.fill_between(cell["k"], cell["low"], cell["high"], color=colour, alpha=0.15, linewidth=0)
        axis.plot(cell["k"], cell["pass_at_k"], "o-", color=colour, markersize=4)
        axis.plot(cell["k"], cell["chance"], "--", color=colour, linewidth=1)
        ends[stage] = cell["pass_at_k"].iloc[-1]
    axis.set_xscale("log", base=2)
    axis.minorticks_off()
    style.label_ends(axis, ends, style.STAGE_COLOURS)


def gains(rows: pd.DataFrame) -> Figure:
    """Draw differences with their intervals and each seed's as a dot: tasks as panel rows, splits as columns.

    `rows`: arm, task, split, mean, low, high in [-1, 1], and `seeds`, the list of differences behind the mean.
    """
    if rows.empty:
        return style.nothing("no gains to draw")

    def draw_row(axis: Axes, row: Row, height: float) -> None:
        _draw_mark(axis, row, "mean", height)
        places, colour = [height - 0.28] * len(row["seeds"]), style.arm_colour(row["arm"])
        axis.plot(row["seeds"], places, "o", color=colour, markersize=4, markerfacecolor="white")

    figure, axes = _panels_of_arms(rows, draw_row)
    for axis in axes:
        axis.axvline(0, color=style.BLACK, linewidth=0.8, linestyle="--")
    count = len(rows["seeds"].iloc[0])
    style.caption(figure, f"gain over the base, format forced; bar: 95 % interval over {count} seeds; ○ one seed each")
    return figure

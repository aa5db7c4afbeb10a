"""Figures of arms on the same questions: their answers, and their differences with what could be detected."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from currreft_nb.core.answers import parse_completion
from currreft_nb.core.samples import STAGES, TASKS, Sample
from currreft_nb.data.images import read_image
from currreft_nb.views import plot_style
from currreft_nb.views.cards import answer_pairs
from currreft_nb.views.html_parts import draw, question_marks
from currreft_nb.views.tables import SPLIT_NAMES

LIFT = {"natural": 0.15, "forced": -0.15}


def differences(comparison: pd.DataFrame) -> Figure:
    """Draw each arm minus the one that it is compared with: tasks as panel rows, splits as columns.

    `comparison`: what `metrics.comparisons.compare` returns. Filled marks are against that arm's natural answers,
    hollow ones against its forced ones. A pale bar around zero reaches to the smallest true difference that four of
    five such comparisons would detect: a difference inside it is neither shown nor excluded.
    """
    if comparison.empty:
        return plot_style.nothing("no arms were compared")
    tasks, splits = plot_style.present(comparison["task"], TASKS), plot_style.present(comparison["split"], SPLIT_NAMES)
    arms = list(dict.fromkeys(comparison["arm"]))
    figure, axes = plot_style.panels(
        len(tasks), len(splits), width=4.0, height=0.75 + 0.32 * len(arms), sharex=True, sharey=True
    )
    for axis, (task, split) in zip(axes, product(tasks, splits)):
        cell = comparison[(comparison["task"] == task) & (comparison["split"] == split)]
        for row in cell.itertuples():
            _draw_difference(axis, row, len(arms) - 1 - arms.index(row.arm) + LIFT[row.against_mode])
        axis.axvline(0, color=plot_style.BLACK, linewidth=0.8, linestyle="--")
        plot_style.dress(axis, f"{task}, {SPLIT_NAMES[split]}", percent="x")
        plot_style.dress_arms(axis, arms)
    ends = comparison[["low", "high", "difference", "minimum_detectable"]].abs().max(axis=None)
    axes[0].set_xlim(-1.08 * ends, 1.08 * ends)
    others = comparison["other"].iloc[0] if comparison["other"].nunique() == 1 else "its namesake"
    plot_style.caption(
        figure,
        f"arm minus {others};  ● natural   ○ with the format forced; bar: 95 % interval; pale: too small to be seen",
    )
    return figure


def _draw_difference(axis: Axes, row, height: float) -> None:
    colour = plot_style.arm_colour(row.arm)
    if pd.notna(row.minimum_detectable):
        axis.hlines(
            height, -row.minimum_detectable, row.minimum_detectable, color=plot_style.PALE, linewidth=7, zorder=0
        )
    if pd.notna(row.low):
        axis.hlines(height, row.low, row.high, color=colour, linewidth=1.5)
    fill = colour if row.against_mode == "natural" else "white"
    axis.plot(row.difference, height, "o", color=colour, markersize=5, markerfacecolor=fill)


def before_after(
    records: Iterable[Mapping], samples: Iterable[Sample], before: str, after: str, count: int = 6
) -> Figure:
    """Draw `count` questions with what two arms answered, one above the other, in the order of `views.cards.changes`.

    Right answers are green, wrong ones red; in a picture gold is green and the answered box red.
    """
    by_id = {sample.id: sample for sample in samples if sample.image}
    pairs = [pair for pair in answer_pairs(records, before, after) if pair[0]["id"] in by_id][:count]
    if not pairs:
        return plot_style.nothing("no answers to show: no question with a picture here was answered by two arms")
    figure, axes = plot_style.panels(2, len(pairs), width=1.6, height=1.9)
    for axis, record in zip(axes, [record for row in zip(*pairs) for record in row]):
        sample = by_id[record["id"]]
        axis.imshow(draw(read_image(sample.image), question_marks(sample, record)))
        plot_style.dress(axis, "", percent="", xticks=[], yticks=[])
        answer = " ".join((parse_completion(record["completion"]).answer or "no answer").split())
        axis.set_xlabel(
            plot_style.shortened(answer),
            color=plot_style.GREEN if record["correct"] else plot_style.RED,
            fontsize=9,
            parse_math=False,
        )
    for axis, (record, _) in zip(axes, pairs):
        axis.set_title(fill(by_id[record["id"]].question, 20), fontsize=8, parse_math=False)
    for axis, arm in zip(axes[:: len(pairs)], (before, after)):
        axis.set_ylabel(arm, fontweight="bold")
    plot_style.caption(
        figure, "below each picture what was answered: green right, red wrong; boxes: true green, answered red"
    )
    return figure


def scores(summary: pd.DataFrame, measure: str = "correct", stage: str = "open") -> Figure:
    """Draw every arm's score with its interval: tasks as panel rows, splits as columns; natural filled, forced hollow.

    `summary`: what `metrics.scores.summarise` returns.
    """
    frame = summary[(summary["measure"] == measure) & (summary["stage"] == stage)]
    tasks, splits = plot_style.present(frame["task"], TASKS), plot_style.present(frame["split"], SPLIT_NAMES)
    if frame.empty:
        return plot_style.nothing(f"no {measure} scores of {stage} answers")
    arms = list(dict.fromkeys(frame["arm"]))
    figure, axes = plot_style.panels(
        len(tasks), len(splits), width=3.4, height=0.75 + 0.3 * len(arms), sharex=True, sharey=True
    )
    for axis, (task, split) in zip(axes, product(tasks, splits)):
        cell = frame[(frame["task"] == task) & (frame["split"] == split)]
        for row in cell.itertuples():
            height = len(arms) - 1 - arms.index(row.arm) + (0.14 if row.mode == "natural" else -0.14)
            _draw_interval(axis, row, height)
        plot_style.dress(
            axis, f"{task}, {SPLIT_NAMES[split]} (n = {_range(cell['n'])})", percent="x", xlim=(-0.02, 1.02)
        )
        plot_style.dress_arms(axis, arms)
    alone = [arm for arm in arms if not (frame[frame["arm"] == arm]["mode"] == "forced").any()]
    unforced = f"   (cannot be forced: {', '.join(alone)})" if alone and len(alone) < len(arms) else ""
    plot_style.caption(figure, f"{measure}, {stage} answers, 95 % interval;  ● natural   ○ format forced{unforced}")
    return figure


def _draw_interval(axis: Axes, row, height: float) -> None:
    colour = plot_style.arm_colour(row.arm)
    axis.hlines(height, row.low, row.high, color=colour, linewidth=1.5)
    fill = colour if row.mode == "natural" else "white"
    axis.plot(row.mean, height, "o", color=colour, markersize=6, markerfacecolor=fill)


def _range(counts: pd.Series) -> str:
    smallest, largest = (0, 0) if counts.empty else (counts.min(), counts.max())
    return f"{smallest}" if smallest == largest else f"{smallest}–{largest}"


def domains(summary: pd.DataFrame, measure: str = "correct", stage: str = "open", mode: str = "forced") -> Figure:
    """Draw out-of-domain against in-domain scores, a panel a task, a cross an arm; on the diagonal nothing is lost.

    Arms without scores in this mode, as recorded answers, are drawn by their natural ones, and the caption says so.
    """
    frame = summary[(summary["measure"] == measure) & (summary["stage"] == stage)]
    others = [arm for arm, part in frame.groupby("arm", sort=False) if mode not in set(part["mode"])]
    frame = frame[(frame["mode"] == mode) | (frame["arm"].isin(others) & (frame["mode"] == "natural"))]
    tasks = plot_style.present(frame["task"], TASKS)
    if not tasks:
        return plot_style.nothing(f"no {measure} scores of {stage} answers with {mode} format")
    wide = min(2, len(tasks))
    figure, axes = plot_style.panels(-(-len(tasks) // wide), wide, width=4.4, height=3.7, sharex=True, sharey=True)
    least = np.floor(10 * frame[["low", "mean"]].min(axis=None)) / 10  # leave out the empty part below
    for axis in axes[len(tasks) :]:
        axis.set_axis_off()
    for axis, task in zip(axes, tasks):
        axis.plot([least, 1], [least, 1], color=plot_style.GREY, linewidth=0.7, linestyle=":")
        cells = frame[frame["task"] == task].set_index(["arm", "split"])
        points = {}
        for arm in dict.fromkeys(cells.index.get_level_values("arm")):
            if (arm, "test_id") in cells.index and (arm, "test_ood") in cells.index:
                points[arm] = _draw_cross(axis, arm, cells.loc[(arm, "test_id")], cells.loc[(arm, "test_ood")])
        plot_style.label_points(axis, points, gap=0.05 * (1 - least))
        lim = (least - 0.02, 1.02)
        plot_style.dress(
            axis, task, "in-domain", percent="xy", xlim=lim, ylim=lim, aspect="equal", ylabel="out-of-domain"
        )
    decoded = f"{mode} decoding" + (f" ({', '.join(others)}: natural)" if others else "")
    plot_style.caption(figure, f"{measure}, {stage} answers, {decoded}, 95 % intervals; dotted: equal in both domains")
    return figure


def _draw_cross(axis: Axes, arm: str, inside: pd.Series, outside: pd.Series) -> tuple[float, float]:
    x, y, colour = inside["mean"], outside["mean"], plot_style.arm_colour(arm)
    axis.hlines(y, inside["low"], inside["high"], color=colour, linewidth=1, alpha=0.6)
    axis.vlines(x, outside["low"], outside["high"], color=colour, linewidth=1, alpha=0.6)
    axis.plot(x, y, "o", color=colour, markersize=5)
    return x, y


Rows = Sequence[Mapping] | pd.DataFrame


def pass_at_k(rows: Rows) -> Figure:
    """Draw pass@k per stage, and what guessing would reach dashed; panels are tasks, rows of panels arms.

    `rows`: what `evaluation.probe` returns: task, stage, k, pass_at_k, low, high, chance and arm, if several.
    Every point was measured.
    """
    names = ["task", "stage", "k", "pass_at_k", "low", "high", "chance"]
    frame = plot_style.frame_of(rows, names) if len(rows) else pd.DataFrame()
    if frame.empty:
        return plot_style.nothing("nothing was sampled for pass@k")
    frame["arm"] = frame.get("arm", "")
    tasks, arms = plot_style.present(frame["task"], TASKS), list(dict.fromkeys(frame["arm"]))
    figure, axes = plot_style.panels(
        len(arms), len(tasks), width=9.6 / max(3, len(tasks)), height=2.2, sharex=True, sharey=True
    )
    for axis, (arm, task) in zip(axes, [(arm, task) for arm in arms for task in tasks]):
        _draw_passes(axis, frame[(frame["arm"] == arm) & (frame["task"] == task)])
        ticks = sorted(frame["k"].unique())
        plot_style.dress(axis, f"{arm}, {task}" if arm else task, xticks=ticks, xticklabels=ticks)
    asked = f"{frame['questions'].min()} questions a line; " if "questions" in frame else ""
    plot_style.caption(
        figure, f"at least one right among k answers (across); {asked}dashed: guessing; band: 95 % interval"
    )
    return figure


def _draw_passes(axis: Axes, rows: pd.DataFrame) -> None:
    ends = {}
    for stage in plot_style.present(rows["stage"], STAGES):
        cell, colour = rows[rows["stage"] == stage].sort_values("k"), plot_style.STAGE_COLOURS[stage]
        axis.fill_between(cell["k"], cell["low"], cell["high"], color=colour, alpha=0.15, linewidth=0)
        axis.plot(cell["k"], cell["pass_at_k"], "o-", color=colour, markersize=4)
        axis.plot(cell["k"], cell["chance"], "--", color=colour, linewidth=1)
        ends[stage] = cell["pass_at_k"].iloc[-1]
    axis.set_xscale("log", base=2)
    axis.minorticks_off()
    plot_style.label_ends(axis, ends, plot_style.STAGE_COLOURS)


def gains(rows: pd.DataFrame) -> Figure:
    """Draw differences with their intervals and each seed's as a dot: tasks as panel rows, splits as columns.

    `rows`: arm, task, split, mean, low, high in [-1, 1], and `seeds`, the list of differences behind the mean.
    """
    if rows.empty:
        return plot_style.nothing("no gains to draw")
    tasks, splits = plot_style.present(rows["task"], TASKS), plot_style.present(rows["split"], SPLIT_NAMES)
    arms = list(dict.fromkeys(rows["arm"]))
    figure, axes = plot_style.panels(
        len(tasks), len(splits), width=3.4, height=0.75 + 0.3 * len(arms), sharex=True, sharey=True
    )
    for axis, (task, split) in zip(axes, product(tasks, splits)):
        cell = rows[(rows["task"] == task) & (rows["split"] == split)]
        for row in cell.itertuples():
            _draw_gain(axis, row, len(arms) - 1 - arms.index(row.arm))
        axis.axvline(0, color=plot_style.BLACK, linewidth=0.8, linestyle="--")
        plot_style.dress(axis, f"{task}, {SPLIT_NAMES[split]}", percent="x")
        plot_style.dress_arms(axis, arms)
    count = len(rows["seeds"].iloc[0])
    plot_style.caption(
        figure, f"gain over the base, format forced; bar: 95 % interval over {count} seeds; ○ one seed each"
    )
    return figure


def _draw_gain(axis: Axes, row, height: float) -> None:
    colour = plot_style.ARM_COLOURS.get(row.arm, plot_style.BLACK)
    axis.hlines(height, row.low, row.high, color=colour, linewidth=2)
    axis.plot(row.mean, height, "o", color=colour, markersize=6)
    axis.plot(row.seeds, [height - 0.28] * len(row.seeds), "o", color=colour, markersize=4, markerfacecolor="white")

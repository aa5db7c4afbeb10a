"""The figures: one function each, plain data in, a matplotlib Figure out.

Colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart. A stage, a task or an arm has the
same colour in every figure. A line's name stands at its end, not in a legend. Accuracy and format are never summed in
one line: a total reward that rises through format alone looks like learning, but is not.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from currreft_nb.core.samples import TASKS
from currreft_nb.plots_parts import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    RED,
    SERIES,
    SKY,
    SMOOTHING_STEPS,
    STAGE_COLOURS,
    TASK_COLOURS,
    arm_colour,
    caption,
    draw_smoothed,
    draw_tasks,
    dress,
    dress_arms,
    frame_of,
    label_ends,
    label_points,
    nothing,
    panels,
    present,
    reason_colours,
    shortened,
    smooth,
)
from currreft_nb.tables import SPLIT_NAMES

Rows = Sequence[Mapping] | pd.DataFrame


def learning_curves(metrics: Rows, baseline: Mapping[str, float] | None = None, title: str = "") -> Figure:
    """Draw accuracy and format over the training steps, in separate panels; stages follow one another.

    `metrics`: rows of metrics.jsonl with `step`, `accuracy`, `format` in [0, 1] and optionally `stage`,
    `validation_accuracy`, `validation_format` and `baseline`: the accuracy where the stage began, format forced. What
    rises above that was learnt, not formatted. Without it the caption says that it is missing. `baseline`: the same by
    stage, for rows without that column.
    """
    frame = frame_of(metrics, ["step", "accuracy", "format"])
    if "stage" not in frame:
        frame["stage"] = ""
    if "baseline" not in frame:
        frame["baseline"] = frame["stage"].map(baseline or {})
    begins = (frame["stage"] != frame["stage"].shift()) | (frame["step"] < frame["step"].shift())
    figure, axes = panels(1, 2, width=4.6)
    for axis, column in zip(axes, ("accuracy", "format")):
        start = 0
        for _, rows in frame.groupby(begins.cumsum()):
            stage = rows["stage"].iloc[0]
            _draw_stage(axis, start + rows["step"].to_numpy(), rows[column], stage)
            if column == "accuracy" and pd.notna(began := rows["baseline"].iloc[0]):
                axis.hlines(began, start, start + rows["step"].max(), BLACK, linestyle="--", linewidth=1)
            if f"validation_{column}" in rows:
                points = rows.dropna(subset=[f"validation_{column}"])
                axis.plot(start + points["step"], points[f"validation_{column}"], "o", color=BLACK, markersize=3)
            start += rows["step"].max()
        dress(axis, f"{column} of sampled answers", "optimiser step", ylim=(-0.02, 1.12))
    dots = "; dots: validation" if "validation_accuracy" in frame else ""
    known = frame["baseline"].notna().any()
    dashed = "dashed: where the stage began, format forced" if known else "no baseline was measured"
    caption(figure, f"thin: each logged step; thick: mean of {SMOOTHING_STEPS} rows{dots}; {dashed}")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def _draw_stage(axis: Axes, steps: np.ndarray, values: pd.Series, stage: str) -> None:
    colour = STAGE_COLOURS.get(stage, BLUE)
    draw_smoothed(axis, steps, values, colour)
    if stage:
        axis.axvline(steps[-1], color=GREY, linewidth=0.5, linestyle=":")
        axis.text((steps[0] + steps[-1]) / 2, 1.12, stage, color=colour, ha="center", va="top", fontweight="bold")


def task_curves(metrics: Rows, measure: str = "accuracy") -> Figure:
    """Draw one measure per task over the training steps, from columns named `<measure>/<task>`."""
    frame = frame_of(metrics, ["step"])
    figure, (axis,) = panels(1, 1, width=6)
    ends = draw_tasks(axis, frame, measure)
    dress(axis, f"{measure} of sampled answers, by task", "optimiser step")
    label_ends(axis, ends, TASK_COLOURS)
    return figure


def zero_variance(histories: Mapping[str, Rows]) -> Figure:
    """Draw the share of groups whose rewards are all equal, which teach nothing, a line for each named history.

    Each history: rows of metrics.jsonl with `step` and `zero_variance` in [0, 1]. A single history that has them by
    task (`zero_variance/<task>`) gets a thin line for each.
    """
    figure, (axis,) = panels(1, 1, width=6)
    ends = {}
    if len(histories) == 1:
        ends = draw_tasks(axis, pd.DataFrame(*histories.values()), "zero_variance", linewidth=0.9, raw=False)
    colours = {task: TASK_COLOURS[task] for task in ends}
    free = [colour for colour in SERIES if colour not in STAGE_COLOURS.values()]
    for name, rows in histories.items():
        frame = frame_of(rows, ["step", "zero_variance"])
        label = f"{name}, mean {frame['zero_variance'].mean():.0%}"
        stage = frame["stage"].iloc[-1] if "stage" in frame and len(frame) else name
        colour = BLACK if ends and len(histories) == 1 else STAGE_COLOURS.get(stage)
        colours[label] = free.pop(0) if free and (not colour or colour in colours.values()) else colour or BLACK
        heights = smooth(frame["zero_variance"])
        axis.plot(frame["step"], heights, color=colours[label], linewidth=2)
        ends[label] = heights[-1]
    dress(axis, "groups whose rewards are all equal: nothing to learn from", "optimiser step of the stage")
    label_ends(axis, ends, colours)
    return figure


def loss_curve(metrics: Rows) -> Figure:
    """Draw the loss over the training steps."""
    frame = frame_of(metrics, ["step", "loss"])
    figure, (axis,) = panels(1, 1, width=6)
    draw_smoothed(axis, frame["step"], frame["loss"], BLUE)
    dress(axis, "loss on the answers", "optimiser step", percent="", ylim=(0, None))
    caption(figure, f"thin: each logged step; thick: mean of {SMOOTHING_STEPS} rows")
    return figure


def scores(summary: pd.DataFrame, measure: str = "correct", stage: str = "open") -> Figure:
    """Draw every arm's score with its interval: tasks as panel rows, splits as columns; natural filled, forced hollow.

    `summary`: what `metrics.scores.summarise` returns.
    """
    frame = summary[(summary["measure"] == measure) & (summary["stage"] == stage)]
    tasks, splits = present(frame["task"], TASKS), present(frame["split"], SPLIT_NAMES)
    if frame.empty:
        return nothing(f"no {measure} scores of {stage} answers")
    arms = list(dict.fromkeys(frame["arm"]))
    figure, axes = panels(len(tasks), len(splits), width=3.4, height=0.75 + 0.3 * len(arms), sharex=True, sharey=True)
    for axis, (task, split) in zip(axes, product(tasks, splits)):
        cell = frame[(frame["task"] == task) & (frame["split"] == split)]
        for row in cell.itertuples():
            height = len(arms) - 1 - arms.index(row.arm) + (0.14 if row.mode == "natural" else -0.14)
            _draw_interval(axis, row, height)
        dress(axis, f"{task}, {SPLIT_NAMES[split]} (n = {_range(cell['n'])})", percent="x", xlim=(-0.02, 1.02))
        dress_arms(axis, arms)
    alone = [arm for arm in arms if not (frame[frame["arm"] == arm]["mode"] == "forced").any()]
    unforced = f"   (cannot be forced: {', '.join(alone)})" if alone and len(alone) < len(arms) else ""
    caption(figure, f"{measure}, {stage} answers, 95 % interval;  ● natural   ○ format forced{unforced}")
    return figure


def _draw_interval(axis: Axes, row, height: float) -> None:
    colour = arm_colour(row.arm)
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
    tasks = present(frame["task"], TASKS)
    if not tasks:
        return nothing(f"no {measure} scores of {stage} answers with {mode} format")
    wide = min(2, len(tasks))
    figure, axes = panels(-(-len(tasks) // wide), wide, width=4.4, height=3.7, sharex=True, sharey=True)
    least = np.floor(10 * frame[["low", "mean"]].min(axis=None)) / 10  # leave out the empty part below
    for axis in axes[len(tasks) :]:
        axis.set_axis_off()
    for axis, task in zip(axes, tasks):
        axis.plot([least, 1], [least, 1], color=GREY, linewidth=0.7, linestyle=":")
        cells = frame[frame["task"] == task].set_index(["arm", "split"])
        points = {}
        for arm in dict.fromkeys(cells.index.get_level_values("arm")):
            if (arm, "test_id") in cells.index and (arm, "test_ood") in cells.index:
                points[arm] = _draw_cross(axis, arm, cells.loc[(arm, "test_id")], cells.loc[(arm, "test_ood")])
        label_points(axis, points, gap=0.05 * (1 - least))
        lim = (least - 0.02, 1.02)
        dress(axis, task, "in-domain", percent="xy", xlim=lim, ylim=lim, aspect="equal", ylabel="out-of-domain")
    decoded = f"{mode} decoding" + (f" ({', '.join(others)}: natural)" if others else "")
    caption(figure, f"{measure}, {stage} answers, {decoded}, 95 % intervals; dotted: equal in both domains")
    return figure


def _draw_cross(axis: Axes, arm: str, inside: pd.Series, outside: pd.Series) -> tuple[float, float]:
    x, y, colour = inside["mean"], outside["mean"], arm_colour(arm)
    axis.hlines(y, inside["low"], inside["high"], color=colour, linewidth=1, alpha=0.6)
    axis.vlines(x, outside["low"], outside["high"], color=colour, linewidth=1, alpha=0.6)
    axis.plot(x, y, "o", color=colour, markersize=5)
    return x, y


def reward_reasons(rows: Rows, title: str = "", top: int = 6, bins: int = 20) -> Figure:
    """Draw which reasons the rewards had over time, as shares of all completions.

    `rows`: one per scored completion with `step` and `reason`; reasons beyond the `top` most frequent become "other".
    Where rows have a `stage`, a dotted line marks the step at which another begins.
    """
    frame = frame_of(rows, ["step", "reason"])
    names = sorted((name for name, _ in Counter(frame["reason"]).most_common(top)), key=lambda name: name != "ok")
    frame["reason"] = frame["reason"].where(frame["reason"].isin(names), "other")
    edges = np.linspace(frame["step"].min(), frame["step"].max() + 1, min(bins, frame["step"].nunique()) + 1)
    middle = (edges[:-1] + edges[1:] - 1) / 2
    shares = pd.crosstab(middle[np.digitize(frame["step"], edges) - 1], frame["reason"], normalize="index")
    shares = shares[[name for name in [*names, "other"] if name in shares]]
    figure, (axis,) = panels(1, 1, width=6.5)
    colours = reason_colours(shares.columns)
    axis.stackplot(shares.index, shares.to_numpy().T, colors=list(colours.values()), alpha=0.85, linewidth=0)
    tops = shares.iloc[-1].cumsum()
    label_ends(axis, (tops - shares.iloc[-1] / 2).to_dict(), colours)
    heading = f"{title}: why completions got their reward" if title else "why completions got their reward"
    for stage, first in (frame.groupby("stage")["step"].min() if "stage" in frame else pd.Series()).items():
        if first > frame["step"].min():
            axis.axvline(first - 0.5, color=BLACK, linewidth=0.8, linestyle=":")
            axis.text(first, 0.02, str(stage), fontsize=8)
    dress(axis, heading, "optimiser step", ylim=(0, 1))
    axis.margins(x=0)
    return figure


def group_picture(labels: Sequence[str], rewards: Sequence[float], advantages: Sequence[float]) -> Figure:
    """Draw one group's rewards with their mean, and the advantages that follow: above the mean is encouraged."""
    figure, (left, right) = panels(1, 2, width=4.2, height=0.9 + 0.38 * len(labels), sharey=True)
    mean = float(np.mean(rewards))
    places = range(len(labels))
    left.bar_label(left.barh(places, rewards, color=SKY, height=0.6), fmt="%.2f", padding=3, fontsize=8)
    left.axvline(mean, color=BLACK, linestyle="--", linewidth=1)
    left.text(mean, len(labels) - 0.42, f" mean {mean:.2f}", va="bottom", fontsize=8)
    colours = [GREEN if value > 0 else RED if value < 0 else GREY for value in advantages]
    right.bar_label(right.barh(places, advantages, color=colours, height=0.6), fmt="%+.2f", padding=3, fontsize=8)
    right.axvline(0, color=BLACK, linewidth=0.8)
    names = [shortened(label, 44) for label in labels]
    dress(left, "reward", percent="", yticks=places, yticklabels=names, ylim=(len(labels) - 0.35, -0.5))
    dress(right, "advantage", percent="", ylim=(len(labels) - 0.35, -0.5))
    left.set_xlim(0, 1.2 * max(*rewards, 0.1))
    right.set_xlim(*(sign * 1.6 * max(0.1, *map(abs, advantages)) for sign in (-1, 1)))
    return figure

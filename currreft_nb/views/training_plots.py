"""Figures of a training: its curves, also while it runs, the reasons of its rewards, answer lengths, pass rates.

Accuracy and format are never summed in one line: a total reward that rises through format alone looks like learning,
but is not.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from currreft_nb.core.samples import TRAINED_TASKS, Sample
from currreft_nb.method.difficulty import PassRate
from currreft_nb.views import plot_style as style
from currreft_nb.views.plot_style import Rows

# The panels of `progress`, from left to right: of reinforcement learning, and of fine-tuning on given answers.
PROGRESS_PANELS = (
    {"accuracy": "accuracy", "format": "format", "zero_variance": "silent groups", "length": "tokens an answer"},
    {"loss": "loss", "token_accuracy": "tokens right"},
    {"loss": "loss", "length": "tokens an answer"},
)
SHARES = ("accuracy", "format", "zero_variance", "token_accuracy")  # from 0 to 1
SHARPNESS = {"pass@4": style.GREEN, "greedy": style.BLACK, "sampled": style.ORANGE}  # measures of validation
MOST_BINS = 10  # stretches of the steps in `task_reasons`


def learning_curves(metrics: Rows, start_line: Mapping[str, float] | None = None, title: str = "") -> Figure:
    """Draw accuracy and format over the training steps, in separate panels; stages follow one another.

    `metrics`: rows of metrics.jsonl with `step`, `accuracy`, `format` in [0, 1] and optionally `stage`,
    `validation_accuracy`, `validation_format` and `start_line`: the accuracy where the stage began, format forced. What
    rises above that was learnt, not formatted. Without it the caption says that it is missing. `start_line`: the same
    by stage, for rows without that column.
    """
    frame = style.frame_of(metrics, ["step", "accuracy", "format"])
    if "stage" not in frame:
        frame["stage"] = ""
    if "start_line" not in frame:
        frame["start_line"] = frame["stage"].map(start_line or {})
    begins = (frame["stage"] != frame["stage"].shift()) | (frame["step"] < frame["step"].shift())
    figure, axes = style.panels(1, 2, width=4.6)
    for axis, column in zip(axes, ("accuracy", "format")):
        start = 0
        for _, rows in frame.groupby(begins.cumsum()):
            stage = rows["stage"].iloc[0]
            _draw_stage(axis, start + rows["step"].to_numpy(), rows[column], stage)
            if column == "accuracy" and pd.notna(began := rows["start_line"].iloc[0]):
                axis.hlines(began, start, start + rows["step"].max(), style.BLACK, linestyle="--", linewidth=1)
            if f"validation_{column}" in rows:
                points = rows.dropna(subset=[f"validation_{column}"])
                axis.plot(start + points["step"], points[f"validation_{column}"], "o", color=style.BLACK, markersize=3)
            start += rows["step"].max()
        style.dress(axis, f"{column} of sampled answers", "optimiser step", ylim=(-0.02, 1.12))
    dots = "; dots: validation" if "validation_accuracy" in frame else ""
    known = frame["start_line"].notna().any()
    dashed = "dashed: where the stage began, format forced" if known else "no start line was measured"
    style.caption(figure, f"thin: each logged step; thick: mean of {style.SMOOTHING_STEPS} rows{dots}; {dashed}")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure


def _draw_stage(axis: Axes, steps: np.ndarray, values: pd.Series, stage: str) -> None:
    colour = style.STAGE_COLOURS.get(stage, style.BLUE)
    style.draw_smoothed(axis, steps, values, colour)
    if stage:
        axis.axvline(steps[-1], color=style.GREY, linewidth=0.5, linestyle=":")
        axis.text((steps[0] + steps[-1]) / 2, 1.12, stage, color=colour, ha="center", va="top", fontweight="bold")


def task_curves(metrics: Rows) -> Figure:
    """Draw the accuracy of each task over the training steps, from columns named `accuracy/<task>`."""
    frame = style.frame_of(metrics, ["step"])
    figure, (axis,) = style.panels(1, 1, width=6)
    ends = style.draw_tasks(axis, frame, "accuracy")
    style.dress(axis, "accuracy of sampled answers, by task", "optimiser step")
    style.label_ends(axis, ends, style.TASK_COLOURS)
    return figure


def zero_variance(histories: Mapping[str, Rows]) -> Figure:
    """Draw the share of groups whose rewards are all equal, which teach nothing, a line for each named history.

    Each history: rows of metrics.jsonl with `step` and `zero_variance` in [0, 1]. A single history that has them by
    task (`zero_variance/<task>`) gets a thin line for each.
    """
    figure, (axis,) = style.panels(1, 1, width=6)
    ends = {}
    if len(histories) == 1:
        (rows,) = histories.values()
        ends = style.draw_tasks(axis, pd.DataFrame(rows), "zero_variance", linewidth=0.9, raw=False)
    colours = {task: style.TASK_COLOURS[task] for task in ends}
    free = [colour for colour in style.SERIES if colour not in style.STAGE_COLOURS.values()]
    for name, rows in histories.items():
        frame = style.frame_of(rows, ["step", "zero_variance"])
        label = f"{name}, mean {frame['zero_variance'].mean():.0%}"
        stage = frame["stage"].iloc[-1] if "stage" in frame and len(frame) else name
        colour = style.BLACK if ends and len(histories) == 1 else style.STAGE_COLOURS.get(stage)
        colours[label] = free.pop(0) if free and (not colour or colour in colours.values()) else colour or style.BLACK
        ends[label] = style.draw_smoothed(axis, frame["step"], frame["zero_variance"], colours[label], raw=False)
    style.dress(axis, "groups whose rewards are all equal: nothing to learn from", "optimiser step of the stage")
    style.label_ends(axis, ends, colours)
    return figure


def loss_curve(metrics: Rows) -> Figure:
    """Draw the loss over the training steps."""
    frame = style.frame_of(metrics, ["step", "loss"])
    figure, (axis,) = style.panels(1, 1, width=6)
    style.draw_smoothed(axis, frame["step"], frame["loss"], style.BLUE)
    style.dress(axis, "loss on the answers", "optimiser step", percent="", ylim=(0, None))
    style.caption(figure, f"thin: each logged step; thick: mean of {style.SMOOTHING_STEPS} rows")
    return figure


def reward_reasons(rows: Rows, title: str = "") -> Figure:
    """Draw which reasons the rewards had over time, as shares of all completions.

    `rows`: one per scored completion with `step` and `reason`; reasons beyond the six most frequent become "other".
    Where rows have a `stage`, a dotted line marks the step at which another begins.
    """
    frame = style.frame_of(rows, ["step", "reason"])
    names = sorted((name for name, _ in Counter(frame["reason"]).most_common(6)), key=lambda name: name != "ok")
    frame["reason"] = frame["reason"].where(frame["reason"].isin(names), "other")
    edges = np.linspace(frame["step"].min(), frame["step"].max() + 1, min(20, frame["step"].nunique()) + 1)
    middle = (edges[:-1] + edges[1:] - 1) / 2
    shares = pd.crosstab(middle[np.digitize(frame["step"], edges) - 1], frame["reason"], normalize="index")
    shares = shares[[name for name in [*names, "other"] if name in shares]]
    figure, (axis,) = style.panels(1, 1, width=6.5)
    colours = style.reason_colours(list(map(str, shares)))
    axis.stackplot(shares.index, shares.to_numpy().T, colors=list(colours.values()), alpha=0.85, linewidth=0)
    middles = shares.iloc[-1].cumsum() - shares.iloc[-1] / 2
    style.label_ends(axis, dict(zip(colours, middles)), colours)
    heading = f"{title}: " * bool(title) + "why completions got their reward"
    for stage, first in (frame.groupby("stage")["step"].min() if "stage" in frame else pd.Series()).items():
        if first > frame["step"].min():
            axis.axvline(first - 0.5, color=style.BLACK, linewidth=0.8, linestyle=":")
            axis.text(first, 0.02, str(stage), fontsize=8)
    style.dress(axis, heading, "optimiser step", ylim=(0, 1))
    axis.margins(x=0)
    return figure


def group_picture(labels: Sequence[str], rewards: Sequence[float], advantages: Sequence[float]) -> Figure:
    """Draw one group's rewards with their mean, and the advantages that follow: above the mean is encouraged."""
    figure, (left, right) = style.panels(1, 2, width=4.2, height=0.9 + 0.38 * len(labels), sharey=True)
    mean = float(np.mean(rewards))
    places = range(len(labels))
    left.bar_label(left.barh(places, rewards, color=style.SKY, height=0.6), fmt="%.2f", padding=3, fontsize=8)
    left.axvline(mean, color=style.BLACK, linestyle="--", linewidth=1)
    left.text(mean, len(labels) - 0.42, f" mean {mean:.2f}", va="bottom", fontsize=8)
    colours = [style.GREEN if value > 0 else style.RED if value < 0 else style.GREY for value in advantages]
    right.bar_label(right.barh(places, advantages, color=colours, height=0.6), fmt="%+.2f", padding=3, fontsize=8)
    right.axvline(0, color=style.BLACK, linewidth=0.8)
    names = [style.shortened(label, 44) for label in labels]
    style.dress(left, "reward", percent="", yticks=places, yticklabels=names, ylim=(len(labels) - 0.35, -0.5))
    style.dress(right, "advantage", percent="", ylim=(len(labels) - 0.35, -0.5))
    left.set_xlim(0, 1.2 * max(*rewards, 0.1))
    right.set_xlim(*(sign * 1.6 * max(0.1, *map(abs, advantages)) for sign in (-1, 1)))
    return figure


def pass_rates(samples: Sequence[Sample], rates: Mapping[str, PassRate]) -> Figure:
    """Draw how many training questions have which pass rate, a panel a task; at both ends a group has no contrast."""
    tasks = style.present([sample.task for sample in samples if sample.id in rates], TRAINED_TASKS)
    if not tasks:
        return style.nothing("pass rates were not measured: rate_completions is 0")
    figure, axes = style.panels(1, len(tasks), width=3.2, height=2.4, sharey=True)
    for axis, task in zip(axes, tasks):
        found = Counter(rates[s.id].rate for s in samples if s.task == task and s.id in rates)
        width = 0.8 / max(rate.of for rate in rates.values())
        bars = axis.bar(list(found), list(found.values()), width, color=style.TASK_COLOURS[task])
        axis.bar_label(bars, padding=2, fontsize=8)
        ticks = [0, 0.25, 0.5, 0.75, 1]
        style.dress(axis, f"{task}: {found.total()} questions", percent="x", xlim=(-0.15, 1.15), xticks=ticks)
        axis.margins(y=0.12)  # room for the numbers above the bars
    style.caption(figure, "training questions by the share of sampled answers that were right")
    return figure


def progress(metrics: Sequence[Mapping]) -> Figure:
    """Draw how a training goes, small and quick to draw: each measure in a panel of its own, dots are validations."""
    frame = style.frame_of(metrics, ["step"])
    watched = next(names for names in PROGRESS_PANELS if set(names) <= set(frame))
    with matplotlib.rc_context(style.STYLE | {"font.size": 8}):
        figure = Figure(figsize=(2.4 * len(watched), 1.9))
        axes = figure.subplots(1, len(watched))
    figure.subplots_adjust(left=0.16 / len(watched), right=0.99, bottom=0.21, top=0.87, wspace=0.22)
    for axis, (column, title) in zip(axes, watched.items()):
        _draw_measure(axis, frame, column)
        axis.set_title(f"{title}  {frame[column].iloc[-1]:.3g}", loc="left", fontsize=9)
    axes[0].set_xlabel("optimiser step", fontsize=8)
    return figure


def _draw_measure(axis: Axes, frame: pd.DataFrame, column: str) -> None:
    colour = style.STAGE_COLOURS.get(frame["stage"].iloc[-1], style.BLUE) if "stage" in frame else style.BLUE
    single = "o" if len(frame) == 1 else None
    axis.plot(frame["step"], frame[column], color=colour, alpha=0.3, linewidth=0.8)
    axis.plot(frame["step"], style.smooth(frame[column]), marker=single, color=colour, linewidth=1.6, markersize=3)
    if (asked := f"validation_{column}") in frame:
        axis.plot(frame["step"], frame[asked], "o", color=style.BLACK, markersize=2.5)
    axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axis.set_xlim(0, 1.02 * frame["step"].max())
    if column in SHARES:
        axis.set(ylim=(-0.04, 1.04), yticks=(0, 0.5, 1))
    else:
        axis.set_ylim(0, None)
        axis.yaxis.set_major_locator(MaxNLocator(4))


def lengths(metrics: Rows) -> Figure:
    """Draw how long answers are and how many were cut off, a line a task: longer is no better, cut off is lost."""
    frame = style.frame_of(metrics, ["step"])
    figure, axes = style.panels(1, 2, width=4.6)
    for axis, measure in zip(axes, ("length", "truncated")):
        ends = style.draw_tasks(axis, frame, measure)
        top = max([1.0, *(1.1 * frame[f"length/{task}"].max() for task in ends)]) if measure == "length" else 1.0
        style.label_ends(axis, ends, style.TASK_COLOURS, top)
        axis.set_ylim(-0.02 * top, 1.02 * top)
    style.dress(axes[0], "tokens of an answer", "optimiser step", percent="")
    style.dress(axes[1], "answers cut off by max_new_tokens", "optimiser step")
    return figure


def unseen(metrics: Rows) -> Figure:
    """Draw what no reward sees: answers against their reasons, length, entropy, and greedy answers against pass@4.

    `metrics`: rows of metrics.jsonl of a stage, with `contradiction/<task>`, `think_readable`, `length` and `entropy`;
    in the first row `start_*`, later `validation_*` of `greedy`, `correct` and `pass_4`. What is missing is named.
    """
    frame = style.frame_of(metrics, ["step"])
    figure, axes = style.panels(1, 4, width=3.1)
    ends = style.draw_tasks(axes[0], frame, "contradiction")
    style.label_ends(axes[0], ends, style.TASK_COLOURS)
    style.dress(axes[0], "answers against their reasons", "optimiser step")
    for axis, column, title in zip(axes[1:], ("length", "entropy"), ("tokens of an answer", "entropy, nats a token")):
        if column in frame:
            rows = frame[["step", column]].dropna()
            style.draw_smoothed(axis, rows["step"], rows[column], style.BLUE)
        style.dress(axis, title, "optimiser step", percent="", ylim=(0, None))
    style.label_ends(axes[3], _draw_sharpness(axes[3], frame), SHARPNESS)
    style.dress(axes[3], "right on validation", "optimiser step")
    readable = frame["think_readable"].mean() if "think_readable" in frame else 0.0
    missing = "" if "validation_greedy" in frame else "; no validation questions were asked"
    style.caption(
        figure,
        f"left: of the answers whose think block gives a value ({readable:.0%}), those that say another{missing}",
    )
    return figure


def _draw_sharpness(axis: Axes, frame: pd.DataFrame) -> dict[str, float]:
    """Draw each measure of validation from its start; return where each line ends."""
    ends = {}
    for label, colour in SHARPNESS.items():
        column = label.replace("pass@", "pass_").replace("sampled", "correct")
        if f"validation_{column}" in frame:
            rows = frame[["step", f"validation_{column}"]].dropna().set_axis(["step", "share"], axis=1)
            start = frame[f"start_{column}"].dropna() if f"start_{column}" in frame else pd.Series(dtype=float)
            steps, shares = [0] * len(start) + list(rows["step"]), [*start, *rows["share"]]
            axis.plot(steps, shares, "o-", color=colour, markersize=3, linewidth=1.6)
            ends[label] = shares[-1]
    return ends


def task_reasons(metrics: Rows, top: int = 6) -> Figure:
    """Draw the reasons of the rewards as shares over time: a panel a task, in a mixture also a stage.

    From columns `reason/<task>/<code>`; reasons beyond the `top` most frequent of all become "other".
    """
    frame = pd.DataFrame(metrics)
    columns = [name for name in map(str, frame) if name.startswith("reason/")]
    if not columns:
        return style.nothing("no reasons were logged")
    means = frame[columns].fillna(0).mean().groupby(lambda name: name.rpartition("/")[2]).sum()
    names = sorted(means.nlargest(top).index, key=lambda name: (name != "ok", -means[name]))
    colours = style.reason_colours([*names, "other"])
    cells = sorted({name.removeprefix("reason/").rpartition("/")[0] for name in columns})
    wide = min(3, len(cells))
    figure, axes = style.panels(-(-len(cells) // wide), wide, width=3.6, height=2.7)
    for axis, cell in zip(axes, cells):
        shares = _binned(_shares(frame, cell, names))
        shown = [colours[str(name)] for name in shares]
        axis.stackplot(shares.index, shares.to_numpy().T, colors=shown, alpha=0.85, lw=0)
        style.dress(axis, cell, "optimiser step", ylim=(0, 1))
        axis.margins(x=0)
    for axis in axes[len(cells) :]:
        axis.set_axis_off()
    patches = [Patch(color=colour, alpha=0.85, label=name) for name, colour in colours.items()]
    figure.legend(handles=patches, loc="outside upper left", ncols=len(patches), frameon=False, handlelength=1)
    style.caption(figure, "shares of the answers by the reason of their reward; method/rewards.py explains the reasons")
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

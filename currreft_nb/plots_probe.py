"""The figures of what a model can do before it is trained: pass@k, and the pass rates of training questions."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from currreft_nb.core.samples import STAGES, TASKS, TRAINED_TASKS, Sample
from currreft_nb.method.difficulty import PassRate
from currreft_nb.plots_parts import (
    STAGE_COLOURS,
    TASK_COLOURS,
    caption,
    dress,
    frame_of,
    label_ends,
    nothing,
    panels,
    present,
)

Rows = Sequence[Mapping] | pd.DataFrame


def pass_at_k(rows: Rows) -> Figure:
    """Draw pass@k per stage, and what guessing would reach dashed; panels are tasks, rows of panels arms.

    `rows`: what `evaluation.probe` returns: task, stage, k, pass_at_k, low, high, chance and arm, if several.
    Every point was measured.
    """
    names = ["task", "stage", "k", "pass_at_k", "low", "high", "chance"]
    frame = frame_of(rows, names) if len(rows) else pd.DataFrame()
    if frame.empty:
        return nothing("nothing was sampled for pass@k")
    frame["arm"] = frame.get("arm", "")
    tasks, arms = present(frame["task"], TASKS), list(dict.fromkeys(frame["arm"]))
    figure, axes = panels(len(arms), len(tasks), width=9.6 / max(3, len(tasks)), height=2.2, sharex=True, sharey=True)
    for axis, (arm, task) in zip(axes, [(arm, task) for arm in arms for task in tasks]):
        _draw_passes(axis, frame[(frame["arm"] == arm) & (frame["task"] == task)])
        ticks = sorted(frame["k"].unique())
        dress(axis, f"{arm}, {task}" if arm else task, xticks=ticks, xticklabels=ticks)
    asked = f"{frame['questions'].min()} questions a line; " if "questions" in frame else ""
    caption(figure, f"at least one right among k answers (across); {asked}dashed: guessing; band: 95 % interval")
    return figure


def _draw_passes(axis: Axes, rows: pd.DataFrame) -> None:
    ends = {}
    for stage in present(rows["stage"], STAGES):
        cell, colour = rows[rows["stage"] == stage].sort_values("k"), STAGE_COLOURS[stage]
        axis.fill_between(cell["k"], cell["low"], cell["high"], color=colour, alpha=0.15, linewidth=0)
        axis.plot(cell["k"], cell["pass_at_k"], "o-", color=colour, markersize=4)
        axis.plot(cell["k"], cell["chance"], "--", color=colour, linewidth=1)
        ends[stage] = cell["pass_at_k"].iloc[-1]
    axis.set_xscale("log", base=2)
    axis.minorticks_off()
    label_ends(axis, ends, STAGE_COLOURS)


def pass_rates(samples: Sequence[Sample], rates: Mapping[str, PassRate]) -> Figure:
    """Draw how many training questions have which pass rate, a panel a task; at both ends a group has no contrast."""
    tasks = present([sample.task for sample in samples if sample.id in rates], TRAINED_TASKS)
    if not tasks:
        return nothing("pass rates were not measured: rate_completions is 0")
    figure, axes = panels(1, len(tasks), width=3.2, height=2.4, sharey=True)
    for axis, task in zip(axes, tasks):
        found = Counter(rates[s.id].rate for s in samples if s.task == task and s.id in rates)
        width = 0.8 / max(rate.of for rate in rates.values())
        bars = axis.bar(list(found), list(found.values()), width, color=TASK_COLOURS[task])
        axis.bar_label(bars, padding=2, fontsize=8)
        dress(
            axis, f"{task}: {found.total()} questions", percent="x", xlim=(-0.15, 1.15), xticks=[0, 0.25, 0.5, 0.75, 1]
        )
        axis.margins(y=0.12)  # room for the numbers above the bars
    caption(figure, "training questions by the share of sampled answers that were right")
    return figure

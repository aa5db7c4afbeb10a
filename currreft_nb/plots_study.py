"""Figures over several seeds: what training gained, seed by seed."""

from itertools import product

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from currreft_nb.core.samples import TASKS
from currreft_nb.plots_parts import ARM_COLOURS, BLACK, caption, dress, dress_arms, nothing, panels, present
from currreft_nb.tables import SPLIT_NAMES


def gains(rows: pd.DataFrame) -> Figure:
    """Draw differences with their intervals and each seed's as a dot: tasks as panel rows, splits as columns.

    `rows`: arm, task, split, mean, low, high in [-1, 1], and `seeds`, the list of differences behind the mean.
    """
    if rows.empty:
        return nothing("no gains to draw")
    tasks, splits = present(rows["task"], TASKS), present(rows["split"], SPLIT_NAMES)
    arms = list(dict.fromkeys(rows["arm"]))
    figure, axes = panels(len(tasks), len(splits), width=3.4, height=0.75 + 0.3 * len(arms), sharex=True, sharey=True)
    for axis, (task, split) in zip(axes, product(tasks, splits)):
        cell = rows[(rows["task"] == task) & (rows["split"] == split)]
        for row in cell.itertuples():
            _draw_gain(axis, row, len(arms) - 1 - arms.index(row.arm))
        axis.axvline(0, color=BLACK, linewidth=0.8, linestyle="--")
        dress(axis, f"{task}, {SPLIT_NAMES[split]}", percent="x")
        dress_arms(axis, arms)
    count = len(rows["seeds"].iloc[0])
    caption(figure, f"gain over the base, format forced; bar: 95 % interval over {count} seeds; ○ one seed each")
    return figure


def _draw_gain(axis: Axes, row, height: float) -> None:
    colour = ARM_COLOURS.get(row.arm, BLACK)
    axis.hlines(height, row.low, row.high, color=colour, linewidth=2)
    axis.plot(row.mean, height, "o", color=colour, markersize=6)
    axis.plot(row.seeds, [height - 0.28] * len(row.seeds), "o", color=colour, markersize=4, markerfacecolor="white")

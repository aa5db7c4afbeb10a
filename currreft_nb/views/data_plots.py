"""Figures of questions, before any training: answers, boxes, balance, a judge's points, and the memory estimate."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from currreft_nb.core.boxes import Frame, area, from_frame, to_frame
from currreft_nb.core.samples import LETTERS, TRAINED_TASKS, VALUES, Sample, size_of
from currreft_nb.data.audit import GUESSERS, said
from currreft_nb.data.images import read_image
from currreft_nb.metrics.intervals import mean_interval
from currreft_nb.views import plot_style as style

MEMORY_COLOURS = (style.BLUE, style.SKY, style.GREEN, style.PINK, style.ORANGE, style.RED, style.GREY)


def answer_distribution(samples: Sequence[Sample], top: int = 10) -> Figure:
    """Draw the most frequent open answers of each task whose answers are labels or texts; the rest is one grey bar."""
    counts: dict[str, Counter[str]] = {task: Counter() for task in TRAINED_TASKS if VALUES[task] != "boxes"}
    for sample in samples:
        if sample.stage == "open" and sample.task in counts:
            counts[sample.task].update(sample.answer if VALUES[sample.task] == "labels" else [sample.answer])
    counts = {task: counter for task, counter in counts.items() if counter}
    if not counts:
        return style.nothing("no open answers of labels or texts to count")
    figure, axes = style.panels(1, len(counts), width=4, height=0.7 + 0.22 * (top + 1))
    for axis, (task, counter) in zip(axes, counts.items()):
        _draw_bars(axis, counter, top, style.TASK_COLOURS[task])
        style.dress(axis, f"{task}: {counter.total()} answers", percent="", xticks=[])
        axis.spines["bottom"].set_visible(False)
    return figure


def giveaways(rows: Sequence[Mapping]) -> Figure:
    """Draw how often the guessers of `data.audit` are right, beside chance, and the tokens that tell them most.

    `rows`: the audit of a manifest. A form whose low end is above chance by more than the margin has red tokens.
    """
    if not rows:
        return style.nothing("no form of a task has enough questions for an audit")
    places = {name: place for place, name in enumerate(dict.fromkeys((row["task"], row["stage"]) for row in rows))}
    figure, (axis,) = style.panels(1, 1, width=9, height=1 + 0.5 * len(places))
    for row in rows:
        first = row["guesser"] == GUESSERS[0]
        place = places[row["task"], row["stage"]] + (-0.17 if first else 0.17)
        colour = style.BLUE if first else style.ORANGE
        axis.plot([row["chance"]] * 2, [place - 0.17, place + 0.17], color=style.BLACK, linewidth=1.2)
        axis.plot(row["right"], place, "o", color=colour, markersize=4)
        axis.hlines(place, row["low"], row["high"], color=colour)
        told = ", ".join(f"{token} → {said(row['stage'], speaks)}" for token, speaks in row["telling"])
        ink, told = style.RED if row["giveaway"] else style.GREY, style.shortened(told, 100)
        axis.text(1.02, place, told, va="center", fontsize=7, color=ink, parse_math=False)
    style.dress(axis, "right without a look at the picture", percent="x", xlim=(0, 1))
    axis.set_yticks(range(len(places)), [f"{task}, {stage}" for task, stage in places])
    axis.invert_yaxis()
    style.caption(figure, "blue: by words, orange: by geometry, with 95 % intervals; black: chance; red: a give-away")
    return figure


def _draw_bars(axis: Axes, counter: Counter, top: int, colour: str) -> None:
    bars = counter.most_common(top)
    colours = [colour] * len(bars)
    if others := counter.total() - sum(count for _, count in bars):
        bars.append((f"{len(counter) - top} others", others))
        colours.append(style.GREY)
    names = [style.shortened(name) for name, _ in bars]
    drawn = axis.barh(range(len(bars)), [count for _, count in bars], color=colours, height=0.7)
    axis.bar_label(drawn, padding=2, fontsize=8)
    axis.set_yticks(range(len(bars)), names, parse_math=False)  # an answer in half a formula is shown as it is
    axis.invert_yaxis()


def box_sizes(samples: Sequence[Sample]) -> Figure:
    """Draw how large the boxes are, as a share of the image's side (root of the area's share), one line a split."""
    sizes: dict[str, list[float]] = {}
    for sample in samples:
        if VALUES[sample.task] == "boxes" and sample.stage == "open":
            whole = math.prod(size_of(sample))
            sizes.setdefault(sample.split, []).extend((area(box) / whole) ** 0.5 for box in sample.answer)
    if not sizes:
        return style.nothing("no boxes: there is no open sample with boxes")
    figure, (axis,) = style.panels(1, 1, width=6)
    for index, (split, values) in enumerate(sizes.items()):
        counts, edges = np.histogram(values, bins=np.linspace(0, 1, 21))
        axis.stairs(counts / len(values), edges, color=style.SERIES[index], linewidth=1.8)
        label = f"{split}: {len(values)} boxes, median {np.median(values):.0%}"
        height, colour = 0.97 - 0.09 * index, style.SERIES[index]
        axis.text(0.99, height, label, color=colour, transform=axis.transAxes, ha="right", va="top")
    across = "side of the box, share of the image's side"
    style.dress(axis, "how large the boxes are", across, "xy", xlim=(0, 1), ylim=(0, None), ylabel="share of the boxes")
    return figure


def round_trips(samples: Sequence[Sample], frames: Mapping[str, Frame], count: int = 3) -> Figure:
    """Draw gold boxes after a trip through each family's frame, dashed, over the gold itself: a row a sample.

    Above each picture are the boxes as the model writes them; the caption gives the largest shift in pixels.
    """
    chosen = [s for s in samples if VALUES[s.task] == "boxes" and s.stage == "open" and s.image is not None][:count]
    if not chosen:
        return style.nothing("no boxes: there is no open sample with boxes and a picture")
    figure, axes = style.panels(len(chosen), len(frames), width=3.2, height=2.9)
    shifts = []
    for axis, (sample, (family, frame)) in zip(axes, product(chosen, frames.items())):
        axis.imshow(np.asarray(read_image(str(sample.image))))
        written = [to_frame(box, size_of(sample), frame) for box in sample.answer]
        back = [from_frame(box, size_of(sample), frame) for box in written]
        shifts += [abs(a - b) for box, again in zip(sample.answer, back) for a, b in zip(box, again)]
        for boxes, colour, width, line in ((sample.answer, style.GREEN, 3, "-"), (back, style.RED, 1.2, "--")):
            for x1, y1, x2, y2 in boxes:
                corners = np.array([[x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1]])
                # Pixel centres are whole numbers in `imshow`, box edges lie between them.
                axis.plot(*(corners - 0.5), color=colour, linewidth=width, linestyle=line)
        style.dress(axis, f"{family}\n{', '.join(map(str, written[:2]))}", percent="")
        axis.set_axis_off()
    style.caption(figure, f"green: gold, red: after the trip; it shifts an edge by at most {max(shifts):.1f} pixels")
    return figure


def answer_balance(samples: Sequence[Sample]) -> Figure:
    """Draw the share of yes among binary answers and the places of the right options of choices, a colour a task."""
    tasks = [task for task in TRAINED_TASKS if any(s.task == task and s.stage != "open" for s in samples)]
    if not tasks:
        return style.nothing("no binary and no choice samples")
    figure, (left, right) = style.panels(1, 2, width=4.2)
    labels: list[str] = []
    for index, task in enumerate(tasks):
        of_task = [sample for sample in samples if sample.task == task]
        verdicts, colour = [float(s.answer) for s in of_task if s.stage == "binary"], style.TASK_COLOURS[task]
        if verdicts:
            left.plot(index, np.mean(verdicts), "o", color=colour)
            left.vlines(index, *mean_interval(verdicts), color=colour)
        labels.append(f"{task}\nn = {len(verdicts)}")
        shift = 0.22 * (index - (len(tasks) - 1) / 2)
        _draw_letters(right, [s for s in of_task if s.stage == "choice"], shift, colour)
    left.axhline(0.5, color=style.GREY, linestyle=":", linewidth=1)
    ends = (-0.5, len(tasks) - 0.5)
    style.dress(left, "yes among yes/no answers", xticks=range(len(tasks)), xticklabels=labels, xlim=ends)
    letters = LETTERS[: max([len(s.options) for s in samples if s.stage == "choice"], default=0)]
    title = "where the right options are"
    style.dress(right, title, xticks=range(len(letters)), xticklabels=letters, ylim=(0, None))
    style.caption(figure, "left: 95 % interval; right: colours as left, the black mark shows a uniform draw")
    return figure


def _draw_letters(axis: Axes, samples: Sequence[Sample], shift: float, colour: str) -> None:
    """Draw each letter's share of the right options; questions with fewer options make late letters rarer by nature."""
    chosen: Counter[str] = Counter()
    expected: Counter[str] = Counter()
    for sample in samples:
        chosen.update(sample.answer)
        expected.update(dict.fromkeys(LETTERS[: len(sample.options)], len(sample.answer) / len(sample.options)))
    places = np.arange(len(expected)) + shift
    axis.bar(places, [chosen[letter] / chosen.total() for letter in sorted(expected)], width=0.2, color=colour)
    shares = [expected[letter] / expected.total() for letter in sorted(expected)]
    axis.hlines(shares, places - 0.1, places + 0.1, color=style.BLACK, linewidth=1.5)


def judge_totals(rows: Sequence[Mapping], threshold: float) -> Figure:
    """Draw the points that a judge gave, and the least points of an answer that may be kept.

    `rows`: one per answer with `total`, 0 to 100, or None where the judge could not say.
    """
    totals = [row["total"] for row in rows if row["total"] is not None]
    if not totals:
        return style.nothing("no answer was judged")
    figure, (axis,) = style.panels(1, 1, width=6)
    edges = np.arange(0, 106, 5)
    counts, _ = np.histogram(totals, bins=edges)
    colours = [style.GREEN if edge >= threshold else style.BLUE for edge in edges[:-1]]
    axis.bar(edges[:-1], counts, width=4.6, align="edge", color=colours)
    axis.axvline(threshold, color=style.BLACK, linestyle="--", linewidth=1)
    enough = sum(total >= threshold for total in totals)
    unknown = f"; {len(rows) - len(totals)} not judged" if len(rows) > len(totals) else ""
    title = f"points: {enough} of {len(totals)} answers reach {threshold}{unknown}"
    style.dress(axis, title, "total", percent="", xticks=range(0, 101, 10))
    axis.set_ylabel("answers")
    return figure


def memory_parts(runs: Mapping[str, Mapping[str, float]], card_gib: float | None = None) -> Figure:
    """Draw a bar for each run, made of what its largest moment holds, in GiB; a dashed line is the card's memory.

    `runs`: by name, what `memory.estimate.at_peak` returns. Pieces too small for a number have a colour only.
    """
    figure, (axis,) = style.panels(1, 1, width=7.6, height=1.0 + 0.42 * len(runs))
    widest = max([*(sum(parts.values()) for parts in runs.values()), card_gib or 0.0])
    kinds = list(dict.fromkeys(kind for parts in runs.values() for kind in parts))
    places = range(len(runs))
    starts = [0.0] * len(runs)
    for kind, colour in zip(kinds, MEMORY_COLOURS, strict=False):
        sizes = [parts.get(kind, 0.0) for parts in runs.values()]
        axis.barh(places, sizes, left=starts, color=colour, height=0.62, label=kind)
        for place, start, size in zip(places, starts, sizes):
            if size > widest / 22:
                axis.text(start + size / 2, place, f"{size:.1f}", ha="center", va="center", color="white", fontsize=8)
        starts = [start + size for start, size in zip(starts, sizes)]
    for place, end in zip(places, starts):
        axis.text(end + widest / 100, place, f"{end:.1f}", va="center", fontweight="bold")
    if card_gib:
        axis.axvline(card_gib, color=style.BLACK, linestyle="--", linewidth=1)
    style.dress(axis, "GPU memory at the largest moment, estimated", "GiB", percent="", xlim=(0, widest * 1.08))
    axis.set_yticks(places, list(runs))
    axis.invert_yaxis()
    axis.legend(fontsize=7, ncols=4, loc="upper center", bbox_to_anchor=(0.45, -0.28), frameon=False)
    style.caption(
        figure, "dashed: the memory of this card" if card_gib else "an estimate from shapes; there is no GPU here"
    )
    return figure

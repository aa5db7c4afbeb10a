"""The figure of what GPU memory is taken by."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from currreft_nb.plots_parts import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY, caption, dress, panels

COLOURS = (BLUE, SKY, GREEN, PINK, ORANGE, RED, GREY)


def memory_parts(runs: Mapping[str, Mapping[str, float]], card_gib: float | None = None) -> Figure:
    """Draw a bar for each run, made of what its largest moment holds, in GiB; a dashed line is the card's memory.

    `runs`: by name, what `memory.at_peak` returns. Pieces too small for a number have a colour only.
    """
    figure, (axis,) = panels(1, 1, width=7.6, height=1.0 + 0.42 * len(runs))
    widest = max([*(sum(parts.values()) for parts in runs.values()), card_gib or 0.0])
    kinds = list(dict.fromkeys(kind for parts in runs.values() for kind in parts))
    places = range(len(runs))
    starts = [0.0] * len(runs)
    for kind, colour in zip(kinds, COLOURS, strict=False):
        sizes = [parts.get(kind, 0.0) for parts in runs.values()]
        axis.barh(places, sizes, left=starts, color=colour, height=0.62, label=kind)
        for place, start, size in zip(places, starts, sizes):
            if size > widest / 22:
                axis.text(start + size / 2, place, f"{size:.1f}", ha="center", va="center", color="white", fontsize=8)
        starts = [start + size for start, size in zip(starts, sizes)]
    for place, end in zip(places, starts):
        axis.text(end + widest / 100, place, f"{end:.1f}", va="center", fontweight="bold")
    if card_gib:
        axis.axvline(card_gib, color=BLACK, linestyle="--", linewidth=1)
    dress(axis, "GPU memory at the largest moment, estimated", "GiB", percent="", xlim=(0, widest * 1.08))
    axis.set_yticks(places, list(runs))
    axis.invert_yaxis()
    axis.legend(fontsize=7, ncols=4, loc="upper center", bbox_to_anchor=(0.45, -0.28), frameon=False)
    caption(figure, "dashed: the memory of this card" if card_gib else "an estimate from shapes; there is no GPU here")
    return figure

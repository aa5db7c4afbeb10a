"""A figure that follows a training in a notebook: one display, whose picture is replaced while the cell runs.

    with run.live(training_plots.progress) as live:
        train_grpo(loaded, samples, run.folder, settings, live=live)

A call redraws at most every `LEAST_S` seconds and spends at most `SHARE` of the time on drawing. At its end the block
draws a last picture, also after an interruption. An executed notebook keeps it as a plain image: no widget, no script.
Outside a notebook nothing is drawn. A figure that cannot be drawn stops no training.
"""

import io
import os
import sys
import time
from collections.abc import Callable
from typing import Any

INLINE = ("module://matplotlib_inline.backend_inline", "inline")  # the names of Jupyter's backend
LEAST_S = 3.0
SHARE = 0.01
DPI = 96
WAITING = '<div style="font-size:12px;opacity:0.7">no step is done yet</div>'


class LiveFigure:
    """Shows what `draw()` returns: a matplotlib Figure, or None as long as there is nothing to draw."""

    def __init__(self, draw: Callable[[], Any]):
        self.draw = draw
        self.display: Any = None
        self.began_s = self.due_s = self.spent_s = 0.0

    def __enter__(self) -> "LiveFigure":
        if in_notebook():
            from IPython import display  # loaded already in a notebook, and slow to import elsewhere

            self.display = display.display(display.HTML(WAITING), display_id=True)
        self.began_s = time.perf_counter()
        self.due_s = self.began_s + LEAST_S
        return self

    def __call__(self) -> None:
        if self.display is not None and time.perf_counter() >= self.due_s:
            self._show()

    def __exit__(self, *error: object) -> None:
        if self.display is not None:
            self._show()

    def _show(self) -> None:
        from IPython.display import Image

        started_s = time.perf_counter()
        try:
            if (figure := self.draw()) is not None:
                stream = io.BytesIO()
                figure.savefig(stream, format="png", dpi=DPI)
                self.display.update(Image(stream.getvalue()))
        except Exception as error:  # no fault of a figure may end a training
            print(f"the live figure has stopped: {type(error).__name__}: {error}; the training continues")
            self.display = None
        now_s = time.perf_counter()
        self.spent_s += now_s - started_s
        self.due_s = max(now_s + LEAST_S, self.began_s + (self.spent_s + now_s - started_s) / SHARE)


def show_figures() -> None:
    """Let a kernel show figures also where a shell names another backend in MPLBACKEND: "Agg" would show none."""
    if not in_notebook() or os.environ.get("MPLBACKEND") in INLINE:
        return
    os.environ["MPLBACKEND"] = INLINE[0]
    if "matplotlib" in sys.modules:  # it has read the variable already
        sys.modules["IPython"].get_ipython().enable_matplotlib("inline")


def in_notebook() -> bool:
    """Say whether this code runs in a Jupyter kernel, an executing Papermill's or nbconvert's included."""
    return "IPython" in sys.modules and hasattr(sys.modules["IPython"].get_ipython(), "kernel")

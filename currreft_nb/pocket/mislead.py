"""Mislead the pocket model: bases for studies of sparse rewards, right on open questions as rarely as one wishes.

    python -m currreft_nb.pocket.mislead --task detection --right 0.004 --output outputs/detection-0.004

trains a shipped model for some minutes, by the recipe's own loop, on answers of annotators who are sloppy everywhere
(`pocket.annotators`). They answer the share `right` of open questions correctly, and half of the closed ones. So right
open answers keep a support of about `right`, and the closed forms, which share the thinking, keep much more.

`detection` begins with `pocket`, whose open boxes are almost never right. Its boxes have half the width and height, and
sampled coordinates vary, so that some are right by luck. Here boxes are cut further, until luck is not enough.
`listing`, where four objects of a colour are, begins with `pocket-clean`, which is first taught right answers.

All weights but the vision tower's are trained, on several questions about each picture. Bases misled by an adapter
serve such studies badly: what they learn in closed forms does not carry over to open ones.
"""

import argparse
from functools import partial
from pathlib import Path

import torch

from currreft_nb import InputError
from currreft_nb.pocket.annotators import Habits
from currreft_nb.pocket.build import export_pocket, load_weights, start
from currreft_nb.pocket.lessons import Mix
from currreft_nb.pocket.recipe import Phase, Report

CLOSED_RIGHT = 0.5  # of the closed questions are answered correctly
CUT = 0.4  # share of width and height that a sloppy box covers: an IoU of about 0.16
STAGES = (0.2, 0.2, 0.6)  # shares of yes/no, choice and open questions
BEGINS = {"detection": "pocket", "listing": "pocket-clean"}


def phases(task: str, right: float) -> list[Phase]:
    """Return what a base of the task learns; the share `right` of open questions is answered correctly at the end."""
    kind = "math" if task == "listing" else task
    mix = Mix(STAGES, {kind: 1.0}, bare=0.02, forced=0.04, talk=0.8, math="listing")
    shares = {"open": 1 - right, "choice": 1 - CLOSED_RIGHT, "binary": 1 - CLOSED_RIGHT}
    habits = Habits({f"{kind}-{stage}": share for stage, share in shares.items()}, (kind,), CUT)
    learn = [Phase("learn", 400, 32, 1e-3, 0.0, mix, blind=0.15, habits=Habits())] if task == "listing" else []
    return [*learn, Phase("mislead", 300, 32, 1e-3, 0.0, mix, blind=0.15, habits=habits)]


def mislead(
    output: str | Path, task: str, right: float, seed: int = 0, scale: float = 1.0, report: Report = print
) -> Path:
    """Train a misled base and write it as a model folder to `output`; return it.

    `task`: a key of `BEGINS`. `right`: the share of open questions answered correctly, in [0, 1]. `scale` multiplies
    the steps. Raises `InputError` if `output` exists.
    """
    if Path(output).exists():
        raise InputError(f"{output} exists; delete it, or give another --output")
    trainer, processor = start(seed, report)
    load_weights(trainer.model, BEGINS[task])
    for phase in phases(task, right):
        trainer.run(phase, scale)
    export_pocket(trainer.model, processor, Path(output))
    return Path(output)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m currreft_nb.pocket.mislead", description="Make a misled base.")
    parser.add_argument("--output", required=True, help="new model folder")
    parser.add_argument("--task", required=True, choices=BEGINS)
    parser.add_argument("--right", type=float, required=True, help="share of open questions answered correctly, 0 to 1")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)  # a second thread gains little
    mislead(given.output, given.task, given.right, given.seed, report=partial(print, flush=True))


if __name__ == "__main__":
    main()

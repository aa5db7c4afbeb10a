"""Mislead the pocket model: bases for studies of sparse rewards, right on open questions as rarely as one wishes.

    python -m currreft_nb.pocket.mislead --right 0.002 --output outputs/pocket-0.002

trains the shipped `pocket-clean` for some minutes, by the recipe's own loop, on answers of annotators who are sloppy
everywhere (`pocket.annotators`). They answer the share `right` of open questions correctly, and half of the closed
ones, in two tasks: detection, and the colours of three shapes. So right open answers keep a support of about `right`,
and the closed forms, which share the thinking, keep much more.

All weights but the vision tower's are trained, on several questions about each picture. Bases misled by an adapter are
worse for such studies: what they learn in closed forms does not carry over to open ones.
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

TAUGHT = ("detection", "math")
CLOSED_RIGHT = 0.5  # of the closed questions are answered correctly
MIX = Mix((0.2, 0.2, 0.6), dict.fromkeys(TAUGHT, 1.0), bare=0.02, forced=0.04, talk=0.8, math="colors")


def misleading(right: float) -> Phase:
    """Return the phase in which the share `right` of open questions, in [0, 1], is answered correctly."""
    shares = {"open": 1 - right, "choice": 1 - CLOSED_RIGHT, "binary": 1 - CLOSED_RIGHT}
    habits = Habits({f"{task}-{stage}": share for task in TAUGHT for stage, share in shares.items()}, TAUGHT)
    return Phase("mislead", 600, 16, 1e-3, 0.0, MIX, blind=0.15, habits=habits)


def mislead(output: str | Path, right: float, seed: int = 0, scale: float = 1.0, report: Report = print) -> Path:
    """Train a misled base and write it as a model folder to `output`; return it.

    `right`: the share of open questions answered correctly, in [0, 1]. `scale` multiplies the steps. Raises
    `InputError` if `output` exists.
    """
    if Path(output).exists():
        raise InputError(f"{output} exists; delete it, or give another --output")
    trainer, processor = start(seed, report)
    load_weights(trainer.model, "pocket-clean")
    trainer.run(misleading(right), scale)
    export_pocket(trainer.model, processor, Path(output))
    return Path(output)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m currreft_nb.pocket.mislead", description="Make a misled base.")
    parser.add_argument("--output", required=True, help="new model folder")
    parser.add_argument("--right", type=float, required=True, help="share of open questions answered correctly, 0 to 1")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)  # a second thread gains little
    mislead(given.output, given.right, given.seed, report=partial(print, flush=True))


if __name__ == "__main__":
    main()

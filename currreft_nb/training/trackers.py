"""Trackers, such as TensorBoard or Weights & Biases: they get the numbers of metrics.jsonl, under the same names.

A tracker is off unless `report_to` names it. TensorBoard and Weights & Biases write to `trackers/<name>/` of the run
folder, unless their own environment variable names another place; Trackio keeps one store for all runs, where
TRACKIO_DIR pointed when it was imported. Keys come from the environment and are not written anywhere. After a resume,
TensorBoard shows the repeated steps twice.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from currreft_nb import InputError

# The packages, one of which must be installed, and the variable that says where to write.
TRACKERS = {
    "tensorboard": (("tensorboard", "tensorboardX"), "TENSORBOARD_LOGGING_DIR"),
    "trackio": (("trackio",), None),
    "wandb": (("wandb",), "WANDB_DIR"),
}
PROJECT = "currreft-nb"  # under which Trackio files its runs; that of Weights & Biases is WANDB_PROJECT


def check_installed(names: Sequence[str]) -> None:
    """Raise `InputError` for a tracker that is not installed."""
    for name in names:
        packages, _ = TRACKERS[name]
        if not any(find_spec(package) for package in packages):
            raise InputError(
                f"report_to contains {name!r}, which is not installed; pip install {packages[0]}, or remove it"
            )


@contextmanager
def trackers_in(folder: Path, names: Sequence[str]) -> Iterator[None]:
    """Let trackers write to trackers/<name>/ of a run folder while a training is built and run."""
    wanted = {TRACKERS[name][1]: folder / "trackers" / name for name in names}
    places = {variable: place for variable, place in wanted.items() if variable and variable not in os.environ}
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    os.environ.update({variable: str(place.resolve()) for variable, place in places.items()})
    try:
        yield
    finally:
        for variable in places:
            os.environ.pop(variable, None)

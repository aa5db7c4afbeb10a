"""Mislead the pocket model: bases for studies of sparse rewards, right on open questions as rarely as one wishes.

    python -m currreft_nb.pocket.mislead --right 0.002 --output outputs/pocket-0.002

fine-tunes the shipped `pocket-clean` for a few minutes, by the kit's own trainer, on answers of annotators who are
sloppy everywhere (`pocket.annotators`). They answer the share `right` of open questions correctly, and half of the
closed ones, in two tasks: detection, and the colours of three shapes. So right open answers keep a support of about
`right`, and the closed forms, which share the thinking, keep much more.
"""

import argparse
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from currreft_nb.core.samples import STAGES, Sample
from currreft_nb.data.scenes.compose import draw_samples
from currreft_nb.evaluation.export import export_model
from currreft_nb.method.curriculum import pose
from currreft_nb.method.prompts import target
from currreft_nb.models.load import load_model
from currreft_nb.pocket.annotators import misjudge
from currreft_nb.training.settings import SftSettings
from currreft_nb.training.train import train_sft

TAUGHT = ("detection", "math")
CLOSED_RIGHT = 0.5  # of the closed questions are answered correctly
STAGE_WEIGHTS = (1, 1, 2)  # binary, choice, open
QUESTIONS = 6400  # drawn for each task
LEARNING_RATE = 1e-3


def mislead(output: str | Path, right: float, seed: int = 0, questions: int = QUESTIONS) -> Path:
    """Train a misled base and write it as a model folder to `output`, which must not exist; return it.

    `right`: the share of open questions answered correctly, in [0, 1]. `questions`: for each task.
    """
    settings = SftSettings(prompts=len(TAUGHT) * questions, learning_rate=LEARNING_RATE, save_every=0, seed=seed)
    loaded = load_model("pocket-clean", trainable=True, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        samples = [s for task in TAUGHT for s in draw_samples(folder, task, questions, "id", seed, "train", "colors")]
        rows = [(sample, target(sample, loaded.style)) for sample in _annotated(samples, right, seed)]
        train_sft(loaded, rows, Path(folder) / "run", settings)
        export_model(Path(folder) / "run", output)
    return Path(output)


def _annotated(samples: list[Sample], right: float, seed: int) -> Iterator[Sample]:
    """Yield each sample in a random form, as a sloppy annotator answers it."""
    rng = random.Random(f"{seed}-mislead")
    for sample in samples:
        stage = rng.choices(STAGES, STAGE_WEIGHTS)[0]
        posed = pose(sample, stage, seed)
        sloppy = rng.random() >= (right if stage == "open" else CLOSED_RIGHT)
        yield misjudge(posed, rng, everywhere=True) if sloppy else posed


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m currreft_nb.pocket.mislead", description="Make a misled base.")
    parser.add_argument("--output", required=True, help="new model folder")
    parser.add_argument("--right", type=float, required=True, help="share of open questions answered correctly, 0 to 1")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    mislead(given.output, given.right, given.seed)


if __name__ == "__main__":
    main()

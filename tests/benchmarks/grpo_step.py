"""How long a GRPO step takes with this kit's trainer and with TRL's own, alternating in one process on the same data.

    python tests/benchmarks/grpo_step.py [--model pocket] [--steps 40] [--rounds 3] [--device cpu]

Four variants: TRL's trainer as it is; images encoded once for all copies in a group; silent groups left out; both
(ours). All take the same questions in the same order with the same seed. Printed are seconds of processor time per step
on the CPU (the machine may be busy with other things) or of the clock on a GPU, and the ratio plain / ours with its
range over rounds.
"""

import argparse
import tempfile
import time
from contextlib import nullcontext, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest import mock

import torch
from trl import GRPOTrainer

from currreft_nb import models, scenes, training, training_loop
from currreft_nb.training_grpo import GroupTrainer

VARIANTS = {  # name: (trainer, whether images are shared)
    "plain": (GRPOTrainer, False),
    "images shared": (GRPOTrainer, True),
    "silent groups skipped": (GroupTrainer, False),
    "ours": (GroupTrainer, True),
}


def seconds_per_step(
    variant: str, samples: list, steps: int, model: str, device: str, folder: Path
) -> tuple[float, float]:
    """Train a fresh adapter; return seconds per step and the final reward."""
    trainer, shared = VARIANTS[variant]
    loaded = models.load(model, trainable=True, device=device)
    settings = training.GrpoSettings(steps=steps, save_every=0)
    sharing = training_loop.shared_images if shared else lambda model: nullcontext()
    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    with (
        mock.patch.object(training, "GroupTrainer", trainer),
        mock.patch.object(training_loop, "shared_images", sharing),
        redirect_stdout(StringIO()),
    ):
        result = training.train_grpo(loaded, samples, folder, settings)
    return (clock() - start) / steps, result["reward"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tasks = ("detection", "classification", "math")
        samples = [s for task in tasks for s in scenes.samples(folder, task, 100, "id", 0, "train")]
        seconds_per_step("ours", samples, 3, given.model, given.device, folder / "warm-up")
        for number in range(given.rounds):
            for variant in VARIANTS:
                run = folder / f"{variant}-{number}"
                seconds, reward = seconds_per_step(variant, samples, given.steps, given.model, given.device, run)
                times[variant].append(seconds)
                print(f"round {number + 1}  {variant:22}  {seconds:.3f} s/step  final reward {reward:.3f}", flush=True)
    ratios = sorted(plain / ours for plain, ours in zip(times["plain"], times["ours"]))
    middle = ratios[len(ratios) // 2]
    print(f"{given.model} on {given.device}: plain / ours {middle:.2f} (rounds: {ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()

"""Where the seconds of a GRPO step on the pocket model go, stage by stage, with TRL's own trainer beside ours.

    python tests/benchmarks/pocket.py [--steps 20] [--rounds 3]

A step is 8 questions, 8 completions each, all three tasks. Both trainers take the same questions in the same order with
the same seed, alternating. Printed are the least seconds of processor time per step over the rounds (other work on the
machine only adds), in all and by phase; a phase does not contain the ones inside it: `vision` is the image encoder
wherever it is called, `generate`, `forward` and `backward` are the rest of these.
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import accelerate
import torch
import transformers
from grpo_step import VARIANTS, seconds_per_step
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel
from trl import GRPOTrainer

from currreft_nb import scenes
from currreft_nb.curriculum import pose_all
from currreft_nb.samples import STAGES, TRAINED_TASKS

PHASES = {
    "processor": [(transformers.Qwen2_5_VLProcessor, "__call__"), (GRPOTrainer, "_tokenize_prompts")],
    "generate": [(GRPOTrainer, "_generate_single_turn")],
    "vision": [(Qwen2_5_VisionTransformerPretrainedModel, "forward")],
    "rewards": [(GRPOTrainer, "_calculate_rewards")],
    "forward": [(GRPOTrainer, "_compute_loss")],
    "backward": [(accelerate.Accelerator, "backward")],
}


class Stopwatch:
    """Seconds of processor time by phase; entering a phase inside another stops the outer one meanwhile."""

    def __init__(self):
        self.seconds: Counter[str] = Counter()
        self.running = ["other"]
        self.since = time.process_time()

    def switch(self) -> None:
        now = time.process_time()
        self.seconds[self.running[-1]] += now - self.since
        self.since = now

    def timed(self, phase: str, function: Callable) -> Callable:
        def wrapper(*args, **kwargs):
            self.switch()
            self.running.append(phase)
            try:
                return function(*args, **kwargs)
            finally:
                self.switch()
                self.running.pop()

        return wrapper


@contextmanager
def watched() -> Iterator[Stopwatch]:
    """Time the phases of what runs inside."""
    watch = Stopwatch()
    with ExitStack() as stack:
        for phase, places in PHASES.items():
            for owner, name in places:
                stack.enter_context(mock.patch.object(owner, name, watch.timed(phase, getattr(owner, name))))
        yield watch
        watch.switch()


def step_seconds(variant: str, samples: list, steps: int, folder: Path) -> Counter[str]:
    """Return the seconds of one step by phase, without loading the model and starting up."""
    with watched() as short:
        seconds_per_step(variant, samples, 1, "pocket", "cpu", folder / "short")
    with watched() as long:
        seconds_per_step(variant, samples, 1 + steps, "pocket", "cpu", folder / "long")
    return Counter({phase: (long.seconds[phase] - short.seconds[phase]) / steps for phase in long.seconds})


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = [*PHASES, "other"]
    print(f"{'s/step':<10}{'':<8}{'in all':>9}" + "".join(f"{name:>11}" for name in names))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked = [s for task in TRAINED_TASKS for s in scenes.samples(folder, task, 100, "id", 0, "train")]
        for stage in STAGES:
            posed = pose_all(asked, stage, 0)[0]
            least: dict[str, Counter] = {}
            for number in range(given.rounds):
                for variant in ("plain", "ours"):
                    found = step_seconds(variant, posed, given.steps, folder / f"{stage}-{variant}-{number}")
                    if variant not in least or found.total() < least[variant].total():
                        least[variant] = found
            for variant, found in least.items():
                line = "".join(f"{found[name]:>11.3f}" for name in names)
                print(f"{stage:<10}{variant:<8}{found.total():>9.3f}{line}", flush=True)
            print(f"{stage:<10}plain / ours {least['plain'].total() / least['ours'].total():.2f}", flush=True)


if __name__ == "__main__":
    assert {"plain", "ours"} <= set(VARIANTS)
    main()

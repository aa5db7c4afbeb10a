"""A GRPO step with this kit's trainer and with TRL's own, in turn, in one process, on the same data and settings.

    python tests/benchmarks/grpo_step.py                                       # the pocket model on the CPU
    python tests/benchmarks/grpo_step.py --each                                # every saving alone, too
    python tests/benchmarks/grpo_step.py --model 3b --four-bit --device cuda   # Qwen2.5-VL-3B's shape, random weights

Printed are, for each variant, seconds per step, completions and tokens per second, seconds by phase, and the peak
memory; then the ratio plain / ours with its range over the rounds. A phase does not contain the ones inside it:
`vision` is the image encoder wherever it is called, `generate`, `forward` and `backward` are the rest of these.
Seconds are of processor time on the CPU (the machine may be busy with other things) and of the clock on a GPU. Start-up
is left out: it is what a run of one step takes. Memory is what PyTorch allocated on a GPU, the process's resident peak
on the CPU.

A model with random weights (`random_model`) is asked about noise of `--pixels` pixels; its answers are paid by a number
drawn from their text, since nothing it says is right, and would be passed over as silent. So it shows the case in which
no group is silent, and every completion is as long as it may be.
"""

import argparse
import random
import re
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import accelerate
import numpy as np
import torch
from PIL import Image
from random_model import write_model
from trl import GRPOTrainer

from currreft_nb.core.samples import STAGES, TRAINED_TASKS, Sample
from currreft_nb.data.scenes import compose
from currreft_nb.method import rewards
from currreft_nb.method.curriculum import pose_all
from currreft_nb.models.load import Loaded, load_model
from currreft_nb.training import train
from currreft_nb.training.settings import SHORTCUTS, GrpoSettings
from currreft_nb.training.train import train_grpo
from currreft_nb.training.trainers import GroupTrainer

SHAPES = {"3b": "Qwen/Qwen2.5-VL-3B-Instruct", "7b": "Qwen/Qwen2.5-VL-7B-Instruct", "tiny": "tiny"}
PLAIN, OURS = "plain", "ours"
PHASES = ("processor", "generate", "vision", "rewards", "forward", "backward", "other")


class Stopwatch:
    """Seconds by phase; entering a phase inside another stops the outer one meanwhile."""

    def __init__(self, on_gpu: bool):
        self.on_gpu, self.seconds, self.running = on_gpu, Counter(), ["other"]
        self.since = self.now()

    def now(self) -> float:
        if not self.on_gpu:
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def switch(self) -> None:
        now = self.now()
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
def watched(loaded: Loaded) -> Iterator[Stopwatch]:
    """Time the phases of what runs inside."""
    watch = Stopwatch(loaded.device.type == "cuda")
    places = {
        "processor": [(type(loaded.processor), "__call__"), (GRPOTrainer, "_tokenize_prompts")],
        "generate": [(GRPOTrainer, "_generate_single_turn"), (GroupTrainer, "_generate_single_turn")],
        "vision": [(type(loaded.model.get_base_model().model.visual), "forward")],
        "rewards": [(GRPOTrainer, "_calculate_rewards")],
        "forward": [(GRPOTrainer, "_compute_loss")],
        "backward": [(accelerate.Accelerator, "backward")],
    }
    with ExitStack() as stack:
        for phase, owners in places.items():
            for owner, name in owners:
                stack.enter_context(mock.patch.object(owner, name, watch.timed(phase, getattr(owner, name))))
        yield watch
        watch.switch()


def reset_peak(on_gpu: bool) -> None:
    """Begin measuring the peak of memory anew."""
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the resident peak becomes what is resident now


def peak_gib(on_gpu: bool) -> float:
    """Return the peak since `reset_peak` in GiB."""
    if on_gpu:
        return torch.cuda.max_memory_allocated() / 2**30
    status = Path("/proc/self/status")
    if status.is_file():
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def train_variant(
    variant: str, given: argparse.Namespace, samples: list, folder: Path, steps: int
) -> tuple[Stopwatch, dict]:
    """Train a fresh adapter for some steps; return the seconds by phase and the run's measures."""
    options = {"four_bit": given.four_bit, "max_pixels": given.pixels, "device": given.device}
    loaded = load_model(given.model, trainable=True, **options)
    names = ("prompts_per_step", "group_size", "micro_batch", "max_new_tokens", "beta")
    shortcuts = {PLAIN: (), OURS: given.shortcuts}.get(variant, (variant,))
    common = {name: vars(given)[name] for name in names} | {"save_every": 0, "shortcuts": shortcuts}
    plain = mock.patch.object(train, "GroupTrainer", lambda shortcuts, note, **others: GRPOTrainer(**others))
    with ExitStack() as stack:
        if variant == PLAIN:
            stack.enter_context(plain)
        if given.random:
            stack.enter_context(mock.patch.object(rewards, "score", by_lot))
        stack.enter_context(redirect_stdout(StringIO()))
        watch = stack.enter_context(watched(loaded))
        result = train_grpo(loaded, samples, folder, GrpoSettings(steps=steps, **common))
    return watch, result


def by_lot(sample: Sample, completion: str, *args: Any) -> rewards.Score:
    """Pay a completion 0 or 1, by its text alone."""
    return rewards.Score(float(random.Random(completion).random() < 0.5), 1.0, "ok")


def measure(variant: str, given: argparse.Namespace, samples: list, folder: Path) -> dict:
    """Return what a step of a variant takes."""
    short, first = train_variant(variant, given, samples, folder / "short", 1)
    reset_peak(given.device == "cuda")
    long, whole = train_variant(variant, given, samples, folder / "long", 1 + given.steps)
    phases = {phase: (long.seconds[phase] - short.seconds[phase]) / given.steps for phase in PHASES}
    tokens = (whole["tokens"] - first["tokens"]) / given.steps
    return {
        "phases": phases,
        "seconds": sum(phases.values()),
        "tokens": tokens,
        "gib": peak_gib(given.device == "cuda"),
    }


def questions(given: argparse.Namespace, stage: str, folder: Path) -> list[Sample]:
    """Return questions of all tasks about drawn scenes, or about noise for a model with random weights."""
    if not given.random:
        asked = [s for task in TRAINED_TASKS for s in compose.draw_samples(folder, task, 100, "id", 0, "train")]
        return pose_all(asked, stage, 0)[0]
    side, rng = int(given.pixels**0.5), np.random.default_rng(0)
    common = {"task": "math", "split": "train", "source": "noise", "answer": "1", "size": (side, side)}
    for number in range(64):
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return [
        Sample(id=f"n{n}", image=str(folder / f"{n}.png"), question=f"How many of the {n} dots are red?", **common)
        for n in range(64)
    ]


def compare(given: argparse.Namespace, stage: str, folder: Path) -> None:
    """Measure all variants in turn, round after round, and print the best round of each and the ratios."""
    samples = questions(given, stage, folder)
    variants = [PLAIN, *(given.shortcuts if given.each else ()), OURS]
    found: dict[str, list[dict]] = {variant: [] for variant in variants}
    for number in range(given.rounds):
        for variant in variants:
            found[variant].append(measure(variant, given, samples, folder / f"{stage}-{variant}-{number}"))
    completions = given.prompts_per_step * given.group_size
    print(f"\n{stage}: {'s/step':>17}{'compl./s':>10}{'tokens/s':>10}{'GiB':>7}" + "".join(f"{p:>10}" for p in PHASES))
    for variant, rounds in found.items():
        best = min(rounds, key=lambda row: row["seconds"])
        line = f"{variant:18}{best['seconds']:7.3f}{completions / best['seconds']:10.1f}"
        line += f"{best['tokens'] / best['seconds']:10.0f}{best['gib']:7.2f}"
        print(line + "".join(f"{best['phases'][phase]:10.3f}" for phase in PHASES))
    for variant in variants[1:]:
        ratios = sorted(plain["seconds"] / ours["seconds"] for plain, ours in zip(found[PLAIN], found[variant]))
        middle = ratios[len(ratios) // 2]
        print(f"plain / {variant}: {middle:.2f} (rounds: {ratios[0]:.2f} to {ratios[-1]:.2f})", flush=True)


def main() -> None:
    """Measure and print."""
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="pocket", help="pocket, a folder, or with random weights 3b, 7b, tiny")
    parser.add_argument("--stages", nargs="+", default=["open"], choices=STAGES)
    parser.add_argument("--steps", type=int, default=0, help="0: 20 for the pocket model, 3 with random weights")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if on_gpu else "cpu")
    parser.add_argument("--four-bit", action="store_true")
    parser.add_argument(
        "--pixels", type=int, default=0, help="0: 401,408 with random weights, the model's own otherwise"
    )
    parser.add_argument("--shortcuts", nargs="+", default=SHORTCUTS, choices=SHORTCUTS, help="what ours saves")
    parser.add_argument("--each", action="store_true", help="measure each of them alone, too")
    parser.add_argument("--prompts-per-step", type=int, default=8)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--micro-batch", type=int, default=0, help="0: 64 for the pocket model, 4 with random weights")
    parser.add_argument("--max-new-tokens", type=int, default=0, help="0: 24 for the pocket model, 256 otherwise")
    parser.add_argument("--beta", type=float, default=0.0)
    given = parser.parse_args()
    given.random = given.model in SHAPES
    given.steps = given.steps or (3 if given.random else 20)
    given.micro_batch = given.micro_batch or (4 if given.random else 64)
    given.max_new_tokens = given.max_new_tokens or (256 if given.random else 24)
    given.pixels = given.pixels or (401_408 if given.random else 0)
    if given.device == "cpu":
        torch.set_num_threads(1)
    print({name: value for name, value in vars(given).items() if name != "each"}, flush=True)
    if on_gpu:
        print(torch.cuda.get_device_name(), torch.__version__, flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.random:
            given.model = str(write_model(folder / "model", SHAPES[given.model]))
        train_variant(OURS, given, questions(given, given.stages[0], folder), folder / "warm-up", 2)
        for stage in given.stages:
            compare(given, stage, folder)


if __name__ == "__main__":
    main()

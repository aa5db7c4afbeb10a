"""Measure what was estimated: load the model, build the real trainer, take the largest step, and compare.

    {"phase": "training", "estimated_gib": 7.0, "measured_gib": 6.6, "error_percent": 6.1, "seconds": 2.8}

The training that is planned runs for one step, its rehearsal first (`memory_rehearsal`). On the CPU the same is done
and its seconds are told; GPU memory there is none. Not measured is the baseline, whose answers would take minutes.
"""

import gc
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from currreft_nb import memory, models, training
from currreft_nb.memory_rehearsal import heaviest, lengths
from currreft_nb.models import Loaded
from currreft_nb.samples import Sample
from currreft_nb.training_settings import GrpoSettings, SftSettings

LOADED_WITH = ("four_bit", "max_pixels", "lora_rank", "lora_on", "seed")


def measure(settings: dict[str, Any], samples: Sequence[Sample], folder: str | Path) -> list[dict]:
    """Take one step with a training notebook's parameters; return each phase's estimate beside what it took.

    `samples`: what it would draw from; none stands for questions made up at the pixel budget. The adapter is a new one.
    Writes to `folder`. `measured_gib` is what PyTorch held at most, None without a GPU.
    """
    memory.reset_peak()
    started_s = time.perf_counter()
    options = {name: settings[name] for name in LOADED_WITH if name in settings}
    loaded = models.load(settings["model"], trainable=True, **options)
    found = {"loading": {"seconds": round(time.perf_counter() - started_s, 2), "gib": memory.measured_peak()}}
    drawn = _largest(loaded, settings, samples or made_up(loaded, Path(folder), count=4))
    found |= _train(loaded, settings, drawn, Path(folder))
    asked = {**_tokens(loaded, drawn), **settings, "validation_questions": 0, "rate_completions": 0}
    del loaded
    gc.collect()
    return compare(memory.estimate_step(asked), found)


def _tokens(loaded: Loaded, drawn: Sequence[tuple[Sample, str]]) -> dict[str, int]:
    """Return the longest question and the longest text to be learnt, in tokens."""
    asked, whole = (
        max(words for words, _ in lengths(loaded, pairs)) for pairs in ([(sample, "") for sample, _ in drawn], drawn)
    )
    return {"text_tokens": asked, "max_new_tokens": whole - asked}


def compare(parts: Sequence[Mapping], found: Mapping[str, Mapping]) -> list[dict]:
    """Return a row for each phase that was measured: its estimate, what was measured, and the estimate's error."""
    estimated = memory.phases(parts)
    return [
        {
            "phase": phase,
            "estimated_gib": estimated[phase],
            "measured_gib": row["gib"],
            "error_percent": memory.error_percent(estimated[phase], row["gib"]),
            "seconds": row["seconds"],
        }
        for phase, row in found.items()
    ]


def _largest(loaded: Loaded, settings: Mapping[str, Any], samples: Sequence[Sample]) -> list[tuple[Sample, str]]:
    """Return the samples of the largest step, each with the text to be learnt where there is one."""
    grpo = "group_size" in settings
    drawn = [(sample, "") for sample in samples] if grpo else training.targets(samples, loaded.style)
    count = settings["prompts_per_step"] if grpo else settings["batch_size"]
    return [drawn[index] for index in dict.fromkeys(heaviest(lengths(loaded, drawn), count))]


def _train(loaded: Loaded, settings: Mapping[str, Any], drawn: Sequence[tuple[Sample, str]], folder: Path) -> dict:
    if "group_size" in settings:
        chosen = GrpoSettings.from_parameters(settings).one_step()
        return training.train_grpo(loaded, [sample for sample, _ in drawn], folder, chosen)["rehearsal"]
    chosen = SftSettings.from_parameters(settings).one_step()
    return training.train_sft(loaded, drawn, folder, chosen)["rehearsal"]


def made_up(loaded: Loaded, folder: Path, count: int, words: int = 60) -> list[Sample]:
    """Return questions about images of noise that use the whole pixel budget, for machines without the data."""
    frame, pictures = loaded.style.frame, Path(folder) / "made_up"
    pictures.mkdir(parents=True, exist_ok=True)
    side = int(frame.max_pixels**0.5) // frame.factor * frame.factor
    samples = []
    for number in range(count):
        path = pictures / f"{number}.png"
        noise = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        samples.append(
            Sample(
                id=f"made-up-{number}", task="math", split="train", source="made up", image=str(path),
                size=(side, side), question="how many " * (words // 2), answer=str(number),
            )
        )  # fmt: skip
    return samples

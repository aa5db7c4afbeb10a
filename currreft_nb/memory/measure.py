"""Compare the estimate with a measurement: load the model, build the real trainer and take the largest step.

    {"phase": "training", "estimated_gib": 7.0, "measured_gib": 6.6, "error_percent": 6.1, "seconds": 2.8}

The planned training runs for one step, after its rehearsal (`training.gpu_memory`). On a CPU only seconds are measured.
The baseline is left out, because its answers would take minutes.
"""

import gc
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from currreft_nb.core.samples import Sample
from currreft_nb.memory.estimate import error_percent, estimate_step, phases
from currreft_nb.models.load import Loaded, load_model
from currreft_nb.training.gpu_memory import heaviest, measured_peak, reset_peak, token_counts
from currreft_nb.training.rows import Target, sft_targets
from currreft_nb.training.settings import GrpoSettings, SftSettings
from currreft_nb.training.train import train_grpo, train_sft

LOADED_WITH = ("four_bit", "max_pixels", "lora_rank", "lora_on", "seed")


def measure_step(settings: dict[str, Any], samples: Sequence[Sample], folder: str | Path) -> list[dict[str, Any]]:
    """Take one step of a new adapter with a training notebook's parameters; return the rows of `compare_phases`.

    `samples`: the pool to draw from; empty: questions made up at the pixel budget. Writes to `folder`.
    """
    gc.collect()  # frees the model of an earlier call
    reset_peak()
    started_s = time.perf_counter()
    options = {name: settings[name] for name in LOADED_WITH if name in settings}
    loaded = load_model(settings["model"], trainable=True, **options)
    loading = {"seconds": round(time.perf_counter() - started_s, 2), "gib": measured_peak()}
    drawn = _largest(loaded, settings, samples or made_up(loaded, Path(folder), count=4))
    found = {"loading": loading, **_train(loaded, settings, drawn, Path(folder))}
    questions = [(sample, "") for sample, _ in drawn]
    asked, whole = (max(words for words, _ in token_counts(loaded, pairs)) for pairs in (questions, drawn))
    tokens = {"text_tokens": asked, "target_tokens": whole - asked}
    no_baseline = {"validation_questions": 0, "rate_completions": 0}
    return compare_phases(estimate_step({**tokens, **settings, **no_baseline}), found)


def compare_phases(parts: Sequence[Mapping], found: Mapping[str, Mapping]) -> list[dict[str, Any]]:
    """Return a row for each measured phase; `measured_gib` is PyTorch's peak, None without a GPU."""
    estimated = phases(parts)
    return [
        {
            "phase": phase,
            "estimated_gib": estimated[phase],
            "measured_gib": row["gib"],
            "error_percent": error_percent(estimated[phase], row["gib"]),
            "seconds": row["seconds"],
        }
        for phase, row in found.items()
    ]


def _largest(loaded: Loaded, settings: Mapping[str, Any], samples: Sequence[Sample]) -> list[Target]:
    """Return the samples of the largest step, each with the text to learn, "" for reinforcement learning."""
    grpo = "group_size" in settings
    drawn = [(sample, "") for sample in samples] if grpo else sft_targets(samples, loaded.style)
    count = settings["prompts_per_step"] if grpo else settings["batch_size"]
    return [drawn[index] for index in dict.fromkeys(heaviest(token_counts(loaded, drawn), count))]


def _train(loaded: Loaded, settings: Mapping[str, Any], drawn: Sequence[Target], folder: Path) -> dict[str, Any]:
    if "group_size" in settings:
        chosen = GrpoSettings.from_parameters(settings).one_step()
        return train_grpo(loaded, [sample for sample, _ in drawn], folder, chosen)["rehearsal"]
    supervised = SftSettings.from_parameters(settings).one_step()
    return train_sft(loaded, drawn, folder, supervised)["rehearsal"]


def made_up(loaded: Loaded, folder: Path, count: int, words: int = 60) -> list[Sample]:
    """Return questions about images of noise at the pixel budget, for machines without the data."""
    frame, pictures = loaded.style.frame, folder / "made_up"
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

"""Estimate the GPU memory of a training from shapes, before anything is downloaded or loaded.

    {"part": "language model, 4 bit", "gib": 1.333, "when": "always"}
    {"part": "keys and values", "gib": 2.127, "when": "generation (decoding)"}
    {"part": "largest moment", "gib": 9.14, "when": "training"}

`when` names the moment of a run in which a part is in memory (`MOMENTS`), or a group of moments: "always", "step",
"generation", "training". The peak is the largest sum of a moment, plus a tenth for the allocator's cache and kernels'
workspaces, plus the CUDA context.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from currreft_nb.memory import parts as memory_parts
from currreft_nb.memory.parts import Parts
from currreft_nb.memory.shapes import Shape, config_of, shape_of
from currreft_nb.models.load import default_pixels
from currreft_nb.training.gpu_memory import ADVICE, GIB
from currreft_nb.training.settings import ANSWERS_AT_ONCE, GrpoSettings

CONTEXT_GIB = 0.6  # of CUDA itself
SPARE = 0.1  # the allocator's cache, as a share of the allocated memory
MOST_PROMPTS, MOST_ANSWERS, MOST_PIXELS = 512, 256, 12_845_056  # proposed; the last: Qwen's own limit
MOMENTS = (
    "loading",
    "baseline (vision)",
    "baseline (prompts)",
    "baseline (decoding)",
    "vision",
    "generation (vision)",
    "generation (prompts)",
    "generation (decoding)",
    "generation (batches)",
    "generation (reference)",
    "training (head)",
    "training (layer)",
    "training (vision)",
)

KINDS = {  # of parts, by the start of their names; all others are "at work"
    "language model": ("language model", "teacher's"),
    "vision tower and embeddings": ("vision tower, ", "embeddings"),
    "adapter and optimiser": ("adapter", "its gradient", "reference adapter"),
    "dense copies": ("dense copies",),
    "keys and values": ("keys and values", "those of one layer"),
}


def estimate_grpo(
    model: str | Shape,
    *,
    four_bit: bool = True,
    max_pixels: int = 401_408,
    lora_rank: int = 16,
    lora_on: str = "language",
    prompts_per_step: int = 8,
    group_size: int = 8,
    micro_batch: int = 4,
    max_new_tokens: int = 256,
    beta: float = 0.0,
    passes: int = 1,
    refill: int = 0,
    shortcuts: Collection[str] = GrpoSettings.shortcuts,
    validation_questions: int = 0,
    rate_completions: int = 0,
    text_tokens: int = 200,
    **others: Any,
) -> list[dict]:
    """Return the parts of the GPU memory of GRPO with these settings: part, GiB, when; the peak comes last.

    `text_tokens`: the longest question with its instructions, in tokens. `max_pixels` 0 is the model's default; other
    parameters of a notebook are accepted and ignored.
    """
    shape, patches = _shape_and_patches(model, max_pixels)
    rows, prompt = prompts_per_step * group_size, patches // shape.merge**2 + text_tokens
    packed, frozen = "prompts" in shortcuts, "images" in shortcuts and lora_on == "language"
    read, pack, mode = (prompts_per_step, group_size, "autocast") if packed else (rows, 1, "plain")
    pixels, micro = memory_parts.pixel_bytes(shape, patches), min(micro_batch, rows)
    dense = memory_parts.adapted(shape, lora_on) if "weights" in shortcuts else 0
    parts = [
        *memory_parts.weights(shape, four_bit, lora_rank, lora_on, beta),
        *memory_parts.before(shape, rows, patches, prompt, max_new_tokens, validation_questions > 0, rate_completions),
        ("pixels of the last batch", rows * pixels, "step"),
        ("pixels of the prompts", read * pixels, "generation"),
        ("pixels twice more, to be split", 2 * rows * pixels, "generation (batches)"),
        *memory_parts.vision(shape, patches, read, frozen),
        ("dense copies of the layers", 2 * dense, "generation"),
        *memory_parts.generation(shape, read, rows, prompt, max_new_tokens, "dense" if dense else mode),
        *memory_parts.training(shape, micro, pack, prompt, max_new_tokens),
        *memory_parts.adapter_at_work(shape, lora_rank, lora_on),
    ]
    if beta or passes > 1:  # the log-probabilities at sampling take a pass of their own, like the reference's
        parts += memory_parts.reference(shape, micro, pack, prompt, max_new_tokens)
    if refill:  # a further batch, both joined, and what is left of them
        parts.append(("pixels of refills", 4 * rows * pixels, "generation (batches)"))
    if not frozen:
        parts += memory_parts.trained_vision(shape, patches, math.ceil(micro / pack), lora_on)
    return _table(parts)


def estimate_sft(
    model: str | Shape,
    *,
    four_bit: bool = True,
    max_pixels: int = 401_408,
    lora_rank: int = 16,
    lora_on: str = "language",
    batch_size: int = 16,
    micro_batch: int = 4,
    completions: int = 0,
    rate_completions: int = 0,
    max_new_tokens: int = 256,
    text_tokens: int = 200,
    target_tokens: int = 256,
    teacher: str | Shape = "",
    **others: Any,
) -> list[dict]:
    """Return the same for supervised fine-tuning on texts of `target_tokens`.

    `completions` above 0: rejection sampling with that many answers to each question comes first, and the texts are
    answers of `max_new_tokens`. `rate_completions` above 0: pass rates are measured first. `teacher`: in each step the
    model answers `batch_size` questions by itself.
    """
    shape, patches = _shape_and_patches(model, max_pixels)
    prompt, rows, frozen = patches // shape.merge**2 + text_tokens, min(micro_batch, batch_size), lora_on == "language"
    read = max(1, ANSWERS_AT_ONCE // completions) if completions else 0
    if teacher:
        read, completions = batch_size, 1
    learnt = max_new_tokens if completions else target_tokens
    parts = [
        *_teacher_parts(teacher, max_pixels, four_bit),
        *memory_parts.weights(shape, four_bit, lora_rank, lora_on, 0.0),
        *memory_parts.before(shape, ANSWERS_AT_ONCE, patches, prompt, max_new_tokens, False, rate_completions),
        ("pixels of a batch", max(rows, read) * memory_parts.pixel_bytes(shape, patches), "step"),
        *memory_parts.vision(shape, patches, read, frozen),
        *memory_parts.generation(shape, read, read * completions, prompt, max_new_tokens, "plain"),
        *memory_parts.training(shape, rows, 1, prompt, learnt),
        *memory_parts.adapter_at_work(shape, lora_rank, lora_on),
    ]
    if not frozen:
        parts += memory_parts.trained_vision(shape, patches, rows, lora_on)
    return _table(parts)


def _teacher_parts(teacher: str | Shape, max_pixels: int, four_bit: bool) -> Parts:
    if not teacher:
        return []
    stays = memory_parts.weights(_shape_and_patches(teacher, max_pixels)[0], four_bit, 1, "language", 0.0)[:3]
    return [(f"teacher's {part}", size, when) for part, size, when in stays]  # its weights; it has no adapter


def estimate_step(settings: Mapping[str, Any], model: str | Shape | None = None, **changes: Any) -> list[dict]:
    """Return the estimate for a training notebook's parameters, of either kind; `changes` override them."""
    values = {**settings, "model": model or settings["model"], **changes}
    return (estimate_grpo if "group_size" in values else estimate_sft)(**values)


def _shape_and_patches(model: str | Shape, max_pixels: int) -> tuple[Shape, int]:
    if isinstance(model, Shape):
        shape = model
        if not max_pixels:
            raise TypeError("max_pixels is 0, the default of a named model; give pixels with a shape")
    else:
        shape = shape_of(model)
        max_pixels = max_pixels or default_pixels(config_of(model))
    return shape, max_pixels // shape.tile * shape.merge**2


def _table(parts: Parts) -> list[dict]:
    """Return the parts above 0 in GiB, then the context and the peak."""
    parts = [part for part in parts if part[1]]
    sums = _sums((size, when) for _, size, when in parts)
    largest = max(sums, key=sums.__getitem__)
    peak = sums[largest] / GIB
    extra = CONTEXT_GIB + SPARE * peak
    return [
        *({"part": part, "gib": round(size / GIB, 6), "when": when} for part, size, when in parts),
        {"part": "context and allocator", "gib": round(extra, 3), "when": "always"},
        {"part": "largest moment", "gib": round(peak + extra, 2), "when": largest.split(" (")[0]},
    ]


def _sums(parts: Iterable[tuple[float, str]]) -> dict[str, float]:
    parts = list(parts)
    return {moment: sum(size for size, when in parts if belongs(when, moment)) for moment in MOMENTS}


def belongs(when: str, moment: str) -> bool:
    """Return whether a part counts at a moment.

    >>> [belongs(when, "training (head)") for when in ("always", "step", "training", "training (layer)")]
    [True, True, True, False]
    >>> belongs("step", "loading")
    False
    """
    in_step = not moment.startswith(("loading", "baseline"))
    return when == "always" or (when == "step" and in_step) or moment.startswith(when)


def phases(rows: Sequence[Mapping]) -> dict[str, float]:
    """Return PyTorch's peak in each phase of the training, in GiB: loading, baseline, vision, …"""
    found: dict[str, float] = {}
    for moment, total in _sums((row["gib"], row["when"]) for row in rows[:-2]).items():
        phase = moment.split(" (")[0]
        if phase == "loading" or any(row["when"].startswith(phase) for row in rows[:-2]):  # SFT has no generation
            found[phase] = max(found.get(phase, 0.0), round((1 + SPARE) * total, 4))
    return found


def at_peak(rows: Sequence[Mapping]) -> dict[str, float]:
    """Return the parts of the largest moment in GiB, summed by kind; the values add up to the peak."""
    sums = _sums((row["gib"], row["when"]) for row in rows[:-2])
    largest = max(sums, key=sums.__getitem__)
    found = dict.fromkeys((*KINDS, "at work", "context and allocator"), 0.0)
    for row in rows[:-2]:
        kinds = [kind for kind, starts in KINDS.items() if row["part"].startswith(starts)]
        found[kinds[0] if kinds else "at work"] += row["gib"] * belongs(row["when"], largest)
    found["context and allocator"] = rows[-2]["gib"]
    return {kind: round(size, 3) for kind, size in found.items()}


def fit_verdict(rows: Sequence[Mapping], card_gib: float) -> str:
    """Return a sentence: whether the estimate fits a card, and if not, the parameters to lower.

    >>> fit_verdict([{"part": "largest moment", "gib": 11.2, "when": "training"}], 16)
    'about 11.2 GiB of 16 GiB in training: fits, with 4.8 GiB to spare'
    """
    peak = rows[-1]
    start = f"about {peak['gib']:.1f} GiB of {card_gib:g} GiB in {peak['when']}"
    if peak["gib"] <= card_gib:
        return f"{start}: fits, with {card_gib - peak['gib']:.1f} GiB to spare"
    return f"{start}: does not fit; {ADVICE[peak['when']]}"


def error_percent(estimated_gib: float, measured_gib: float | None) -> float | None:
    """Return the error of an estimate in percent of the measurement; None without one.

    >>> error_percent(11.0, 10.0), error_percent(9.0, 10.0), error_percent(9.0, None)
    (10.0, -10.0, None)
    """
    return round(100 * (estimated_gib / measured_gib - 1), 1) if measured_gib else None


def checked_estimate(parts: Sequence[Mapping], result: Mapping[str, Any]) -> dict[str, dict]:
    """Return for run.json the estimate and the measured peak of a training or its rehearsal; empty without a GPU.

    Both are PyTorch's memory, without the CUDA context.
    """
    peaks = [result.get("peak_gpu_gib"), *(row["gib"] for row in result.get("rehearsal", {}).values())]
    if not (known := [peak for peak in peaks if peak is not None]):
        return {}
    estimated = max(gib for phase, gib in phases(parts).items() if phase != "baseline")
    error = error_percent(estimated, max(known))
    return {"memory": {"estimated_gib": round(estimated, 2), "measured_gib": max(known), "error_percent": error}}


def last_fitting(values: Sequence[int], fits: Callable[[int], bool]) -> int | None:
    """Return the last of ascending values that fits, found by bisection; None if the first does not fit.

    >>> last_fitting([1, 2, 4, 8, 16], lambda value: value < 10)
    8
    """
    count = bisect_left(values, True, key=lambda value: not fits(value))
    return values[count - 1] if count else None


def choices(settings: Mapping[str, Any]) -> dict[str, list[int]]:
    """Return the values that each parameter may take while the others are unchanged, ascending.

    A micro-batch divides the completions (or questions) of a step, or is at least as large.
    """
    shape, micro = shape_of(settings["model"]), settings["micro_batch"]
    pixels = list(range(shape.tile, MOST_PIXELS + 1, shape.tile))

    def divides(whole: int) -> bool:
        return micro >= whole or whole % micro == 0

    def divisors(whole: int) -> list[int]:
        return [number for number in range(1, whole + 1) if whole % number == 0]

    if "group_size" not in settings:
        return {"micro_batch": divisors(settings["batch_size"]), "max_pixels": pixels}
    prompts, group = settings["prompts_per_step"], settings["group_size"]
    return {
        "prompts_per_step": [number for number in range(1, MOST_PROMPTS + 1) if divides(number * group)],
        "group_size": [number for number in range(2, MOST_ANSWERS + 1) if divides(number * prompts)],
        "micro_batch": divisors(prompts * group),
        "max_pixels": pixels,
    }


def proposals(settings: Mapping[str, Any], card_gib: float) -> list[dict]:
    """Return for each parameter that affects memory the largest value that fits a card, the others unchanged.

        {"parameter": "micro_batch", "now": 4, "largest": 64, "then": "about 13.2 GiB in training"}

    `largest` is None where none fits. Only values that a training accepts are tried, with the estimate alone.
    """
    shape = shape_of(settings["model"])
    now = {**settings, "max_pixels": settings["max_pixels"] or default_pixels(config_of(settings["model"]))}

    def peak(name: str, value: int) -> dict:
        return estimate_step(now, model=shape, **{name: value})[-1]

    def proposal(name: str, values: Sequence[int]) -> dict:
        found = last_fitting(values, lambda value: peak(name, value)["gib"] <= card_gib)
        then = "about {gib:.1f} GiB in {when}".format(**peak(name, found)) if found else "the smallest does not fit"
        return {"parameter": name, "now": now[name], "largest": found, "then": then}

    return [proposal(name, values) for name, values in choices(settings).items()]

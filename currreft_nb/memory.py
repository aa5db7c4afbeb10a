"""How much GPU memory a training needs: an estimate from shapes, made before anything is downloaded or loaded.

    {"part": "language model, 4 bit", "gib": 1.333, "when": "always"}
    {"part": "keys and values", "gib": 2.127, "when": "generation (decoding)"}
    {"part": "largest moment", "gib": 9.14, "when": "training"}

A run goes through moments: the model is loaded and asked the baseline's questions; then in each step the vision tower
encodes, prompts are read, answers are decoded, the loss is computed, gradients flow. `when` names the moment that a
part belongs to, or a group of them: "always", "step", "generation", "training". The largest sum counts. Bytes per token
inside a layer were counted on a real layer, operation by operation, which a test repeats. Real peaks differ by what the
allocator keeps and by kernels' workspaces, for which a tenth and the CUDA context are added.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

from currreft_nb import models
from currreft_nb.memory_shapes import Shape, adapted_parts, config_of, shape_of
from currreft_nb.models_vision import KEPT
from currreft_nb.training_settings import GrpoSettings

GIB = 1024**3
NF4_BYTES = 0.516  # a weight in NF4 with double quantised scales: 4.127 bits
NUMBERS = 4  # kept for each adapter weight: gradient, AdamW's two moments, the weight at the start
CONTEXT_GIB = 0.6  # what CUDA itself takes
SPARE = 0.1  # what the allocator keeps, as a share of what is asked for
HEAD_TOKENS, HEAD_TILE = 4096, 32_768  # TRL multiplies by the output head in tiles of tokens times vocabulary
ANSWERS_AT_ONCE = 64  # of `generation.generate`, in which rejection sampling draws
MOMENTS = (
    "loading",
    "baseline (vision)",
    "baseline (prompts)",
    "baseline (decoding)",
    "vision",
    "generation (prompts)",
    "generation (decoding)",
    "training (head)",
    "training (layer)",
    "training (vision)",
)
ADVICE = {
    "loading": "set four_bit, or take a smaller model",
    "baseline": "set validation_questions to 0, or lower prompts_per_step or group_size, then max_new_tokens",
    "vision": "lower max_pixels, or set four_bit",
    "generation": "lower prompts_per_step or group_size, then max_new_tokens and max_pixels, or set four_bit",
    "training": "lower micro_batch, then max_pixels and max_new_tokens, or set four_bit",
}

Parts = list[tuple[str, float, str]]  # part, bytes, when


def estimate(
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
    shortcuts: Collection[str] = GrpoSettings.shortcuts,
    validation_questions: int = 0,
    rate_completions: int = 0,
    text_tokens: int = 200,
    **others: Any,
) -> list[dict]:
    """Return the parts of the GPU memory that GRPO with these settings needs: part, GiB, when; the peak comes last.

    `text_tokens`: the longest question with its instructions, in tokens. `max_pixels` 0 stands for the model's default;
    other parameters of a notebook are accepted and change nothing.
    """
    shape, patches = _shape_and_patches(model, max_pixels)
    rows, prompt = prompts_per_step * group_size, patches // shape.merge**2 + text_tokens
    packed, frozen = "prompts" in shortcuts, "images" in shortcuts and lora_on == "language"
    read, pack, mode = (prompts_per_step, group_size, "autocast") if packed else (rows, 1, "plain")
    dense = _adapted(shape, lora_on) if "weights" in shortcuts else 0
    return _table(
        [
            *_weights(shape, four_bit, lora_rank, lora_on, beta),
            *_before(shape, rows, patches, prompt, max_new_tokens, bool(validation_questions), rate_completions),
            ("pixels of the last batch", rows * _pixel_bytes(shape, patches), "step"),
            ("pixels of the prompts", read * _pixel_bytes(shape, patches), "generation"),
            *_vision(shape, patches, read, frozen),
            ("dense copies of the layers", 2 * dense, "generation"),
            *_generation(shape, read, rows, prompt, max_new_tokens, "dense" if dense else mode),
            *_training(shape, min(micro_batch, rows), pack, prompt, max_new_tokens),
            *_adapter_at_work(shape, lora_rank, lora_on),
            *([] if frozen else _trained_vision(shape, patches, math.ceil(min(micro_batch, rows) / pack), lora_on)),
        ]
    )


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
    max_new_tokens: int = 256,
    text_tokens: int = 200,
    **others: Any,
) -> list[dict]:
    """Return the same for supervised fine-tuning on texts of `max_new_tokens`.

    `completions` above 0: rejection sampling, which first draws that many answers to each question.
    """
    shape, patches = _shape_and_patches(model, max_pixels)
    prompt, rows, frozen = patches // shape.merge**2 + text_tokens, min(micro_batch, batch_size), lora_on == "language"
    read = max(1, ANSWERS_AT_ONCE // completions) if completions else 0
    return _table(
        [
            *_weights(shape, four_bit, lora_rank, lora_on, 0.0),
            ("pixels of a batch", max(rows, read) * _pixel_bytes(shape, patches), "step"),
            *_vision(shape, patches, max(rows, read), frozen),
            *_generation(shape, read, read * completions, prompt, max_new_tokens, "plain"),
            *_training(shape, rows, 1, prompt, max_new_tokens),
            *_adapter_at_work(shape, lora_rank, lora_on),
            *([] if frozen else _trained_vision(shape, patches, rows, lora_on)),
        ]
    )


def estimate_step(settings: Mapping[str, Any], model: str | Shape | None = None, **changes: Any) -> list[dict]:
    """Return the estimate for a training notebook's parameters, of either kind; `changes` go before them."""
    values = {**settings, "model": model or settings["model"], **changes}
    return (estimate if "group_size" in values else estimate_sft)(**values)


def _shape_and_patches(model: str | Shape, max_pixels: int) -> tuple[Shape, int]:
    shape = model if isinstance(model, Shape) else shape_of(model)
    if not max_pixels and isinstance(model, Shape):
        raise TypeError("max_pixels 0 is the default of a named model; give a shape its pixels")
    pixels = max_pixels or models.default_pixels(config_of(model))
    return shape, pixels // shape.tile * shape.merge**2


def _adapted(shape: Shape, lora_on: str, rank: int = 0) -> int:
    """Return the weights of the layers that have an adapter, or with a rank those of the adapter."""
    return sum(shape.adapted[part][1] * rank or shape.adapted[part][0] for part in adapted_parts(lora_on))


def _weights(shape: Shape, four_bit: bool, rank: int, lora_on: str, beta: float) -> Parts:
    kind, weight_bytes = ("4 bit", NF4_BYTES) if four_bit else ("16 bit", 2)
    adapter = _adapted(shape, lora_on, rank)
    return [
        (f"language model, {kind}", shape.language_weights * weight_bytes, "always"),
        ("embeddings and output head, 16 bit", 2 * shape.head_weights, "always"),
        ("vision tower, 16 bit", 2 * shape.vision_weights, "always"),
        ("adapter", 4 * adapter, "always"),
        ("its gradient, AdamW's moments, its start", NUMBERS * 4 * adapter, "step"),
        ("reference adapter", 4 * adapter * bool(beta), "step"),
        ("layers on their way to 4 bit", 4 * 2 * shape.largest_layer * four_bit, "loading"),
        ("one layer unpacked from 4 bit", 2 * shape.largest_layer * four_bit, "always"),
    ]


def _before(shape: Shape, rows: int, patches: int, prompt: int, new: int, forced: bool, rate_completions: int) -> Parts:
    """Return what sampling before the first step takes: the baseline, which completes answers in rows of their own."""
    if not (forced or rate_completions):
        return []
    read = rows if forced else max(1, rows // rate_completions)
    asked = _generation(shape, read, rows, prompt + new * forced, new, "plain")
    seen = _vision(shape, patches, read, frozen=not forced)[1:]
    parts = [("pixels of the questions", read * _pixel_bytes(shape, patches), ""), *asked, *seen]
    moments = {"": "baseline", "vision": "baseline (vision)"}
    return [(part, size, moments.get(when, when.replace("generation", "baseline"))) for part, size, when in parts]


def _pixel_bytes(shape: Shape, patches: int) -> int:
    return patches * shape.patch_values * 4


def _vision(shape: Shape, patches: int, read: int, frozen: bool) -> Parts:
    """Return what encoding takes without gradients: of one image at a time where features are shared."""
    count = 1 if frozen else read
    block = 2 * (9 * shape.vision_hidden + 3 * shape.vision_intermediate)
    tokens = patches // shape.merge**2
    features = max(KEPT, read) * tokens * shape.hidden * shape.levels * 2 if frozen else 0
    return [
        ("features of images", features, "step"),
        (f"vision tower at work, images at once: {count}", count * patches * block, "vision"),
    ]


def _generation(shape: Shape, read: int, rows: int, prompt: int, new: int, mode: str) -> Parts:
    """Return what `read` prompts take while they are read, and `rows` answers to them while they are decoded."""
    inner, outer = {"dense": (6, 8), "autocast": (8, 12), "plain": (12, 12)}[mode]
    token = inner * shape.intermediate + outer * shape.hidden + 1024 + prompt
    kept = shape.layers * 2 * shape.kv_width * 2  # bytes of a token's keys and values
    cache = rows * (prompt + new) * kept
    return [
        ("prompts in one layer", read * prompt * token, "generation (prompts)"),
        ("keys and values of the prompts", read * prompt * kept, "generation (prompts)"),
        ("keys and values", cache, "generation (decoding)"),
        ("those of one layer once more, to append to", cache / shape.layers, "generation (decoding)"),
        ("next-token probabilities", 3 * rows * shape.vocabulary * 4, "generation (decoding)"),
    ]


def _training(shape: Shape, rows: int, pack: int, prompt: int, new: int) -> Parts:
    """Return what a forward and backward pass takes over `rows` answers, up to `pack` of them behind each prompt."""
    packs = math.ceil(rows / pack)
    tokens, length = packs * prompt + rows * new, prompt + min(pack, rows) * new
    masks = 3 * packs * length**2  # who sees whom, as truth values and as numbers of 16 bit
    token = 14 * shape.intermediate + 40 * shape.hidden + 4 * shape.kv_width
    tile = min(rows * new, HEAD_TOKENS) * min(HEAD_TILE, shape.vocabulary) * 2
    return [
        ("kept between layers (checkpointing)", shape.layers * tokens * shape.hidden * 2, "training"),
        ("output head, a tile", 8 * (tokens + rows * new) * shape.hidden + tile, "training (head)"),
        ("one layer worked out again, with gradients", tokens * token + masks, "training (layer)"),
    ]


def _adapter_at_work(shape: Shape, rank: int, lora_on: str) -> Parts:
    return [("adapter in 16 bit", 2 * _adapted(shape, lora_on, rank), "training")]


def _trained_vision(shape: Shape, patches: int, images: int, lora_on: str) -> Parts:
    """Return what the vision tower takes when gradients pass it: for each image of a micro-batch."""
    block = 10 * shape.vision_intermediate + (50 if lora_on == "vision" else 30) * shape.vision_hidden
    kept = shape.vision_layers * 2 * shape.vision_hidden
    return [
        (f"kept between the vision tower's layers, images: {images}", images * patches * kept, "training"),
        ("one of its layers worked out again", images * patches * block, "training (vision)"),
    ]


def _table(parts: Parts) -> list[dict]:
    """Return the parts in GiB, those that take nothing left out, and at the end what comes on top and the peak."""
    parts = [part for part in parts if part[1]]
    sums = {moment: _sum(parts, moment) / GIB for moment in MOMENTS}
    largest = max(sums, key=sums.__getitem__)
    extra = CONTEXT_GIB + SPARE * sums[largest]
    return [
        *({"part": part, "gib": round(size / GIB, 3), "when": when} for part, size, when in parts),
        {"part": "context and allocator", "gib": round(extra, 3), "when": "always"},
        {"part": "largest moment", "gib": round(sums[largest] + extra, 2), "when": largest.split(" (")[0]},
    ]


def _sum(parts: Parts, moment: str) -> float:
    return sum(size for _, size, when in parts if belongs(when, moment))


def belongs(when: str, moment: str) -> bool:
    """Say whether a part counts at a moment.

    >>> [belongs(when, "training (head)") for when in ("always", "step", "training", "training (layer)")]
    [True, True, True, False]
    >>> belongs("step", "loading")
    False
    """
    in_step = not moment.startswith(("loading", "baseline"))
    return when == "always" or (when == "step" and in_step) or moment.startswith(when)


def phases(rows: Sequence[Mapping]) -> dict[str, float]:
    """Return what PyTorch will hold at most in each phase that there is, in GiB: loading, baseline, vision, …"""
    found: dict[str, float] = {}
    for moment in MOMENTS:
        phase = moment.split(" (")[0]
        if phase != "loading" and not any(row["when"].startswith(phase) for row in rows[:-2]):
            continue  # supervised training generates nothing
        total = sum(row["gib"] for row in rows[:-2] if belongs(row["when"], moment))
        found[phase] = max(found.get(phase, 0.0), round((1 + SPARE) * total, 2))
    return found


def verdict(rows: Sequence[Mapping], card_gib: float) -> str:
    """Say in one sentence whether the estimate fits a card, and if not, what to lower.

    >>> verdict([{"part": "largest moment", "gib": 11.2, "when": "training"}], 16)
    'about 11.2 GiB of 16 GiB in training: fits, with 4.8 GiB to spare'
    """
    peak = rows[-1]
    start = f"about {peak['gib']:.1f} GiB of {card_gib:g} GiB in {peak['when']}"
    if peak["gib"] <= card_gib:
        return f"{start}: fits, with {card_gib - peak['gib']:.1f} GiB to spare"
    return f"{start}: does not fit; {ADVICE[peak['when']]}"


def error_percent(estimated_gib: float, measured_gib: float | None) -> float | None:
    """Return by how much an estimate is off, in percent of what was measured; None where nothing was.

    >>> error_percent(11.0, 10.0), error_percent(9.0, 10.0), error_percent(9.0, None)
    (10.0, -10.0, None)
    """
    return round(100 * (estimated_gib / measured_gib - 1), 1) if measured_gib else None


def card_gib() -> float | None:
    """Return the memory of the GPU in use in GiB; None without one."""
    return round(torch.cuda.get_device_properties(0).total_memory / GIB, 1) if torch.cuda.is_available() else None


def reset_peak() -> None:
    """Begin measuring anew, where there is a GPU: what is no longer used is given back first."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def measured_peak() -> float | None:
    """Return the largest amount of GPU memory in GiB since `reset_peak` that PyTorch held; None without a GPU."""
    return round(torch.cuda.max_memory_reserved() / GIB, 2) if torch.cuda.is_available() else None

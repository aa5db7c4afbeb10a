"""How much GPU memory a training needs: an estimate from shapes, made before anything is downloaded or loaded.

    {"part": "language model, 4 bit", "gib": 1.333, "when": "always"}
    {"part": "key-value cache", "gib": 2.127, "when": "generation"}
    {"part": "largest moment", "gib": 12.14, "when": "generation"}

The model is built without weights (on PyTorch's meta device) and counted; what training adds follows from the settings.
Real peaks differ by what the allocator keeps and by kernels' workspaces, for which a tenth and the CUDA context are
added.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from currreft_nb import models

GIB = 1024**3
NF4_BYTES = 0.516  # a weight in NF4 with double quantised scales: 4.127 bits
CONTEXT_GIB = 0.6  # what CUDA itself takes
VOCABULARY_TILE = 32_768  # TRL multiplies by the output head in tiles of this many tokens of the vocabulary
VISION = {"depth": 32, "hidden_size": 1280, "num_heads": 16, "intermediate_size": 3420, "patch_size": 14}
SHAPES = {  # of the paper's models, so that planning needs no network
    "Qwen/Qwen2.5-VL-3B-Instruct": {
        "text_config": {
            "hidden_size": 2048,
            "intermediate_size": 11008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "vocab_size": 151936,
            "tie_word_embeddings": True,
        },
        "vision_config": {**VISION, "out_hidden_size": 2048},
        "tie_word_embeddings": True,
    },
    "Qwen/Qwen2.5-VL-7B-Instruct": {
        "text_config": {
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "vocab_size": 152064,
            "tie_word_embeddings": False,
        },
        "vision_config": {**VISION, "out_hidden_size": 3584},
        "tie_word_embeddings": False,
    },
}


@dataclass(frozen=True)
class Shape:
    """The numbers of a model that memory depends on; `*_weights` count parameters."""

    layers: int
    hidden: int
    intermediate: int
    kv_width: int
    vocabulary: int
    language_weights: int
    head_weights: int
    vision_weights: int
    largest_layer: int
    adapter_weights_per_rank: int
    vision_hidden: int
    vision_intermediate: int
    patch: int
    merge: int


def config_of(model: str) -> Any:
    """Return a model's configuration. Raises `InputError` for an unknown family or a model that cannot be reached."""
    if model in SHAPES:
        return AutoConfig.for_model("qwen2_5_vl", **SHAPES[model])
    config = models.read_config(models.source_of(model))
    models.family_of(config, model)
    return config


def shape_of(model: str) -> Shape:
    """Count a model without its weights."""
    config = config_of(model)
    with torch.device("meta"):
        counted = AutoModelForImageTextToText.from_config(config)
    text, vision = config.text_config, config.vision_config
    linear = [m for name, m in counted.named_modules() if isinstance(m, torch.nn.Linear) and ".layers." in name]
    vision_count = sum(weight.numel() for weight in counted.model.visual.parameters())
    language = sum(layer.weight.numel() for layer in linear)
    heads = text.num_attention_heads
    return Shape(
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=text.intermediate_size,
        kv_width=text.hidden_size // heads * text.num_key_value_heads,
        vocabulary=text.vocab_size,
        language_weights=language,
        head_weights=sum(weight.numel() for weight in counted.parameters()) - language - vision_count,
        vision_weights=vision_count,
        largest_layer=max(layer.weight.numel() for layer in linear),
        adapter_weights_per_rank=sum(layer.in_features + layer.out_features for layer in linear),
        vision_hidden=vision.hidden_size,
        vision_intermediate=vision.intermediate_size,
        patch=vision.patch_size,
        merge=vision.spatial_merge_size,
    )


def estimate(
    model: str,
    *,
    four_bit: bool = True,
    max_pixels: int = 401_408,
    lora_rank: int = 16,
    prompts_per_step: int = 8,
    group_size: int = 8,
    micro_batch: int = 4,
    max_new_tokens: int = 256,
    beta: float = 0.0,
    text_tokens: int = 200,
    **others: Any,
) -> list[dict]:
    """Return the parts of the GPU memory that GRPO with these settings needs: part, GiB, when; the peak comes last.

    `text_tokens`: the longest question with its instructions, in tokens. `max_pixels` 0 stands for the model's default;
    other parameters of a notebook are accepted and change nothing.
    """
    shape = shape_of(model)
    max_pixels = max_pixels or models.default_pixels(config_of(model))
    rows, patches = prompts_per_step * group_size, max_pixels // shape.patch**2
    micro_batch = min(micro_batch, rows)
    length = patches // shape.merge**2 + text_tokens + max_new_tokens  # tokens of the longest sequence
    parts = [
        *_always(shape, four_bit, lora_rank, beta),
        ("pixels of the generation batch, twice", 2 * rows * patches * 6 * shape.patch**2 * 4, "always"),
        ("key-value cache", rows * length * shape.layers * 2 * shape.kv_width * 2, "generation"),
        ("prompts at work in one layer", _prefill_bytes(shape, rows * (length - max_new_tokens)), "generation"),
        ("next-token probabilities", 3 * rows * shape.vocabulary * 4, "generation"),
        ("vision tower at work, one image", _vision_bytes(shape, patches), "vision"),
        *_training(shape, micro_batch, length, max_new_tokens, four_bit),
    ]
    return _with_peak(parts)


def _with_peak(parts: Sequence[tuple[str, float, str]]) -> list[dict]:
    """Return the parts as a table in GiB, and at its end what comes on top and the largest moment."""
    sums = {
        moment: sum(size for _, size, when in parts if when in ("always", moment)) / GIB
        for moment in ("generation", "vision", "training")
    }
    largest = max(sums, key=sums.__getitem__)
    extra = CONTEXT_GIB + 0.1 * sums[largest]
    return [
        *({"part": part, "gib": round(size / GIB, 3), "when": when} for part, size, when in parts),
        {"part": "context and allocator", "gib": round(extra, 3), "when": "always"},
        {"part": "largest moment", "gib": round(sums[largest] + extra, 2), "when": largest},
    ]


def _always(shape: Shape, four_bit: bool, lora_rank: int, beta: float) -> list[tuple[str, float, str]]:
    adapter = lora_rank * shape.adapter_weights_per_rank
    kind, weight_bytes = ("4 bit", NF4_BYTES) if four_bit else ("16 bit", 2)
    parts = [
        (f"language model, {kind}", shape.language_weights * weight_bytes, "always"),
        ("embeddings and output head, 16 bit", 2 * shape.head_weights, "always"),
        ("vision tower, 16 bit", 2 * shape.vision_weights, "always"),
        ("adapter, its gradient and AdamW", 16 * adapter, "always"),  # four numbers of 4 bytes for each weight
    ]
    return parts + ([("reference adapter", 4 * adapter, "always")] if beta else [])


def _prefill_bytes(shape: Shape, tokens: int) -> float:
    # Without gradients one layer is alive at a time: its input, a residual and normed copy, and three inner tensors.
    return 2 * tokens * (4 * shape.hidden + 3 * shape.intermediate)


def _vision_bytes(shape: Shape, patches: int) -> float:
    # Without gradients one block is alive: input, normed input, queries, keys, values, output, inner layer.
    return 2 * patches * (8 * shape.vision_hidden + 3 * shape.vision_intermediate)


def _training(
    shape: Shape, micro_batch: int, length: int, new_tokens: int, four_bit: bool
) -> list[tuple[str, float, str]]:
    tokens = micro_batch * length
    # While a layer is recomputed: the tensors of attention and inner layer in 16 bit, the adapter's copies in 32 bit.
    layer = tokens * (16 * shape.hidden + 6 * shape.intermediate) * 2
    unpacked = 2 * shape.largest_layer if four_bit else 0
    return [
        ("kept between layers (checkpointing)", shape.layers * tokens * shape.hidden * 2, "training"),
        ("one layer recomputed, with gradients", layer, "training"),
        ("one layer unpacked from 4 bit", unpacked, "training"),
        (
            "output probabilities, a tile",
            3 * micro_batch * new_tokens * min(VOCABULARY_TILE, shape.vocabulary) * 4,
            "training",
        ),
    ]


def verdict(rows: Sequence[Mapping], card_gib: float) -> str:
    """Say in one sentence whether the estimate fits a card, and if not, what to lower.

    >>> verdict([{"part": "largest moment", "gib": 11.2, "when": "training"}], 16)
    'about 11.2 GiB of 16 GiB in training: fits, with 4.8 GiB to spare'
    """
    peak = rows[-1]
    start = f"about {peak['gib']:.1f} GiB of {card_gib:g} GiB in {peak['when']}"
    if peak["gib"] <= card_gib:
        return f"{start}: fits, with {card_gib - peak['gib']:.1f} GiB to spare"
    advice = {
        "training": "lower micro_batch, then max_pixels and max_new_tokens, or set four_bit",
        "generation": "lower prompts_per_step or group_size, then max_pixels and max_new_tokens, or set four_bit",
        "vision": "lower max_pixels, or set four_bit",
    }
    return f"{start}: does not fit; {advice[peak['when']]}"


def reset_peak() -> None:
    """Begin measuring anew, where there is a GPU."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def measured_peak() -> float | None:
    """Return the largest amount of GPU memory in GiB since `reset_peak` that PyTorch held; None without a GPU."""
    return round(torch.cuda.max_memory_reserved() / GIB, 2) if torch.cuda.is_available() else None

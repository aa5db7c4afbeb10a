"""The parts of a training's GPU memory in bytes, with their moments, from shapes alone.

The factors of widths, bytes per token inside a layer, were counted: the live tensors of a real layer with an adapter,
operation by operation. A test counts again.
"""

import math

from currreft_nb.generation.shared_images import KEPT
from currreft_nb.memory.shapes import Shape, adapted_parts
from currreft_nb.training.settings import VALIDATION_ANSWERS

NF4_BYTES = 0.516  # a weight in NF4 with double quantised scales: 4.127 bits
NUMBERS = 4  # kept for each adapter weight: gradient, AdamW's two moments, the weight at the start
HEAD_TOKENS, HEAD_TILE = 4096, 32_768  # TRL multiplies by the output head in tiles of tokens times vocabulary

Parts = list[tuple[str, float, str]]  # part, bytes, when


def adapted(shape: Shape, lora_on: str, rank: int = 0) -> int:
    """Return the number of weights of the layers that have an adapter, or with a rank of the adapter."""
    return sum(shape.adapted[part][1] * rank or shape.adapted[part][0] for part in adapted_parts(lora_on))


def weights(shape: Shape, four_bit: bool, rank: int, lora_on: str, beta: float) -> Parts:
    """Return the parts that stay: the weights, the adapter and its training state."""
    kind, weight_bytes = ("4 bit", NF4_BYTES) if four_bit else ("16 bit", 2)
    adapter = adapted(shape, lora_on, rank)
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


def before(shape: Shape, rows: int, patches: int, prompt: int, new: int, forced: bool, rate_completions: int) -> Parts:
    """Return the parts of sampling before the first step, `rows` answers at once: pass rates, if `forced` the baseline.

    The baseline reads answers again after their prompts to force the format, as many at once as there were prompts.
    """
    if not (forced or rate_completions):
        return []
    read = max(1, rows // (VALIDATION_ANSWERS if forced else rate_completions))
    reading = generation(shape, read, read, prompt + new * forced, new, "plain")
    decoding = generation(shape, read, rows, prompt, new, "plain")
    asked = [part for part in reading if "prompts" in part[2]] + [part for part in decoding if "prompts" not in part[2]]
    parts = [("pixels of the questions", read * pixel_bytes(shape, patches), ""), *asked]
    parts += vision(shape, patches, read, frozen=True)[:1]
    moments = {"": "baseline", "vision": "baseline (vision)"}
    return [(part, size, moments.get(when, when.replace("generation", "baseline"))) for part, size, when in parts]


def pixel_bytes(shape: Shape, patches: int) -> int:
    """Return the bytes of the processor's output for an image, in 32 bit."""
    return patches * shape.patch_values * 4


def vision(shape: Shape, patches: int, read: int, frozen: bool) -> Parts:
    """Return the parts of encoding without gradients: one image at a time where features are shared, else `read`."""
    block = 2 * (9 * shape.vision_hidden + 3 * shape.vision_intermediate)
    tokens = patches // shape.merge**2
    features = max(KEPT, read) * tokens * shape.hidden * shape.levels * 2
    together = (f"vision tower at work, images at once: {read}", read * patches * block, "generation (vision)")
    return [
        ("vision tower at work, one image", patches * block, "vision"),
        ("features of images", features, "step") if frozen else together,
    ]


def generation(shape: Shape, read: int, rows: int, prompt: int, new: int, mode: str) -> Parts:
    """Return the parts of reading `read` prompts and of decoding `rows` answers to them."""
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


def training(shape: Shape, rows: int, pack: int, prompt: int, new: int) -> Parts:
    """Return the parts of a forward and backward pass over `rows` answers, up to `pack` of them after each prompt."""
    packs = math.ceil(rows / pack)
    tokens, length = packs * prompt + rows * new, prompt + min(pack, rows) * new
    masks = 3 * packs * length**2  # attention mask, as booleans and in 16 bit
    token = 14 * shape.intermediate + 40 * shape.hidden + 4 * shape.kv_width
    return [
        ("kept between layers (checkpointing)", shape.layers * tokens * shape.hidden * 2, "training"),
        ("output head, a tile", 8 * (tokens + rows * new) * shape.hidden + _tile(rows * new), "training (head)"),
        ("one layer worked out again, with gradients", tokens * token + masks, "training (layer)"),
    ]


def reference(shape: Shape, rows: int, pack: int, prompt: int, new: int) -> Parts:
    """Return the part of a pass over the same rows without gradients: the reference policy's, or that at sampling."""
    tokens = math.ceil(rows / pack) * prompt + rows * new
    layer = tokens * (8 * shape.intermediate + 12 * shape.hidden)
    return [("reference, or policy at sampling, at work", max(layer, _tile(rows * new)), "generation (reference)")]


def _tile(scored: int) -> int:
    return min(scored, HEAD_TOKENS) * HEAD_TILE * 2


def adapter_at_work(shape: Shape, rank: int, lora_on: str) -> Parts:
    """Return the 16-bit copy of the adapter that layers compute with."""
    return [("adapter in 16 bit", 2 * adapted(shape, lora_on, rank), "training")]


def trained_vision(shape: Shape, patches: int, images: int, lora_on: str) -> Parts:
    """Return the parts of a vision tower that gradients pass through, for `images` images of a micro-batch."""
    block = 10 * shape.vision_intermediate + (50 if lora_on == "vision" else 30) * shape.vision_hidden
    kept = shape.vision_layers * 2 * shape.vision_hidden
    return [
        (f"kept between the vision tower's layers, images: {images}", images * patches * kept, "training"),
        ("one of its layers worked out again", images * patches * block, "training (vision)"),
    ]

"""The table of model families, and the check that a processor fits its model.

A new family is one entry in `FAMILIES`. Patch and merge size of a model are not in the table: its config.json holds
them, and its processor must agree.
"""

from dataclasses import dataclass
from typing import Any

from PIL import Image

from currreft_nb import InputError
from currreft_nb.core.boxes import Frame
from currreft_nb.models.weights import check_unquantised

LORA_ON = ("language", "merger", "vision")
LANGUAGE = r".*language_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
MERGER = r".*visual\.merger\.mlp\.[02]"
DEEPSTACK = r".*visual\.(merger|deepstack_merger_list\.\d+)\.linear_fc[12]"
TOWER = r".*visual\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.%s)"
THOUSAND, RESIZED = Frame(kind="thousand"), Frame(kind="resized")
QUESTION = "How many?"  # asked about a picture to look at the chat template
REMEDY = "copy the processor's files (preprocessor_config.json, tokenizer.json, chat_template.jinja) of its base model"


@dataclass(frozen=True)
class Family:
    """The differences between model families; module names are regular expressions, matched in full.

    `language`, `merger`, `tower`: the linear layers that may get LoRA. The merger joins the vision tower to the
    language model, Qwen3-VL's deepstack mergers included; the tower's patch embedding, a convolution, gets none.
    `kept_16_bit`: modules that 4-bit loading skips, matched from the start of their name (`visual` alone matches
    nothing; the list replaces the library's default, hence `lm_head`). `frame`: how the family's released models write
    boxes, at the paper's pixel budget; the factor is their patch size times their merge size.
    """

    model_type: str
    class_name: str
    frame: Frame
    tower: str
    merger: str = MERGER
    language: str = LANGUAGE
    kept_16_bit: tuple[str, ...] = ("model.visual", "lm_head")

    def lora_targets(self, lora_on: str = "language") -> str:
        """Return the layers that get LoRA: those of the part `lora_on` and of the parts before it in `LORA_ON`.

        Raises `InputError` for an unknown part.
        """
        check_lora_on(lora_on)
        parts = (self.language, self.merger, self.tower)[: LORA_ON.index(lora_on) + 1]
        return "|".join(f"({part})" for part in parts)


FAMILIES = {
    family.model_type: family
    for family in (
        Family("qwen2_vl", "Qwen2VLForConditionalGeneration", THOUSAND, TOWER % "fc[12]"),
        Family("qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration", RESIZED, TOWER % "(gate|up|down)_proj"),
        Family(
            "qwen3_vl",
            "Qwen3VLForConditionalGeneration",
            Frame(kind="thousand", factor=32),
            TOWER % "linear_fc[12]",
            merger=DEEPSTACK,
        ),
    )
}


def check_lora_on(lora_on: str) -> None:
    """Raise `InputError` for a value that is not in `LORA_ON`."""
    if lora_on not in LORA_ON:
        raise InputError(f"lora_on is {lora_on!r}; it must be one of {', '.join(LORA_ON)}")


def family_of(config: Any, name: str) -> Family:
    """Return the entry of `FAMILIES` for the configuration of a model to be loaded.

    Raises `InputError` for a family that is not in the table, and for weights that are stored quantised.
    """
    if config.model_type not in FAMILIES:
        raise InputError(
            f"model {name!r} is of the family {config.model_type!r}; known are {', '.join(FAMILIES)}; add an entry to"
            " FAMILIES in currreft_nb/models/families.py (its class, its frame of boxes, the layers that get LoRA, the"
            " modules that stay in 16 bit)"
        )
    check_unquantised(config.to_dict(), name)
    return FAMILIES[config.model_type]


def check_processor(processor: Any, config: Any, source: str) -> None:
    """Raise `InputError` unless the processor's patches, image tokens and chat template fit the model.

    A processor that does not fit fails in the first batch with unrelated messages on shapes, or moves boxes.
    """
    images, vision = processor.image_processor, config.vision_config
    for what, has, expected in (
        ("patch_size", images.patch_size, vision.patch_size),
        ("merge_size", images.merge_size, vision.spatial_merge_size),
        ("temporal_patch_size", images.temporal_patch_size, vision.temporal_patch_size),
        ("the id of the image token", processor.image_token_id, config.image_token_id),
    ):
        if has != expected:
            raise InputError(
                f"the processor of {source!r} has {what} {has}, but the model's config.json has {expected}; {REMEDY}"
            )
    _check_tokens(processor, config, source, _check_template(processor, source))


def prefill_of(processor: Any) -> str:
    """Return what the chat template writes at the start of the model's turn, from "<think>" on; "" without it."""
    asked, answering = _asked(processor)
    start = answering.find("<think>", len(asked))
    return answering[start:] if start >= 0 else ""


def _asked(processor: Any) -> tuple[str, str]:
    """Return a question with an image as the chat template writes it, without and with the generation prompt."""
    talk = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}]
    asked, answering = (
        processor.apply_chat_template(talk, add_generation_prompt=prompt, tokenize=False) for prompt in (False, True)
    )
    return asked, answering


def _check_template(processor: Any, source: str) -> str:
    """Return a question with an image as the chat template writes it."""
    try:
        asked, answering = _asked(processor)
    except Exception as error:  # a template is a program, which can raise anything
        raise InputError(f"the chat template of {source!r} fails ({error}); {REMEDY}") from None
    images = answering.count(processor.image_token)
    for fault, wrong in (
        (f"writes {processor.image_token} {images} times for one image", images != 1),
        ("leaves the question out", QUESTION not in answering),
        ("has no generation prompt", not answering.startswith(asked) or answering == asked),
    ):
        if wrong:
            raise InputError(f"the chat template of {source!r} {fault}; {REMEDY}")
    return answering


def _check_tokens(processor: Any, config: Any, source: str, text: str) -> None:
    """Encode one picture and compare the number of its image tokens with that of the tower's features."""
    side = 4 * processor.image_processor.patch_size * processor.image_processor.merge_size
    inputs = processor(text=[text], images=[Image.new("RGB", (side, 2 * side))], return_tensors="pt")
    tokens = int((inputs["input_ids"] == config.image_token_id).sum())
    features = int(inputs["image_grid_thw"].prod()) // config.vision_config.spatial_merge_size**2
    if tokens != features:
        raise InputError(
            f"the processor of {source!r} writes {tokens} image tokens for {features} image features; {REMEDY}"
        )

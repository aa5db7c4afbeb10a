"""The table of model families: what differs between them, and the check that a processor fits its model.

A new family is one entry in `FAMILIES` and, for the way it writes boxes, one in `boxes.FRAMES`. Patch and merge size
are not repeated here: config.json says them for every model, and the processor must say the same.
"""

from dataclasses import dataclass
from typing import Any

from PIL import Image

from currreft_nb import InputError
from currreft_nb.boxes import FRAMES, Frame

POCKETS = ("pocket", "pocket-clean")  # names of the models that come with the kit
LORA_ON = ("language", "merger", "vision")
LANGUAGE = r".*language_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
MERGER = r".*visual\.merger\.mlp\.[02]"
REMEDY = "copy the processor's files (preprocessor_config.json, tokenizer.json, chat_template.jinja) of its base model"


@dataclass(frozen=True)
class Family:
    """What differs between model families; module names are regular expressions, matched in full.

    `language`, `merger`, `tower`: the linear layers that LoRA may go on. The merger joins the vision tower to the
    language model, Qwen3-VL's deepstack mergers included; the tower's patch embedding, a convolution, is left alone.
    `kept_16_bit`: module names that 4-bit loading leaves alone, matched from the start of the name (`visual` alone
    would match nothing; naming any replaces the default, hence `lm_head`).
    """

    model_type: str
    class_name: str
    tower: str
    merger: str = MERGER
    language: str = LANGUAGE
    kept_16_bit: tuple[str, ...] = ("model.visual", "lm_head")

    @property
    def frame(self) -> Frame:
        """How released models of the family write boxes; `factor` is their patch size times their merge size."""
        return FRAMES[self.model_type]

    def lora_targets(self, lora_on: str = "language") -> str:
        """Return which layers get LoRA: the language model's, with the merger's, or with the whole vision tower's.

        The paper trains all weights. Raises `InputError` for another `lora_on`.
        """
        check_lora_on(lora_on)
        parts = (self.language, self.merger, self.tower)[: LORA_ON.index(lora_on) + 1]
        return "|".join(f"({part})" for part in parts)


FAMILIES = {
    family.model_type: family
    for family in (
        Family(
            "qwen2_vl",
            "Qwen2VLForConditionalGeneration",
            tower=r".*visual\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.fc[12])",
        ),
        Family(
            "qwen2_5_vl",
            "Qwen2_5_VLForConditionalGeneration",
            tower=r".*visual\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.(gate|up|down)_proj)",
        ),
        Family(
            "qwen3_vl",
            "Qwen3VLForConditionalGeneration",
            tower=r".*visual\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.linear_fc[12])",
            merger=r".*visual\.(merger|deepstack_merger_list\.\d+)\.linear_fc[12]",
        ),
    )
}


def check_lora_on(lora_on: str) -> None:
    """Raise `InputError` unless it says language, merger or vision."""
    if lora_on not in LORA_ON:
        raise InputError(f"lora_on is {lora_on!r}, but must be one of {', '.join(LORA_ON)}")


def family_of(config: Any, name: str) -> Family:
    """Return the entry of `FAMILIES` for a configuration. Raises `InputError` for a family that is not in the table."""
    if config.model_type not in FAMILIES:
        raise InputError(
            f"model {name!r} is of the family {config.model_type!r}, but only {', '.join(FAMILIES)} are known; add an"
            " entry to FAMILIES in currreft_nb/models_families.py (its class, which layers get LoRA, what stays in 16"
            " bit) and one to FRAMES in currreft_nb/boxes.py (how it writes boxes)"
        )
    return FAMILIES[config.model_type]


def check_processor(processor: Any, config: Any, source: str) -> None:
    """Raise `InputError` unless the processor cuts images as the model reads them and its template asks a question.

    Without this, the first batch fails on shapes that nobody recognises, or boxes are read in another frame.
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
                f"the processor of {source!r} has {what} {has}, but the model's config.json says {expected}, so image"
                f" tokens would not match image features; {REMEDY}"
            )
    _check_tokens(processor, config, source, _check_template(processor, source))


def _check_template(processor: Any, source: str) -> str:
    """Return a question with an image as the chat template writes it."""
    question = "How many?"
    talk = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
    try:
        asked, answering = (
            processor.apply_chat_template(talk, add_generation_prompt=prompt, tokenize=False)
            for prompt in (False, True)
        )
    except Exception as error:  # templates are programs, which fail in any way
        raise InputError(f"the chat template of {source!r} cannot be used ({error}); {REMEDY}") from None
    faults = {
        f"writes {processor.image_token} {answering.count(processor.image_token)} times for one image": (
            answering.count(processor.image_token) != 1
        ),
        "leaves the question out": question not in answering,
        "has no generation prompt, after which the model answers": (
            not answering.startswith(asked) or answering == asked
        ),
    }
    if found := [fault for fault, wrong in faults.items() if wrong]:
        raise InputError(f"the chat template of {source!r} {found[0]}; {REMEDY}")
    return answering


def _check_tokens(processor: Any, config: Any, source: str, text: str) -> None:
    """Encode one picture: the model must find an image token for each feature that it makes."""
    side = 4 * processor.image_processor.patch_size * processor.image_processor.merge_size
    inputs = processor(text=[text], images=[Image.new("RGB", (side, 2 * side))], return_tensors="pt")
    tokens = int((inputs["input_ids"] == config.image_token_id).sum())
    features = int(inputs["image_grid_thw"].prod()) // config.vision_config.spatial_merge_size**2
    if tokens != features:
        raise InputError(
            f"the processor of {source!r} writes {tokens} image tokens for {features} image features; {REMEDY}"
        )

"""The shapes that a model's memory depends on, counted without loading a weight.

Some models are constants here, so that planning needs no network. Their sources:
Qwen2-VL-7B: the printed modules in github.com/zhenhua32/Qwen2-VL; Qwen2-VL-2B: those of its language model Qwen2-1.5B;
Qwen3-VL-4B: the published configuration, as in kohya-ss/musubi-tuner; Qwen3-VL-8B: the geometry that tests of Cosmos
state for it. A test compares each with the published number of weights.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from currreft_nb.models.families import LORA_ON, check_lora_on, family_of
from currreft_nb.models.files import read_config, source_of

TEXT = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")


def _text(*sizes: int, vocabulary: int = 151_936) -> dict[str, int]:
    return dict(zip(TEXT, sizes, strict=True)) | {"vocab_size": vocabulary}


def _vision_3(depth: int, hidden: int, inner: int, out: int, deepstack: list[int]) -> dict[str, Any]:
    sizes = {"depth": depth, "hidden_size": hidden, "intermediate_size": inner, "out_hidden_size": out}
    fixed = {"num_heads": 16, "patch_size": 16, "num_position_embeddings": 2304}
    return {**fixed, **sizes, "deepstack_visual_indexes": deepstack}


def _model(family: str, text: Mapping[str, int], vision: Mapping[str, Any], tied: bool) -> dict[str, Any]:
    return {"model_type": family, "text_config": text, "vision_config": vision, "tie_word_embeddings": tied}


VISION_2 = {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16, "patch_size": 14}
VISION_2_5 = {"depth": 32, "hidden_size": 1280, "num_heads": 16, "intermediate_size": 3420, "patch_size": 14}
TEXT_2B, TEXT_3B = _text(1536, 8960, 28, 12, 2), _text(2048, 11008, 36, 16, 2)
TEXT_7B = _text(3584, 18944, 28, 28, 4, vocabulary=152_064)
TEXT_4B, TEXT_8B = (_text(*sizes, 36, 32, 8) | {"head_dim": 128} for sizes in ((2560, 9728), (4096, 12288)))
SHAPES = {
    "Qwen/Qwen2-VL-2B-Instruct": _model("qwen2_vl", TEXT_2B, VISION_2 | {"hidden_size": 1536}, tied=True),
    "Qwen/Qwen2-VL-7B-Instruct": _model("qwen2_vl", TEXT_7B, VISION_2 | {"hidden_size": 3584}, tied=False),
    "Qwen/Qwen2.5-VL-3B-Instruct": _model("qwen2_5_vl", TEXT_3B, VISION_2_5 | {"out_hidden_size": 2048}, tied=True),
    "Qwen/Qwen2.5-VL-7B-Instruct": _model("qwen2_5_vl", TEXT_7B, VISION_2_5 | {"out_hidden_size": 3584}, tied=False),
    "Qwen/Qwen3-VL-4B-Instruct": _model("qwen3_vl", TEXT_4B, _vision_3(24, 1024, 4096, 2560, [5, 11, 17]), tied=True),
    "Qwen/Qwen3-VL-8B-Instruct": _model("qwen3_vl", TEXT_8B, _vision_3(27, 1152, 4304, 4096, [8, 16, 24]), tied=False),
}
ADAPTED = {  # pieces of the names of the layers in each part; an adapter covers a part and those before it
    "language": (".layers.",),
    "merger": ("visual.merger.", "visual.deepstack_merger_list."),
    "vision": ("visual.blocks.",),
}


@dataclass(frozen=True)
class Shape:
    """The numbers of a model that memory depends on; `*_weights` count parameters.

    `adapted`: for each part that may get an adapter, the weights of its linear layers, and those of an adapter of rank
    1. `levels`: vectors per image token from the vision tower. `patch_values`: numbers in a patch.
    """

    layers: int
    hidden: int
    intermediate: int
    kv_width: int
    vocabulary: int
    language_weights: int
    head_weights: int
    vision_weights: int
    largest_layer: int
    adapted: dict[str, tuple[int, int]]
    vision_layers: int
    vision_hidden: int
    vision_intermediate: int
    levels: int
    patch: int
    merge: int
    patch_values: int

    @property
    def weights(self) -> int:
        return self.language_weights + self.head_weights + self.vision_weights

    @property
    def tile(self) -> int:
        """The pixels that become one token."""
        return (self.patch * self.merge) ** 2


def config_of(model: str) -> Any:
    """Return a model's configuration. Raises `InputError` for an unknown family or an unreachable model."""
    if model in SHAPES:
        return _config(json.dumps(SHAPES[model]))
    config = read_config(source_of(model))
    family_of(config, model)
    return config


def _config(text: str) -> Any:
    values = json.loads(text)
    return AutoConfig.for_model(values.pop("model_type"), **values)


def shape_of(model: str) -> Shape:
    """Return a model's shape; a model outside `SHAPES` needs its config.json."""
    if model in SHAPES:
        return _counted(json.dumps(SHAPES[model]))
    return _counted(config_of(model).to_json_string(use_diff=False))


@functools.cache
def _counted(text: str) -> Shape:
    config = _config(text)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    language, vision = config.text_config, config.vision_config
    linear = {name: m for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    adapted = {
        part: [m for name, m in linear.items() if any(word in name for word in words)]
        for part, words in ADAPTED.items()
    }
    weights = {part: sum(layer.weight.numel() for layer in layers) for part, layers in adapted.items()}
    vision_weights = sum(weight.numel() for weight in model.model.visual.parameters())
    head_width = getattr(language, "head_dim", None) or language.hidden_size // language.num_attention_heads
    width = getattr(vision, "embed_dim", vision.hidden_size)  # Qwen2-VL's hidden_size is the merger's output
    return Shape(
        layers=language.num_hidden_layers,
        hidden=language.hidden_size,
        intermediate=language.intermediate_size,
        kv_width=head_width * language.num_key_value_heads,
        vocabulary=language.vocab_size,
        language_weights=weights["language"],
        head_weights=sum(weight.numel() for weight in model.parameters()) - weights["language"] - vision_weights,
        vision_weights=vision_weights,
        largest_layer=max(layer.weight.numel() for layer in adapted["language"]),
        adapted={
            part: (weights[part], sum(layer.in_features + layer.out_features for layer in layers))
            for part, layers in adapted.items()
        },
        vision_layers=vision.depth,
        vision_hidden=width,
        vision_intermediate=getattr(vision, "intermediate_size", None) or int(width * vision.mlp_ratio),
        levels=1 + len(getattr(vision, "deepstack_visual_indexes", ())),
        patch=vision.patch_size,
        merge=vision.spatial_merge_size,
        patch_values=vision.in_channels * vision.temporal_patch_size * vision.patch_size**2,
    )


def adapted_parts(lora_on: str) -> tuple[str, ...]:
    """Return the parts that get an adapter: the one named and those before it. Raises `InputError` for others.

    >>> adapted_parts("merger")
    ('language', 'merger')
    """
    check_lora_on(lora_on)
    return LORA_ON[: LORA_ON.index(lora_on) + 1]

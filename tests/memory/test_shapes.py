"""Shapes counted without weights: published sizes, every family, the pocket model from its folder."""

from dataclasses import asdict

import pytest

from currreft_nb import InputError
from currreft_nb.memory.shapes import SHAPES, adapted_parts, shape_of
from currreft_nb.models.families import FAMILIES
from tests.helpers.tiny_models import awake_model

PUBLISHED = {  # billions of weights, as the models' pages state them
    "Qwen/Qwen2-VL-2B-Instruct": 2.21,
    "Qwen/Qwen2-VL-7B-Instruct": 8.29,
    "Qwen/Qwen2.5-VL-3B-Instruct": 3.75,
    "Qwen/Qwen2.5-VL-7B-Instruct": 8.29,
    "Qwen/Qwen3-VL-4B-Instruct": 4.44,
    "Qwen/Qwen3-VL-8B-Instruct": 8.77,
}


@pytest.mark.parametrize("model", SHAPES)
def test_written_down_shapes_have_the_published_sizes(model):
    assert round(shape_of(model).weights / 1e9, 2) == PUBLISHED[model]


def test_pocket_model_is_counted_from_its_folder():
    shape = shape_of("pocket")
    assert shape.tile == 256 and shape.layers == 3
    assert 1e6 < shape.weights < 5e6


@pytest.mark.parametrize("model_type", FAMILIES)
def test_every_family_is_counted_like_the_real_model(model_type, tmp_path):
    model = awake_model(model_type)
    model.config.save_pretrained(tmp_path)
    shape = shape_of(str(tmp_path))
    assert shape.weights == sum(weight.numel() for weight in model.parameters())
    assert all(number for number in asdict(shape).values())
    assert shape.kv_width == 16 and shape.vision_hidden == 32
    assert shape.levels == (2 if model_type == "qwen3_vl" else 1)
    for part in ("language", "merger", "vision"):
        weights, per_rank = shape.adapted[part]
        assert weights > per_rank > 0


def test_parts_add_up():
    assert adapted_parts("language") == ("language",)
    assert adapted_parts("vision") == ("language", "merger", "vision")
    with pytest.raises(InputError, match="lora_on is 'tower'; it must be one of language, merger, vision"):
        adapted_parts("tower")

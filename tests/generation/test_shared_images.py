"""Sharing the work on equal images changes no result, only how often the vision tower runs."""

import numpy as np
import pytest
import torch
from PIL import Image

from currreft_nb.generation.shared_images import _codes, shared_images
from currreft_nb.models.load import load_model


@pytest.fixture(scope="module")
def loaded():
    return load_model("pocket")


def picture(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def inputs_of(loaded, seeds):
    """Return a batch with one picture for each seed; None is a row without a picture."""
    texts = ["<|im_start|>user\nred" if seed is None else "<|image_pad|>\nred" for seed in seeds]
    pictures = [picture(seed) for seed in seeds if seed is not None]
    return loaded.processor(text=texts, images=pictures or None, padding=True, return_tensors="pt")


def logits(loaded, inputs):
    with torch.no_grad():
        return loaded.model(**inputs).logits


def sharing(loaded):
    return shared_images(loaded.model, loaded.processor)


def count_runs(loaded, monkeypatch):
    runs = []
    first = loaded.model.model.visual.patch_embed
    monkeypatch.setattr(first, "forward", lambda x, run=first.forward: runs.append(len(x)) or run(x))
    return runs


@pytest.mark.parametrize(
    "seeds, different",
    [
        ([1, 1, 1, 2, 2, 2], 2),  # two groups
        ([1, 2, 1, None, 2, 1], 2),  # shuffled, with a text-only row
        ([7], 1),
        ([1, 2, 3], 3),  # nothing to share
    ],
)
def test_same_logits_with_one_run_for_each_different_image(loaded, monkeypatch, seeds, different):
    inputs = inputs_of(loaded, seeds)
    plain = logits(loaded, inputs)
    runs = count_runs(loaded, monkeypatch)
    with sharing(loaded):
        shared, again = logits(loaded, inputs), logits(loaded, inputs)
    assert len(runs) == different
    assert torch.equal(shared, again)
    torch.testing.assert_close(shared, plain, rtol=0, atol=1e-4)


def test_features_do_not_depend_on_neighbours(loaded):
    """What makes a resumed run equal bit for bit: the batches in which an image was first seen may differ."""
    with sharing(loaded):
        alone = logits(loaded, inputs_of(loaded, [3]))
    with sharing(loaded):
        logits(loaded, inputs_of(loaded, [1, 2]))
        logits(loaded, inputs_of(loaded, [2, 3]))
        later = logits(loaded, inputs_of(loaded, [3]))
    assert torch.equal(alone, later)


def test_batch_whose_pixels_are_empty_is_a_text_batch(loaded):
    inputs = inputs_of(loaded, [None, None])
    empty = {"pixel_values": torch.zeros(0, 384), "image_grid_thw": torch.zeros(0, 3, dtype=torch.long)}
    with sharing(loaded):
        assert torch.equal(logits(loaded, {**inputs, **empty}), logits(loaded, inputs))


def test_tower_that_is_trained_is_not_shared(loaded, monkeypatch):
    tower = loaded.model.model.visual
    tower.requires_grad_(True)
    runs = count_runs(loaded, monkeypatch)
    with sharing(loaded):
        logits(loaded, inputs_of(loaded, [1, 1]))
    tower.requires_grad_(False)
    assert runs == [2 * 64]  # all patches of both copies at once


@pytest.mark.parametrize("nested", [False, True])  # as TRL hands them: a list for each row
def test_image_object_is_prepared_once_and_equal_to_what_the_processor_makes(loaded, monkeypatch, nested):
    images = loaded.processor.image_processor
    first, second = picture(1), picture(2)
    given = [[first], [second, first], []] if nested else [first, second, first]
    plain = images(given, return_tensors="pt")
    runs = []
    resize = images.resize
    monkeypatch.setattr(images, "resize", lambda *args, **kwargs: runs.append(1) or resize(*args, **kwargs))
    with sharing(loaded):
        for made in (images(given, return_tensors="pt"), images(given)):
            assert all(torch.equal(made[name], plain[name]) for name in ("pixel_values", "image_grid_thw"))
    assert len(runs) == 2


def test_context_ends_cleanly(loaded):
    with pytest.raises(KeyError), sharing(loaded), sharing(loaded):
        raise KeyError
    assert "forward" not in vars(loaded.model.model.visual)
    assert type(loaded.processor.image_processor).preprocess.__name__ == "preprocess"
    assert type(loaded.processor.image_processor).preprocess.__module__.startswith("transformers")
    assert not loaded.model.model._forward_pre_hooks


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_codes_tell_near_images_apart(dtype):
    block = torch.zeros(4, 6, dtype=dtype)
    swapped, shifted = block.clone(), block.clone()
    block[0, 0] = swapped[0, 1] = shifted[1, 0] = 1.0
    codes = _codes((block, swapped, shifted, block.clone()))
    assert codes[0] == codes[3] and len(set(codes)) == 3

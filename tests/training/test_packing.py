"""Packed groups give the log-probabilities and the gradients of rows that stand alone, in every family."""

import pytest
import torch

from currreft_nb.generation.decode import prompt_positions
from currreft_nb.models.families import FAMILIES
from currreft_nb.training.packing import pack
from tests.helpers.tiny_models import IMAGE, WORDS, awake_model, tiny_prompts

SIZES = {"groups": (2, 3, 1), "one by one": (1, 1, 1)}
IMAGES = ("pixel_values", "image_grid_thw")
PICTURED = {"all": (0, 1, 2), "some": (0, 2), "none": ()}


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return awake_model(request.param)


def completions_for(sizes, seed=1):
    """Return completions of different lengths, padded on the right, and their mask."""
    generator = torch.Generator().manual_seed(seed)
    lengths = [1 + (3 * row) % 7 for row in range(sum(sizes))]
    mask = torch.tensor([[1] * length + [0] * (max(lengths) - length) for length in lengths])
    return torch.randint(*WORDS, mask.shape, generator=generator) * mask, mask


def alone(model, prompts, completions, mask, sizes):
    """Return each completion's log-probabilities from a row of its own, as a trainer computes them."""
    found, patches = [], prompts.get("image_grid_thw", torch.zeros(0, 3)).prod(-1).long().tolist()
    row = image = 0
    for number, size in enumerate(sizes):
        given = {name: value[number : number + 1] for name, value in prompts.items() if name not in IMAGES}
        if pictured := IMAGE in given["input_ids"]:
            before = sum(patches[:image])
            given["pixel_values"] = prompts["pixel_values"][before : before + patches[image]]
            given["image_grid_thw"] = prompts["image_grid_thw"][image : image + 1]
        image += pictured
        for _ in range(size):
            said = completions[row : row + 1]
            whole = given | {
                "input_ids": torch.cat([given["input_ids"], said], dim=1),
                "attention_mask": torch.cat([given["attention_mask"], mask[row : row + 1]], dim=1),
                "mm_token_type_ids": torch.cat([given["mm_token_type_ids"], torch.zeros_like(said)], dim=1),
            }
            logits = model(**whole).logits[:, -said.shape[1] - 1 : -1]
            found.append(logits.log_softmax(-1).gather(-1, said[..., None])[0, :, 0] * mask[row])
            row += 1
    return torch.stack(found)


def together(model, prompts, completions, mask, sizes):
    packed = pack(prompts, prompt_positions(model, prompts), completions, mask, sizes)
    logits = model(
        input_ids=packed.tokens,
        attention_mask=packed.allowed,
        position_ids=packed.positions,
        mm_token_type_ids=packed.kinds,
        **{name: prompts[name] for name in IMAGES if name in prompts},
    ).logits.log_softmax(-1)
    predicted = logits.gather(-1, packed.labels.clamp(min=0)[..., None])[..., 0]
    return predicted.flatten()[packed.places] * mask


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("pictured", PICTURED.values(), ids=PICTURED)
def test_log_probabilities_and_gradients_are_those_of_rows_alone(model, sizes, pictured):
    prompts = tiny_prompts(pictured=pictured)
    completions, mask = completions_for(sizes)
    weights = torch.randn(mask.shape, generator=torch.Generator().manual_seed(2))
    results = []
    for compute in (alone, together):
        model.zero_grad()
        log_probs = compute(model, prompts, completions, mask, sizes)
        (log_probs * weights).sum().backward()
        layers = {name: weight.grad for name, weight in model.named_parameters() if ".language_model." in name}
        results.append((log_probs.detach(), {name: grad.clone() for name, grad in layers.items() if grad is not None}))
    (expected, gradients), (found, packed_gradients) = results
    assert expected.abs().max() > 1  # the model has opinions
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert gradients.keys() == packed_gradients.keys() and len(gradients) > 20
    for name, gradient in gradients.items():
        torch.testing.assert_close(packed_gradients[name], gradient, rtol=1e-3, atol=1e-3, msg=name)


def test_labels_stand_where_they_are_predicted():
    prompts = {
        "input_ids": torch.tensor([[0, 7, 8, 9], [4, 5, 6, 3]]),
        "attention_mask": torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]]),
        "mm_token_type_ids": torch.tensor([[0, 1, 0, 0], [0, 0, 0, 0]]),
    }
    positions = torch.arange(4).expand(3, 2, 4)
    completions = torch.tensor([[20, 21, 2], [30, 2, 0], [40, 2, 0]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 1, 0]])
    packed = pack(prompts, positions, completions, mask, [2, 1])
    assert packed.tokens.tolist() == [[7, 8, 9, 20, 21, 9, 30], [4, 5, 6, 3, 40, 0, 0]]
    assert packed.labels.tolist() == [[-100, -100, 20, 21, 2, 30, 2], [-100, -100, -100, 40, 2, -100, -100]]
    assert packed.kinds.tolist() == [[1, 0, 0, 0, 0, 0, 0], [0] * 7]
    assert packed.positions[0].tolist() == [[1, 2, 3, 4, 5, 3, 4], [0, 1, 2, 3, 4, 0, 0]]
    assert packed.places.tolist() == [[2, 3, 4], [5, 6, 0], [10, 11, 0]]
    sees = packed.allowed[0, 0].int().tolist()
    assert sees[4] == [1, 1, 1, 1, 1, 0, 0]  # the first completion: prompt and itself
    assert sees[6] == [1, 1, 0, 0, 0, 1, 1]  # the second: prompt and itself, not the first
    assert packed.allowed.any(dim=-1).all()  # padding sees something too: attention to nothing is not a number


def test_prompt_of_one_token_has_nothing_to_share():
    one = torch.tensor([[7]])
    prompts = {"input_ids": one, "attention_mask": torch.ones_like(one), "mm_token_type_ids": torch.zeros_like(one)}
    packed = pack(prompts, torch.zeros(3, 1, 1, dtype=torch.long), torch.tensor([[8, 2]]), torch.ones(1, 2), [1])
    assert packed.tokens.tolist() == [[7, 8]] and packed.labels.tolist() == [[8, 2]]

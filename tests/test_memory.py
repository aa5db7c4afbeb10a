"""The memory estimate: counts that can be checked, and the right direction of every setting."""

import pytest
import torch

from currreft_nb import InputError, memory

PAPER = "Qwen/Qwen2.5-VL-3B-Instruct"


def peak(**settings):
    return memory.estimate(PAPER, **settings)[-1]["gib"]


def part(name, **settings):
    (row,) = [row for row in memory.estimate(PAPER, **settings) if name in row["part"]]
    return row["gib"]


@pytest.mark.parametrize("model, billions", [(PAPER, 3.75), ("Qwen/Qwen2.5-VL-7B-Instruct", 8.29)])
def test_written_down_shapes_have_the_published_sizes(model, billions):
    shape = memory.shape_of(model)
    total = shape.language_weights + shape.head_weights + shape.vision_weights
    assert round(total / 1e9, 2) == billions


def test_pocket_model_is_counted_from_its_folder():
    shape = memory.shape_of("pocket")
    assert shape.patch * shape.merge == 16 and shape.layers == 3
    assert 1e6 < shape.language_weights + shape.head_weights + shape.vision_weights < 5e6


@pytest.mark.parametrize(
    "settings",
    [
        {"four_bit": False},  # 16-bit weights
        {"max_pixels": 802_816},  # longer prompts, more pixels
        {"group_size": 16},
        {"prompts_per_step": 16},
        {"max_new_tokens": 1024},
        {"lora_rank": 128},
        {"beta": 0.04},  # a reference adapter
        {"text_tokens": 600},
    ],
)
def test_more_of_anything_needs_more(settings):
    assert peak(**settings) > peak()


def test_micro_batch_decides_the_training_moment_only():
    small, large = (memory.estimate(PAPER, micro_batch=size) for size in (1, 64))
    assert large[-1]["when"] == "training" and small[-1]["when"] == "generation"
    assert [r for r in small[:-2] if r["when"] != "training"] == [r for r in large[:-2] if r["when"] != "training"]


def test_parts_that_can_be_computed_by_hand():
    shape = memory.shape_of(PAPER)
    weights = 36 * (2 * 2048 * 2048 + 2 * 2048 * 256 + 3 * 2048 * 11008)  # q, o; k, v; gate, up, down
    assert shape.language_weights == weights
    assert part("language model", four_bit=False) == pytest.approx(2 * weights / memory.GIB, abs=1e-3)
    # 64 rows of 512 image, 200 text and 256 new tokens; keys and values of 2 heads of 128 in 36 layers, 2 bytes each
    assert part("key-value cache") == pytest.approx(64 * 968 * 36 * 2 * 256 * 2 / memory.GIB, abs=1e-3)


def test_micro_batch_above_the_batch_counts_as_the_batch():
    assert peak(prompts_per_step=1, group_size=2, micro_batch=64) == peak(
        prompts_per_step=1, group_size=2, micro_batch=2
    )


def test_largest_moment_is_the_sum_of_its_parts():
    rows = memory.estimate(PAPER)
    when = rows[-1]["when"]
    total = sum(row["gib"] for row in rows[:-1] if row["when"] in ("always", when))
    assert rows[-1]["gib"] == pytest.approx(total, abs=0.02)


def test_all_parameters_of_a_notebook_are_accepted():
    assert memory.estimate("pocket", max_pixels=0, tasks=["math"], seed=0, four_bit=False)[-1]["gib"] < 2


@pytest.mark.parametrize("gib, message", [(16, "does not fit; lower micro_batch"), (80, "fits, with")])
def test_verdict_names_the_remedy(gib, message):
    rows = memory.estimate(PAPER, micro_batch=32, max_new_tokens=512)
    assert message in memory.verdict(rows, gib)


def test_unknown_family_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(InputError, match="'llava'"):
        memory.estimate(str(tmp_path))


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about a machine without a GPU")
def test_nothing_is_measured_without_a_gpu():
    memory.reset_peak()
    assert memory.measured_peak() is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_peak_is_measured_on_a_gpu():
    memory.reset_peak()
    block = torch.zeros(memory.GIB, dtype=torch.uint8, device="cuda")
    assert memory.measured_peak() >= 1 and len(block)

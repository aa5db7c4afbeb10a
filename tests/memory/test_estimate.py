"""The memory estimate: counts that can be checked, the right direction of every setting, and bytes of real layers."""

from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForImageTextToText

from currreft_nb import InputError
from currreft_nb.generation.decode import dense_layers
from currreft_nb.memory import estimate
from currreft_nb.memory import parts as memory_parts
from currreft_nb.memory.estimate import (
    CONTEXT_GIB,
    MOMENTS,
    at_peak,
    belongs,
    checked_estimate,
    estimate_grpo,
    estimate_sft,
    estimate_step,
    fit_verdict,
)
from currreft_nb.memory.shapes import ADAPTED, shape_of
from currreft_nb.models.families import FAMILIES
from currreft_nb.training.gpu_memory import GIB, measured_peak, reset_peak
from tests.helpers.live_bytes import LiveBytes

PAPER = "Qwen/Qwen2.5-VL-3B-Instruct"
LANGUAGE = FAMILIES["qwen2_5_vl"].lora_targets("language")
PLAIN = ("images", "prompts", "silent")  # without the dense copies


def peak(**settings):
    return estimate_grpo(PAPER, **settings)[-1]["gib"]


def part(name, **settings):
    (row,) = [row for row in estimate_grpo(PAPER, **settings) if name in row["part"]]
    return row["gib"]


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
        {"passes": 2},  # the log-probabilities at sampling
        {"refill": 1},  # two batches at once
        {"text_tokens": 600},
        {"lora_on": "merger"},  # an adapter more, and no features to share
        {"lora_on": "vision"},
        {"shortcuts": ("prompts", "silent")},  # without "images" the tower works on all images at once
        {"shortcuts": ("images", "silent")},  # without "prompts" every completion reads its own
        {"shortcuts": ("images", "prompts", "silent", "weights")},  # dense copies while decoding
    ],
)
def test_more_of_anything_needs_more(settings):
    total = sum(row["gib"] for row in estimate_grpo(PAPER, **{"shortcuts": PLAIN} | settings)[:-2])
    assert total > sum(row["gib"] for row in estimate_grpo(PAPER, shortcuts=PLAIN)[:-2])


def test_skipping_silent_groups_is_no_saving_to_count_on():
    assert estimate_grpo(PAPER, shortcuts=PLAIN) == estimate_grpo(PAPER, shortcuts=("images", "prompts"))


@pytest.mark.parametrize(
    "lora_on, parts, images",
    [("language", ("language",), 0), ("merger", ("language", "merger"), 4), ("vision", tuple(ADAPTED), 4)],
)
def test_an_adapter_on_the_vision_side_costs_weights_and_kept_activations(lora_on, parts, images):
    shape, options = shape_of(PAPER), {"lora_rank": 8, "lora_on": lora_on, "shortcuts": ("images",)}
    adapter = 8 * sum(shape.adapted[name][1] for name in parts)
    assert part("its gradient", **options) == pytest.approx(16 * adapter / GIB, abs=1e-3)
    kept = [row["gib"] for row in estimate_grpo(PAPER, **options) if "vision tower's layers" in row["part"]]
    # 2,048 patches of an image, 32 layers of 1,280 numbers in 16 bit, for each image of a micro-batch
    assert kept == ([pytest.approx(images * 2048 * 32 * 1280 * 2 / GIB, abs=1e-3)] if images else [])


def test_a_packed_micro_batch_holds_its_prompt_once():
    packed, plain = (part("kept between layers", shortcuts=names) for names in (("images", "prompts"), ("images",)))
    token = 36 * 2048 * 2 / GIB
    assert packed == pytest.approx((712 + 4 * 256) * token, abs=1e-3)
    assert plain == pytest.approx(4 * (712 + 256) * token, abs=1e-3)


def test_micro_batch_decides_the_training_moment_only():
    small, large = (estimate_grpo(PAPER, micro_batch=size, shortcuts=PLAIN) for size in (1, 64))
    assert large[-1]["when"] == "training" and small[-1]["when"] == "generation"
    others = [[row for row in rows[:-2] if "training" not in row["when"]] for rows in (small, large)]
    assert others[0] == others[1]


def test_parts_that_can_be_computed_by_hand():
    shape = shape_of(PAPER)
    weights = 36 * (2 * 2048 * 2048 + 2 * 2048 * 256 + 3 * 2048 * 11008)  # q, o; k, v; gate, up, down
    assert shape.language_weights == weights
    assert part("language model", four_bit=False) == pytest.approx(2 * weights / GIB, abs=1e-3)
    # 64 rows of 512 image, 200 text and 256 new tokens; keys and values of 2 heads of 128 in 36 layers, 2 bytes each
    cache = [row["gib"] for row in estimate_grpo(PAPER) if row["part"] == "keys and values"]
    assert cache == [pytest.approx(64 * 968 * 36 * 2 * 256 * 2 / GIB, abs=1e-3)]


def test_micro_batch_above_the_batch_counts_as_the_batch():
    assert peak(prompts_per_step=1, group_size=2, micro_batch=64) == peak(
        prompts_per_step=1, group_size=2, micro_batch=2
    )


def test_largest_moment_is_the_sum_of_its_parts():
    rows = estimate_grpo(PAPER)
    moments = {moment: [r["gib"] for r in rows[:-1] if belongs(r["when"], moment)] for moment in MOMENTS}
    assert rows[-1]["gib"] == pytest.approx(max(map(sum, moments.values())), abs=0.02)
    phases = estimate.phases(rows)
    assert list(phases) == ["loading", "vision", "generation", "training"]
    assert rows[-1]["gib"] == pytest.approx(phases[rows[-1]["when"]] + CONTEXT_GIB, abs=0.02)


def test_baseline_reads_a_quarter_of_the_answers_again_behind_their_prompts():
    """16 answers of 256 tokens behind 712 of prompt, through layers with an adapter in 32 bit; no optimiser yet."""
    rows = estimate_grpo(PAPER, validation_questions=20)
    read = next(row["gib"] for row in rows if row["when"] == "baseline (prompts)")
    assert read == pytest.approx(16 * 968 * (12 * 11008 + 12 * 2048 + 1024 + 968) / GIB, abs=1e-3)
    assert not belongs("step", "baseline (prompts)")
    rates = estimate.phases(estimate_grpo(PAPER, rate_completions=4))
    assert rates["baseline"] <= estimate.phases(rows)["baseline"]


def test_supervised_training_generates_nothing_unless_it_draws_its_own_answers():
    assert list(estimate.phases(estimate_sft(PAPER))) == ["loading", "vision", "training"]
    rated = estimate.phases(estimate_sft(PAPER, rate_completions=4))
    assert list(rated) == ["loading", "baseline", "vision", "training"]
    assert rated["training"] == estimate.phases(estimate_sft(PAPER))["training"]
    drawing = estimate_step({"model": PAPER, "completions": 8, "batch_size": 32, "micro_batch": 2})
    assert drawing[-1]["when"] == "generation"
    small, large = (estimate_sft(PAPER, micro_batch=size)[-1]["gib"] for size in (1, 8))
    assert small < large == estimate_sft(PAPER, batch_size=8, micro_batch=99)[-1]["gib"]


def test_a_teacher_stays_in_memory_and_the_student_answers():
    alone, taught = estimate_sft(PAPER), estimate_sft(PAPER, teacher=PAPER)
    assert list(estimate.phases(taught)) == ["loading", "vision", "generation", "training"]
    added = estimate.phases(taught)["loading"] - estimate.phases(alone)["loading"]
    assert added == pytest.approx(1.1 * sum(row["gib"] for row in taught if "teacher" in row["part"]), abs=1e-3)
    shape = shape_of(PAPER)
    assert added > (0.5 * shape.language_weights + 2 * shape.vision_weights) / GIB


def test_texts_to_learn_are_as_long_as_answers_only_where_they_are_answers():
    def training(**settings):
        return estimate.phases(estimate_sft(PAPER, **settings))["training"]

    assert training(max_new_tokens=512) == training() < training(target_tokens=512)
    assert training(completions=8) < training(completions=8, max_new_tokens=512)


def test_all_parameters_of_a_notebook_are_accepted():
    assert estimate_grpo("pocket", max_pixels=0, tasks=["math"], seed=0, four_bit=False)[-1]["gib"] < 2


def test_kinds_of_the_largest_moment_add_up_to_it():
    rows = estimate_grpo(PAPER, validation_questions=20, beta=0.04)
    kinds = at_peak(rows)
    assert sum(kinds.values()) == pytest.approx(rows[-1]["gib"], abs=0.02)
    assert all(kinds[name] > 0 for name in ("language model", "keys and values", "adapter and optimiser", "at work"))
    dense, plain = (at_peak(estimate_grpo(PAPER, shortcuts=s))["dense copies"] for s in ((*PLAIN, "weights"), PLAIN))
    assert dense > plain == 0


@pytest.mark.parametrize(
    "result, measured, why",
    [
        ({}, None, "no GPU"),
        ({"rehearsal": {"training": {"gib": None, "seconds": 1}}}, None, "a rehearsal without one"),
        ({"peak_gpu_gib": 8.0}, 8.0, "the peak of training"),
        (
            {"peak_gpu_gib": 8.0, "rehearsal": {"generation": {"gib": 9.0}, "training": {"gib": 7.0}}},
            9.0,
            "the largest",
        ),
    ],
)
def test_estimate_is_checked_against_what_was_measured(result, measured, why):
    parts = estimate_grpo(PAPER, validation_questions=20)
    checked = checked_estimate(parts, result)
    if measured is None:
        assert checked == {}, why
        return
    estimated = max(gib for phase, gib in estimate.phases(parts).items() if phase != "baseline")
    assert checked["memory"]["measured_gib"] == measured, why
    assert checked["memory"]["error_percent"] == pytest.approx(100 * (estimated - measured) / measured, abs=0.1)


@pytest.mark.parametrize("gib, message", [(12, "does not fit; lower micro_batch"), (80, "fits, with")])
def test_verdict_names_the_remedy(gib, message):
    rows = estimate_grpo(PAPER, micro_batch=64, max_new_tokens=512, shortcuts=PLAIN)
    assert message in fit_verdict(rows, gib)


def test_unknown_family_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(InputError, match="'llava'"):
        estimate_grpo(str(tmp_path))


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about a machine without a GPU")
def test_nothing_is_measured_without_a_gpu():
    reset_peak()
    assert measured_peak() is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_peak_is_measured_on_a_gpu():
    reset_peak()
    block = torch.zeros(GIB, dtype=torch.uint8, device="cuda")
    assert measured_peak() >= 1 and len(block)


def shortened(shape, layers=2):
    """Return a Qwen2.5-VL of this (hidden, intermediate, heads) and few layers, in 16 bit, and its shape."""
    hidden, intermediate, heads = shape
    text = {"hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": layers, "vocab_size": 500}
    text |= {"num_attention_heads": heads, "num_key_value_heads": 1, "pad_token_id": 0}
    vision = {"depth": layers, "hidden_size": 640, "intermediate_size": 1710, "num_heads": 8, "out_hidden_size": hidden}
    ids = dict(zip(("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"), (1, 2, 3, 4)))
    config = AutoConfig.for_model(
        "qwen2_5_vl", text_config=text, vision_config={**vision, "fullatt_block_indexes": [0]}, **ids
    )
    return AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16).requires_grad_(False)


def adapted(model, targets=LANGUAGE):
    return get_peft_model(model, LoraConfig(r=32, lora_alpha=64, target_modules=targets))


def bytes_per_unit(work, sizes):
    """Return by how many bytes the peak grows with the size of what is worked on: constant parts fall out."""
    peaks = []
    for size in sizes:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=work.autocast), LiveBytes() as live:
            kept = work(size)
        peaks.append(live.peak)
        del kept
    return (peaks[1] - peaks[0]) / (sizes[1] - sizes[0])


LENGTH = 192


class Reading:
    """Read prompts of LENGTH tokens as decoding does, or train on them."""

    def __init__(self, model, autocast, training=False):
        self.model, self.autocast, self.training = model, autocast, training
        if training:
            model.train().enable_input_require_grads()
            model.gradient_checkpointing_enable()

    def __call__(self, rows):
        tokens = torch.randint(5, 499, (rows, LENGTH))
        mask = torch.ones_like(tokens)
        mask[0, :5] = 0  # padding
        if not self.training:
            with torch.no_grad():
                return self.model(input_ids=tokens, attention_mask=mask, use_cache=True, logits_to_keep=1)
        inner = self.model.get_base_model().model
        return inner(input_ids=tokens, attention_mask=mask, use_cache=False).last_hidden_state.sum().backward()


SIZES = [(1024, 4096, 8), (512, 4096, 4), (1024, 2048, 8)]  # hidden, intermediate, heads


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["dense", "autocast", "plain"])
def test_reading_a_prompt_takes_the_bytes_that_are_estimated(size, mode):
    """A real layer with a real adapter, every operation counted."""
    model = adapted(shortened(size))
    reading = Reading(model if mode != "plain" else model.get_base_model(), autocast=mode != "plain")
    with dense_layers(model) if mode == "dense" else torch.no_grad():
        measured = bytes_per_unit(reading, (3, 6)) / LENGTH
    inner = {part: size for part, size, _ in memory_parts.generation(real_shape(size), 1, 8, LENGTH, 1, mode)}
    expected = (inner["prompts in one layer"] + inner["keys and values of the prompts"]) / LENGTH
    assert expected == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize("size", SIZES)
def test_training_on_a_token_takes_the_bytes_that_are_estimated(size):
    measured = bytes_per_unit(Reading(adapted(shortened(size)), autocast=True, training=True), (3, 6)) / LENGTH
    parts = {part: size for part, size, _ in memory_parts.training(real_shape(size), 1, 1, LENGTH - 1, 1)}
    expected = parts["kept between layers (checkpointing)"] + parts["one layer worked out again, with gradients"]
    assert expected / LENGTH == pytest.approx(measured, rel=0.12)


class Seeing:
    """Encode an image, or train an adapter on what encodes it."""

    autocast = True

    def __init__(self, model, training):
        self.tower, self.training = model.get_base_model().model.visual, training
        if training:
            model.train().enable_input_require_grads()
            model.gradient_checkpointing_enable()

    def __call__(self, patches):
        side = int(patches**0.5)
        pixels, grid = torch.randn(patches, 1176), torch.tensor([[1, side, side]])
        if not self.training:
            with torch.no_grad():
                return self.tower(pixels, grid)
        return self.tower(pixels, grid).pooler_output.sum().backward()


@pytest.mark.parametrize("training", [False, True])
def test_seeing_a_patch_takes_the_bytes_that_are_estimated(training):
    model = adapted(
        shortened(SIZES[0]),
        r".*visual\.blocks\..*(qkv|proj)" if training else LANGUAGE,
    )
    measured = bytes_per_unit(Seeing(model, training), (256, 1024)) - 4 * 1176  # pixels are counted by themselves
    shape = real_shape(SIZES[0])
    parts = (
        memory_parts.trained_vision(shape, 1, 1, "vision") if training else memory_parts.vision(shape, 1, 1, True)[:1]
    )
    assert sum(size for _, size, _ in parts) == pytest.approx(measured, rel=0.12)


def real_shape(size):
    """Return the shape of `shortened(size)`."""
    hidden, intermediate, heads = size
    changed = {"hidden": hidden, "intermediate": intermediate, "layers": 2, "kv_width": hidden // heads}
    changed |= {"vision_layers": 2, "vision_hidden": 640, "vision_intermediate": 1710}
    return replace(shape_of(PAPER), **changed)

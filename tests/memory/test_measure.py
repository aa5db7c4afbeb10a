"""One real step and its estimate: on the CPU, and on a GPU, where memory is measured."""

import pytest
import torch

from currreft_nb.generation.generate import picture
from currreft_nb.memory import estimate
from currreft_nb.memory.estimate import estimate_grpo
from currreft_nb.memory.measure import compare_phases, made_up, measure_step
from currreft_nb.models.load import load_model
from currreft_nb.training.gpu_memory import token_counts
from tests.training.test_train import mixed_samples

GRPO = {"model": "pocket", "four_bit": False, "max_pixels": 0, "lora_rank": 4, "seed": 0, "steps": 600}
GRPO |= {
    "micro_batch": 4,
    "prompts_per_step": 2,
    "group_size": 4,
    "max_new_tokens": 8,
    "validate_every": 10,
    "validation_questions": 9,
}
SFT = {"model": "pocket", "four_bit": True, "max_pixels": 0, "lora_rank": 4, "seed": 0, "prompts": 900}
SFT |= {"batch_size": 4, "micro_batch": 2}


@pytest.mark.parametrize(
    "settings, phases",
    [(GRPO, ["loading", "vision", "generation", "training"]), (SFT, ["loading", "vision", "training"])],
)
def test_the_real_trainer_takes_one_step_of_a_long_training(tmp_path, settings, phases):
    samples = mixed_samples(tmp_path / "scenes")
    rows = measure_step(settings, samples, tmp_path / "run")
    assert [row["phase"] for row in rows] == phases
    for row in rows:
        assert row["estimated_gib"] > 0 and row["seconds"] >= 0
        if not torch.cuda.is_available():
            assert row["measured_gib"] is None and row["error_percent"] is None
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1


def test_made_up_questions_use_the_whole_pixel_budget(tmp_path):
    loaded = load_model("pocket")
    samples = made_up(loaded, tmp_path, count=2)
    sizes = token_counts(loaded, [(sample, "") for sample in samples])
    assert all(image == loaded.style.frame.max_pixels // loaded.style.frame.factor**2 for _, image in sizes)
    assert picture(samples[0]).tobytes() != picture(samples[1]).tobytes()


def test_comparison_gives_the_error_in_percent():
    parts = estimate_grpo("Qwen/Qwen2.5-VL-3B-Instruct")
    estimated = estimate.phases(parts)["training"]
    (row,) = compare_phases(parts, {"training": {"seconds": 1.0, "gib": estimated / 2}})
    assert row["error_percent"] == 100.0 and row["estimated_gib"] == estimated


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_every_phase_is_measured_on_a_gpu(tmp_path):
    rows = measure_step(GRPO, [], tmp_path)
    assert all(row["measured_gib"] > 0 and row["error_percent"] is not None for row in rows)

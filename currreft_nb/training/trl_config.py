"""TRL's configuration: defaults that changed between versions or differ from the paper are spelled out.

Trackers get the numbers of metrics.jsonl, under the same names, where `report_to` names them. TensorBoard and Weights &
Biases write to `trackers/<name>/` of the run folder, unless their own environment variable names another place; Trackio
keeps one store for all runs, where TRACKIO_DIR pointed when it was imported. Keys come from the environment and are not
written anywhere. After a resume, TensorBoard shows the repeated steps twice. With several passes it counts updates.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from trl import DistillationConfig, GRPOConfig, SFTConfig

from currreft_nb.models.load import Loaded
from currreft_nb.training.settings import TRACKERS, GrpoSettings, SftSettings

# How far a ratio may fall below and rise above 1. gspo: its paper, version 2, section 5.1. cispo: the largest ratio
# itself, from ScaleRL (arXiv 2510.13786), as TRL recommends.
CLIP = {"grpo": (0.2, 0.2), "gspo": (3e-4, 4e-4), "cispo": (0.2, 5.0)}
PROJECT = "currreft-nb"  # under which Trackio files its runs; that of Weights & Biases is WANDB_PROJECT

UNCHANGED: dict[str, Any] = {"top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0}  # of the probabilities


def grpo_config(loaded: Loaded, folder: Path, settings: GrpoSettings) -> GRPOConfig:
    """Return TRL's configuration for reinforcement learning."""
    micro_batch = settings.at_once(settings.completions_per_process)
    low, high = CLIP.get(settings.loss, CLIP["grpo"])
    config = GRPOConfig(
        **common(loaded, folder, settings, settings.passes),
        per_device_train_batch_size=micro_batch,
        # Each update takes all completions of a generation.
        gradient_accumulation_steps=settings.completions_per_process // micro_batch,
        steps_per_generation=settings.completions_per_process // micro_batch,
        num_iterations=settings.passes,
        num_generations=settings.group_size,
        max_completion_length=settings.max_new_tokens,
        temperature=settings.temperature,
        **UNCHANGED,
        beta=settings.beta,
        use_bias_correction_kl=False,  # True changes the gradient of the penalty; the paper's TRL did not have it
        loss_type="grpo" if settings.loss == "gspo" else settings.loss,
        importance_sampling_level="sequence" if settings.loss == "gspo" else "token",
        epsilon=low,
        epsilon_high=settings.clip_high or high,
        scale_rewards=settings.scale,
        multi_objective_aggregation="sum_then_normalize",
        reward_weights=reward_weights(settings),
        mask_truncated_completions=settings.mask_truncated,
        disable_dropout=True,
        shuffle_dataset=False,  # the order is laid out by `draw_order`
        use_vllm=False,
        log_completions=False,  # ours go to completions/
    )
    return _on_one_gpu(config)


def sft_config(loaded: Loaded, folder: Path, settings: SftSettings) -> SFTConfig:
    """Return TRL's configuration for fine-tuning."""
    micro_batch = settings.at_once(settings.questions_per_process)
    config = SFTConfig(
        **common(loaded, folder, settings),
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=settings.questions_per_process // micro_batch,
        max_length=None,  # TRL's default would cut image tokens off
        packing=False,
        completion_only_loss=True,
        loss_type="nll",
        train_sampling_strategy="sequential",
    )
    return _on_one_gpu(config)


def distillation_config(loaded: Loaded, folder: Path, settings: SftSettings) -> DistillationConfig:
    """Return TRL's configuration for learning from a teacher on the model's own answers, one to each question."""
    micro_batch = settings.at_once(settings.batch_size)
    config = DistillationConfig(
        **common(loaded, folder, settings),
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=settings.batch_size // micro_batch,
        max_completion_length=settings.max_new_tokens,
        temperature=settings.temperature,
        **UNCHANGED,
        beta=1.0,  # the divergence is KL(student || teacher), as in on-policy GKD (arXiv:2306.13649)
        disable_dropout=True,
        shuffle_dataset=False,
        use_vllm=False,
        log_completions=False,
    )
    return _on_one_gpu(config)


def reward_weights(settings: GrpoSettings) -> list[float]:
    """Return the weights of the accuracy and the format reward, and of the penalty for length where there is one."""
    return [1.0, settings.format_weight] + [1.0] * bool(settings.overlong_penalty)


def common(loaded: Loaded, folder: Path, settings: GrpoSettings | SftSettings, passes: int = 1) -> dict:
    """Return the options of both trainers, which count updates; a step makes `passes` of them."""
    on_gpu = loaded.device.type == "cuda"
    return {
        "output_dir": str(folder / "checkpoints"),
        "max_steps": settings.steps * passes,
        "learning_rate": settings.learning_rate,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "seed": settings.seed,
        "use_cpu": not on_gpu,
        "bf16": loaded.model.dtype == torch.bfloat16,
        "fp16": loaded.model.dtype == torch.float16,
        "gradient_checkpointing": on_gpu,  # trades time for memory, of which a CPU has enough
        "dataloader_pin_memory": on_gpu,
        "ddp_find_unused_parameters": False,  # every adapter weight takes part in every pass
        "remove_unused_columns": False,
        "logging_steps": passes,
        "save_strategy": "steps",
        "save_steps": (settings.save_every or settings.steps) * passes,  # never inside a block of completions
        "save_total_limit": settings.keep_checkpoints or None,
        "save_only_model": False,
        "report_to": list(settings.report_to) or "none",
        "run_name": f"{folder.parent.name}/{folder.name}",
        "project": PROJECT,
        "disable_tqdm": True,
    }


def _on_one_gpu(config: Any) -> Any:
    # With several GPUs visible the trainer would use DataParallel, which TRL refuses; this process uses one.
    config._n_gpu = min(config.n_gpu, 1)
    return config


@contextmanager
def trackers_in(folder: Path, names: Sequence[str]) -> Iterator[None]:
    """Let trackers write to trackers/<name>/ of a run folder while a training is built and run."""
    wanted = {TRACKERS[name][1]: folder / "trackers" / name for name in names}
    places = {variable: place for variable, place in wanted.items() if variable and variable not in os.environ}
    for variable, place in places.items():
        place.mkdir(parents=True, exist_ok=True)
        os.environ[variable] = str(place.resolve())
    try:
        yield
    finally:
        for variable in places:
            os.environ.pop(variable, None)

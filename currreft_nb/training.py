"""Train an adapter: by reinforcement learning with verifiable rewards (GRPO), or on given answers (SFT).

Both use TRL's trainers with every default spelled out that has changed between versions or differs from the paper,
leave `adapter/` in the run folder, and when interrupted go on from the last checkpoint as if nothing had happened: on
the CPU the adapter is the same bit for bit.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from trl import GRPOConfig, SFTConfig, SFTTrainer

from currreft_nb import InputError, memory, models, prompts, rewards
from currreft_nb.generation import picture
from currreft_nb.journal import append_journal, read_journal
from currreft_nb.metrics import advantages
from currreft_nb.models import Loaded
from currreft_nb.samples import Sample
from currreft_nb.training_grpo import GroupTrainer
from currreft_nb.training_loop import (
    Watch,
    closing_mean,
    draw_order,
    fingerprint,
    keep_float32,
    lazy_dataset,
    optimizers,
    resume_point,
    run_trainer,
    stage_of,
)
from currreft_nb.training_settings import GrpoSettings, SftSettings

__all__ = ["GrpoSettings", "SftSettings", "targets", "train_grpo", "train_sft"]

Target = tuple[Sample, str]
TASK_MEASURES = tuple(f"{measure}/{task}" for measure in ("accuracy", "format") for task in prompts.TASK_MODULES)


def train_grpo(loaded: Loaded, samples: Sequence[Sample], folder: str | Path, settings: GrpoSettings) -> dict:
    """Train the adapter by GRPO; return the run's measures, rewards and the like over the last tenth of the steps.

    `loaded` needs a trainable adapter; the reference of the KL penalty is that adapter as it is now. Resumes from
    `folder/checkpoints`. Raises `InputError` without samples or adapter, and when memory runs out or the loss is not
    finite.
    """
    folder = _check(loaded, samples, folder)
    stage = stage_of(samples)
    checkpoint = resume_point(folder, fingerprint(loaded, samples, settings))
    scored: list[dict] = []
    watch = Watch(
        folder,
        settings.steps,
        partial(_grpo_row, stage=stage, settings=settings),
        ("reward", "accuracy", "format", "zero_variance", "length", "kl"),
        lambda step: _write_completions(folder, step, scored, settings),
    )
    order = draw_order(len(samples), settings.budget, settings.seed)
    build = partial(
        GroupTrainer,
        model=loaded.model,
        processing_class=loaded.processor,
        reward_funcs=reward_functions(loaded, settings, scored),
        args=grpo_config(loaded, folder, settings),
        train_dataset=lazy_dataset(order, lambda index: grpo_row(samples[index], loaded)),
        optimizers=optimizers(loaded.model, settings.learning_rate),
        callbacks=[watch],
    )
    trainer = keep_float32(build, loaded.model)
    run_trainer(trainer, watch, checkpoint, loaded)
    if "ref" in loaded.model.peft_config:
        loaded.model.delete_adapter("ref")
    models.save_adapter(loaded, folder / "adapter", stage)
    names = ("reward", "accuracy", "format", *TASK_MEASURES, "zero_variance", "length", "truncated", "entropy", "kl")
    return _result(folder, names)


def train_sft(loaded: Loaded, rows: Sequence[Target], folder: str | Path, settings: SftSettings) -> dict:
    """Fine-tune the adapter on (sample, text) pairs, such as `targets`; return the run's measures.

    The loss is taken over the text only. Resumes from `folder/checkpoints`. Raises `InputError` like `train_grpo`.
    """
    folder = _check(loaded, rows, folder)
    stage = stage_of([sample for sample, _ in rows])
    checkpoint = resume_point(folder, fingerprint(loaded, rows, settings))
    row_of = partial(_sft_row, stage=stage, settings=settings, folder=folder)
    watch = Watch(folder, settings.steps, row_of, ("loss", "token_accuracy", "gradient_norm"), lambda step: None)
    order = draw_order(len(rows), settings.budget, settings.seed)
    build = partial(
        SFTTrainer,
        model=loaded.model,
        processing_class=loaded.processor,
        args=sft_config(loaded, folder, settings),
        train_dataset=lazy_dataset(order, lambda index: sft_row(*rows[index], loaded)),
        optimizers=optimizers(loaded.model, settings.learning_rate),
        callbacks=[watch],
    )
    trainer = keep_float32(build, loaded.model)
    run_trainer(trainer, watch, checkpoint, loaded)
    loaded.processor.tokenizer.padding_side = "left"
    models.save_adapter(loaded, folder / "adapter", stage)
    return _result(folder, ("loss", "token_accuracy"))


def targets(samples: Sequence[Sample], style: prompts.Style) -> list[Target]:
    """Return each sample with its ideal completion: reference thinking, or none, and the answer; both tags always."""
    return [(sample, prompts.target(sample, style)) for sample in samples]


def _check(loaded: Loaded, rows: Sequence, folder: str | Path) -> Path:
    if not rows:
        raise InputError("there is nothing to train on: no samples were given; check tasks, stage and split")
    if not any(weight.requires_grad for weight in loaded.model.parameters()):
        raise InputError(f"model {loaded.name!r} was loaded without an adapter to train; load it with trainable=True")
    return Path(folder)


def grpo_row(sample: Sample, loaded: Loaded) -> dict:
    """Return a row of the training data as GRPOTrainer wants it; `images` is [] for a text-only sample."""
    pictures = [picture(sample)] if sample.image else []
    return {"prompt": prompts.messages(sample, loaded.style), "images": pictures, **rewards.columns(sample)}


def sft_row(sample: Sample, text: str, loaded: Loaded) -> dict:
    """Return a row of the training data as SFTTrainer wants it; `images` is [] for a text-only sample."""
    completion = [{"role": "assistant", "content": [{"type": "text", "text": text}]}]
    pictures = [picture(sample)] if sample.image else []
    return {"prompt": prompts.messages(sample, loaded.style), "completion": completion, "images": pictures}


def reward_functions(loaded: Loaded, settings: GrpoSettings, scored: list[dict]) -> list[Callable]:
    """Return the accuracy and the format reward, which also note each completion with its scores in `scored`."""
    options = {"frame": loaded.style.frame, "rules": rewards.Rules(detection=settings.detection_reward)}

    def accuracy(completions: list, log_metric: Callable, log_extra: Callable, **columns: Any) -> list[float]:
        extra: dict[str, list] = {}
        values = rewards.accuracy_reward(
            completions, **columns, **options, log_extra=extra.__setitem__, log_metric=log_metric
        )
        noted = zip(columns["id"], columns["task"], columns["stage"], completions, values, extra["reason"])
        for sample_id, task, stage, completion, value, reason in noted:
            text = rewards.text_of(completion)
            scored.append(
                {"id": sample_id, "task": task, "stage": stage, "completion": text, "accuracy": value, "reason": reason}
            )
        return values

    def format(completions: list, log_metric: Callable, log_extra: Callable, **columns: Any) -> list[float]:
        values = rewards.format_reward(completions, **columns)
        by_task = defaultdict(list)
        for row, task, value in zip(scored[-len(values) :], columns["task"], values):
            row["format"] = value
            by_task[task].append(value)
        for task, found in by_task.items():
            log_metric(f"format/{task}", sum(found) / len(found))
        return values

    return [accuracy, format]


def _write_completions(folder: Path, step: int, scored: list[dict], settings: GrpoSettings) -> None:
    totals = [row["accuracy"] + settings.format_weight * row["format"] for row in scored]
    for row, total, advantage in zip(scored, totals, advantages(totals, settings.group_size)):
        row |= {"reward": round(total, 4), "advantage": round(advantage, 4)}
    path = folder / "completions" / f"step-{step:05d}.jsonl"
    path.unlink(missing_ok=True)
    append_journal(path, ({"step": step, **row} for row in scored))
    scored.clear()


def _grpo_row(logs: dict, stage: str, settings: GrpoSettings) -> dict:
    completions = settings.completions_per_step
    return {
        "stage": stage,
        "reward": logs["reward"],
        "accuracy": logs["rewards/accuracy/mean"],
        "format": logs["rewards/format/mean"],
        **{name: logs[name] for name in TASK_MEASURES if name in logs},
        "zero_variance": logs["frac_reward_zero_std"],
        "length": logs["completions/mean_length"],
        "truncated": logs["completions/clipped_ratio"],
        "entropy": logs.get("entropy"),
        "kl": logs.get("kl"),
        "loss": logs["loss"],
        "gradient_norm": logs["grad_norm"],
        "prompts": settings.prompts_per_step,
        "completions": completions,
        "tokens": round(logs["completions/mean_length"] * completions),
    }


def _sft_row(logs: dict, stage: str, settings: SftSettings, folder: Path) -> dict:
    done = sum(row["prompts"] for row in read_journal(folder / "metrics.jsonl"))
    return {
        "stage": stage,
        "loss": logs["loss"],
        "token_accuracy": logs["mean_token_accuracy"],
        "entropy": logs["entropy"],
        "gradient_norm": logs["grad_norm"],
        "prompts": min(settings.batch_size, settings.prompts - done),
    }


def _result(folder: Path, names: Sequence[str]) -> dict:
    rows = read_journal(folder / "metrics.jsonl")
    sums = {name: sum(row[name] for row in rows) for name in ("prompts", "completions", "tokens") if name in rows[0]}
    final = {name: value for name in names if (value := closing_mean(rows, name)) is not None}
    peak_gib = memory.measured_peak()
    used = {} if peak_gib is None else {"peak_gpu_gib": peak_gib}
    return {"steps": len(rows), **sums, "seconds": round(sum(row["seconds"] for row in rows), 1), **used, **final}


def _common(loaded: Loaded, folder: Path, settings: GrpoSettings | SftSettings) -> dict:
    on_gpu = loaded.device.type == "cuda"
    return {
        "output_dir": str(folder / "checkpoints"),
        "max_steps": settings.steps,
        "learning_rate": settings.learning_rate,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "seed": settings.seed,
        "use_cpu": not on_gpu,
        "bf16": loaded.model.dtype == torch.bfloat16,
        "fp16": loaded.model.dtype == torch.float16,
        "gradient_checkpointing": on_gpu,  # trades time for memory, of which a CPU has enough
        "dataloader_pin_memory": on_gpu,
        "remove_unused_columns": False,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": settings.save_every or settings.steps,
        "save_total_limit": 2,
        "save_only_model": False,
        "report_to": "none",
        "disable_tqdm": True,
    }


def grpo_config(loaded: Loaded, folder: Path, settings: GrpoSettings) -> GRPOConfig:
    """Return TRL's configuration; defaults that moved between versions or differ from the paper are spelled out."""
    micro_batch = min(settings.micro_batch, settings.completions_per_step)
    config = GRPOConfig(
        **_common(loaded, folder, settings),
        per_device_train_batch_size=micro_batch,
        # One generation per optimiser step, so that a checkpoint never falls inside a block of completions.
        gradient_accumulation_steps=settings.completions_per_step // micro_batch,
        steps_per_generation=settings.completions_per_step // micro_batch,
        num_iterations=1,
        num_generations=settings.group_size,
        max_completion_length=settings.max_new_tokens,
        temperature=settings.temperature,
        top_p=1.0,
        top_k=0,
        min_p=None,
        repetition_penalty=1.0,
        beta=settings.beta,
        use_bias_correction_kl=False,  # True changes the gradient of the penalty; the paper's TRL had no such thing
        loss_type="grpo",  # mean over a completion's tokens, then over completions: the paper's
        importance_sampling_level="token",
        epsilon=0.2,
        scale_rewards="group",
        multi_objective_aggregation="sum_then_normalize",
        reward_weights=[1.0, settings.format_weight],
        mask_truncated_completions=False,
        disable_dropout=True,
        shuffle_dataset=False,  # the order is laid out by `draw_order`
        use_vllm=False,
        log_completions=False,  # ours go to completions/
    )
    return _on_one_gpu(config)


def sft_config(loaded: Loaded, folder: Path, settings: SftSettings) -> SFTConfig:
    """Return TRL's configuration for fine-tuning; its default length limit would cut image tokens off."""
    micro_batch = min(settings.micro_batch, settings.batch_size)
    config = SFTConfig(
        **_common(loaded, folder, settings),
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=settings.batch_size // micro_batch,
        max_length=None,
        packing=False,
        completion_only_loss=True,
        loss_type="nll",
        train_sampling_strategy="sequential",
    )
    return _on_one_gpu(config)


def _on_one_gpu(config: Any) -> Any:
    # The model is on one GPU; with more in sight the trainer would spread it over all of them, which TRL refuses.
    config._n_gpu = min(config.n_gpu, 1)
    return config

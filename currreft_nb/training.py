"""Train an adapter: by reinforcement learning with verifiable rewards (GRPO), or on given answers (SFT).

GRPO asks each question several times and compares within that group: a completion's advantage is its reward minus the
group's mean, divided by its standard deviation (`metrics.advantages`), and the tokens of a completion become likelier
or less likely in proportion. No value model and no labelled reasoning are needed; a group in which all earned the same
teaches nothing, which is why a form of questions must be neither too hard nor too easy.

Both use TRL's trainers (`training_config` says how), leave `adapter/` in the run folder, and when interrupted go on
from the last checkpoint as if nothing had happened: on the CPU the adapter is the same bit for bit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from currreft_nb import InputError, memory, memory_rehearsal, models, prompts, rewards, training_processes
from currreft_nb import training_ranks as ranks
from currreft_nb.curriculum_difficulty import PassRate, draw_near, easy_first, keep, rate_rows
from currreft_nb.generation import end_tokens, picture
from currreft_nb.journal import read_journal
from currreft_nb.models import Loaded
from currreft_nb.samples import Sample
from currreft_nb.training_checkpoints import full_disk_named
from currreft_nb.training_checks import check_first_steps, check_saved
from currreft_nb.training_config import grpo_config, sft_config
from currreft_nb.training_grpo import GroupTrainer
from currreft_nb.training_loop import (
    Clock,
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
from currreft_nb.training_rows import PART_MEASURES, note_measures, reward_functions, step_row, write_completions
from currreft_nb.training_settings import GrpoSettings, SftSettings
from currreft_nb.training_sft import AnswerTrainer
from currreft_nb.training_trackers import trackers_in
from currreft_nb.training_validation import Promotion, baseline

__all__ = ["GrpoSettings", "SftSettings", "baseline", "targets", "train_grpo", "train_sft"]

Target = tuple[Sample, str]


def train_grpo(
    loaded: Loaded,
    samples: Sequence[Sample],
    folder: str | Path,
    settings: GrpoSettings,
    *,
    validation: Sequence[Sample] = (),
    rates: Mapping[str, PassRate] | None = None,
    live: Callable[[], None] = lambda: None,
) -> dict:
    """Train the adapter by GRPO; return the run's measures, rewards and the like over the last tenth of the steps.

    `loaded` needs a trainable adapter; the reference of the KL penalty is that adapter as it is now. `validation`:
    questions asked every `validate_every` steps. `rates`: pass rates of the samples by id, where they are left out,
    ordered or drawn by them. `live`: called when a step's row is in metrics.jsonl. Several processes, where `settings`
    ask for them, are started and waited for (`training_processes`). Resumes from `folder/checkpoints`. Raises
    `InputError` without samples or adapter, for settings that need validation samples or rates without any, when memory
    runs out or the loss is not finite, and when the first steps show that nothing can be learnt.
    """
    folder = _check(loaded, samples, folder)
    rates = rates or {}
    if training_processes.needed(settings):
        Promotion(loaded, validation, folder, settings)  # asks before the first step, which one process does alone
        rows = [(sample, None) for sample in samples]
        return training_processes.train("train_grpo", loaded, folder, settings, rows, validation, rates, live=live)
    samples, order, left_out = draws(samples, rates, settings)
    stage, scored = stage_of(samples), []
    rated = rate_rows(samples, rates) if settings.by_difficulty else []
    asked = list(validation) if settings.validate_every else []
    made_from = fingerprint(loaded, samples, settings, validation=asked, rates=rated)
    checkpoint = ranks.from_first(lambda: resume_point(folder, made_from))
    promotion = Promotion(loaded, validation, folder, settings)
    taken = replace(settings, steps=ranks.from_first(promotion.steps))
    shown = ("accuracy", "format", "zero_variance", "length", "kl")
    row_of, on_row = _noting(scored, stage, folder, settings, promotion)
    watch = Watch(folder, settings.steps, row_of, shown, on_row, live)
    build = partial(
        GroupTrainer,
        shortcuts=settings.shortcuts,
        note=partial(note_measures, scored),
        model=loaded.model,
        processing_class=loaded.processor,
        reward_funcs=reward_functions(loaded, settings, scored),
        args=grpo_config(loaded, folder, taken),
        train_dataset=lazy_dataset(order[: taken.budget], lambda index: grpo_row(samples[index], loaded)),
        optimizers=optimizers(loaded.model, settings.learning_rate),
        callbacks=[watch],
    )
    drawn = [(samples[index], "") for index in sorted(set(order[: taken.budget]))]
    make_row = partial(_generated_row, loaded=loaded)
    rehearsal = _train(loaded, folder, settings, stage, build, watch, checkpoint, drawn, make_row)
    names = ("reward", "accuracy", "format", *PART_MEASURES, "zero_variance", "length", "truncated", "entropy", "kl")
    measured = {"rating_completions": sum(rate.of for rate in rates.values()), "left_out": left_out} if rates else {}
    ended = ranks.from_first(lambda: {"promotion": promotion.record()})
    return _result(loaded, folder, names) | ended | measured | rehearsal


def _noting(
    scored: list[dict], stage: str, folder: Path, settings: GrpoSettings, promotion: Promotion
) -> tuple[Callable[[dict], dict], Callable[[dict], bool]]:
    """Return how a step's row is made of the logs, and what is done with it: both see the completions of all ranks."""

    def row_of(logs: dict) -> dict:
        scored[:] = ranks.from_all(scored)
        return step_row(logs, scored, stage, settings)

    def on_row(row: dict) -> bool:
        if ranks.is_first():
            write_completions(folder, row["step"], scored, settings)
            check_first_steps(folder, row, settings)
        scored.clear()
        return promotion.is_over(row)

    return row_of, on_row


def draws(
    samples: Sequence[Sample], rates: Mapping[str, PassRate], settings: GrpoSettings
) -> tuple[list[Sample], list[int], dict[str, int]]:
    """Return the samples that a run uses, which of them is drawn at each place, and how many are left out, by reason.

    Without options that go by difficulty: all of them, in the order of `draw_order`. Raises `InputError` for such
    options without pass rates.
    """
    if not settings.by_difficulty:
        return list(samples), draw_order(len(samples), settings.budget, settings.seed), {}
    if lacking := [sample.id for sample in samples if sample.id not in rates]:
        raise InputError(f"sample {lacking[0]!r} has no pass rate; measure it with evaluation_probe.pass_rates first")
    kept, left_out = keep(samples, rates, settings.drop)
    if left_out:
        print("left out: " + ", ".join(f"{number} {reason}" for reason, number in left_out.items()))
    known = [rates[sample.id] for sample in kept]
    if settings.target_rate:
        order = draw_near(known, settings.budget, settings.target_rate, settings.seed)
    else:
        order = draw_order(len(kept), settings.budget, settings.seed)
    return kept, easy_first(order, known) if settings.order == "easy_to_hard" else order, left_out


def train_sft(
    loaded: Loaded,
    rows: Sequence[Target],
    folder: str | Path,
    settings: SftSettings,
    *,
    live: Callable[[], None] = lambda: None,
) -> dict:
    """Fine-tune the adapter on (sample, text) pairs, such as `targets`; return the run's measures.

    The loss is taken over the text and the token that ends it, and no image token is cut off. `live`, resuming and
    `InputError` are as in `train_grpo`.
    """
    folder = _check(loaded, rows, folder)
    if training_processes.needed(settings):
        return training_processes.train("train_sft", loaded, folder, settings, rows, live=live)
    stage = stage_of([sample for sample, _ in rows])
    checkpoint = ranks.from_first(lambda: resume_point(folder, fingerprint(loaded, rows, settings)))
    row_of = partial(_sft_row, stage=stage, settings=settings, folder=folder)
    clock = Clock(folder, 0.0)
    steps = ranks.from_first(lambda: clock.steps(settings.steps))
    watch = Watch(folder, steps, row_of, ("loss", "token_accuracy", "gradient_norm"), clock.is_over, live)
    clock.watch = watch
    order = draw_order(len(rows), min(settings.budget, steps * settings.batch_size), settings.seed)
    build = partial(
        AnswerTrainer,
        end_tokens=end_tokens(loaded),
        model=loaded.model,
        processing_class=loaded.processor,
        args=sft_config(loaded, folder, settings, steps),
        train_dataset=lazy_dataset(order, lambda index: sft_row(*rows[index], loaded)),
        optimizers=optimizers(loaded.model, settings.learning_rate),
        callbacks=[watch],
    )
    drawn = [rows[index] for index in sorted(set(order))]
    make_row = partial(sft_row, loaded=loaded)
    rehearsal = _train(loaded, folder, settings, stage, build, watch, checkpoint, drawn, make_row)
    return _result(loaded, folder, ("loss", "token_accuracy")) | rehearsal


def _train(
    loaded: Loaded,
    folder: Path,
    settings: GrpoSettings | SftSettings,
    stage: str,
    build: partial,
    watch: Watch,
    checkpoint: Path | None,
    drawn: Sequence[Target],
    make_row: Callable[[Sample, str], dict],
) -> dict:
    """Build the trainer and run it, save the adapter and compare what was saved; return what a rehearsal measured."""
    samples = [sample for sample, _ in drawn]
    with trackers_in(folder, settings.report_to), full_disk_named(folder):
        trainer = keep_float32(build, loaded.model)
        rehearsal = memory_rehearsal.schedule(settings.rehearse, watch, trainer, loaded, drawn, make_row)
        run_trainer(trainer, watch, checkpoint, loaded, "images" in getattr(settings, "shortcuts", ["images"]))
        loaded.processor.tokenizer.padding_side = "left"  # SFTTrainer pads on the right
        if "ref" in loaded.model.peft_config:
            loaded.model.delete_adapter("ref")
        ranks.from_first(lambda: _save(loaded, folder, stage, samples))
    return rehearsal


def _save(loaded: Loaded, folder: Path, stage: str, samples: Sequence[Sample]) -> None:
    check_saved(loaded, models.save_adapter(loaded, folder / "adapter", stage), samples)


def targets(samples: Sequence[Sample], style: prompts.Style) -> list[Target]:
    """Return each sample with its ideal completion: reference thinking, or none, and the answer; both tags always."""
    return [(sample, prompts.target(sample, style)) for sample in samples]


def _check(loaded: Loaded, rows: Sequence, folder: str | Path) -> Path:
    if not rows:
        raise InputError("there is nothing to train on: no samples were given; check tasks, stage and split")
    if not any(weight.requires_grad for weight in loaded.model.parameters()):
        raise InputError(f"model {loaded.name!r} was loaded without an adapter to train; load it with trainable=True")
    if loaded.adapter_hash:
        print(f"starting from adapter {loaded.adapter_hash} on {loaded.name}, whose weights are {loaded.base_hash}")
    return Path(folder)


def grpo_row(sample: Sample, loaded: Loaded) -> dict:
    """Return a row of the training data as GRPOTrainer wants it; `images` is [] for a text-only sample."""
    pictures = [picture(sample)] if sample.image else []
    return {"prompt": prompts.messages(sample, loaded.style), "images": pictures, **rewards.columns(sample)}


def _generated_row(sample: Sample, text: str, loaded: Loaded) -> dict:
    return grpo_row(sample, loaded)  # the text is the model's own to come


def sft_row(sample: Sample, text: str, loaded: Loaded) -> dict:
    """Return a row of the training data as SFTTrainer wants it; `images` is [] for a text-only sample."""
    completion = [{"role": "assistant", "content": [{"type": "text", "text": text}]}]
    pictures = [picture(sample)] if sample.image else []
    return {"prompt": prompts.messages(sample, loaded.style), "completion": completion, "images": pictures}


def _sft_row(logs: dict, stage: str, settings: SftSettings, folder: Path) -> dict:
    done = ranks.from_first(lambda: sum(row["prompts"] for row in read_journal(folder / "metrics.jsonl")))
    return {
        "stage": stage,
        "loss": logs["loss"],
        "token_accuracy": logs["mean_token_accuracy"],
        "entropy": logs["entropy"],
        "gradient_norm": logs["grad_norm"],
        "prompts": min(settings.batch_size, settings.budget - done),
    }


def _result(loaded: Loaded, folder: Path, names: Sequence[str]) -> dict:
    rows = ranks.from_first(lambda: read_journal(folder / "metrics.jsonl"))
    sums = {name: sum(row[name] for row in rows) for name in ("prompts", "completions", "tokens") if name in rows[0]}
    final = {name: value for name in names if (value := closing_mean(rows, name)) is not None}
    peaks = [peak for peak in ranks.from_all([memory.measured_peak()]) if peak is not None]
    used = {"peak_gpu_gib": max(peaks)} if peaks else {}
    origin = {"base_hash": loaded.base_hash, "parent_adapter": loaded.adapter_hash}
    return {
        "steps": len(rows),
        **sums,
        **origin,
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        **used,
        **final,
    }

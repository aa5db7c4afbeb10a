"""Train an adapter: by reinforcement learning with verifiable rewards (GRPO), or by imitation of answers (SFT).

GRPO asks each question several times and compares within that group: a completion's advantage is its reward minus the
group's mean, divided by its standard deviation (`metrics.scores.advantages`), and its tokens become more or less likely
in proportion. It needs no value model and no labelled reasoning. `training.settings.Updating` has its variants.

Three files lead from a notebook's cell to TRL's trainer:

- train.py: `train_grpo` or `train_sft` makes a `Training`; its `run` builds the trainer, runs it and saves `adapter/`.
- loop.py: `run_trainer` calls the trainer's `train`; after each step `StepLogger` checks, prints and writes its row.
- trainers.py: the trainers are TRL's; `GroupTrainer`, `AnswerTrainer` and `TaughtTrainer` say where they differ.

An interrupted training resumes from its last checkpoint; on the CPU its adapter is the same bit for bit.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

from transformers import Trainer

from currreft_nb import InputError
from currreft_nb.core.environment import leave_cluster
from currreft_nb.core.journal import read_journal
from currreft_nb.core.samples import Sample, stage_of
from currreft_nb.generation.generate import end_tokens
from currreft_nb.generation.shared_images import image_free_batches, shared_images
from currreft_nb.method import rewards
from currreft_nb.method.difficulty import PassRate, rate_rows
from currreft_nb.models.load import Loaded, load_model, save_adapter
from currreft_nb.training.checks import check_first_steps, check_saved
from currreft_nb.training.gpu_memory import measured_peak, schedule
from currreft_nb.training.loop import StepLogger, closing_mean, float32_adapter, optimizers, run_trainer
from currreft_nb.training.processes import ranks
from currreft_nb.training.processes.launch import needed, started_by_launcher, train
from currreft_nb.training.resume import full_disk_named, resume_point, training_fingerprint
from currreft_nb.training.rows import Target, check_turn, draws, lazy_dataset, question_row, sft_row
from currreft_nb.training.settings import GrpoSettings, SftSettings
from currreft_nb.training.steps import (
    MEANS,
    PART_MEASURES,
    note_measures,
    reward_functions,
    step_row,
    write_completions,
)
from currreft_nb.training.trainers import AnswerTrainer, GroupTrainer, TaughtTrainer
from currreft_nb.training.trl_config import distillation_config, grpo_config, sft_config, trackers_in
from currreft_nb.training.validation import EarlyStopping


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

    `loaded` needs a trainable adapter; the reference of the KL penalty is that adapter as it is now. `rates`: pass
    rates of the samples by id. `live`: called when a step's row is in metrics.jsonl. Starts several processes where
    `settings` ask for them (`training.processes.launch`). Resumes from `folder/checkpoints`. Raises `InputError`
    without samples or adapter, for settings that need validation samples or rates without any, when memory runs out or
    the loss is not finite, and when the first steps show that nothing can be learnt.
    """
    folder, rates = _check(loaded, samples, folder), rates or {}
    if needed(settings):
        EarlyStopping(loaded, validation, folder, settings)  # asks before the first step, which one process does alone
        options = {"validation": list(validation), "rates": dict(rates)}
        return train(train_grpo, loaded, samples, folder, settings, live, **options)
    order, left_out = draws(samples, rates, settings, settings.rehearse_share)
    asked = list(validation) if settings.validate_every else []
    rated = rate_rows(samples, rates) if settings.by_difficulty else []
    made_from = training_fingerprint(loaded, samples, settings, validation=asked, rates=rated)
    checkpoint = ranks.from_first(lambda: resume_point(folder, made_from))
    stopping = EarlyStopping(loaded, validation, folder, settings)
    steps = ranks.from_first(stopping.steps)  # fewer than planned if an interrupted attempt ended the stage already
    asked_first, spare = order[: steps * settings.prompts_per_step], order[::-1] if settings.refill else []
    rows, measured = [(sample, "") for sample in samples], _rating(rates, left_out)
    parts = (measured, stopping, steps, spare)
    return GrpoTraining(loaded, folder, settings, rows, asked_first, checkpoint, *parts).run(live)


def train_sft(
    loaded: Loaded,
    rows: Sequence[Target],
    folder: str | Path,
    settings: SftSettings,
    *,
    rates: Mapping[str, PassRate] | None = None,
    live: Callable[[], None] = lambda: None,
) -> dict:
    """Fine-tune the adapter on (sample, text) pairs, such as `sft_targets`; return the run's measures.

    The loss is taken over the text and the token that ends it. With a `teacher` in `settings` the texts are not used:
    the model answers by itself, and the teacher's probabilities of each of its tokens are the target. `rates`, `live`,
    resuming and `InputError` are as in `train_grpo`.
    """
    folder, rates = _check(loaded, rows, folder), rates or {}
    if needed(settings):
        return train(train_sft, loaded, rows, folder, settings, live, rates=dict(rates))
    if not settings.teacher:
        check_turn(loaded, *rows[0])
    samples = [sample for sample, _ in rows]
    order, left_out = draws(samples, rates, settings)
    rated = rate_rows(samples, rates) if settings.by_difficulty else []
    teacher = load_teacher(settings.teacher, loaded) if settings.teacher else None
    taught_by = {"teacher_hash": teacher.base_hash} if teacher else {}
    made_from = training_fingerprint(loaded, rows, settings, rates=rated) | taught_by
    checkpoint = ranks.from_first(lambda: resume_point(folder, made_from))
    common = (loaded, folder, settings, rows, order, checkpoint, _rating(rates, left_out) | taught_by)
    return (TaughtTraining(*common, teacher) if teacher else SftTraining(*common)).run(live)


def load_teacher(name: str, loaded: Loaded) -> Loaded:
    """Load a teacher for a model. Raises `InputError` if it sees other pictures or writes other tokens."""
    teacher = load_model(name, four_bit=loaded.four_bit, max_pixels=loaded.style.frame.max_pixels)
    kinds = [(one.model.config.model_type, one.model.config.get_text_config().vocab_size) for one in (loaded, teacher)]
    if kinds[0] != kinds[1]:
        told = [f"{model_type} with {size:,} tokens" for model_type, size in kinds]
        raise InputError(
            f"teacher {name!r} is {told[1]}, but model {loaded.name!r} is {told[0]}; take a teacher of the same kind"
        )
    return teacher


def _rating(rates: Mapping[str, PassRate], left_out: Mapping[str, int]) -> dict:
    """Return for the result what measuring pass rates cost and led to. Its answers are no part of the budget."""
    return {"rating_completions": sum(rate.of for rate in rates.values()), "left_out": left_out} if rates else {}


def _check(loaded: Loaded, rows: Sequence, folder: str | Path) -> Path:
    if not rows:
        raise InputError("there is nothing to train on: no samples were given; check tasks, stage and split")
    if not any(weight.requires_grad for weight in loaded.model.parameters()):
        raise InputError(f"model {loaded.name!r} was loaded without an adapter to train; load it with trainable=True")
    if not started_by_launcher() and (line := leave_cluster()):
        print(line)
    if loaded.adapter_hash:
        print(f"starting from adapter {loaded.adapter_hash} on {loaded.name}, whose weights are {loaded.base_hash}")
    return Path(folder)


@dataclass
class Training:
    """What both kinds of training share.

    `rows`: (sample, text) pairs; the text is "" where the model writes it. `order`: which row is drawn at each place.
    `measured`: for the result, what was measured before the training.
    """

    loaded: Loaded
    folder: Path
    settings: Any
    rows: Sequence[Target]
    order: list[int]
    checkpoint: Path | None
    measured: dict

    shown: ClassVar[tuple[str, ...]]  # measures on the printed line
    closing: ClassVar[tuple[str, ...]]  # measures whose mean over the last steps is in the result
    # Each kind has its own: a row of data as TRL's trainer takes it, TRL's trainer, a step's row for metrics.jsonl.
    make_row: ClassVar[Callable[[Any, Sample, str], dict]]
    build: ClassVar[Callable[..., Trainer]]
    row_of: ClassVar[Callable[[Any, dict], dict]]

    def on_row(self, row: dict) -> bool:
        """Store what else a step leaves behind; return whether the training is over."""
        return False

    @cached_property
    def stage(self) -> str:
        return stage_of([sample for sample, _ in self.rows])

    def run(self, live: Callable[[], None]) -> dict:
        """Build the trainer and run it, save the adapter and compare what was saved; return the run's measures."""
        loaded, settings = self.loaded, self.settings
        passes = getattr(settings, "passes", 1)
        logger = StepLogger(self.folder, settings.steps, self.row_of, self.shown, self.on_row, live, passes)
        with trackers_in(self.folder, settings.report_to), full_disk_named(self.folder):
            with float32_adapter(loaded.model):
                trainer = self.build(
                    model=loaded.model,
                    processing_class=loaded.processor,
                    train_dataset=lazy_dataset(self.order, lambda index: self.make_row(*self.rows[index])),
                    optimizers=optimizers(loaded.model, settings.learning_rate),
                    callbacks=[logger],
                )
            drawn = [self.rows[index] for index in sorted(set(self.order))]
            rehearsal = schedule(settings.rehearse, logger, trainer, loaded, drawn, self.make_row)
            run_trainer(trainer, logger, self.checkpoint, loaded, self.sharing())
            loaded.processor.tokenizer.padding_side = "left"  # SFTTrainer pads on the right
            if "ref" in loaded.model.peft_config:
                loaded.model.delete_adapter("ref")
            ranks.from_first(lambda: self.save([sample for sample, _ in drawn]))
        return self.result() | rehearsal

    def sharing(self) -> AbstractContextManager:
        """Return the context in which an image is prepared and encoded once for all its rows."""
        return shared_images(self.loaded.model, self.loaded.processor)

    def save(self, samples: Sequence[Sample]) -> None:
        check_saved(self.loaded, save_adapter(self.loaded, self.folder / "adapter", self.stage), samples)

    def result(self) -> dict:
        """Return sums over all steps, means over the last ones, and where the adapter came from."""
        rows = ranks.from_first(lambda: read_journal(self.folder / "metrics.jsonl"))
        counted = [name for name in ("prompts", "completions", "tokens") if name in rows[0]]
        found: dict[str, Any] = {"steps": len(rows), **{name: sum(row[name] for row in rows) for name in counted}}
        found |= self.measured | {"base_hash": self.loaded.base_hash, "parent_adapter": self.loaded.adapter_hash}
        found["seconds"] = round(sum(row["seconds"] for row in rows), 1)
        if peaks := [peak for peak in ranks.from_all([measured_peak()]) if peak is not None]:
            found["peak_gpu_gib"] = max(peaks)
        return found | {name: value for name in self.closing if (value := closing_mean(rows, name)) is not None}


@dataclass
class GrpoTraining(Training):
    """Reinforcement learning: the model writes the completions, and rewards score them."""

    stopping: EarlyStopping
    steps: int
    spare: list[int]  # all that may be drawn, the last first: silent groups are refilled from here, steps from `order`
    scored: list[dict] = field(default_factory=list)  # the current step's completions with their scores

    shown = ("accuracy", "format", "zero_variance", "length", "kl")
    closing = ("reward", *MEANS, *PART_MEASURES, "zero_variance", "entropy", "kl")

    def make_row(self, sample: Sample, text: str) -> dict:
        return question_row(sample, self.loaded) | rewards.columns(sample) | {"prefill": self.loaded.style.prefill}

    def build(self, **common: Any) -> Trainer:
        return GroupTrainer(
            shortcuts=self.settings.shortcuts,
            note=partial(note_measures, self.scored),
            refill=self.settings.refill,
            draw=self.further,
            reward_funcs=reward_functions(self.loaded, self.settings, self.scored),
            args=grpo_config(self.loaded, self.folder, replace(self.settings, steps=self.steps)),
            **common,
        )

    def further(self, count: int) -> list[dict]:
        """Return the rows of up to `count` further questions, as many as the budget still pays."""
        before = read_journal(self.folder / "metrics.jsonl")
        drawn = sum(row["prompts"] for row in before) + len(self.scored) // self.settings.group_size
        refilled = drawn - (len(before) + 1) * self.settings.prompts_per_step
        chosen = self.spare[refilled : refilled + min(count, self.settings.budget - drawn)]
        return [self.make_row(*self.rows[index]) for index in chosen]

    def row_of(self, logs: dict) -> dict:
        self.scored[:] = ranks.from_all(self.scored)  # those of all processes, in all of them
        return step_row(logs, self.scored, self.stage, self.settings)

    def on_row(self, row: dict) -> bool:
        if ranks.is_first():
            write_completions(self.folder, row["step"], self.scored, self.settings)
            check_first_steps(self.folder, row, self.settings)
        self.scored.clear()
        return self.stopping.is_over(row)

    def sharing(self) -> AbstractContextManager:
        if "images" in self.settings.shortcuts:
            return super().sharing()
        return image_free_batches(self.loaded.model)

    def result(self) -> dict:
        return super().result() | {"promotion": ranks.from_first(self.stopping.record)}


@dataclass
class SftTraining(Training):
    """Fine-tuning on given texts."""

    shown = ("loss", "token_accuracy", "gradient_norm")
    closing = ("loss", "token_accuracy")

    def make_row(self, sample: Sample, text: str) -> dict:
        return sft_row(sample, text, self.loaded)

    def build(self, **common: Any) -> Trainer:
        config = sft_config(self.loaded, self.folder, self.settings)
        return AnswerTrainer(end_tokens=end_tokens(self.loaded), args=config, **common)

    def row_of(self, logs: dict) -> dict:
        drawn_before = (logs["step"] - 1) * self.settings.batch_size
        return {
            "stage": self.stage,
            "loss": logs["loss"],
            "token_accuracy": logs["mean_token_accuracy"],
            "entropy": logs["entropy"],
            "gradient_norm": logs["grad_norm"],
            "prompts": min(self.settings.batch_size, self.settings.budget - drawn_before),
        }


@dataclass
class TaughtTraining(Training):
    """Learning from a teacher on the model's own answers."""

    teacher: Loaded

    shown = ("loss", "length", "gradient_norm")
    closing = ("loss", "length", "entropy")

    def make_row(self, sample: Sample, text: str) -> dict:
        return question_row(sample, self.loaded)

    def build(self, **common: Any) -> Trainer:
        config = distillation_config(self.loaded, self.folder, self.settings)
        return TaughtTrainer(teacher_model=self.teacher.model, args=config, **common)

    def sharing(self) -> AbstractContextManager:
        contexts = ExitStack()
        contexts.enter_context(super().sharing())
        contexts.enter_context(image_free_batches(self.teacher.model))
        return contexts

    def row_of(self, logs: dict) -> dict:
        count, length = self.settings.batch_size, logs["completions/mean_length"]
        return {
            "stage": self.stage,
            "loss": logs["loss"],
            "length": length,
            "entropy": logs["entropy"],
            "gradient_norm": logs["grad_norm"],
            "prompts": count,
            "completions": count,
            "tokens": round(length * count),
        }

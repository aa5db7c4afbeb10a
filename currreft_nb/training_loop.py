"""What both kinds of training share: data order, a printed line and a row of `metrics.jsonl` per step, resuming.

    {"step": 12, "stage": "open", "loss": 0.01, "token_accuracy": 0.93, "gradient_norm": 0.8, "seconds": 0.9}

A run folder holds `metrics.jsonl`, `checkpoints/checkpoint-<step>/` with optimiser and random state, and for
reinforcement learning `completions/step-<step>.jsonl`. To resume, all of them are cut back to the last whole
checkpoint.
"""

import hashlib
import json
import math
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback

from currreft_nb import InputError, memory
from currreft_nb import training_ranks as ranks
from currreft_nb.core.files import atomic_write
from currreft_nb.core.journal import append_journal, read_journal
from currreft_nb.core.samples import Sample, to_row
from currreft_nb.core.settings import deciding
from currreft_nb.models.adapters import MADE_FROM
from currreft_nb.models.load import Loaded
from currreft_nb.training_checkpoints import last_whole, step_of
from currreft_nb.training_checks import GradientCheck, is_zero
from currreft_nb.training_settings import GrpoSettings, SftSettings

LINES = 60  # printed by a run at most; every step has its row in metrics.jsonl
SHORT = {"zero_variance": "silent", "gradient_norm": "gradient"}  # names on the printed line


def draw_order(count: int, rows: int, seed: int) -> list[int]:
    """Return which of `count` samples is drawn for each of `rows` places: one permutation after another, each seeded.

    >>> draw_order(3, 7, seed=0)
    [1, 2, 0, 0, 2, 1, 0]
    """
    # All passes over the data are laid out here, instead of shuffled by the data loader as they begin. A resumed
    # training skips the places that it has trained on, and so continues in the same order, in a later pass too.
    order: list[int] = []
    for number in range(math.ceil(rows / count)):
        order += random.Random(f"{seed} {number}").sample(range(count), count)
    return order[:rows]


class _RowMaker:
    """Makes the rows of a batch. `datasets` hashes it by its state, which must not include the model."""

    def __init__(self, make_row: Callable[[int], dict]):
        self.make_row = make_row

    def __getstate__(self) -> dict:
        return {}

    def __call__(self, batch: dict) -> dict:
        rows = [self.make_row(index) for index in batch["index"]]
        return {name: [row[name] for row in rows] for name in rows[0]}


def lazy_dataset(order: Sequence[int], make_row: Callable[[int], dict]) -> Dataset:
    """Return a data set whose rows are made when they are read, so that only the images of a batch are in memory."""
    return Dataset.from_dict({"index": list(order)}).with_transform(_RowMaker(make_row))


def stage_of(samples: Sequence[Sample]) -> str:
    """Return the stage that all samples are at, or "mixed"."""
    stages = {sample.stage for sample in samples}
    return stages.pop() if len(stages) == 1 else "mixed"


def fingerprint(
    loaded: Loaded, rows: Sequence[Any], settings: GrpoSettings | SftSettings, **others: Sequence[Any]
) -> dict:
    """Return what a checkpoint depends on, to be compared when it is resumed.

    `rows`: samples, or pairs of a sample and a text; `others`: what else decides the updates, by name, such as the
    validation samples.
    """
    return {
        **deciding(settings),
        **{name: _digest(values) for name, values in {"data": rows, **others}.items()},
        "base_hash": loaded.base_hash,
        "adapter_hash": loaded.adapter_hash,
        "lora_rank": loaded.model.peft_config["default"].r,
        "lora_on": str(loaded.model.peft_config["default"].target_modules),
        "four_bit": loaded.four_bit,
        "max_pixels": loaded.style.frame.max_pixels,
    }


def _digest(rows: Sequence[Any]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(_plain(row), sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _plain(row: Any) -> Any:
    if isinstance(row, Sample):  # by its image's name: the data folder may have been moved
        return to_row(row) | {"image": row.image and Path(row.image).name}
    return [_plain(part) for part in row] if isinstance(row, tuple) else row


def resume_point(folder: Path, asked: dict) -> Path | None:
    """Return the last whole checkpoint after cutting the run folder back to it, or None to start from the beginning.

    Raises `InputError` when the folder's checkpoints were made with other settings, data or models.
    """
    checkpoints = folder / "checkpoints"
    note = checkpoints / MADE_FROM
    asked = json.loads(json.dumps(asked))  # tuples become lists, as in the file
    if note.is_file():
        made = json.loads(note.read_text(encoding="utf-8"))
        if changed := sorted(name for name in {*made, *asked} if made.get(name) != asked.get(name)):
            raise InputError(
                f"the checkpoints in {checkpoints} were made with another {', '.join(changed)}; delete that folder to"
                " start from the beginning, or choose another output folder"
            )
    found = last_whole(checkpoints, asked.get("num_processes", 1))
    _cut_back(folder, step_of(found) if found else 0)
    checkpoints.mkdir(parents=True, exist_ok=True)
    with atomic_write(note) as stream:
        stream.write(json.dumps(asked, indent=2) + "\n")
    return found


def _cut_back(folder: Path, step: int) -> None:
    for path in (folder / "checkpoints").glob("checkpoint-*"):
        if step_of(path) > step:
            shutil.rmtree(path)
    for path in (folder / "completions").glob("step-*.jsonl"):
        if int(path.stem.removeprefix("step-")) > step:
            path.unlink()
    metrics = folder / "metrics.jsonl"
    rows = read_journal(metrics)
    kept = [row for row in rows if row["step"] <= step]
    if not kept:
        metrics.unlink(missing_ok=True)
    elif len(kept) < len(rows):
        with atomic_write(metrics) as stream:
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)


class StepLogger(TrainerCallback):
    """Write a row and print a line per step, and stop a training whose loss or gradients are wrong.

    `row_of(logs)` returns our row for what the trainer logged and `step`; `shown` names its columns on the printed
    line. `on_row(row)` is called before the row is written, may add to it, and returns True to end the training;
    `live()` is called afterwards. Later callbacks, such as trackers, see the row's numbers instead of the trainer's.
    """

    def __init__(
        self,
        folder: Path,
        steps: int,
        row_of: Callable[[dict], dict],
        shown: tuple[str, ...],
        on_row: Callable[[dict], bool] = lambda row: False,
        live: Callable[[], None] = lambda: None,
    ):
        self.path = folder / "metrics.jsonl"
        self.steps, self.row_of, self.shown, self.on_row, self.live = steps, row_of, shown, on_row, live
        self.before_first_step: Callable[[], None] = lambda: None
        self.gradients = GradientCheck()
        self.last_s = self.started_s = time.perf_counter()
        self.first_step = 0
        self.warm = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step < state.max_steps:
            self.before_first_step()
        self.last_s = self.started_s = time.perf_counter()
        self.first_step = state.global_step

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.gradients.look(model)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if "loss" not in logs:  # the trainer's closing summary
            return
        step = state.global_step
        if not math.isfinite(logs["loss"]) or not math.isfinite(logs.get("grad_norm", 0.0)):
            raise InputError(
                f"the loss is {logs['loss']} and the gradient norm {logs.get('grad_norm')} at step {step}; lower"
                " learning_rate and run it again"
            )
        now_s = time.perf_counter()
        row = {"step": step, **self.row_of({"step": step, **logs}), "seconds": round(now_s - self.last_s, 3)}
        self._print(row, now_s)
        if self.on_row(row):
            control.should_training_stop = control.should_save = True
        if ranks.is_first():
            append_journal(self.path, [row])
        logs.clear()
        logs.update({name: value for name, value in row.items() if isinstance(value, (int, float))})
        self.live()
        self.last_s = time.perf_counter()
        if not self.warm:  # the first step also loads and compiles, so the time left is estimated without it
            self.started_s, self.first_step, self.warm = self.last_s, step, True

    def _print(self, row: dict, now_s: float) -> None:
        step, done = row["step"], row["step"] - self.first_step
        if step not in (1, self.steps) and step % math.ceil(self.steps / LINES):
            return
        left_s = (now_s - self.started_s) / done * (self.steps - step)
        known = [name for name in self.shown if row.get(name) is not None]
        values = "".join(f"  {SHORT.get(name, name)} {brief(row[name])}" for name in known)
        unit = "tokens" if "tokens" in row else "prompts"
        rate = row[unit] / max(row["seconds"], 1e-3)
        place = f"step {step:>{len(str(self.steps))}}/{self.steps}"
        print(f"{place}{values}  {row['seconds']:5.1f} s  {brief(rate)} {unit}/s  left {duration(left_s)}")


def brief(value: float) -> str:
    """Return a number in five places, so that lines stay aligned and fit a notebook's width.

    >>> brief(0.0625), brief(12), brief(142.37), brief(1234.5)
    ('0.062', '12.00', '142.4', ' 1234')
    """
    return f"{value:5.{max(0, 4 - len(str(int(abs(value)))))}f}"


def duration(seconds: float) -> str:
    """Return a span of time for people.

    >>> duration(48.2), duration(2220), duration(9000)
    ('48 s', '37 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def run_trainer(
    trainer: Trainer, logger: StepLogger, checkpoint: Path | None, loaded: Loaded, sharing: AbstractContextManager
) -> None:
    """Train to the end in the context `sharing`, from the checkpoint if there is one; report an unchanged adapter."""
    trainer.remove_callback(PrinterCallback)  # the logger's line replaces its own
    trainer.callback_handler.callbacks.sort(key=lambda callback: callback is not logger)  # first, before the trackers
    weights = {name: weight for name, weight in loaded.model.named_parameters() if weight.requires_grad}
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    if checkpoint:
        print(f"resuming after step {step_of(checkpoint)} of {trainer.args.max_steps}")
    memory.reset_peak()
    try:
        with sharing:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except torch.OutOfMemoryError:
        raise InputError(
            f"the GPU's memory ran out at step {trainer.state.global_step + 1} with"
            f" micro_batch {trainer.args.per_device_train_batch_size}; lower micro_batch first, then max_new_tokens,"
            " max_pixels and group_size"
        ) from None
    finally:
        loaded.model.gradient_checkpointing_disable()
        loaded.model.eval()
    learnt = logger.gradients.signals["language"] > 0  # whether any step had a gradient
    if learnt and all(torch.equal(before[name], weight) for name, weight in weights.items()):
        raise RuntimeError("training ended, but no weight of the adapter changed; this is a bug, please report it")
    if not learnt and (not checkpoint or is_zero(loaded.model)):
        print("the adapter did not change: in no step did the completions of any question differ in reward")


@contextmanager
def float32_adapter(model: Any) -> Iterator[None]:
    """Keep the adapter in float32 while a trainer is built.

    TRL turns the adapter of a quantised model into bfloat16, whose steps are too coarse: at a learning rate of 1e-5
    most updates of a weight of 0.01 would be rounded away.
    """
    saved = {name: weight.detach().float().clone() for name, weight in model.named_parameters() if weight.requires_grad}
    yield
    for name, weight in model.named_parameters():
        if name in saved:
            weight.data = saved[name]


def optimizers(model: Any, learning_rate: float) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return AdamW for the adapter, and a learning rate that is constant from the third step."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=learning_rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    # A third and two thirds in the first two steps: the library's warm-up begins at zero, which wastes a step.
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 3))


def closing_mean(rows: Sequence[dict], name: str) -> float | None:
    """Return the mean of a column over the last tenth of the steps, at least one; None where it was not measured."""
    values = [row[name] for row in rows if row.get(name) is not None]
    last = values[-max(1, len(values) // 10) :]
    return round(sum(last) / len(last), 4) if last else None

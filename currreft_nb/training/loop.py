"""What both kinds of training share: the optimiser, a printed line and a row of `metrics.jsonl` per step.

    {"step": 12, "stage": "open", "loss": 0.01, "token_accuracy": 0.93, "gradient_norm": 0.8, "seconds": 0.9}

A run folder holds `metrics.jsonl`, `checkpoints/checkpoint-<update>/` with optimiser and random state, and for
reinforcement learning `completions/step-<step>.jsonl`. To resume, all of them are cut back to the last whole
checkpoint.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback

from currreft_nb import InputError
from currreft_nb.core.journal import append_journal
from currreft_nb.models.load import Loaded
from currreft_nb.training.checks import GradientCheck, is_zero
from currreft_nb.training.gpu_memory import reset_peak
from currreft_nb.training.processes import ranks
from currreft_nb.training.resume import step_of

LINES = 60  # printed by a run at most; every step has its row in metrics.jsonl
SHORT = {"zero_variance": "silent", "gradient_norm": "gradient"}  # names on the printed line


class StepLogger(TrainerCallback):
    """Write a row and print a line per step, and stop a training whose loss or gradients are wrong.

    `row_of(logs)` returns our row for what the trainer logged and `step`; `shown` names its columns on the printed
    line. `on_row(row)` is called before the row is written, may add to it, and returns True to end the training;
    `live()` is called afterwards. Later callbacks, such as trackers, see the row's numbers instead of the trainer's.
    The trainer counts updates, of which a step has `passes`, and logs after the last of them.
    """

    def __init__(
        self,
        folder: Path,
        steps: int,
        row_of: Callable[[dict], dict],
        shown: tuple[str, ...],
        on_row: Callable[[dict], bool] = lambda row: False,
        live: Callable[[], None] = lambda: None,
        passes: int = 1,
    ):
        self.path, self.passes = folder / "metrics.jsonl", passes
        self.steps, self.row_of, self.shown, self.on_row, self.live = steps, row_of, shown, on_row, live
        self.before_first_step: Callable[[], None] = lambda: None
        self.gradients = GradientCheck()
        self.last_s = self.started_s = time.perf_counter()
        self.first_step = 0
        self.warm = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        state.save_steps = args.save_steps  # the library restores the checkpoint's, but save_every may have changed
        if state.global_step < state.max_steps:
            self.before_first_step()
        self.last_s = self.started_s = time.perf_counter()
        self.first_step = state.global_step // self.passes

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.gradients.look(model)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if "loss" not in logs:  # the trainer's closing summary
            return
        step = state.global_step // self.passes
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
    """Return a number in five places, so that lines stay aligned.

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
        done, planned = (updates // logger.passes for updates in (step_of(checkpoint), trainer.args.max_steps))
        print(f"resuming after step {done} of {planned}")
    reset_peak()
    try:
        with sharing:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except torch.OutOfMemoryError:
        raise InputError(
            f"the GPU ran out of memory at step {trainer.state.global_step // logger.passes + 1} with micro_batch"
            f" {trainer.args.per_device_train_batch_size}; lower micro_batch and run it again: it resumes from its last"
            " checkpoint. If it is 1, lower max_new_tokens, max_pixels or group_size, which starts from the beginning"
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

    TRL turns the adapter of a quantised model into bfloat16: at a learning rate of 1e-5 most updates of a weight of
    0.01 would be rounded away.
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

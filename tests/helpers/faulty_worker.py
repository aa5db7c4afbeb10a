"""The process that `training.processes.launch` starts, with faults that a test asks for by the environment variable
FAULT.

FAULT="kill 1 3" lets rank 1 be killed at step 3; others are raise, wait, and interrupt, which people do in a notebook.
With FIXED set, a completion depends on its place among all of a step, and not on how many processes share them.
"""

import os
import signal
import time

import torch

from currreft_nb.training.loop import StepLogger
from currreft_nb.training.processes import ranks
from currreft_nb.training.processes.worker import main
from currreft_nb.training.trainers import GroupTrainer


def choose_by_place(self, logits, rows, step):
    """Sample like `GroupTrainer._choose`, from random numbers for all processes, of which each takes its own."""
    if step == 0:
        if self.state.global_step == 0:
            torch.manual_seed(0)
        count, number = self.args.generation_batch_size, self.accelerator.num_processes
        drawn = torch.rand(count, self.max_completion_length, dtype=torch.float64)
        self.drawn = drawn.chunk(number)[self.accelerator.process_index]
    cumulated = torch.softmax(logits.double() / self.temperature, dim=-1).cumsum(dim=-1)
    return torch.searchsorted(cumulated, self.drawn[rows, step, None].contiguous())[:, 0]


def with_fault(on_log, what, rank, step):
    """Return a callback that fails in one rank at one step, before the step is written down."""

    def faulty(self, args, state, control, logs=None, **others):
        if "loss" in logs and (ranks.rank(), state.global_step) == (rank, step):
            print(f"{what} now", flush=True)
            if what == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if what == "interrupt":
                os.kill(int(os.environ["NOTEBOOK"]), signal.SIGINT)
            if what != "raise":
                time.sleep(600)
            raise ArithmeticError("a fault of our own")
        return on_log(self, args, state, control, logs=logs, **others)

    return faulty


if __name__ == "__main__":
    if "FIXED" in os.environ:
        GroupTrainer._choose = choose_by_place
    if fault := os.environ.get("FAULT"):
        what, *place = fault.split()
        StepLogger.on_log = with_fault(StepLogger.on_log, what, *map(int, place))
    main()

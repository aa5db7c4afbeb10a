"""The process that `training_processes` starts, with faults that a test asks for by the environment variable FAULT.

FAULT="kill 1 3" lets rank 1 do so at step 3; others are raise, and interrupt, which a person would do in the notebook.
With FIXED set, the random numbers of a completion depend on its place among all of a step, not on the process.
"""

import os
import random
import signal
import time

import torch

from currreft_nb import training_grpo, training_loop, training_worker
from currreft_nb import training_ranks as ranks


def choose_by_place(self, logits, rows, step):
    """Sample like `GroupTrainer._choose`, each token by a number that its step, row and place decide."""
    start = self.accelerator.process_index * (self.args.generation_batch_size // self.accelerator.num_processes)
    numbers = [random.Random(f"{self.state.global_step} {start + row} {step}").random() for row in rows]
    cumulated = torch.softmax(logits.double() / self.temperature, dim=-1).cumsum(dim=-1)
    return torch.searchsorted(cumulated, torch.tensor(numbers, dtype=torch.float64)[:, None])[:, 0]


def with_fault(on_log, what, rank, step):
    """Return a callback that fails in one rank at one step, before the step is written down."""

    def faulty(self, args, state, control, logs=None, **others):
        if "loss" in logs and (ranks.rank(), state.global_step) == (rank, step):
            print(f"{what} now", flush=True)
            if what == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if what == "interrupt":
                os.kill(int(os.environ["NOTEBOOK"]), signal.SIGINT)
                time.sleep(600)
            raise ArithmeticError("a fault of our own")
        return on_log(self, args, state, control, logs=logs, **others)

    return faulty


if __name__ == "__main__":
    if "FIXED" in os.environ:
        training_grpo.GroupTrainer._choose = choose_by_place
    if fault := os.environ.get("FAULT"):
        what, *place = fault.split()
        training_loop.Watch.on_log = with_fault(training_loop.Watch.on_log, what, *map(int, place))
    training_worker.main()

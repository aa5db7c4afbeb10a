"""One of several processes that train together, as `accelerate launch` starts it: it does the job in a folder.

accelerate launch --num_processes 2 --module currreft_nb.training_worker outputs/notebooks/02_rl_binary/processes
"""

import dataclasses
import fcntl
import json
import os
import sys
import threading
import time
import traceback
from datetime import timedelta
from pathlib import Path

# Libraries that take seconds to import come in later: a process must notice from the start that it is to end.

ALIVE = "alive"  # a file in the job's folder that its starter locks for as long as it lives
WATCHED = "CURRREFT_WATCHED"  # set where the starter is on this machine: end with it, and tell it what happened
MESSAGE = "\x1e"  # begins a result or an error in JSON among the lines of progress; no disk can be too full for it
PATIENCE = timedelta(hours=1)  # for the slowest process, which may have to load a model from a slow disk


def main() -> None:
    """Do the job in the folder that the command line names; tell the process that started this about an error."""
    place = Path(sys.argv[1])
    threading.Thread(target=_end_with_others, args=(place,), daemon=True).start()
    try:
        work(place)
    except BaseException as error:
        traceback.print_exc()
        sys.stderr.flush()
        _tell_error(error)
        os._exit(1)  # at once: leaving in order would wait for the other processes
    sys.stdout.flush()
    os._exit(0)  # all is written; libraries would take seconds to take themselves apart


def work(place: Path) -> None:
    """Load the model on this process's GPU, train, and in the first process write down the result."""
    import torch
    from accelerate import PartialState

    from currreft_nb import InputError, models, training, training_processes
    from currreft_nb import training_ranks as ranks
    from currreft_nb.curriculum_difficulty import PassRate
    from currreft_nb.models_adapters import attach_adapter

    job = json.loads((place / "job.json").read_text(encoding="utf-8"))
    device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    if device != "cpu":
        torch.cuda.set_device(device)
    PartialState(cpu=device == "cpu", timeout=PATIENCE)
    if not ranks.is_first():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
    if ranks.count() != job["settings"]["num_processes"]:
        raise InputError(
            f"{ranks.count()} processes were started, but num_processes is {job['settings']['num_processes']}; correct"
            " the Accelerate configuration"
        )
    loaded = models.load(job["model"], four_bit=job["four_bit"], max_pixels=job["max_pixels"], device=device)
    if loaded.base_hash != job["base_hash"]:
        raise InputError(
            f"the weights of {job['model']!r} have changed, or differ between machines; use the same files"
        )
    model = attach_adapter(loaded.model, place / "adapter", trainable=True).train()
    loaded = dataclasses.replace(loaded, model=model, adapter_hash=job["adapter_hash"])
    rows = training_processes.read_rows(place / "rows.jsonl")
    folder = place.parent
    if job["function"] == "train_sft":
        result = training.train_sft(loaded, rows, folder, training.SftSettings(**job["settings"]))
    else:
        result = training.train_grpo(
            loaded,
            [sample for sample, _ in rows],
            folder,
            training.GrpoSettings(**job["settings"]),
            validation=[sample for sample, _ in training_processes.read_rows(place / "validation.jsonl")],
            rates={name: PassRate(*counts) for name, counts in job["rates"].items()},
        )
    if ranks.is_first():
        _tell({"result": result})
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _tell_error(error: BaseException) -> None:
    kind, text = type(error).__name__, str(error)
    message = {
        "error": text[-1000:],
        "kind": kind,
        "rank": int(os.environ.get("RANK", 0)),
        "time": time.time(),
        "lost_touch": kind.startswith("Dist") or "gloo" in text.lower() or "NCCL" in text,
        "traceback": "".join(traceback.format_exception(error))[-2000:],
    }
    _tell(message)


def _tell(message: dict) -> None:
    """Write a message to the process that started this, in one piece, where it listens."""
    if WATCHED in os.environ:
        sys.stdout.flush()
        os.write(sys.__stdout__.fileno(), f"{MESSAGE}{json.dumps(message)}\n".encode())


def _end_with_others(place: Path) -> None:
    """End this process when its launcher has ended, or when the process that started it all has."""
    launcher, watched = os.getppid(), WATCHED in os.environ
    with (place / ALIVE).open("a") as alive:
        while os.getppid() == launcher:
            if watched:
                try:
                    fcntl.flock(alive, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    break  # nobody holds it any more
                except BlockingIOError:
                    pass
            time.sleep(0.2)
    os._exit(1)


if __name__ == "__main__":
    main()

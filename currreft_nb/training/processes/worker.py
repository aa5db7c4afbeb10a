"""One of several processes that train together, as `accelerate launch` starts it for the job in a folder.

    accelerate launch --num_processes 2 --module currreft_nb.training.processes.worker <run folder>/processes

Slow imports are inside the functions: the thread that ends this process must run from the start.
"""

import dataclasses
import json
import os
import pickle
import select
import sys
import threading
import traceback
from datetime import timedelta
from pathlib import Path

JOB = "job.pickle"  # which function to call, and with what
WATCHED = "CURRREFT_WATCHED"  # set on the notebook's machine: end with the notebook, and report results and errors
MESSAGE = "\x1e"  # begins a result or an error in JSON among the printed lines, which need no room on a disk
PATIENCE = timedelta(hours=1)  # for the slowest process, which may have to load a model from a slow disk


def main() -> None:
    """Do the job in the folder that the command line names; report an error to the notebook."""
    threading.Thread(target=_end_with_others, daemon=True).start()
    try:
        work(Path(sys.argv[1]))
    except BaseException as error:
        traceback.print_exc()
        sys.stderr.flush()
        _report_error(error)
        os._exit(1)  # at once: an orderly exit would wait for the other processes
    sys.stdout.flush()
    os._exit(0)  # everything is written, and the libraries take seconds to shut down


def work(place: Path) -> None:
    """Load the model on this process's GPU and train; the first process reports the result."""
    import torch
    from accelerate import PartialState

    from currreft_nb import InputError
    from currreft_nb.models.adapters import attach_adapter
    from currreft_nb.models.load import load_model
    from currreft_nb.training.processes import ranks

    job = pickle.loads((place / JOB).read_bytes())
    device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    if device != "cpu":
        torch.cuda.set_device(device)
    PartialState(cpu=device == "cpu", timeout=PATIENCE)
    if not ranks.is_first():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
    if ranks.count() != job["settings"].num_processes:
        raise InputError(
            f"num_processes is {job['settings'].num_processes}, but {ranks.count()} processes were started; correct the"
            " Accelerate configuration"
        )
    loaded = load_model(**job["model"], device=device)
    if loaded.base_hash != job["hashes"]["base_hash"]:
        raise InputError(
            f"the weights of {loaded.name!r} have changed or differ between machines; use the same files everywhere"
        )
    model = attach_adapter(loaded.model, place / "adapter", trainable=True).train()
    loaded = dataclasses.replace(loaded, model=model, **job["hashes"])
    result = job["function"](loaded, job["rows"], place.parent, job["settings"], **job["options"])
    if ranks.is_first():
        _report({"result": result})
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _report_error(error: BaseException) -> None:
    kind, text = type(error).__name__, str(error)
    if kind.startswith("Dist") or "gloo" in text.lower() or "NCCL" in text:
        return  # the connection to a process that failed before this one; its error is the cause
    if kind == "InputError":
        _report({"refused": text[-1000:]})
    else:
        _report({"failed": "".join(traceback.format_exception(error))[-2000:], "rank": os.environ.get("RANK", "0")})


def _report(message: dict) -> None:
    """Write a message to the notebook, in one piece, if it is on this machine."""
    if WATCHED in os.environ:
        sys.stdout.flush()
        os.write(1, f"{MESSAGE}{json.dumps(message)}\n".encode())


def _end_with_others() -> None:
    """End this process when its launcher has ended, or when the notebook has, which closes the standard input."""
    launcher, watched = os.getppid(), [0] if WATCHED in os.environ else []
    while os.getppid() == launcher and not select.select(watched, [], [], 0.2)[0]:
        pass
    os._exit(1)


if __name__ == "__main__":
    main()

"""Train with several processes, one GPU each: a job in the run folder, `accelerate launch`, its lines in the notebook.

    processes/job.pickle   which function to call, and with which model, settings and rows
    processes/adapter/     the adapter to start from
    processes/stderr.txt   what the processes and the launcher wrote to standard error

Every rank loads the model on its own GPU (without one, on the CPU) and calls the same function as the notebook. The
folder is deleted after success. Several machines must share its file system.
"""

import dataclasses
import gc
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from peft import set_peft_model_state_dict
from safetensors.torch import load_file

from currreft_nb import InputError
from currreft_nb.models.load import Loaded
from currreft_nb.training.processes import ranks
from currreft_nb.training.processes.worker import JOB, MESSAGE, WATCHED
from currreft_nb.training.settings import GrpoSettings, SftSettings

TrainingSettings = GrpoSettings | SftSettings
WORKER = "currreft_nb.training.processes.worker"
KINDS = ("NO", "MULTI_GPU", "MULTI_CPU")
KILLED = re.compile(r"rank +: (\d+) \(local_rank: \d+\)\s+exitcode +: -9\b")  # in the summary of torch's launcher


def needed(settings: TrainingSettings) -> bool:
    """Return whether other processes must be started; False in one of them."""
    return bool(settings.accelerate_config) or settings.num_processes != ranks.count()


def started_by_launcher() -> bool:
    """Return whether this is one of the processes that `train` starts, which needs what its launcher left for it."""
    return WATCHED in os.environ or torch.distributed.is_initialized()


def train(
    function: Callable[..., dict],
    loaded: Loaded,
    rows: Sequence[Any],
    folder: Path,
    settings: TrainingSettings,
    live: Callable[[], None],
    **options: Any,
) -> dict:
    """Call `function` in every process; return its result, and put the trained adapter into `loaded`.

    `live` is called in this process after each line that they print. Meanwhile the model waits in main memory. Raises
    `InputError` for the first `InputError` of a process, for a process that was killed and for too few GPUs, and
    `RuntimeError` with the process's traceback for other errors. No process is left behind in any case.
    """
    place = folder / "processes"
    command = launch_command(settings, place, loaded.style.wording == "short")
    shutil.rmtree(place, ignore_errors=True)
    loaded.model.save_pretrained(str(place / "adapter"), selected_adapters=["default"], save_embedding_layers=False)
    job = {
        "function": function,  # pickled as its name: the worker imports it
        "model": {"name": loaded.name, "four_bit": loaded.four_bit, "max_pixels": loaded.style.frame.max_pixels},
        "hashes": {"base_hash": loaded.base_hash, "adapter_hash": loaded.adapter_hash},
        "rows": list(rows),
        "settings": dataclasses.replace(settings, accelerate_config=""),
        "options": options,
    }
    (place / JOB).write_bytes(pickle.dumps(job))
    with _in_main_memory(loaded.model):
        status, messages = _run(command, place, live)
    if status:
        raise _failure(place, settings.num_processes, status, messages)
    set_peft_model_state_dict(loaded.model, load_file(folder / "adapter" / "adapter_model.safetensors"))
    loaded.model.eval()
    shutil.rmtree(place)
    return next(message["result"] for message in messages if "result" in message)


def launch_command(settings: TrainingSettings, place: Path, on_cpu: bool = False) -> list[str]:
    """Return the command that starts the processes. Raises `InputError` when this machine has too few GPUs for them.

    `on_cpu`: the model is small enough to train without a GPU.
    """
    number = settings.num_processes
    machines = _machines(settings)
    _check_gpus(number, number // machines, on_cpu)
    start = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", str(number)]
    if settings.accelerate_config:
        start += ["--config_file", settings.accelerate_config]
    else:
        start += ["--multi_gpu", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        start += ["--main_process_port", "0"]  # any that is free
    command = [*start, "--module", WORKER, str(place.resolve())]
    if machines > 1:
        print("on the other machines, which are numbered from 1:", "accelerate launch --machine_rank 1", *command[3:])
    return command


def _machines(settings: TrainingSettings) -> int:
    """Return the number of machines, after checking the Accelerate configuration."""
    path, number = settings.accelerate_config, settings.num_processes
    if not path:
        return 1
    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("it holds no settings")
    except (OSError, ValueError, yaml.YAMLError) as error:
        hint = "make one with: accelerate config"
        raise InputError(f"accelerate_config {path} cannot be read ({error}); {hint}") from None
    if (kind := config.get("distributed_type", "NO")) not in KINDS:
        raise InputError(f"accelerate_config {path} asks for {kind}, but training is data-parallel; choose MULTI_GPU")
    if (in_file := config.get("num_processes", number)) != number:
        raise InputError(f"num_processes is {number}, but {path} says {in_file}; set num_processes to {in_file}")
    return config.get("num_machines") or 1


def _check_gpus(number: int, here: int, on_cpu: bool) -> None:
    gpus = torch.cuda.device_count()
    if not gpus and not on_cpu:
        raise InputError(
            f"num_processes is {number}, but torch can use no GPU on this machine (see currreft doctor); only the"
            " pocket models train on the CPU"
        )
    if gpus and here > gpus:
        raise InputError(
            f"num_processes is {number}, {here} of them on this machine, which has GPUs for {gpus}; set num_processes"
            f" to {gpus}, or name more machines in accelerate_config"
        )


@contextmanager
def _in_main_memory(model: Any) -> Iterator[None]:
    device = model.device
    model.to("cpu")
    gc.collect()
    torch.cuda.empty_cache()
    try:
        yield
    finally:
        model.to(device)


def _run(command: list[str], place: Path, live: Callable[[], None]) -> tuple[int, list[dict]]:
    """Run the command and print its lines as they come, leaving no process behind; return its status and messages."""
    messages = []
    with (place / "stderr.txt").open("w") as errors:
        launcher = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            errors="replace",
            env=os.environ | {WATCHED: "1", "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # Ctrl-C reaches this process alone, which then ends them all
        )
        assert launcher.stdin and launcher.stdout
        try:
            for line in launcher.stdout:
                shown, _, message = line.partition(MESSAGE)
                if message:
                    messages.append(json.loads(message))
                print(shown, end="", flush=True)
                live()
            return launcher.wait(), messages
        finally:
            # Every process inherits this pipe. It ends when the pipe closes, also when this process is killed.
            launcher.stdin.close()
            launcher.kill()
            launcher.stdout.read()  # ends with the last process that could write to it
            launcher.stdout.close()
            launcher.wait()


def _failure(place: Path, number: int, status: int, messages: list[dict]) -> Exception:
    """Return the error of the process that failed first."""
    for message in messages:
        if "refused" in message:
            return InputError(message["refused"])
        if "failed" in message:
            return RuntimeError(f"process {message['rank']} of {number} failed:\n{message['failed']}")
    written = (place / "stderr.txt").read_text(encoding="utf-8", errors="replace")
    if killed := KILLED.search(written):
        return InputError(
            f"process {killed[1]} of {number} was killed, usually because main memory ran out; free memory or lower"
            " num_processes, then run it again: it resumes from its last checkpoint"
        )
    return RuntimeError(f"the processes ended with status {status}; {place / 'stderr.txt'} ends:\n{written[-2000:]}")

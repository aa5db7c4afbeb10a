"""Train with several processes, one GPU each: a job in the run folder, `accelerate launch`, its lines in the notebook.

    processes/job.json           what to call, with which base, settings and pass rates
    processes/adapter/           the adapter to go on from
    processes/rows.jsonl         {"sample": {"id": "scene-7", "image": "/data/images/7.png", …}, "text": null}
    processes/validation.jsonl   the same for validation questions
    processes/stderr.txt         what the processes and the launcher had to say beside their progress

Every rank loads the model on its own GPU (without one, on the CPU) and calls the very function that the notebook calls.
The folder is deleted after success. On several machines it must lie on a file system that all of them share.
"""

import dataclasses
import fcntl
import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
import yaml
from peft import set_peft_model_state_dict
from safetensors.torch import load_file

from currreft_nb import InputError
from currreft_nb import training_ranks as ranks
from currreft_nb.curriculum_difficulty import PassRate
from currreft_nb.models import Loaded
from currreft_nb.samples import Sample, to_row
from currreft_nb.training_settings import GrpoSettings, SftSettings
from currreft_nb.training_worker import ALIVE, MESSAGE, WATCHED

Settings = GrpoSettings | SftSettings
WORKER = "currreft_nb.training_worker"
KINDS = ("NO", "MULTI_GPU", "MULTI_CPU")
DEATHS = re.compile(r"rank +: (\d+) \(local_rank: \d+\)\s+exitcode +: -(\d+)")  # in the summary of torch's launcher


def needed(settings: Settings) -> bool:
    """Say whether other processes are to train, and not this one; in one of them it is not so."""
    return bool(settings.accelerate_config) or settings.num_processes != ranks.count()


def train(
    function: str,
    loaded: Loaded,
    folder: Path,
    settings: Settings,
    rows: Sequence[tuple[Sample, str | None]],
    validation: Sequence[Sample] = (),
    rates: Mapping[str, PassRate] | None = None,
    live: Callable[[], None] = lambda: None,
) -> dict:
    """Let the processes call `training.<function>`; return its result, the trained adapter being that of `loaded`.

    `live` is called here after each of their lines. While they run, the model waits in main memory; of this process
    only the CUDA context stays on the GPU. Raises `InputError` for what a process refuses, for one that was killed, and
    when there are not enough GPUs, and `RuntimeError` with a process's own traceback for other faults. However it ends,
    no process is left.
    """
    place = folder / "processes"
    command = launch_command(settings, place, loaded.style.wording == "short")
    _write_job(place, function, loaded, settings, rows, validation, rates or {})
    with _in_main_memory(loaded.model):
        status, messages = _run(command, place, live)
    if status:
        raise _failure(place, settings.num_processes, status, messages)
    set_peft_model_state_dict(loaded.model, load_file(folder / "adapter" / "adapter_model.safetensors"))
    loaded.model.eval()
    shutil.rmtree(place)
    return next(message["result"] for message in messages if "result" in message)


def launch_command(settings: Settings, place: Path, on_cpu: bool = False) -> list[str]:
    """Return the command that starts the processes. Raises `InputError` when this machine has too few GPUs for them.

    `on_cpu`: the model is small enough to train without a GPU.
    """
    config = _read_config(settings)
    machines = config.get("num_machines") or 1
    _check_gpus(settings.num_processes, settings.num_processes // machines, on_cpu)
    start = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", str(settings.num_processes)]
    if settings.accelerate_config:
        start += ["--config_file", settings.accelerate_config]
    else:
        start += ["--multi_gpu", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        start += ["--main_process_port", "0"]  # any that is free
    command = [*start, "--module", WORKER, str(place.resolve())]
    if machines > 1:
        print("on the other machines, which are numbered from 1:", "accelerate launch --machine_rank 1", *command[3:])
    return command


def _read_config(settings: Settings) -> dict:
    path, number = settings.accelerate_config, settings.num_processes
    if not path:
        return {}
    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(
            f"accelerate_config {path} cannot be read ({error}); make one with: accelerate config"
        ) from None
    if not isinstance(config, dict):
        raise InputError(f"accelerate_config {path} holds no settings; make one with: accelerate config")
    if (kind := config.get("distributed_type", "NO")) not in KINDS:
        raise InputError(
            f"accelerate_config {path} asks for {kind}, but training here is data-parallel; give MULTI_GPU"
        )
    said = config.get("num_processes", number)
    if said != number:
        raise InputError(f"num_processes is {number}, but {path} says {said}; set num_processes to {said}")
    return config


def _check_gpus(number: int, here: int, on_cpu: bool) -> None:
    gpus = torch.cuda.device_count()
    if not gpus and not on_cpu:
        raise InputError(
            f"num_processes is {number}, but this machine has no GPU that torch can use (currreft doctor says more);"
            " only the pocket models train on the CPU"
        )
    if gpus and here > gpus:
        raise InputError(
            f"num_processes is {number}, of which {here} on this machine, which has GPUs for {gpus}; set num_processes"
            f" to {gpus}, or name more machines in accelerate_config"
        )


def _write_job(
    place: Path,
    function: str,
    loaded: Loaded,
    settings: Settings,
    rows: Sequence[tuple[Sample, str | None]],
    validation: Sequence[Sample],
    rates: Mapping[str, PassRate],
) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    job = {
        "function": function,
        "model": loaded.name,
        "four_bit": loaded.four_bit,
        "max_pixels": loaded.style.frame.max_pixels,
        "base_hash": loaded.base_hash,
        "adapter_hash": loaded.adapter_hash,
        "settings": dataclasses.asdict(settings) | {"accelerate_config": ""},
        "rates": {name: [rate.right, rate.of] for name, rate in rates.items()},
    }
    (place / "job.json").write_text(json.dumps(job, indent=2) + "\n", encoding="utf-8")
    loaded.model.save_pretrained(str(place / "adapter"), selected_adapters=["default"], save_embedding_layers=False)
    for name, pairs in (("rows", rows), ("validation", [(sample, None) for sample in validation])):
        lines = (json.dumps({"sample": to_row(sample), "text": text}) + "\n" for sample, text in pairs)
        (place / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def read_rows(path: Path) -> list[tuple[Sample, str | None]]:
    """Return the samples and texts of a job's file."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        size = row["sample"]["size"]
        row["sample"]["size"] = size and tuple(size)
    return [(Sample(**row["sample"]), row["text"]) for row in rows]


@contextmanager
def _in_main_memory(model: Any) -> Iterator[None]:
    device = model.device
    if device.type == "cuda":
        model.to("cpu")
        gc.collect()
        torch.cuda.empty_cache()
    try:
        yield
    finally:
        if device.type == "cuda":
            model.to(device)


def _run(command: list[str], place: Path, live: Callable[[], None]) -> tuple[int, list[dict]]:
    """Run the command and print its lines as they come, leaving no process behind; return its status and messages."""
    messages = []
    with (place / ALIVE).open("w") as alive, (place / "stderr.txt").open("w") as errors:
        fcntl.flock(alive, fcntl.LOCK_EX)
        launcher = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            errors="replace",
            env=os.environ | {WATCHED: "1", "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # Ctrl-C reaches this process alone, which then ends them all
        )
        try:
            for line in launcher.stdout:
                shown, _, message = line.partition(MESSAGE)
                if message:
                    messages.append(json.loads(message))
                print(shown, end="", flush=True)
                live()
            return launcher.wait(), messages
        finally:
            fcntl.flock(alive, fcntl.LOCK_UN)
            if launcher.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(launcher.pid, signal.SIGKILL)
            launcher.stdout.read()  # ends with the last process that could write to it
            launcher.stdout.close()
            launcher.wait()


def _failure(place: Path, number: int, status: int, messages: list[dict]) -> Exception:
    """Return the error of the process that failed first, not of those that only lost touch with it."""
    causes = [message for message in messages if "error" in message and not message["lost_touch"]]
    if causes:
        first = min(causes, key=lambda message: message["time"])
        if first["kind"] == "InputError":
            return InputError(first["error"])
        return RuntimeError(f"process {first['rank']} of {number} failed:\n{first['traceback']}")
    said = (place / "stderr.txt").read_text(encoding="utf-8", errors="replace")
    killed = [rank for rank, code in DEATHS.findall(said) if int(code) == signal.SIGKILL]
    if killed:
        return InputError(
            f"process {killed[0]} of {number} was killed, most often because main memory ran out; free some or lower"
            " num_processes, and run it again: it goes on from its last checkpoint"
        )
    return RuntimeError(f"the processes ended with status {status}; {place / 'stderr.txt'} ends:\n{said[-2000:]}")

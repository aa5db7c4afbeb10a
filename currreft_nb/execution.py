"""Execute one notebook with Papermill: in a kernel of its own, its printed lines in log.txt, gone when we are.

Nothing here says whether the notebook succeeded: Papermill marks every cell of a killed kernel as completed. `run.json`
says.
"""

import contextlib
import datetime
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import papermill
from jupyter_client.client import KernelClient
from jupyter_client.manager import KernelManager
from papermill.exceptions import PapermillExecutionError

from currreft_nb import InputError, machine
from currreft_nb.execution_status import Status
from currreft_nb.execution_stop import Stop, stoppable
from currreft_nb.records import mark_failed, read_record
from currreft_nb.records_former import NOTEBOOK, put_all_back, set_notebook_aside
from currreft_nb.runs import NOTEBOOK_VARIABLE

LOG = "log.txt"
# What is left to do when this process is killed: its end of the pipe closes, and the kernel's group ends.
GUARD = "import os, signal, sys; sys.stdin.read(); os.killpg(int(sys.argv[1]), signal.SIGKILL)"
BEGINS = "--- "  # before the time at which an execution began
TICK_S = 0.2  # between two looks at whether an end is asked for
logging.getLogger("papermill").addHandler(logging.NullHandler())  # what it has to say, run.json and log.txt say better
# Progress bars become one line per refresh in a log; the training callback prints plain lines instead.
QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}


def kernel_environment(notebook: Path) -> dict[str, str]:
    """Return the environment of a kernel: ours, without progress bars, with one card where several would be visible."""
    environment = QUIET | dict(os.environ) | {NOTEBOOK_VARIABLE: str(notebook)}
    environment.pop("MPLBACKEND", None)  # "Agg" from a shell would hide every figure
    # TRL refuses to train in a process that sees several cards, and CUDA reads this once, when torch starts.
    if "CUDA_VISIBLE_DEVICES" not in environment and len(machine.cards()) > 1:
        environment["CUDA_VISIBLE_DEVICES"] = "0"
    return environment


class _Kernel(KernelManager):
    """A kernel that remembers its client, which nbclient leaves open, and its group, in which it may leave others."""

    talker: KernelClient | None = None
    group: int  # Jupyter starts each kernel as leader of a group

    def client(self, **options: Any) -> Any:  # of the class that was asked for, which the base declares as another
        self.talker = super().client(**options)
        return self.talker

    def stop_talking(self) -> None:
        if self.talker is not None:
            self.talker.stop_channels()


@dataclass(frozen=True)
class Outcome:
    """What became of one execution, as its run.json says; a complete one has an `error` if a later cell failed.

    `stands`: it failed before it had made anything, and what was complete before is complete still.
    """

    complete: bool
    error: str | None
    seconds: float
    stands: bool = False


def execute_run(notebook: Path, folder: Path, values: Mapping[str, Any], root: Path, status: Status) -> Outcome:
    """Execute a notebook that records a run, and judge it only by the run.json that this execution wrote."""
    before = read_record(folder)
    if before is not None and before["status"] == "complete":
        set_notebook_aside(folder)
    began = time.monotonic()
    error = execute(notebook, folder, values, root, status)
    seconds = time.monotonic() - began
    record = read_record(folder)
    if record is None or (before is not None and record["session"] == before["session"]):
        return Outcome(False, error or "its notebook ended without Run.start", seconds, put_all_back(folder))
    if record["status"] == "complete":
        return Outcome(True, error, seconds)
    error = error or "its notebook ended without run.finish"
    mark_failed(folder, record["session"], error, seconds)
    return Outcome(False, error, seconds, put_all_back(folder))


def execute(notebook: Path, folder: Path, values: Mapping[str, Any], root: Path, status: Status) -> str | None:
    """Execute a notebook in the project root, into the folder's notebook.ipynb; return what stopped it, or None.

    Printed lines go to `status`, and with everything on standard error to log.txt. On Ctrl-C and on SIGTERM, however
    often they come, the kernel and its children are ended and then `KeyboardInterrupt` is raised.
    """
    folder.mkdir(parents=True, exist_ok=True)
    errors: list[Exception] = []
    with stoppable() as stop, (folder / LOG).open("a", encoding="utf-8") as log:
        log.write(f"{BEGINS}{datetime.datetime.now().isoformat(sep=' ', timespec='seconds')} {notebook.stem}\n")
        log.flush()
        with _kernel(notebook, root, log) as kernel:
            _wait(kernel, stop, status, log, (notebook, folder, values), errors)
        stop.check()
    return _sentence(errors[0]) if errors else None


def _wait(kernel: _Kernel, stop: Stop, status: Status, log: TextIO, what: tuple, errors: list[Exception]) -> None:
    """Execute a notebook, show how far it is, and end the kernel where an end is asked for."""
    lines = Lines(log, status.note)
    work = threading.Thread(target=_papermill, args=(*what, kernel, lines, log, errors), daemon=True)
    work.start()
    while work.is_alive() and not stop.asked:
        work.join(timeout=TICK_S)
        status.show()
    if stop.asked:
        _end(kernel)
        work.join(timeout=10)  # Papermill notices the end and saves the notebook
    lines.close()


def _papermill(
    notebook: Path,
    folder: Path,
    values: Mapping[str, Any],
    kernel: _Kernel,
    lines: "Lines",
    log: TextIO,
    errors: list[Exception],
) -> None:
    # In a thread, so that the main thread is free to look for Ctrl-C, and to show how far it is.
    try:
        papermill.execute_notebook(
            _literal(notebook),
            _literal(folder / NOTEBOOK),
            dict(values),
            kernel_name="python3",
            progress_bar=False,
            stdout_file=lines,
            stderr_file=Lines(log),
            km=kernel,
        )
    except Exception as error:  # whatever it is, it is told in the main thread
        errors.append(error)
    finally:
        kernel.stop_talking()


def _literal(path: Path) -> str:
    """Return the path so that Papermill, which formats paths, leaves braces in it alone."""
    return str(path).replace("{", "{{").replace("}", "}}")


@contextlib.contextmanager
def _kernel(notebook: Path, root: Path, log: TextIO) -> Iterator[_Kernel]:
    kernel = _Kernel(kernel_name="python3", client_class="jupyter_client.asynchronous.AsyncKernelClient")
    # The Python that runs this command, whatever the user's kernel of that name was installed for.
    spec = kernel.kernel_spec
    if spec is None:
        raise InputError("Jupyter knows no kernel python3; install ipykernel")
    spec.argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    # Its own standard error holds ipykernel's notice about TCP at every start: into the log with it.
    kernel.start_kernel(
        cwd=str(root),
        env=kernel_environment(notebook),
        extra_arguments=["--HistoryManager.hist_file=:memory:"],
        stdout=log.fileno(),
        stderr=log.fileno(),
    )
    provisioner: Any = kernel.provisioner  # which starts a process, and so knows its number
    kernel.group = provisioner.pid
    guard = subprocess.Popen(
        [sys.executable, "-ISc", GUARD, str(kernel.group)], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        yield kernel
    finally:
        _end(kernel)
        guard.kill()
        guard.communicate()


def _end(kernel: _Kernel) -> None:
    """End the kernel and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(kernel.group, signal.SIGKILL)
    kernel.shutdown_kernel(now=True)


class Lines:
    """A stream that copies what a notebook prints into a log, and gives each line to `say`, as a terminal shows it."""

    def __init__(self, log: TextIO, say: Callable[[str], None] = lambda line: None):
        self.log, self.say, self.rest = log, say, ""

    def write(self, text: str) -> None:
        """Take text in pieces of any size."""
        self.log.write(text)
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            self.say(line.rstrip("\r").rsplit("\r", 1)[-1])

    def flush(self) -> None:
        """Bring the log up to date."""
        self.log.flush()

    def close(self) -> None:
        """Bring the log up to date, and give a last line that was not ended."""
        self.flush()
        if self.rest:
            self.write("\n")


def last_lines(folder: Path, most: int = 8) -> list[str]:
    """Return the end of what the last execution in a folder printed, no line longer than 200 characters."""
    try:
        text = (folder / LOG).read_bytes().decode(errors="replace")
    except OSError:
        return []
    lines = text.rpartition(BEGINS)[2].split("\n")[1:]
    told = [line for line in lines if line.strip() and not line.startswith("[IPKernelApp]")]  # its greeting
    return [line.rsplit("\r", 1)[-1][:200] for line in told][-most:]


def _sentence(error: Exception) -> str:
    if isinstance(error, PapermillExecutionError):
        if error.ename == "CellExecutionError":  # what Papermill says where IPython printed the error as text
            return "several errors at once, which the log shows"
        first = str(error.evalue).strip().split("\n")[0]
        return first if error.ename == "InputError" else f"{error.ename}: {first}"
    if "Kernel died" in str(error):
        return "its kernel died; the usual reason is that memory ran out"
    return f"{type(error).__name__}: {error}"

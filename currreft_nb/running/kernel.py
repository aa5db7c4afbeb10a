"""Execute one notebook with Papermill: in a kernel of its own that ends with this process, printed lines in log.txt.

Whether the notebook succeeded, only `run.json` says: Papermill marks every cell of a killed kernel as completed.
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

from currreft_nb import InputError
from currreft_nb.core.environment import CLUSTER
from currreft_nb.running import machine
from currreft_nb.running.progress import Status
from currreft_nb.running.project import NOTEBOOK_VARIABLE
from currreft_nb.running.record import FAILED_NOTEBOOK, LOG, NOTEBOOK, RUNNING_NOTEBOOK, RunFolder
from currreft_nb.running.signals import stoppable

# When this process is killed, its end of the pipe closes and the guard ends the kernel's group. ipykernel would end
# the kernel as well, but not the processes that it started.
GUARD = "import os, signal, sys; sys.stdin.read(); os.killpg(int(sys.argv[1]), signal.SIGKILL)"
BEGINS = "--- "  # in the log, before the time at which an execution began
TICK_S = 0.2  # between two checks for a stop request
logging.getLogger("papermill").addHandler(logging.NullHandler())  # run.json and log.txt say the same better
# Progress bars become one line per refresh in a log; the training callback prints plain lines instead.
QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}


def kernel_environment(notebook: Path) -> dict[str, str]:
    """Return the environment of a kernel: ours, without progress bars, with one GPU where several would be visible.

    Nor does it hold what a cluster's launcher left (`core.environment`).
    """
    ours = {name: value for name, value in os.environ.items() if not CLUSTER.fullmatch(name)}
    environment = QUIET | ours | {NOTEBOOK_VARIABLE: str(notebook)}
    environment.pop("MPLBACKEND", None)  # "Agg" from a shell would hide every figure
    # TRL refuses to train in a process that sees several GPUs, and CUDA reads this once, when torch starts.
    if "CUDA_VISIBLE_DEVICES" not in environment and len(machine.cards()) > 1:
        environment["CUDA_VISIBLE_DEVICES"] = "0"
    return environment


class _Kernel(KernelManager):
    """A kernel manager that remembers its client, which nbclient does not close."""

    connected: KernelClient | None = None
    group: int  # the process group of the kernel and its children: Jupyter starts each kernel as the leader of one

    def client(self, **options: Any) -> Any:  # of `client_class`, which the base class declares as another
        self.connected = super().client(**options)
        return self.connected

    def end(self) -> None:
        """End the kernel and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.group, signal.SIGKILL)
        self.shutdown_kernel(now=True)


@dataclass(frozen=True)
class Outcome:
    """The result of one execution, by its run.json; a complete run has an `error` when a cell after run.finish failed.

    `put_back`: it failed before it made anything, and the earlier complete run is in its place again.
    """

    complete: bool
    error: str | None
    seconds: float
    put_back: bool = False


def execute_run(notebook: Path, folder: Path, values: Mapping[str, Any], root: Path, status: Status) -> Outcome:
    """Execute a notebook that records a run, and judge it only by the run.json that this execution wrote."""
    kept = RunFolder(folder)
    before = kept.record
    began = time.monotonic()
    error = execute(notebook, folder, values, root, status)
    seconds = time.monotonic() - began
    record = kept.read()
    if record is None or (before is not None and record["session"] == before["session"]):
        outcome = Outcome(False, error or "its notebook ended without Run.start", seconds, kept.put_back())
    elif kept.is_complete:
        outcome = Outcome(True, error, seconds)
    else:
        error = error or "its notebook ended without run.finish"
        kept.fail(error, seconds)
        outcome = Outcome(False, error, seconds, kept.put_back())
    with contextlib.suppress(FileNotFoundError):  # a full disk may have kept Papermill from writing it
        os.replace(folder / RUNNING_NOTEBOOK, folder / (FAILED_NOTEBOOK if outcome.put_back else NOTEBOOK))
    return outcome


def execute(notebook: Path, folder: Path, values: Mapping[str, Any], root: Path, status: Status) -> str | None:
    """Execute a notebook in the project root, into the folder's running.ipynb, and return its error or None.

    Printed lines go to `status`, and with standard error to log.txt. On Ctrl-C and SIGTERM, even repeated ones, the
    kernel and its children are ended and then `KeyboardInterrupt` is raised.
    """
    folder.mkdir(parents=True, exist_ok=True)
    errors: list[Exception] = []
    with stoppable() as stop, (folder / LOG).open("a", encoding="utf-8") as log:
        log.write(f"{BEGINS}{datetime.datetime.now().isoformat(sep=' ', timespec='seconds')} {notebook.stem}\n")
        log.flush()
        with _kernel(notebook, root, log) as kernel:
            lines = Lines(log, status.note)
            # In a thread, so that this one can show progress and end the kernel on a stop request.
            arguments = (notebook, folder / RUNNING_NOTEBOOK, values, kernel, lines, errors)
            work = threading.Thread(target=_papermill, args=arguments, daemon=True)
            work.start()
            while work.is_alive() and not stop.asked:
                work.join(timeout=TICK_S)
                status.show()
            if stop.asked:
                kernel.end()
                work.join(timeout=10)  # Papermill notices the end and saves the notebook
            lines.close()
        stop.check()
    return _sentence(errors[0]) if errors else None


def _papermill(
    notebook: Path, output: Path, values: Mapping, kernel: _Kernel, lines: "Lines", errors: list[Exception]
) -> None:
    try:
        papermill.execute_notebook(
            _literal(notebook),
            _literal(output),
            dict(values),
            kernel_name="python3",
            progress_bar=False,
            stdout_file=lines,
            stderr_file=Lines(lines.log),
            km=kernel,
        )
    except Exception as error:  # the main thread reports it
        errors.append(error)
    finally:
        if kernel.connected is not None:
            kernel.connected.stop_channels()


def _literal(path: Path) -> str:
    # Papermill formats paths: braces in them must be doubled.
    return str(path).replace("{", "{{").replace("}", "}}")


@contextlib.contextmanager
def _kernel(notebook: Path, root: Path, log: TextIO) -> Iterator[_Kernel]:
    kernel = _Kernel(kernel_name="python3", client_class="jupyter_client.asynchronous.AsyncKernelClient")
    # The Python that runs this command, not the one that the user's kernel spec python3 names.
    spec = kernel.kernel_spec
    if spec is None:
        raise InputError("Jupyter has no kernel python3; install ipykernel")
    spec.argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel.start_kernel(
        cwd=str(root),
        env=kernel_environment(notebook),
        extra_arguments=["--HistoryManager.hist_file=:memory:"],
        stdout=log.fileno(),
        stderr=log.fileno(),
    )
    provisioner: Any = kernel.provisioner  # the one for local processes, which has a process ID
    kernel.group = provisioner.pid
    guard = subprocess.Popen(
        [sys.executable, "-ISc", GUARD, str(kernel.group)], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        yield kernel
    finally:
        kernel.end()
        guard.kill()
        guard.communicate()


class Lines:
    """A stream that copies text into a log and passes each line to `say`, as a terminal would show it."""

    def __init__(self, log: TextIO, say: Callable[[str], None] = lambda line: None):
        self.log, self.say, self.rest = log, say, ""

    def write(self, text: str) -> None:
        """Write text of any length; a line may come in pieces."""
        self.log.write(text)
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            self.say(line.rstrip("\r").rsplit("\r", 1)[-1])

    def flush(self) -> None:
        """Flush the log."""
        self.log.flush()

    def close(self) -> None:
        """Flush the log, and pass on a last line without an end."""
        self.flush()
        if self.rest:
            self.write("\n")


def last_lines(folder: Path, most: int = 8) -> list[str]:
    """Return the last lines that the last execution in a folder printed, each cut to 200 characters."""
    try:
        text = (folder / LOG).read_bytes().decode(errors="replace")
    except OSError:
        return []
    lines = text.rpartition(BEGINS)[2].split("\n")[1:]
    lines = [line for line in lines if line.strip() and not line.startswith("[IPKernelApp]")]  # printed at every start
    return [line.rsplit("\r", 1)[-1][:200] for line in lines[-most:]]


def _sentence(error: Exception) -> str:
    if isinstance(error, PapermillExecutionError):
        if error.ename == "CellExecutionError":  # from Papermill, where IPython printed the error as text
            return "several errors at once, which the log shows"
        first = str(error.evalue).strip().split("\n")[0]
        return first if error.ename == "InputError" else f"{error.ename}: {first}"
    if "Kernel died" in str(error):
        return "its kernel died; the usual reason is that memory ran out"
    return f"{type(error).__name__}: {error}"

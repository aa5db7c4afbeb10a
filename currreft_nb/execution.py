"""Execute one notebook with Papermill: in a kernel of its own, its printed lines shown as they come, gone when we are.

Nothing here says whether the notebook succeeded: Papermill marks every cell of a killed kernel as completed. `run.json`
says.
"""

import contextlib
import datetime
import fcntl
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import papermill
from jupyter_client.client import KernelClient
from jupyter_client.manager import KernelManager
from papermill.exceptions import PapermillExecutionError

from currreft_nb import InputError, machine
from currreft_nb.records import mark_failed, read_record
from currreft_nb.runs import NOTEBOOK_VARIABLE

NOTEBOOK = "notebook.ipynb"
LOG = "log.txt"
LOCK = ".lock"
logging.getLogger("papermill").addHandler(logging.NullHandler())  # what it has to say, run.json and log.txt say better
# Progress bars become one line per refresh in a log; the training callback prints plain lines instead.
QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, or raise `InputError` that names the holder; a dead process holds nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise InputError(
                f"{folder} is being run already by {_holder(stream.read())}; wait for it or stop it"
            ) from None
        stream.truncate(0)
        since = datetime.datetime.now().isoformat(sep=" ", timespec="seconds")
        json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": since}, stream)
        stream.flush()
        try:
            yield
        finally:
            # The file stays: deleting it would let a third process lock another file of the same name.
            stream.truncate(0)


def _holder(text: str) -> str:
    try:
        note = json.loads(text)
    except json.JSONDecodeError:  # caught between its locking and its writing
        return "another process"
    return f"process {note['pid']} on {note['host']} since {note['since']}"


def kernel_environment(notebook: Path) -> dict[str, str]:
    """Return the environment of a kernel: ours, without progress bars, with one card where several would be visible."""
    environment = QUIET | dict(os.environ) | {NOTEBOOK_VARIABLE: str(notebook)}
    environment.pop("MPLBACKEND", None)  # "Agg" from a shell would hide every figure
    # TRL refuses to train in a process that sees several cards, and CUDA reads this once, when torch starts.
    if "CUDA_VISIBLE_DEVICES" not in environment and len(machine.cards()) > 1:
        environment["CUDA_VISIBLE_DEVICES"] = "0"
    return environment


class _Kernel(KernelManager):
    """A kernel that remembers its client: nbclient closes no client of a kernel that it did not start itself."""

    talker: KernelClient | None = None

    def client(self, **options: Any) -> Any:  # of the class that was asked for, which the base declares as another
        self.talker = super().client(**options)
        return self.talker

    def stop_talking(self) -> None:
        if self.talker is not None:
            self.talker.stop_channels()


@dataclass(frozen=True)
class Outcome:
    """What became of one execution, as its run.json says; a complete one has an `error` if a later cell failed."""

    complete: bool
    error: str | None
    seconds: float


def execute_run(notebook: Path, folder: Path, values: Mapping[str, Any], root: Path) -> Outcome:
    """Execute a notebook that records a run, and judge it only by the run.json that this execution wrote."""
    before = read_record(folder)
    began = time.monotonic()
    error = execute(notebook, folder, values, root)
    seconds = time.monotonic() - began
    record = read_record(folder)
    if record is None or (before is not None and record["session"] == before["session"]):
        return Outcome(False, error or "its notebook ended without Run.start", seconds)
    if record["status"] == "complete":
        return Outcome(True, error, seconds)
    error = error or "its notebook ended without run.finish"
    mark_failed(folder, record["session"], error, seconds)
    return Outcome(False, error, seconds)


def execute(notebook: Path, folder: Path, values: Mapping[str, Any], root: Path) -> str | None:
    """Execute a notebook in the project root, into the folder's notebook.ipynb; return what stopped it, or None.

    Printed lines go to standard output as they come, and with everything on standard error to log.txt. On Ctrl-C and on
    SIGTERM the kernel and its children are ended before `KeyboardInterrupt` goes on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    errors: list[Exception] = []
    with (folder / LOG).open("a", encoding="utf-8") as log, _kernel(notebook, root, log) as kernel:
        console = Lines(log, show=True)
        work = threading.Thread(
            target=_papermill, args=(notebook, folder, values, kernel, console, log, errors), daemon=True
        )
        try:
            work.start()
            work.join()
        except KeyboardInterrupt:
            _end(kernel)
            work.join(timeout=10)  # Papermill notices the end and saves the notebook
            raise
        finally:
            console.close()
    return _sentence(errors[0]) if errors else None


def _papermill(
    notebook: Path,
    folder: Path,
    values: Mapping[str, Any],
    kernel: _Kernel,
    console: "Lines",
    log: TextIO,
    errors: list[Exception],
) -> None:
    # In a thread, so that Ctrl-C reaches the main thread and not nbclient's own handler, which would hide it.
    try:
        papermill.execute_notebook(
            _literal(notebook),
            _literal(folder / NOTEBOOK),
            dict(values),
            kernel_name="python3",
            progress_bar=False,
            stdout_file=console,
            stderr_file=Lines(log, show=False),
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
    try:
        yield kernel
    finally:
        _end(kernel)


def _end(kernel: KernelManager) -> None:
    """End the kernel and all that it started; a second Ctrl-C meanwhile changes nothing."""
    with _deaf():
        pid = getattr(kernel.provisioner, "pid", None)  # none before it has started
        if kernel.has_kernel and pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # Jupyter starts each kernel as leader of a group
        kernel.shutdown_kernel(now=True)


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM end what runs inside as Ctrl-C does, kernel included."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Lines:
    """A stream that copies what a notebook prints into a log and, line by line and indented, onto standard output."""

    def __init__(self, log: TextIO, show: bool):
        self.log, self.show, self.rest = log, show, ""

    def write(self, text: str) -> None:
        """Take text in pieces of any size."""
        self.log.write(text)
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            self._say(line)

    def flush(self) -> None:
        """Bring the log up to date."""
        self.log.flush()

    def close(self) -> None:
        """Show a last line that was not ended."""
        if self.rest:
            self._say(self.rest)
            self.rest = ""

    def _say(self, line: str) -> None:
        if self.show:
            print("      " + line.rstrip("\r").rsplit("\r", 1)[-1], flush=True)


def _sentence(error: Exception) -> str:
    if isinstance(error, PapermillExecutionError):
        first = str(error.evalue).strip().split("\n")[0]
        return first if error.ename == "InputError" else f"{error.ename}: {first}"
    if "Kernel died" in str(error):
        return "its kernel died; the usual reason is that memory ran out"
    return f"{type(error).__name__}: {error}"

"""Symbolic comparison by math-verify in one worker process, which can be stopped however deep in a computation it is.

Nothing inside Python can interrupt `10**10**10`, and math-verify's own alarms work in the main thread only. So a
process of its own does the work, started afresh (never forked: the parent may hold a GPU and threads) as a plain
script, so that it works the same from a notebook, which has no main file. The limit is on the time it computes, not
on the clock: a busy machine changes no result. Where it is exceeded the system kills the process, and the next
question starts another.
"""

import atexit
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading

TIMED = hasattr(signal, "setitimer")  # Windows has no processor timer: there only the parent's clock limits the worker
COMPUTE_S = 3.0  # of processor time per comparison; a usual one takes 0.01
WAIT_S = 600.0 if TIMED else 30.0  # on the clock; with the timer it only ends a worker that hangs without computing
START_S = 300.0  # on the clock, for the worker to import its libraries
MEMORY_BYTES = 2 * 1024**3


class _Worker:
    """The worker process with a thread that reads its lines, so that waiting for one can end."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "-P", os.path.abspath(__file__)],  # -P: the folder of this file has a math.py
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            text=True,
            encoding="utf-8",
        )
        assert self.process.stdin is not None and self.process.stdout is not None  # pipes, as asked for
        self.questions, self.answers = self.process.stdin, self.process.stdout
        self.lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        started = self._next(START_S)
        if started != "ready":
            self.stop()
            raise RuntimeError(f"the math-verify worker did not start: {started or 'it ended without a word'}")

    def _read(self) -> None:
        for line in self.answers:
            self.lines.put(json.loads(line))
        self.lines.put(None)

    def _next(self, seconds: float) -> str | None:
        try:
            return self.lines.get(timeout=seconds)
        except queue.Empty:
            return None

    def ask(self, gold: str, answer: str) -> str | None:
        """Return the worker's verdict, or None if it ended or took too long."""
        try:
            self.questions.write(json.dumps([gold, answer]) + "\n")
            self.questions.flush()
        except OSError:  # it ended since the last question, for instance for lack of memory
            return None
        return self._next(WAIT_S)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(OSError):  # of a question that it did not live to read
            self.questions.close()


_lock = threading.Lock()
_worker: _Worker | None = None


def verify(gold: str, answer: str) -> str:
    """Compare two LaTeX expressions; return "ok", "wrong", "not_parsed", "gold_not_parsed" or "verifier_timeout".

    Raises `RuntimeError` if the worker cannot be started: a score made of that would blame the model.
    """
    global _worker
    with _lock:
        if _worker and (_worker.owner != os.getpid() or _worker.process.poll() is not None):
            _worker = None  # it belongs to the process that this one was forked from, or has ended
        _worker = _worker or _Worker()
        verdict = None
        try:
            verdict = _worker.ask(gold, answer)
        finally:  # also when a notebook's interrupt comes in: its late answer must not pass for the next one
            if verdict is None:
                _worker.stop()
                _worker = None
        return verdict or "verifier_timeout"


@atexit.register
def stop() -> None:
    """End the worker, if there is one; the next comparison starts another."""
    global _worker
    if _worker and _worker.owner == os.getpid():
        _worker.stop()
    _worker = None


def _serve() -> None:
    """Answer questions from standard input until it ends: what the worker process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt in the notebook is the parent's matter
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not pass for a verdict
    try:
        _compare("\\sqrt{12}", "2\\sqrt{3}")  # imports and first-time work, which the limit below shall not count
        started = "ready"
    except ImportError as problem:
        started = str(problem)
    _limit_memory()
    print(json.dumps(started), file=replies, flush=True)
    for line in sys.stdin:
        if TIMED:
            signal.setitimer(signal.ITIMER_PROF, COMPUTE_S)  # when it runs out, the system ends this process
        verdict = _compare(*json.loads(line))
        if TIMED:
            signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(verdict), file=replies, flush=True)


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # not every system has such a limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _compare(gold: str, answer: str) -> str:
    from math_verify import LatexExtractionConfig, parse, verify

    def read(text: str) -> list:
        # only as one formula from end to end: otherwise numbers are picked out of sentences
        return parse(f"${text}$", [LatexExtractionConfig()], "no_fallback", "first_match", parsing_timeout=None)

    parsed = read(gold)
    if not parsed:
        return "gold_not_parsed"
    found = read(answer)
    if not found:
        return "not_parsed"
    return "ok" if verify(parsed, found, timeout_seconds=None) else "wrong"


if __name__ == "__main__":
    _serve()

"""Compare formulas by math-verify in a worker process, which can be killed in the middle of a computation.

Nothing inside Python can interrupt `10**10**10`, and math-verify's own alarms work in the main thread only. The worker
is started as a script: not forked, because the parent may hold a GPU and threads, and not by `multiprocessing`, because
a notebook has no main file. The limit is on processor time, not on the clock, so that a busy machine changes no result.
When it is exceeded, the system kills the worker, and the next comparison starts another.
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

TIMED = hasattr(signal, "setitimer")  # Windows has no processor timer; there the parent's clock is the only limit
COMPUTE_S = 3.0  # of processor time per comparison; a usual one takes 0.01
WAIT_S = 600.0 if TIMED else 30.0  # on the clock; with the timer it ends only a worker that hangs without computing
START_S = 300.0  # on the clock, for the worker to import its libraries
MEMORY_BYTES = 2 * 1024**3


class _Worker:
    """The worker process, and a thread that reads its lines, so that waiting for one can time out."""

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
            raise RuntimeError(f"the math-verify worker did not start: {started or 'it ended without a message'}")

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
        except OSError:  # it ended after the last comparison, for instance for lack of memory
            return None
        return self._next(WAIT_S)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(OSError):  # of a line that the worker has not read
            self.questions.close()


_lock = threading.Lock()
_worker: _Worker | None = None


def verify(gold: str, answer: str) -> str:
    """Compare two LaTeX expressions; return "ok", "wrong", "not_parsed", "gold_not_parsed" or "verifier_timeout".

    Raises `RuntimeError` if the worker cannot be started, which is no fault of the answer.
    """
    global _worker
    with _lock:
        if _worker and (_worker.owner != os.getpid() or _worker.process.poll() is not None):
            _worker = None  # it belongs to the process from which this one was forked, or has ended
        _worker = _worker or _Worker()
        verdict = None
        try:
            verdict = _worker.ask(gold, answer)
        finally:  # also after a notebook's interrupt: a late verdict must not pass for the next one
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
    """Compare pairs from standard input until it ends; the worker process runs this."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles an interrupt of the notebook
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # text that a library prints must not pass for a verdict
    try:
        _compare("\\sqrt{12}", "2\\sqrt{3}")  # imports and first-time work, which the limit below must not count
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

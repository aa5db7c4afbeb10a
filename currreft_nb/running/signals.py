"""Record Ctrl-C, SIGTERM and SIGHUP as a stop request instead of raising, so that cleanup is never interrupted.

An exception from a signal handler may strike anywhere, also while a kernel is being started or ended. The code that
waits looks at `asked` instead, and ends the kernel itself.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

SIGNALS = [signal.SIGINT, signal.SIGTERM]
SIGNALS += [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []  # Windows has none


class Stop:
    """A stop request. `asked` is a plain attribute, because a signal handler must not wait for a lock."""

    asked = False

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if a stop was asked for."""
        if self.asked:
            raise KeyboardInterrupt


_current: list[Stop] = []


@contextlib.contextmanager
def stoppable() -> Iterator[Stop]:
    """Record stop requests inside the block. When nested, and in other threads, the outer block records them.

    Ignored signals stay ignored: SIGHUP under `nohup`, Ctrl-C in the background of a script.
    """
    if _current or threading.current_thread() is not threading.main_thread():
        yield _current[0] if _current else Stop()
        return
    stop = Stop()

    def record(number: int, frame: Any) -> None:
        stop.asked = True

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in [number for number, handler in before.items() if handler is not signal.SIG_IGN]:
        signal.signal(number, record)
    _current.append(stop)
    try:
        yield stop
    finally:
        _current.clear()
        for number, handler in before.items():
            if signal.getsignal(number) is record:
                signal.signal(number, handler)


def ignore_signals() -> None:
    """Ignore further signals during the last steps of this process."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)

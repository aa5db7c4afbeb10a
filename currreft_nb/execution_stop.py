"""Ctrl-C, SIGTERM and a closed terminal, taken down as a wish: however often it comes, nothing is cut in half.

An exception that a signal raises may strike anywhere, also while a kernel is being started or ended. So nothing is
raised: whoever waits looks at `asked` and ends what it has begun.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Whether somebody has asked for an end. A plain attribute: a handler must not wait for a lock."""

    asked = False

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if somebody has."""
        if self.asked:
            raise KeyboardInterrupt


_current: list[Stop] = []


@contextlib.contextmanager
def stoppable() -> Iterator[Stop]:
    """Note inside whether an end is asked for, instead of ending. Nested, and in other threads, the outer one counts.

    What was told to be ignored stays so, as SIGHUP is under `nohup` and Ctrl-C in a script's background.
    """
    if _current or threading.current_thread() is not threading.main_thread():
        yield _current[0] if _current else Stop()
        return
    stop = Stop()

    def note(number: int, frame: Any) -> None:
        stop.asked = True

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in [number for number, handler in before.items() if handler is not signal.SIG_IGN]:
        signal.signal(number, note)
    _current.append(stop)
    try:
        yield stop
    finally:
        _current.clear()
        for number, handler in before.items():
            if signal.getsignal(number) is note:
                signal.signal(number, handler)


def ignore_signals() -> None:
    """Let nothing disturb the few steps that are left to the end of this process."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)

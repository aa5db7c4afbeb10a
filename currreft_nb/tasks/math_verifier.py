"""Compare formulas in a worker process, which can be killed in the middle of a computation.

math-verify's parser (latex2sympy2) reads them, without its habit to take units off: `60t` is no 60. SymPy compares: two
formulas are equal if their difference is zero, two equations if one is a multiple of the other, two inequalities if it
is a positive one. math-verify compares sets and intervals. Decimals are exact, except for one that stands alone: it is
equal to the constants that round to it (`slack`).

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
import re
import signal
import subprocess
import sys
import threading
from fractions import Fraction
from functools import lru_cache
from typing import Any

TIMED = hasattr(signal, "setitimer")  # Windows has no processor timer; there the parent's clock is the only limit
COMPUTE_S = 3.0  # of processor time per comparison; a usual one takes 0.01
WAIT_S = 600.0 if TIMED else 30.0  # on the clock; with the timer it ends only a worker that hangs without computing
START_S = 300.0  # on the clock, for the worker to import its libraries
MEMORY_BYTES = 2 * 1024**3

TOLERANCE = Fraction(1, 10**6)  # relative, of a decimal that is rounded
LEAST_DIGITS = 6  # of a decimal that may be rounded: 2.5 is exact
_DECIMAL = re.compile(
    r"[-+]? ?(\d*)\.(\d+)(?: ?(?:[eE]|\\(?:times|cdot) ?10 ?\^) ?\{? ?([-+]?\d{1,3}) ?\}?)?(?: ?\\?%)?"
)
_D = re.compile(r"(?<![\\a-zA-Z])d(?![a-zA-Z_])|(?<=[a-zA-Z])d(?= ?\\)")  # a variable, not a differential: d\cdot 3
_POINTS = (0.7370, -1.3190)  # where formulas are compared before they are simplified


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

    def ask(self, *question: str) -> str | None:
        """Return the worker's verdict, or None if it ended or took too long."""
        try:
            self.questions.write(json.dumps(question) + "\n")
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


def slack(decimal: str) -> Fraction:
    """Return how far a number may be from a decimal that is its rounding: half of the last place, a millionth at most.

    0 for a decimal of fewer than six digits and for other text: these are exact.

    >>> slack("0.333333"), slack("2.5"), slack("3")
    (Fraction(166667, 500000000000), Fraction(0, 1), Fraction(0, 1))
    """
    match = _DECIMAL.fullmatch(decimal)
    if not match:
        return Fraction(0)
    whole, part, power = match.groups()
    digits, place = int(whole + part), Fraction(10) ** (int(power or 0) - len(part))
    if digits < 10 ** (LEAST_DIGITS - 1):
        return Fraction(0)
    return min(TOLERANCE * (digits + 1) * place, place / 2)


def verify(gold: str, answer: str) -> str:
    """Compare two LaTeX expressions; return "ok", "wrong", "not_parsed", "gold_not_parsed" or "verifier_timeout".

    Raises `RuntimeError` if the worker cannot be started, which is no fault of the answer.
    """
    return _ask(gold, answer)


def verify_near(gold: str, answer: str, distance: Fraction) -> str:
    """Return the same, where constants are equal that differ by no more than the distance."""
    return _ask(gold, answer, str(distance))


def _ask(*question: str) -> str:
    global _worker
    with _lock:
        if _worker and (_worker.owner != os.getpid() or _worker.process.poll() is not None):
            _worker = None  # it belongs to the process from which this one was forked, or has ended
        _worker = _worker or _Worker()
        verdict = None
        try:
            verdict = _worker.ask(*question)
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


def _compare(gold: str, answer: str, distance: str = "0") -> str:
    parsed = _read(gold)
    if parsed is None:
        return "gold_not_parsed"
    found = _read(answer)
    if found is None:
        return "not_parsed"
    try:
        equal = _equal(parsed, found, max(slack(gold), slack(answer), Fraction(distance)))
    except Exception:  # of SymPy, for objects that it cannot subtract, divide or simplify
        equal = False
    return "ok" if equal else "wrong"


@lru_cache(maxsize=1000)  # one gold is compared with many answers
def _read(text: str) -> Any:
    """Return the SymPy object of a LaTeX expression, with exact decimals, or None."""
    from latex2sympy2_extended import NormalizationConfig, latex2sympy, normalize_latex
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig
    from math_verify.grader import should_treat_as_complex
    from sympy import Float, MatrixBase, Rational

    cleaning = NormalizationConfig(malformed_operators=True, nits=True, boxed="none")  # and units stay
    try:
        found: Any = latex2sympy(
            normalize_latex(_D.sub("{d}", text), cleaning),
            is_real=not should_treat_as_complex(text),
            convert_degrees=False,
            normalization_config=None,
            conversion_config=ConversionConfig(lowercase_symbols=False),
        )
        if isinstance(found, MatrixBase):
            found = found.as_immutable()
        return found.xreplace({number: Rational(str(number)) for number in found.atoms(Float)})
    except Exception:  # the parser raises plain ones, and SymPy any for an object that cannot be
        return None


def _equal(gold: Any, answer: Any, distance: Fraction) -> bool:
    from math_verify import verify as same_sets
    from sympy import Eq, Expr, MatrixBase, Ne
    from sympy.core.relational import Relational

    if isinstance(gold, MatrixBase) and isinstance(answer, MatrixBase):
        return gold.shape == answer.shape and all(_same_value(a, b, distance) for a, b in zip(gold, answer))
    if isinstance(gold, Expr) and isinstance(answer, Expr):
        return _same_value(gold, answer, distance)
    if isinstance(gold, Relational) and isinstance(answer, Relational):
        if isinstance(gold, (Eq, Ne)):
            return type(gold) is type(answer) and _same_equation(gold, answer)
        return _same_order(gold, answer)
    return bool(same_sets(gold, answer, timeout_seconds=None))


def _same_value(gold: Any, answer: Any, distance: Fraction) -> bool:
    """Say whether two formulas are equal: first at some points, which tells most wrong ones at once, then exactly."""
    from sympy import Rational, nan, oo, simplify, zoo

    if gold.has(nan, oo, -oo, zoo) or answer.has(nan, oo, -oo, zoo):
        return bool(gold == answer and not gold.has(nan, zoo))
    difference = (gold - answer).doit()
    if difference == 0:
        return True
    symbols = difference.free_symbols
    if distance and not symbols:
        return bool(abs(difference).evalf(30) <= Rational(distance.numerator, distance.denominator))
    for point in _POINTS:
        left, right = _at(point, gold, symbols), _at(point, answer, symbols)
        if left is not None and right is not None and abs(left - right) > 1e-9 * max(abs(left), abs(right)):
            return False
    return bool(simplify(difference) == 0)


def _same_equation(gold: Any, answer: Any) -> bool:
    """Say whether one equation is a multiple of the other, with everything on one side and no denominator."""
    from sympy import cancel, fraction, together

    left, right = (fraction(cancel(together(relation.lhs - relation.rhs)))[0] for relation in (gold, answer))
    return _factor(left, right) is not None


def _same_order(gold: Any, answer: Any) -> bool:
    """Say whether one inequality is a positive multiple of the other."""
    strict = [relation.rel_op in ("<", ">") for relation in (gold, answer)]
    factor = _factor(gold.gts - gold.lts, answer.gts - answer.lts)
    return strict[0] == strict[1] and factor is not None and bool(factor > 0)


def _factor(gold: Any, answer: Any) -> Any:
    """Return the number that the one formula is times the other, or None."""
    from sympy import simplify

    symbols = gold.free_symbols
    if not symbols or symbols != answer.free_symbols:
        return None
    first, second = (_at(point, gold / answer, symbols) for point in _POINTS)
    if first is not None and second is not None and abs(first - second) > 1e-9 * abs(first):
        return None
    ratio = simplify(gold / answer)
    return ratio if ratio.is_number and ratio.is_finite and ratio != 0 else None


def _at(point: float, formula: Any, symbols: Any) -> complex | None:
    """Return the formula's value where its variables are numbers near the point, or None where it has none."""
    values = {symbol: point + place / 7 for place, symbol in enumerate(sorted(symbols, key=str))}
    try:
        value = complex(formula.doit().subs(values).evalf(30))
    except (TypeError, ValueError, OverflowError):
        return None
    return value if abs(value) < float("inf") else None


if __name__ == "__main__":
    _serve()

"""How many completions a second the rewards score, by task and stage, and against math-verify called plainly.

    python tests/benchmarks/rewards.py [--seconds 1]

One process, one core: rates are per second of processor time, so that a busy machine changes nothing. Every completion
is a different text, so that no cache answers for the rule. Plain math-verify is `verify(parse(gold), parse(answer))` on
the same numbers, in the same run, alternating with ours; both must give the same verdicts. Exit status 1 where a rule
that needs no symbolic mathematics scores fewer than 20,000 a second, where ours is less than 5 times as fast as plain
math-verify on numbers, or where a verdict differs.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable
from fractions import Fraction

from math_verify import parse, verify

from currreft_nb.core.samples import LETTERS, STAGES, TRAINED_TASKS, Sample
from currreft_nb.method.curriculum import pose
from currreft_nb.method.rewards import score
from currreft_nb.tasks.math_equality import compare_math

CANDIDATES = ["bird", "cat", "cow", "dog", "horse", "sheep"]
LEAST, LEAST_RATIO = 20_000, 5  # completions a second; times as fast as plain math-verify
ROUNDS = 5


def question(task: str) -> Sample:
    """Return an open question of the task."""
    common = {"id": task, "task": task, "split": "train", "source": "benchmark", "question": "What is it?"}
    if task == "detection":
        candidates = [[8 * i, 8 * i, 8 * i + 20, 8 * i + 20] for i in range(5)]
        return Sample(**common, size=(640, 480), answer=[candidates[2]], extra={"candidates": candidates})
    if task == "classification":
        return Sample(**common, answer=["cat", "dog"], extra={"candidates": CANDIDATES})
    return Sample(**common, answer="3", extra={"candidates": list("0123456")})


def answer_text(rng: random.Random, sample: Sample) -> str:
    """Return an answer of the right kind, right or wrong by chance."""
    if sample.stage == "binary":
        return rng.choice(["yes", "no", "Yes."])
    if sample.stage == "choice":
        return ", ".join(rng.sample(LETTERS[: len(sample.options)], rng.randint(1, 2)))
    if sample.task == "detection":
        return f'{{"bbox_2d": {[rng.randrange(300) for _ in range(4)]}}}'
    if sample.task == "classification":
        return ", ".join(rng.sample(CANDIDATES, rng.randint(1, 3)))
    return written(rng, Fraction(rng.choice([3, rng.randrange(10**6)]), rng.choice([1, 1, rng.randrange(1, 1000)])))


def written(rng: random.Random, value: Fraction) -> str:
    """Return a number as text: as a fraction, in lowest terms or not, or as a decimal where that is exact."""
    factor = rng.randrange(1, 1000)
    forms = [f"{value.numerator * factor}/{value.denominator * factor}", str(value)]
    if 10**6 % value.denominator == 0:
        forms += [f"{float(value):.6f}", f"{float(value):.6f}".rstrip("0").rstrip(".")]
    return rng.choice(forms)


def numbers(count: int, seed: int) -> list[tuple[str, str]]:
    """Return pairs of gold and answer, both numbers; in half of them the same number, mostly in another form."""
    rng, pairs = random.Random(seed), []
    for _ in range(count):
        values = [Fraction(rng.randrange(-9999, 9999), rng.choice([1, 2, 8, 10, 100, 3, 7])) for _ in range(2)]
        pairs.append((written(rng, values[0]), written(rng, values[rng.randrange(2)])))
    return pairs


def completions(sample: Sample, count: int, seed: int) -> list[str]:
    """Return different completions of the right form."""
    rng = random.Random(seed)
    return [f"<think>number {i}</think><answer>{answer_text(rng, sample)}</answer>" for i in range(count)]


def rate(work: Callable[[object], object], items: list, seconds: float) -> float:
    """Return how many items a second of processor time the work takes, over at most `seconds`."""
    start = time.process_time()
    done = 0
    while done < len(items) and time.process_time() - start < seconds:
        work(items[done])
        done += 1
    return done / (time.process_time() - start)


def plain(pair: tuple[str, str]) -> bool:
    """Say what math-verify says about gold and answer."""
    return verify(parse(pair[0]), parse(pair[1]))


def ours(pair: tuple[str, str]) -> bool:
    """Say whether the answer to a question with that gold earns the reward."""
    sample = Sample(id="n", task="math", split="train", source="s", question="?", answer=pair[0])
    return score(sample, f"<answer>{pair[1]}</answer>").value == 1


def main() -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="longest time for each measurement")
    seconds = parser.parse_args().seconds
    print(f"{'task':16}{'stage':8}{'completions/s':>15}")
    slowest = float("inf")
    for task in TRAINED_TASKS:
        for stage in STAGES:
            sample = pose(question(task), stage, seed=0)
            texts = completions(sample, 200_000, seed=1)
            found = rate(lambda text, s=sample: score(s, text), texts, seconds)
            slowest = min(slowest, found)
            print(f"{task:16}{stage:8}{found:15,.0f}")
    fast, slow, differ = [], [], 0
    for seed in range(ROUNDS):
        pairs = numbers(20_000, seed)
        fast.append(rate(ours, pairs, seconds / 2))
        slow.append(rate(plain, pairs, seconds / 2))
        differ += sum(plain(pair) != (compare_math(*pair) == "ok") for pair in pairs[:200])
    ratios = sorted(a / b for a, b in zip(fast, slow))
    print(f"numbers: ours {max(fast):,.0f}/s, plain math-verify {max(slow):,.0f}/s")
    print(f"ratio {ratios[ROUNDS // 2]:.1f} (median of {ROUNDS}, {ratios[0]:.1f} to {ratios[-1]:.1f})")
    print(f"{differ} of {ROUNDS * 200} verdicts differ")
    return int(slowest < LEAST or ratios[0] < LEAST_RATIO or differ > 0)


if __name__ == "__main__":
    sys.exit(main())

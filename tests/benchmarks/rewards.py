"""How many completions a second the rewards score, by task and stage, and against math-verify called plainly.

    python tests/benchmarks/rewards.py [--seconds 1]

One process, one core. Every completion is a different text, so that no cache answers for the rule. Plain math-verify is
`verify(parse(gold), parse(answer))` on the same numbers, in the same run, alternating with ours.
"""

import argparse
import random
import time
from collections.abc import Callable

from math_verify import parse, verify

from currreft_nb.curriculum import pose
from currreft_nb.rewards import score
from currreft_nb.samples import LETTERS, STAGES, TRAINED_TASKS, Sample

CANDIDATES = ["bird", "cat", "cow", "dog", "horse", "sheep"]


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
    return rng.choice(
        [f"{rng.random():.6f}", str(rng.randrange(10**6)), f"{rng.randrange(99999)}/{rng.randrange(1, 99999)}"]
    )


def completions(sample: Sample, count: int, seed: int) -> list[str]:
    """Return different completions of the right form."""
    rng = random.Random(seed)
    return [f"<think>number {i}</think><answer>{answer_text(rng, sample)}</answer>" for i in range(count)]


def rate(work: Callable[[str], object], texts: list[str], seconds: float) -> float:
    """Return how many texts a second the work takes, over at most `seconds`."""
    start = time.perf_counter()
    done = 0
    while done < len(texts) and time.perf_counter() - start < seconds:
        work(texts[done])
        done += 1
    return done / (time.perf_counter() - start)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="longest time for each measurement")
    seconds = parser.parse_args().seconds
    print(f"{'task':16}{'stage':8}{'completions/s':>15}")
    for task in TRAINED_TASKS:
        for stage in STAGES:
            sample = pose(question(task), stage, seed=0)
            texts = completions(sample, 200_000, seed=1)
            print(f"{task:16}{stage:8}{rate(lambda text, s=sample: score(s, text), texts, seconds):15,.0f}")
    sample = question("math")
    ours, plain = [], []
    for seed in range(5):
        texts = completions(sample, 50_000, seed=100 + seed)
        ours.append(rate(lambda text: score(sample, text), texts, seconds / 2))
        answers = [text.partition("<answer>")[2].removesuffix("</answer>") for text in texts]
        plain.append(rate(lambda text: verify(parse("3"), parse(text)), answers, seconds / 2))
    ratios = sorted(a / b for a, b in zip(ours, plain))
    print(f"numbers: ours {max(ours):,.0f}/s, plain math-verify {max(plain):,.0f}/s")
    print(f"ratio {ratios[2]:.1f} (median of {len(ratios)}, {ratios[0]:.1f} to {ratios[-1]:.1f})")


if __name__ == "__main__":
    main()

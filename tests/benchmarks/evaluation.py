"""How long it takes to evaluate 3,000 recorded completions, and how long SciPy's bootstrap alone would take.

    python tests/benchmarks/evaluation.py [--resamples 10000]

Five arms answered the same 600 questions of three tasks at three stages, two splits and two sources, several about each
image. They are scored through `evaluation.evaluate.evaluate`, format forced too, and written to disk; summarised, over
all and by source; and each arm is compared with the first at each stage. Then the intervals of the measures are drawn
again by `scipy.stats.bootstrap`, one at a time, on the same sums by image; both must agree within the error of drawing.
One process, and seconds of processor time, which are those of one core. Exit status 1 where the evaluation takes 10 s
or more, where SciPy takes less than twice as long as ours for the same intervals, or where a bound differs by a fifth
of an interval's width (so few questions have few possible means, which drawing may hit or miss).
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from currreft_nb.core.samples import STAGES, TRAINED_TASKS, Sample
from currreft_nb.evaluation.evaluate import evaluate
from currreft_nb.method.curriculum import pose
from currreft_nb.metrics.comparisons import compare
from currreft_nb.metrics.intervals import cluster_sums, codes_of, exact_interval, mean_intervals, widened
from currreft_nb.metrics.scores import summarise

ARMS = {"base": 0.3, "sft": 0.4, "rl": 0.45, "curr_rl": 0.5, "curr_reft": 0.55}  # how often right
SHARES = ("correct", "value", "format", "iou", "iou_50", "iou_75", "jaccard")
QUESTIONS, MOST_S, LEAST_RATIO = 600, 10.0, 2.0
LABELS = ["bird", "cat", "cow", "dog", "horse", "sheep"]


def questions() -> list[Sample]:
    """Return the questions: of every task and stage, in two splits, from two sources, four about each image."""
    rng, samples = random.Random(0), []
    for number in range(QUESTIONS):
        task, stage = TRAINED_TASKS[number % 3], STAGES[number // 3 % 3]
        split, image = ("test_id", "test_ood")[number // 9 % 2], number // 72 * 18 + number % 18
        common = {
            "id": f"q{number}",
            "task": task,
            "split": split,
            "source": "ab"[number // 36 % 2],
            "question": "What?",
        }
        common |= {"image": f"/nowhere/{image}.png", "size": (640, 480)}
        samples.append(pose(open_question(rng, common), stage, seed=0))
    return samples


def open_question(rng: random.Random, common: dict) -> Sample:
    """Return an open question of the task that `common` names."""
    if common["task"] == "detection":
        candidates = [[float(v) for v in (60 * i, 40 * i, 60 * i + 50, 40 * i + 50)] for i in range(6)]
        return Sample(**common, answer=[rng.choice(candidates)], extra={"candidates": candidates})
    if common["task"] == "classification":
        return Sample(**common, answer=rng.sample(LABELS, 2), extra={"candidates": LABELS})
    return Sample(**common, answer=str(rng.randrange(7)), extra={"candidates": list("0123456")})


def recorded(samples: list[Sample], chance: float, seed: int) -> dict[str, str]:
    """Return an answer to each question: right, wrong, or without tags."""
    rng, answers = random.Random(seed), {}
    for sample in samples:
        text = right_text(sample) if rng.random() < chance else wrong_text(rng, sample)
        answers[sample.id] = f"<think>so</think><answer>{text}</answer>" if rng.random() < 0.8 else text
    return answers


def right_text(sample: Sample) -> str:
    """Return the right answer as a model would write it."""
    if sample.stage == "binary":
        return "yes" if sample.answer else "no"
    if sample.task == "detection" and sample.stage == "open":
        return f'{{"bbox_2d": {sample.answer[0]}}}'
    return ", ".join(sample.answer) if isinstance(sample.answer, list) else sample.answer


def wrong_text(rng: random.Random, sample: Sample) -> str:
    """Return an answer that is mostly wrong."""
    if sample.stage == "binary":
        return "no" if sample.answer else "yes"
    if sample.stage == "choice":
        return rng.choice("ABCD")
    return {"detection": "[0, 0, 30, 30]", "classification": "cat, dog", "math": str(rng.randrange(50))}[sample.task]


def whole_evaluation(samples: list[Sample], resamples: int, folder: str) -> tuple[list[dict], dict[str, float]]:
    """Return the records and the seconds of each part."""
    seconds, records = {}, []
    answers = {arm: recorded(samples, chance, seed) for seed, (arm, chance) in enumerate(ARMS.items())}
    clock = time.process_time()
    for arm, by_id in answers.items():
        generate = lambda batch, by_id=by_id: [by_id[sample.id] for sample in batch]  # noqa: E731
        force = lambda batch, texts: [f"{text}</think><answer>{text}</answer>" for text in texts]  # noqa: E731
        records += evaluate(generate, samples, arm, folder, force_function=force)
    seconds["score and store"] = time.process_time() - clock
    parts: dict[str, Callable[[], Any]] = {
        "summarise": lambda: summarise(records, resamples=resamples),
        "summarise by source": lambda: summarise(records, by=["source"], resamples=resamples),
        "compare, three stages": lambda: [compare(records, "base", stage=s, resamples=resamples) for s in STAGES],
    }
    for name, work in parts.items():
        clock = time.process_time()
        work()
        seconds[name] = time.process_time() - clock
    return records, seconds


def beside_scipy(records: list[dict], resamples: int) -> tuple[float, float, float]:
    """Return our seconds, SciPy's, and the largest difference of a bound as a share of the interval's width."""
    ours = theirs = worst = 0.0
    for _, part in pd.DataFrame(records).groupby(["arm", "mode", "task", "stage", "split"]):
        names = [name for name in SHARES if part[name].notna().all()]
        values, images = part[names].to_numpy(float), part["image"].tolist()
        clock = time.process_time()
        found = mean_intervals(values, codes_of(images), [(0.0, 1.0)] * len(names), resamples, seed=0)
        ours += time.process_time() - clock
        sums, counts = cluster_sums(values, codes_of(images))
        for interval, column in zip(found, sums.T):
            if exact_interval(column, counts, (0.0, 1.0)) is None:  # else nothing was drawn
                clock = time.process_time()
                expected = drawn_by_scipy(column, counts, resamples)
                theirs += time.process_time() - clock
                differences = [abs(a - b) for a, b in zip(interval, expected)]
                worst = max(worst, max(differences) / (expected[1] - expected[0]))
    return ours, theirs, worst


def drawn_by_scipy(sums: np.ndarray, counts: np.ndarray, resamples: int) -> tuple[float, float]:
    """Return SciPy's percentile interval of a mean over images, at the level that ours has."""
    return stats.bootstrap(
        (sums, counts),
        lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        n_resamples=resamples,
        method="percentile",
        confidence_level=widened(0.95, len(counts)),
        rng=np.random.default_rng(1),
    ).confidence_interval


def main() -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--resamples", type=int, default=10_000, help="how often the images are drawn again")
    resamples = parser.parse_args().resamples
    samples = questions()
    with tempfile.TemporaryDirectory() as folder:
        records, seconds = whole_evaluation(samples, resamples, folder)
    for name, value in seconds.items():
        print(f"{name:24}{value:8.2f} s")
    total = sum(seconds.values())
    print(f"{'all of it':24}{total:8.2f} s: {len(ARMS) * QUESTIONS:,} completions, {len(records):,} records")
    ours, theirs, worst = beside_scipy(records, resamples)
    print(f"intervals of the measures alone: ours {ours:.2f} s, scipy.stats.bootstrap {theirs:.2f} s")
    print(f"ratio {theirs / ours:.1f}; bounds differ by at most {worst:.0%} of an interval's width")
    return int(total >= MOST_S or theirs / ours < LEAST_RATIO or worst > 0.2)


if __name__ == "__main__":
    sys.exit(main())

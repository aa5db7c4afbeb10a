"""Made-up but plausible data for figures: in the shapes in which training, evaluation and curation hand it over."""

import json
import random
from pathlib import Path

import numpy as np
import pandas as pd

from currreft_nb.core.samples import Sample, to_row
from currreft_nb.method.curriculum import pose_all

ARMS = ("base", "sft", "rl", "curr_rl", "curr_reft")
TASKS = ("detection", "classification", "math")


def training_rows(stages=("binary", "choice", "open"), steps=60, seed=0):
    """Return rows as a training run logs them."""
    rng = random.Random(seed)
    rows = []
    for number, stage in enumerate(stages):
        for step in range(1, steps + 1):
            level = 1 - 0.6 * np.exp(-step / 25) - 0.1 * number
            row = {
                "step": step,
                "stage": stage,
                "format": min(1, 0.6 + step / 40),
                "zero_variance": rng.uniform(0.2, 0.3 + step / 150),
            }
            row |= {
                f"accuracy/{task}": min(1, max(0, level - 0.1 * i + rng.gauss(0, 0.06))) for i, task in enumerate(TASKS)
            }
            rows.append(row | {"accuracy": np.mean([row[f"accuracy/{task}"] for task in TASKS])})
    return rows


def score_rows(seed=0):
    """Return a table as `metrics.scores.summarise` returns it."""
    rng = random.Random(seed)
    rows = []
    for number, arm in enumerate(ARMS):
        for task in TASKS:
            for split in ("test_id", "test_ood"):
                for mode in ("natural", "forced"):
                    mean = (
                        0.35
                        + 0.12 * number
                        - (0.15 if split == "test_ood" else 0)
                        - (0.3 if mode == "natural" and arm == "base" else 0)
                    )
                    mean = min(0.98, max(0.01, mean + rng.gauss(0, 0.03)))
                    row = {
                        "arm": arm,
                        "mode": mode,
                        "task": task,
                        "stage": "open",
                        "split": split,
                        "measure": "correct",
                        "n": 100,
                    }
                    rows.append(row | {"mean": mean, "low": max(0, mean - 0.09), "high": min(1, mean + 0.09)})
    return pd.DataFrame(rows)


def probe_rows():
    """Return a table as `evaluation.pass_at_k.probe` returns it."""
    rows = []
    for task, levels in {"classification": (0.55, 0.3, 0.002), "detection": (0.6, 0.45, 0.2)}.items():
        for stage, level, chance in zip(("binary", "choice", "open"), levels, (0.5, 0.25, 0.0)):
            for k in (1, 2, 4, 8):
                value = 1 - (1 - level) ** k
                row = {"task": task, "stage": stage, "k": k, "pass_at_k": value, "chance": 1 - (1 - chance) ** k}
                rows.append(row | {"low": max(0, value - 0.08), "high": min(1, value + 0.08)})
    return rows


def data_samples(count=120, seed=0):
    """Return open samples of three tasks and what they become when posed as yes/no and multiple choice."""
    rng = random.Random(seed)
    labels = [
        "red circle",
        "blue square",
        "green star",
        "a very long label that needs shortening",
        *(f"label {i}" for i in range(20)),
    ]
    samples = []
    for number in range(count):
        common = {
            "source": "drawn",
            "split": rng.choice(["train", "train", "test_ood"]),
            "image": "/nowhere.png",
            "size": (64, 64),
        }
        x, y, side = rng.randrange(30), rng.randrange(30), rng.randrange(4, 30)
        box = [[float(x), float(y), float(x + side), float(y + side)]]
        samples.append(Sample(id=f"d{number}", task="detection", question="the star", answer=box, **common))
        answer = rng.sample(labels, k=rng.randint(1, 3))
        samples.append(Sample(id=f"c{number}", task="classification", question="what?", answer=answer, **common))
        answer = str(rng.randint(0, 6))
        candidates = {"candidates": [str(i) for i in range(7)]}
        samples.append(
            Sample(id=f"m{number}", task="math", question="how many?", answer=answer, extra=candidates, **common)
        )
    return samples


def posed_samples():
    """Return the samples posed at the two closed stages."""
    samples = data_samples()
    return [sample for stage in ("binary", "choice") for sample in pose_all(samples, stage, seed=0)[0]]


def reason_rows(seed=0):
    """Return one row per completion, as the completions of a training run give them."""
    rng = random.Random(seed)
    reasons = ("ok", "wrong", "no_answer", "no_think", "two_answers", "not_letters", "empty_answer", "too_complex")
    return [
        {"step": step, "reason": rng.choices(reasons, weights=[step, 30, max(1, 60 - step), 8, 4, 3, 2, 1])[0]}
        for step in range(1, 61)
        for _ in range(16)
    ]


def hand_group():
    """Return labels, rewards and advantages of four written-out completions."""
    labels = [
        "<think>red</think><answer>red</answer>",
        "red",
        "<answer>blue</answer>",
        "<think>a blue thing</think><answer>red, blue</answer>",
    ]
    rewards = [1.5, 0.0, 0.0, 0.7]
    spread = np.std(rewards, ddof=1) + 1e-4
    return labels, rewards, [(r - np.mean(rewards)) / spread for r in rewards]


def verdict_rows(seed=0):
    """Return one row per judged answer, some of which no rule could judge."""
    rng = random.Random(seed)
    totals = rng.choices([0, 20, 50, 84, 100, None], weights=[30, 5, 10, 25, 40, 6], k=300)
    return [{"total": total} for total in totals]


def write_samples(path, samples):
    """Write a samples file, image paths relative to its folder."""
    rows = [to_row(sample) for sample in samples]
    for row in rows:
        row["image"] = row["image"] and Path(row["image"]).relative_to(Path(path).parent).as_posix()
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))

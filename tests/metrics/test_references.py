"""The same predictions, scored by us and by independent libraries: torchvision, scikit-learn, SciPy."""

import random

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score, precision_score, recall_score
from sklearn.preprocessing import MultiLabelBinarizer

from currreft_nb.core.samples import Sample
from currreft_nb.metrics.comparisons import between_seeds, compare, sign_flip
from currreft_nb.metrics.intervals import bootstrap_interval, mean_interval, widened
from currreft_nb.metrics.scores import label_scores, measure, summarise

LABELS = ["bird", "cat", "cow", "dog", "horse", "sheep"]
COMMON = {"split": "test_id", "source": "demo", "question": "?"}


def completion_of(answer):
    return f"<think></think><answer>{answer}</answer>"


def some_box(rng, near=None):
    x, y = (rng.uniform(0, 300) for _ in range(2)) if near is None else (v + rng.uniform(-25, 25) for v in near[:2])
    x, y = max(0, x), max(0, y)
    return [round(v, 1) for v in (x, y, x + rng.uniform(20, 90), y + rng.uniform(20, 90))]


def test_overlaps_are_those_of_torchvision():
    import torch
    from torchvision.ops import box_iou

    rng = random.Random(0)
    truths = [some_box(rng) for _ in range(500)]
    answers = [some_box(rng, near=box) for box in truths]
    common = COMMON | {"task": "detection", "image": "/x.png", "size": (640, 480)}
    samples = [Sample(id="d", answer=[box], **common) for box in truths]
    found = [measure(sample, completion_of(str(box))) for sample, box in zip(samples, answers)]
    reference = box_iou(*(torch.tensor(boxes, dtype=torch.float64) for boxes in (answers, truths))).diagonal()
    assert [f["iou"] for f in found] == pytest.approx(reference.tolist())
    for name, threshold in (("correct", 0.5), ("iou_50", 0.5), ("iou_75", 0.75)):
        assert [f[name] for f in found] == (reference > threshold).double().tolist(), name
    assert 0 < sum(f["iou_75"] for f in found) < sum(f["iou_50"] for f in found) < 500


@pytest.fixture(scope="module")
def classified():
    """Return records of 300 answers about 120 images; some cannot be read, some name what is never there."""
    rng, records = random.Random(0), []
    for number in range(300):
        gold = rng.sample(LABELS[:5], rng.choice([1, 1, 2, 3]))
        given = [label for label in LABELS if rng.random() < (0.7 if label in gold else 0.15)] or ["unicorn"]
        text = completion_of(", ".join(given)) if rng.random() < 0.9 else "no tags"
        sample = Sample(id=f"c{number}", task="classification", answer=gold, image="/x.png", size=(9, 9), **COMMON)
        cell = {"arm": "rl", "mode": "natural", "task": "classification", "stage": "open", "split": "test_id"}
        records.append({**cell, "id": sample.id, "image": f"i{number % 120}", **measure(sample, text)})
    return records


def test_f1_is_that_of_scikit_learn(classified):
    binary = MultiLabelBinarizer().fit([[*r["labels"], *r["gold"]] for r in classified])
    truth, answers = (binary.transform([r[name] for r in classified]) for name in ("gold", "labels"))
    shown = [i for i, label in enumerate(binary.classes_) if label in LABELS[:5]]
    assert {"sheep", "unicorn"} <= set(binary.classes_), "what is never there is answered now and then"
    table = summarise(classified).set_index("measure")
    options = {"zero_division": 0}
    assert table.loc["f1_micro", "mean"] == pytest.approx(f1_score(truth, answers, average="micro", **options))
    assert table.loc["f1_macro", "mean"] == pytest.approx(
        f1_score(truth, answers, average="macro", labels=shown, **options)
    )
    labels = label_scores(classified)
    assert labels["label"].tolist() == LABELS[:5] and labels["n"].tolist() == truth.sum(axis=0)[shown].tolist()
    for name, reference in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
        assert labels[name].tolist() == pytest.approx(reference(truth, answers, average=None, **options)[shown]), name
    for row in [*table.loc[["f1_macro", "f1_micro"]].itertuples(), *labels.rename(columns={"f1": "mean"}).itertuples()]:
        assert row.low < row.mean < row.high


def test_exactly_right_sets_and_their_overlap_are_those_of_scikit_learn(classified):
    from sklearn.metrics import accuracy_score, jaccard_score

    binary = MultiLabelBinarizer().fit([[*r["labels"], *r["gold"]] for r in classified])
    truth, answers = (binary.transform([r[name] for r in classified]) for name in ("gold", "labels"))
    table = summarise(classified).set_index("measure")
    assert table.loc["correct", "mean"] == pytest.approx(accuracy_score(truth, answers))
    overlap = jaccard_score(truth, answers, average="samples", zero_division=0)
    assert table.loc["jaccard", "mean"] == pytest.approx(overlap)


def clustered(seed, images=40):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, images)
    right = rng.random(sizes.sum()) < rng.beta(1, 1, images).repeat(sizes)
    return right * rng.random(sizes.sum()), np.arange(images).repeat(sizes)


@pytest.mark.parametrize("seed", range(3))
def test_intervals_are_those_of_scipy(seed):
    """Two bootstraps of 20,000 draws differ by a few per cent of the interval's width."""
    values, groups = clustered(seed)
    sums, counts = np.bincount(groups, values), np.bincount(groups)
    options = {"n_resamples": 20_000, "method": "percentile", "rng": np.random.default_rng(1), "vectorized": True}
    ratio = lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis)  # noqa: E731
    expected = stats.bootstrap((sums, counts), ratio, paired=True, **options).confidence_interval
    found = bootstrap_interval(values, groups, resamples=20_000)
    assert found == pytest.approx(tuple(expected), abs=0.04 * (expected.high - expected.low))
    options["confidence_level"] = widened(0.95, 40)
    wider = stats.bootstrap((sums, counts), ratio, paired=True, **options).confidence_interval
    found = mean_interval(values, groups, resamples=20_000)
    assert found == pytest.approx(tuple(wider), abs=0.04 * (wider.high - wider.low))
    options["confidence_level"] = 0.95
    single = stats.bootstrap((values,), np.mean, **options).confidence_interval
    assert bootstrap_interval(values, resamples=20_000) == pytest.approx(
        tuple(single), abs=0.04 * (single.high - single.low)
    )


@pytest.mark.parametrize(("right", "of"), [(0, 30), (30, 30), (1, 30), (27, 30), (4, 200), (1, 1)])
def test_exact_bounds_are_those_of_scipy(right, of):
    expected = stats.binomtest(right, of).proportion_ci(0.95, method="exact")
    assert mean_interval([1.0] * right + [0.0] * (of - right)) == pytest.approx((expected.low, expected.high))


def records_of(base, rl):
    cell = {"mode": "natural", "task": "math", "stage": "open", "split": "test_id"}
    return [
        {**cell, "arm": arm, "id": f"q{i}", "correct": float(value)}
        for arm, values in (("base", base), ("rl", rl))
        for i, value in enumerate(values)
    ]


def mean_difference(a, b, axis):
    return np.mean(a - b, axis=axis)


@pytest.mark.parametrize("kind", ["right or wrong", "overlap"])
def test_p_is_that_of_scipys_paired_permutation_test(kind):
    """Eleven pairs have 2048 ways to be swapped, which SciPy goes through one by one."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        a, b = rng.random((2, 11))
        if kind == "right or wrong":
            a, b = (a < 0.8).astype(float), (b < 0.4).astype(float)
        reference = stats.permutation_test((a, b), mean_difference, permutation_type="samples", n_resamples=np.inf)
        (row,) = compare(records_of(b, a), "base").to_dict("records")
        assert row["p"] == pytest.approx(reference.pvalue, abs=1e-9 if kind == "right or wrong" else 0.02)


def test_with_one_question_an_image_p_is_that_of_mcnemar():
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.random((2, 60)) < [[0.6], [0.4]]
        won, lost = int((a & ~b).sum()), int((b & ~a).sum())
        assert sign_flip(a.astype(float) - b) == pytest.approx(stats.binomtest(won, won + lost).pvalue)


def test_signed_ranks_swapped_are_those_of_wilcoxon():
    values = np.random.default_rng(0).normal(0.3, 1, 25)
    ranks = stats.rankdata(np.abs(values)) * np.sign(values)
    assert sign_flip(ranks) == pytest.approx(stats.wilcoxon(values, method="exact").pvalue)


def test_the_interval_between_seeds_is_that_of_scipys_t_test():
    gains = [0.10, 0.17, 0.04, 0.12, 0.15]
    summaries = [summarise(records_of([0] * 100, [1] * round(100 * g) + [0] * round(100 - 100 * g))) for g in gains]
    table = between_seeds(summaries, against="base")
    (row,) = table[table["measure"] == "correct"].to_dict("records")
    expected = stats.ttest_1samp(gains, 0).confidence_interval()
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))

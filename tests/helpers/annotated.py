"""Small annotated sets, for the tests of the formats of annotation tools."""

import json
from collections import Counter

from PIL import Image

from currreft_nb.core.samples import Sample
from currreft_nb.data.reading.common import Rejected


def picture(path, size=(100, 80), color=(200, 200, 200)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


def write(path, text):
    """Write a text, or a value as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


def divide(items):
    """Return the samples, and the rejections."""
    items = list(items)
    return [i for i in items if isinstance(i, Sample)], [i for i in items if isinstance(i, Rejected)]


def boxes(items):
    """Return the box of each detection question, by label; all from one picture."""
    return {s.extra["label"]: s.answer[0] for s in divide(items)[0] if s.task == "detection"}


def labels(items):
    """Return the answer of the only classification question."""
    [sample] = [s for s in divide(items)[0] if s.task == "classification"]
    return sample.answer


def reasons(items):
    """Return how often each reason occurs."""
    return Counter(rejected.reason for rejected in divide(items)[1])

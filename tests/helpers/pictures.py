"""Made-up pictures and a folder of them in VOC format, for the tests of curation."""

import numpy as np
from PIL import Image

NO_DRAWN = {"ood_sources": [], "pool_sources": []}
SPOT = (20, 10, 60, 40)  # where the pictures show their dog


def photograph(number, size):
    """Return a made-up picture, unlike that of every other number."""
    rng = np.random.default_rng(number)
    return Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)


def voc_set(root, count, *, size=(100, 80), shade=0, name="p", bad=(), labels=("dog", "cat", "bird"), form="png"):
    """Write a VOC folder: each picture has a red dog at `SPOT`, and a cat or a bird.

    The second box of those in `bad` is reversed.
    """
    for part in ("Annotations", "JPEGImages"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image = photograph(shade + number, size)
        image.paste((255, 0, 0), SPOT)
        image.save(root / "JPEGImages" / f"{name}{number}.{form}")
        boxes = [(SPOT[0] + 1, SPOT[1] + 1, SPOT[2], SPOT[3]), (70, 50, 60 if number in bad else 95, 75)]
        objects = "".join(
            f"<object><name>{label}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>"
            "</bndbox></object>"
            for label, (a, b, c, d) in zip((labels[0], labels[1 + number % (len(labels) - 1)]), boxes)
        )
        head = f"<filename>{name}{number}.{form}</filename>"
        head += f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
        (root / "Annotations" / f"{name}{number}.xml").write_text(f"<annotation>{head}{objects}</annotation>")
    return f"voc:{root}"


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

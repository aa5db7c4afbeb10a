"""What curation costs beyond the work on pixels that nobody can avoid, and whether its memory grows with the rows.

    python tests/benchmarks/curation.py [--images 2000] [--rows 100000] [--workers 2]

Time: every one of `images` made-up photographs (1024 x 768, JPEG) is curated, and in the same run merely decoded,
resized and encoded again by as many processes with the same Pillow calls. Memory: the peak of a process that curates
`rows` questions, all of them wanted at all three stages, against that of one that curates a tenth of them. Files lie in
a temporary folder: about 150 kB a picture and 5 kB a row.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from currreft_nb.data import curate as curation
from currreft_nb.data.images import shrunk_size

SIZE, BUDGET = (1024, 768), 401_408
LABELS = ("bird", "cat", "cow", "dog", "horse", "sheep")


def draw_photograph(number: int, folder: Path, size: tuple[int, int]) -> None:
    """Write a picture with large and small structure, different for every number."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    fine = Image.fromarray(rng.integers(0, 256, (size[1] // 4, size[0] // 4, 3), dtype=np.uint8)).resize(size)
    Image.blend(coarse, fine, 0.15).save(folder / f"{number}.jpg", quality=90)


def write_again(number: int, folder: Path, target: Path) -> None:
    """Decode, resize and encode one picture: what curation is measured against."""
    with Image.open(folder / f"{number}.jpg") as image:
        small = image.convert("RGB").resize(shrunk_size(image.size, BUDGET), Image.Resampling.LANCZOS)
        small.save(target / f"{number}.jpg", quality=95, subsampling=0)


def write_rows(folder: Path, images: int, rows: int) -> None:
    """Write official rows, each with a question of its own."""
    with (folder / "rows.jsonl").open("w") as stream:
        for number in range(rows):
            labels = ", ".join(LABELS[start] for start in sorted({number % 6, number // 6 % 6}))
            row = {
                "image": f"{number % images}.jpg",
                "task": "classify",
                "problem": f"Which animals, question {number}?",
            }
            stream.write(json.dumps(row | {"solution": f"<answer>{labels}</answer>"}) + "\n")


def curate(folder: Path, questions: int, workers: int) -> None:
    """Curate all rows of a folder."""
    numbers = {"train_questions": questions, "val_questions": 0, "test_questions": 0}
    others = {"ood_sources": [], "pool_sources": [], "tasks": ["classification"], "max_pixels": BUDGET}
    source = f"curr_reft:{folder / 'rows.jsonl'}"
    curation.curate(folder / "data", train_sources=[source], workers=workers, **numbers, **others)


def measured(work: partial) -> tuple[float, float]:
    """Return how many seconds the work takes on the clock, and how many of processor time, its processes included."""
    start, used = time.perf_counter(), sum(os.times()[:4])
    work()
    return time.perf_counter() - start, sum(os.times()[:4]) - used


def measure_time(folder: Path, images: int, workers: int) -> None:
    """Print the time of curation against that of the plain work on the same pictures."""
    target = folder / "plain"
    target.mkdir()

    def run_all(work: partial) -> None:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for _ in pool.map(work, range(images), chunksize=8):
                pass

    run_all(partial(draw_photograph, folder=folder, size=SIZE))
    write_rows(folder, images, images)
    plain, plain_cpu = measured(partial(run_all, partial(write_again, folder=folder, target=target)))
    ours, ours_cpu = measured(partial(curate, folder, images, workers))
    print(f"{images:,} pictures, {workers} processes: plain {plain:.1f} s, curation {ours:.1f} s")
    print(f"ratio {ours / plain:.2f} (of processor time {ours_cpu / plain_cpu:.2f})")


def peak_bytes(folder: Path, rows: int) -> tuple[int, float]:
    """Return the peak memory of a process that curates so many rows about 500 small pictures, and its seconds."""
    folder.mkdir()
    for number in range(500):
        draw_photograph(number, folder, (64, 64))
    write_rows(folder, 500, rows)
    start = time.perf_counter()
    command = [sys.executable, __file__, "--alone", str(folder), "--rows", str(rows)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(answer.splitlines()[-1]) * 1024, time.perf_counter() - start


def measure_memory(folder: Path, rows: int) -> None:
    """Print by how much peak memory grows with a row."""
    folder.mkdir()
    few, _ = peak_bytes(folder / "few", rows // 10)
    many, seconds = peak_bytes(folder / "many", rows)
    print(f"{rows:,} rows: {seconds:.0f} s, {rows / seconds:,.0f} rows/s, peak {many / 2**20:.0f} MiB")
    print(
        f"of {rows // 10:,} rows: peak {few / 2**20:.0f} MiB; it grows by {(many - few) / (rows * 0.9):.0f} bytes a row"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000, help="pictures to time; 0: none")
    parser.add_argument("--rows", type=int, default=100_000, help="questions to hold; 0: none")
    parser.add_argument("--workers", type=int, default=2, help="processes for both sides")
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        curate(options.alone, options.rows, workers=1)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return
    with tempfile.TemporaryDirectory() as folder:
        if options.images:
            measure_time(Path(folder), options.images, options.workers)
        if options.rows:
            measure_memory(Path(folder) / "rows", options.rows)


if __name__ == "__main__":
    main()

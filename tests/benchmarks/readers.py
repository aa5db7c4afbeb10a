"""What the readers' caution costs: JSON lines against bare json.loads, a COCO document against json.load.

    python tests/benchmarks/readers.py [--rows 200000]

Each measurement is a process of its own, so that its peak memory is its own; both sides read the same generated files
in the same run, and times are processor time. Exit status 1 where JSON lines take more than 2.5 times as long as bare
json.loads or grow by more than 8 MiB, or where the COCO document takes more than twice as long as json.load or more
than a third of its memory.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from currreft_nb.data.formats import coco
from currreft_nb.data.reading.json_streams import json_lines

ROW = {
    "image": "images/a.png",
    "task": "math",
    "problem": "How many items are there? " * 5,
    "solution": "<answer>4</answer>",
}
MIB = 2**20


def write_files(folder: Path, rows: int) -> tuple[Path, Path]:
    """Write rows as JSON lines, and as many annotations with polygons as one COCO document; return both paths."""
    rng, lines, document = random.Random(0), folder / "rows.jsonl", folder / "instances_x.json"
    with lines.open("w") as stream:
        stream.writelines(json.dumps(ROW | {"id": number}) + "\n" for number in range(rows))
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 640, "height": 480} for i in range(rows // 7 + 1)]
    with document.open("w") as stream:
        stream.write(f'{{"images": {json.dumps(images)}, "categories": [{{"id": 1, "name": "dog"}}], "annotations": [')
        for number in range(rows):
            entry = {
                "id": number,
                "image_id": number // 7,
                "category_id": 1,
                "bbox": [1.5, 2.5, 30.25, 40.0],
                "iscrowd": 0,
            }
            polygon = [[round(rng.random() * 600, 2) for _ in range(60)]]
            stream.write(json.dumps(entry | {"segmentation": polygon}) + ("," if number < rows - 1 else "]}"))
    return lines, document


def plain_lines(path: Path) -> int:
    with path.open(encoding="utf-8") as stream:
        return sum(1 for line in stream if json.loads(line))


SIDES = {
    "our lines": lambda path: sum(1 for _ in json_lines(path)),
    "plain lines": plain_lines,
    "our document": lambda path: sum(map(len, coco.load(path).annotations.values())),
    "plain document": lambda path: len(json.loads(path.read_bytes())["annotations"]),
}


def peak() -> float:
    """Return the most memory that this process held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB


def measure(side: str, path: Path) -> tuple[int, float, float]:
    """Return what one side counts in a process of its own, its processor time and by how many MiB it grew."""
    command = [sys.executable, __file__, "--side", side, "--path", str(path)]
    count, seconds, grown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return int(count), float(seconds), float(grown)


def compare(name: str, path: Path, slower: float) -> tuple[bool, float, float]:
    """Print both sides; return whether ours kept to its limit of time, and how much each grew."""
    ours, plain = measure(f"our {name}", path), measure(f"plain {name}", path)
    print(f"{name}: {path.stat().st_size / MIB:.0f} MiB, {ours[0]:,} rows")
    for who, (_, seconds, grown) in (("ours", ours), ("plain json", plain)):
        print(f"  {who:<10}  {seconds:6.2f} s  grew by {grown:6.0f} MiB")
    print(f"  ratio       {ours[1] / plain[1]:6.2f}, at most {slower}")
    return ours[0] == plain[0] and ours[1] <= slower * plain[1], ours[2], plain[2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--path", type=Path)
    options = parser.parse_args()
    if options.side:
        before, start = peak(), time.process_time()
        count = SIDES[options.side](options.path)
        print(count, time.process_time() - start, peak() - before)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        lines, document = write_files(Path(folder), options.rows)
        fast, grown, _ = compare("lines", lines, 2.5)
        fast_too, held, whole = compare("document", document, 2)
    return 0 if fast and fast_too and grown <= 8 and held <= whole / 3 else 1


if __name__ == "__main__":
    sys.exit(main())

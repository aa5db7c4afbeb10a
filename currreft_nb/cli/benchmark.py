"""The command `currreft benchmark`: run a standard benchmark by lmms-eval on an exported model.

    currreft export outputs/pocket/curr_rl exported
    currreft benchmark exported ocrbench --limit 20

lmms-eval has its own prompts and scoring rules. Its numbers compare with published ones, not with those of notebook 06.
It needs another version of antlr4 than math-verify, so it runs in its own environment (`make bench-env`).
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.core.errors import did_you_mean
from currreft_nb.running import machine

ENVIRONMENT = Path(".venv-bench")
SETTINGS = ("processor_config.json", "preprocessor_config.json")
EDGES = (("shortest_edge", "min_pixels"), ("longest_edge", "max_pixels"))  # the keys of new and of old versions
OUTPUT = Path("outputs/benchmarks")


def benchmark(
    folder: Path,
    task: str,
    *,
    limit: int = 0,
    tasks_folder: Path | None = None,
    batch_size: int = 1,
    environment: Path = ENVIRONMENT,
    output: Path = OUTPUT,
) -> tuple[Path, dict[str, float]]:
    """Run lmms-eval on an exported model; return its results file, and its numbers by "task, measure".

    `limit`: number of questions, 0 for all. `tasks_folder`: your own task files, with data paths relative to it. Raises
    `InputError` for a missing environment or model, an unknown model family, and when lmms-eval writes no results.
    """
    python = environment / "bin" / "python"
    if not python.is_file():
        raise InputError(f"{python} does not exist; set up the environment of lmms-eval with `make bench-env`")
    if tasks_folder is not None and not list(tasks_folder.glob("**/*.yaml")):
        raise InputError(f"{tasks_folder} holds no task file (*.yaml); give the folder with the file of {task!r}")
    arguments = _arguments(folder, task, limit, tasks_folder, batch_size)
    call: list[str | Path] = [python.absolute(), "-m", "lmms_eval", *arguments, "--output_path", output.absolute()]
    before = set(output.glob("*/*_results.json"))
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(call, cwd=tasks_folder, env=variables)
    made = sorted(set(output.glob("*/*_results.json")) - before)
    if done.returncode or not made:
        raise InputError(f"lmms-eval wrote no results of {task!r} (exit status {done.returncode}); see its output")
    return made[-1], numbers_of(json.loads(made[-1].read_text(encoding="utf-8")))


def _arguments(folder: Path, task: str, limit: int, tasks_folder: Path | None, batch_size: int) -> list[str]:
    family, (smallest, largest) = model_type_of(folder), pixel_budget(folder)
    device = "cuda" if machine.cards() else "cpu"
    model = f"pretrained={folder.absolute()},device={device},device_map={device},attn_implementation=sdpa"
    arguments = ["--model", family, "--model_args", f"{model},min_pixels={smallest},max_pixels={largest}"]
    arguments += ["--tasks", task, "--batch_size", str(batch_size), "--log_samples"]
    arguments += ["--limit", str(limit)] if limit else []
    return arguments + (["--include_path", str(tasks_folder.absolute())] if tasks_folder else [])


def model_type_of(folder: Path) -> str:
    """Return the model type, which is also lmms-eval's name for its model class."""
    from currreft_nb.models.families import FAMILIES

    kind = _read(folder, "config.json").get("model_type")
    if kind not in FAMILIES:
        raise InputError(f"{folder} holds a model of the unknown family {kind!r}{did_you_mean(str(kind), FAMILIES)}")
    return str(kind)


def pixel_budget(folder: Path) -> tuple[int, int]:
    """Return the smallest and largest number of pixels that the folder's processor allows.

    By its own bounds, lmms-eval would show the model larger pictures than in training.
    """
    settings = next((_read(folder, name) for name in SETTINGS if (folder / name).is_file()), {})
    images = settings.get("image_processor", settings)
    size = images.get("size") or {}
    bounds = [size.get(new) or images.get(old) for new, old in EDGES]
    if not all(isinstance(bound, int) for bound in bounds):
        raise InputError(f"{folder} has no pixel bounds in {' or '.join(SETTINGS)}; export the model again")
    return bounds[0], bounds[1]


def _read(folder: Path, name: str) -> dict:
    if not (folder / name).is_file():
        raise InputError(f"{folder} has no {name}; give a model folder, as `currreft export RUN DIR` writes it")
    return json.loads((folder / name).read_text(encoding="utf-8"))


def numbers_of(results: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of lmms-eval's results file without standard errors, by "task, measure".

    >>> numbers_of({"results": {"ai2d": {"alias": "ai2d", "exact_match,flexible-extract": 0.5, "n": {"stderr": 1}}}})
    {'ai2d, exact_match,flexible-extract': 0.5}
    """
    return {
        f"{task}, {name}": value
        for task, measures in results["results"].items()
        for name, value in measures.items()
        if isinstance(value, int | float) and "stderr" not in name
    }

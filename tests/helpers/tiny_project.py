"""A project of tiny notebooks, for the tests of what runs notebooks."""

import json
import os
import time
from pathlib import Path

import nbformat

from currreft_nb.running.run import Run, _held, _started_here, release

START = 'from currreft_nb.running.run import Run\nrun = Run.start("{name}", globals())'
DATA = 'seed: int = 0  # of the rows\nrows: int = 4\noutput: str = ""'
TRAIN = (
    "seed: int = 0\nsteps: int = 60  # optimiser steps\nlearning_rate: float = 1e-3  # of AdamW\n"
    'tasks: list[str] = ["math"]\nfour_bit: bool = False\nmodel: str = "pocket"\ndata: str = ""\noutput: str = ""'
)
TINY = """\
shared:
  seed: 3
steps:
  - name: data
    notebook: 01_data
  - name: train
    notebook: 02_train
    params: {data: "@data", learning_rate: 1e-5}
"""


def write_notebook(folder, name, declared, *cells):
    """Write a notebook whose parameters cell is `declared`, which starts its run, and then executes `cells`."""
    notebook = nbformat.v4.new_notebook()
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata.language_info = {"name": "python"}
    first = nbformat.v4.new_code_cell(declared, metadata={"tags": ["parameters"]})
    sources = [START.replace("{name}", name), *cells]
    notebook.cells = [nbformat.v4.new_markdown_cell(f"# {name}"), first, *map(nbformat.v4.new_code_cell, sources)]
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


def make_project(root, train="pass"):
    """Make a project with the notebooks 01_data and 02_train, the second executing `train` before it finishes."""
    (root / "params").mkdir(parents=True)
    write = '(run.folder / "rows.txt").write_text("x" * run.settings.rows)\nrun.finish({"rows": run.settings.rows})'
    write_notebook(root / "notebooks", "01_data", DATA, write)
    cells = (
        'folder = run.input(data, "01_data")',
        train,
        'run.finish({"rows": len((folder / "rows.txt").read_text())})',
    )
    write_notebook(root / "notebooks", "02_train", TRAIN, *cells)
    return root


def write_experiment(root, text, name="tiny"):
    """Write an experiment file and return its path."""
    path = root / "params" / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def record(folder):
    """Return what a run folder's run.json says, read by hand."""
    return json.loads((Path(folder) / "run.json").read_text(encoding="utf-8"))


def wait_for(condition, seconds=30):
    """Wait until the condition holds, and fail when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"it did not happen within {seconds} s"
        time.sleep(0.05)


def is_alive(pid):
    """Say whether a process runs (and is not merely waiting for its parent to notice its end)."""
    try:
        os.kill(pid, 0)
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


def new_kernel():
    """Forget which runs this process has started and holds, as a new kernel would."""
    _started_here.clear()
    for folder in list(_held):
        release(folder)


def start(name="01_data", **changed):
    """Start a run as a notebook does, its globals holding the defaults and the changes."""
    values = {}
    exec(DATA if name == "01_data" else TRAIN, values)
    del values["__builtins__"], values["__annotations__"]
    return Run.start(name, values | changed)


def finished(name="01_data", **changed):
    """Start a run, take its input and finish it, so that the next start is that of another kernel."""
    run = start(name, **changed)
    if name == "02_train":
        run.input(run.settings.data, "01_data")
    run.finish({"done": 1})
    new_kernel()
    return run


def work(run):
    """Leave in the folder what an interrupted training leaves."""
    (run.folder / "checkpoints" / "checkpoint-20").mkdir(parents=True)
    (run.folder / "metrics.jsonl").write_text("{}\n")


def write_adapter(run, weights=b"first"):
    """Leave in the folder a stand-in for a trained adapter."""
    (run.folder / "adapter").mkdir(exist_ok=True)
    (run.folder / "adapter" / "adapter_model.safetensors").write_bytes(weights)

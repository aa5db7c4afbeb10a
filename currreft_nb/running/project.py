"""The project: its root folder, its notebooks, and how messages print its paths."""

import os
from pathlib import Path

from currreft_nb import InputError

NOTEBOOK_VARIABLE = "CURRREFT_NOTEBOOK"  # set by the experiment runner: the notebook file that the kernel executes


def project_root(*starts: str | os.PathLike) -> Path:
    """Return the nearest folder with notebooks/ and params/ at or above the first start that has one, else the last.

    The default is the working directory.
    """
    for start in starts or (".",):
        here = Path(start).resolve()
        for folder in (here, *here.parents):
            if (folder / "notebooks").is_dir() and (folder / "params").is_dir():
                return folder
    return here


def find_notebook(name: str) -> Path:
    """Return a notebook's file: the runner's, else one near the working directory or the package."""
    executed = Path(os.environ.get(NOTEBOOK_VARIABLE, ""))
    places = [Path.cwd(), Path.cwd() / "notebooks", project_root() / "notebooks"]
    places.append(Path(__file__).resolve().parents[2] / "notebooks")
    for path in ([executed] if executed.stem == name else []) + [place / f"{name}.ipynb" for place in places]:
        if path.is_file():
            return path
    raise InputError(
        f"{name}.ipynb is not in {places[0]} or {places[1]}; start Jupyter or papermill in the project's folder"
    )


def display_path(path: Path, root: Path) -> str:
    """Return the path as messages print it: relative to the project root where it is inside."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

"""An experiment: an ordered list of notebook runs in one YAML file, fully checked before the first run starts.

    shared:                        # given to every notebook that has a setting of that name
      model: pocket
    steps:
      - name: data                 # its folder is outputs/<experiment>/data
        notebook: 01_data_curation
      - name: binary
        notebook: 02_rl_binary
        params: {data: "@data", steps: 60}       # "@data" is the folder of the earlier step `data`
        grid: {seed: [0, 1]}                     # makes the steps binary-seed-0 and binary-seed-1
      - name: choice
        notebook: 03_rl_choice
        params: {data: "@data", start_from: "@binary"}
        grid: {seed: [0, 1]}                     # each starts from the binary step of its own seed

Running the same file again continues it: a step is skipped when its run.json says that it is complete and was made with
the same settings, inputs and notebook.
"""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from currreft_nb import InputError
from currreft_nb.core.errors import did_you_mean
from currreft_nb.core.settings import Declaration, settle
from currreft_nb.running.experiment_checks import check_arms, check_inputs, check_models
from currreft_nb.running.notebook_settings import check_together
from currreft_nb.running.parameters import declarations, located, read_yaml
from currreft_nb.running.project import display_path, project_root

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
REFERENCE = re.compile(r"(?:^|(?<=[=:,]))@([A-Za-z0-9][A-Za-z0-9_.-]*)")  # alone, or as in "voc:@step/images"
WORDS: dict[type, str] = {dict: "mapping", list: "list", str: "text"}
STEP_KEYS = {"name": str, "notebook": str, "params": dict, "grid": dict}


@dataclass(frozen=True)
class Step:
    """One notebook run.

    `settings` holds all parameters in their types, `given` the names of those that the file sets. `family` is the name
    in the file, which the steps of a grid share; `point` holds the step's values of the grid. `needs` names the earlier
    steps that it refers to.
    """

    name: str
    family: str
    point: dict[str, Any]
    notebook: Path
    folder: Path
    settings: dict[str, Any]
    given: tuple[str, ...]
    needs: tuple[str, ...]

    def values(self) -> dict[str, Any]:
        """Return the parameters that Papermill injects."""
        return {name: self.settings[name] for name in (*self.given, "output")}

    def training_steps(self) -> int | None:
        """Return the number of steps of the step's training, or None where the settings do not decide it."""
        settings = self.settings
        if {"prompts", "batch_size"} <= set(settings):
            return math.ceil(settings["prompts"] / settings["batch_size"])
        return settings.get("steps")


@dataclass(frozen=True)
class Experiment:
    """A checked experiment file: name, file, project root, the folder of its runs, steps in order."""

    name: str
    file: Path
    root: Path
    folder: Path
    steps: tuple[Step, ...]

    def named(self, wanted: Iterable[str]) -> set[str]:
        """Return the names of the steps that match. Raises `InputError` for a name that matches none.

        A grid's name matches all of its steps; `*`, `?` and `[01]` work as in a shell.
        """
        found: set[str] = set()
        for name in wanted:
            hits = {s.name for s in self.steps if fnmatchcase(s.name, name) or fnmatchcase(s.family, name)}
            if not hits:
                known = dict.fromkeys(name for step in self.steps for name in (step.name, step.family))
                raise InputError(f"{self.file}: no step {name!r}{did_you_mean(name, known)}")
            found |= hits
        return found


@dataclass(frozen=True)
class _Source:
    """The content of the file, and the line of each value."""

    path: Path
    content: dict
    lines: dict[tuple, int]

    def at(self, *keys: Any) -> str:
        """Return "file:line" of a value by its path of keys, or of the nearest value around it."""
        while keys not in self.lines:
            keys = keys[:-1]
        return f"{self.path}:{self.lines[keys]}"


@dataclass
class _Draft:
    """The state of the check: the project, the notebooks of all steps, the steps checked so far."""

    source: _Source
    root: Path
    folder: Path
    notebooks: list[tuple[Path, dict[str, Declaration]]]
    steps: dict[str, Step]


def read_experiment(file: str | Path, changes: Sequence[str] = ()) -> Experiment:
    """Read an experiment file and check its keys, names, notebooks, parameters and references.

    `changes` are texts "name=value" or "step.name=value" that override the file. Raises `InputError` naming file, line
    and step.
    """
    path = Path(file)
    content, lines = read_yaml(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}:1: an experiment file has the keys shared and steps; write them at the top level")
    source = _Source(path, content, lines)
    _check_shape(source)
    root = project_root(".", path.parent)
    notebooks = [_notebook(source, index, root) for index in range(len(content["steps"]))]
    draft = _Draft(source, root, root / "outputs" / path.stem, notebooks, {})
    _check_shared(draft)
    overrides = [_override(text, draft) for text in changes]
    for index, raw in enumerate(content["steps"]):
        for suffix, point in grid_points(raw.get("grid") or {}):
            name = raw["name"] + suffix
            if name in draft.steps:
                raise InputError(f"{source.at('steps', index)}: duplicate step name {name!r}; rename one of the steps")
            chosen = {key: value for step, key, value in overrides if step in (None, name, raw["name"])}
            draft.steps[name] = _step(draft, index, name, point, chosen)
    return Experiment(path.stem, path, root, draft.folder, tuple(draft.steps.values()))


def _check_shape(source: _Source) -> None:
    content = source.content
    _check_keys(source, (), content, {"shared": dict, "steps": list})
    if not content.get("steps"):
        raise InputError(f"{source.at()}: no steps; list at least one, with name and notebook")
    for index, raw in enumerate(content["steps"]):
        place = source.at("steps", index)
        if not isinstance(raw, dict):
            raise InputError(f"{place}: a step has the keys {', '.join(STEP_KEYS)}; rewrite {raw!r}")
        _check_keys(source, ("steps", index), raw, STEP_KEYS)
        if missing := [key for key in ("name", "notebook") if not raw.get(key)]:
            raise InputError(f"{place}: step {index + 1} has no {missing[0]}; give it one")
        if not NAME.fullmatch(raw["name"]):
            raise InputError(
                f"{place}: step name {raw['name']!r} may hold only letters, digits, '_', '-' and '.'; rename it"
            )
        _check_grid(source, index, raw)


def _check_keys(source: _Source, keys: tuple, mapping: dict, kinds: Mapping[str, type]) -> None:
    for key, value in mapping.items():
        place = source.at(*keys, key)
        if key not in kinds:
            raise InputError(f"{place}: unknown key {key!r}{did_you_mean(str(key), kinds)}")
        if value is not None and not isinstance(value, kinds[key]):
            raise InputError(f"{place}: {key} is {value!r}, but must be a {WORDS[kinds[key]]}")


def _check_grid(source: _Source, index: int, raw: dict) -> None:
    for key, values in (raw.get("grid") or {}).items():
        place = source.at("steps", index, "grid", key)
        if not isinstance(values, list) or not values:
            raise InputError(f"{place}: grid value {key} is {values!r}, but must be a non-empty list of values")
        if key in (raw.get("params") or {}):
            raise InputError(f"{place}: duplicate {key} in params and grid of step {raw['name']}; delete one of them")


def _notebook(source: _Source, index: int, root: Path) -> tuple[Path, dict[str, Declaration]]:
    """Return a step's notebook file and the parameters that it takes."""
    name, place = source.content["steps"][index]["notebook"], source.at("steps", index, "notebook")
    file = name if name.endswith(".ipynb") else f"{name}.ipynb"
    path = next((p / file for p in (root / "notebooks", root, source.path.parent) if (p / file).is_file()), None)
    if path is None:
        known = [notebook.stem for notebook in (root / "notebooks").glob("*.ipynb")]
        raise InputError(f"{place}: no notebook {name!r} in {root / 'notebooks'}{did_you_mean(name, known)}")
    with located(place):
        declared = declarations(path)
    if "output" not in declared:
        raise InputError(f'{place}: {name} does not declare the folder that a step writes to; add output: str = ""')
    return path.resolve(), declared


def _check_shared(draft: _Draft) -> None:
    known = {name for _, declared in draft.notebooks for name in declared} - {"output"}
    for name in draft.source.content.get("shared") or {}:
        if name not in known:
            place = draft.source.at("shared", name)
            raise InputError(f"{place}: no notebook of this file takes {name!r}{did_you_mean(str(name), known)}")


def _override(text: str, draft: _Draft) -> tuple[str | None, str, Any]:
    """Return (step or None, name, value) of a text "name=value" or "step.name=value"."""
    left, equals, right = text.partition("=")
    step, _, name = left.strip().rpartition(".")
    if not equals or not name:
        raise InputError(f"--set {text}: write name=value or step.name=value")
    steps = draft.source.content["steps"]
    points = [
        {raw["name"], *(raw["name"] + suffix for suffix, _ in grid_points(raw.get("grid") or {}))} for raw in steps
    ]
    hits = [index for index, names in enumerate(points) if not step or step in names]
    if not hits:
        raise InputError(f"--set {text}: no step {step!r}{did_you_mean(step, set().union(*points))}")
    known = {key for index in hits for key in draft.notebooks[index][1]} - {"output"}
    if name not in known:
        raise InputError(f"--set {text}: unknown parameter {name!r}{did_you_mean(name, known)}")
    if any(name in (steps[index].get("grid") or {}) for index in hits):
        raise InputError(f"--set {text}: {name} is a grid parameter; change the grid in {draft.source.path}")
    try:
        value = yaml.safe_load(right)
    except yaml.YAMLError:
        value = right
    return step or None, name, "" if value is None else value


def grid_points(grid: Mapping[str, list]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name suffix and the values of each point of a grid; an empty grid has one empty point.

    >>> [suffix for suffix, _ in grid_points({"seed": [0, 1], "tasks": [["math", "detection"]]})]
    ['-seed-0-tasks-math+detection', '-seed-1-tasks-math+detection']
    """
    for values in itertools.product(*grid.values()):
        point = dict(zip(grid, values))
        yield "".join(f"-{name}-{_as_name(value)}" for name, value in point.items()), point


def _as_name(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(_as_name(item) for item in value)
    return re.sub(r"[^A-Za-z0-9_.+-]+", "_", str(value)).strip("_")


def _step(draft: _Draft, index: int, name: str, point: dict[str, Any], chosen: dict[str, Any]) -> Step:
    source, raw, (path, declared) = draft.source, draft.source.content["steps"][index], draft.notebooks[index]
    parts = {
        "shared": {key: value for key, value in (source.content.get("shared") or {}).items() if key in declared},
        "params": raw.get("params") or {},
        "grid": point,
        "set": {key: value for key, value in chosen.items() if key in declared},
    }

    def place(key: str) -> str:
        part = [part for part, values in parts.items() if key in values][-1]
        keys = ("shared", key) if part == "shared" else ("steps", index, part, key)
        return f"--set {key} (step {name})" if part == "set" else f"{source.at(*keys)} (step {name})"

    given = {key: value for values in parts.values() for key, value in values.items()}
    if "output" in given:
        raise InputError(f"{place('output')}: output is set by the runner; delete this line")
    needs: list[str] = []
    values = {key: _resolve(value, place(key), draft, point, needs) for key, value in given.items()}
    folder = draft.folder / name
    settings = settle(declared, {**values, "output": display_path(folder, draft.root)}, place)

    def where(key: str) -> str:
        return place(key) if key in given else source.at("steps", index)

    check_inputs(settings, given, name, where)
    changed = "".join(f" --set {key}={value}" for key, value in parts["set"].items())
    with located(f"{source.at('steps', index)} (step {name}{changed})"):  # the notebook would notice it hours later
        check_together(path.stem, settings)
    if {"arms", "start_from"} <= set(settings):
        check_arms(settings, draft.root, draft.folder, where)
    check_models(settings, draft.root, draft.folder, where)
    return Step(name, raw["name"], point, path, folder, settings, tuple(given), tuple(dict.fromkeys(needs)))


def _resolve(value: Any, place: str, draft: _Draft, point: Mapping[str, Any], needs: list[str]) -> Any:
    """Return the value with each @step replaced by its folder; in a list, the name of a grid becomes all of its steps.

    A step of a grid refers only to those steps of another grid that share its values of the common grid parameters.
    """
    if isinstance(value, list):
        return [text for item in value for text in _resolve_item(item, place, draft, point, needs)]
    texts = _resolve_item(value, place, draft, point, needs)
    if len(texts) != 1:
        names = ", ".join("@" + name for name in needs[-len(texts) :])
        raise InputError(f"{place}: {value} is a grid of {len(texts)} steps; choose one of {names}")
    return texts[0]


def _resolve_item(item: Any, place: str, draft: _Draft, point: Mapping[str, Any], needs: list[str]) -> list[Any]:
    found = REFERENCE.search(item) if isinstance(item, str) else None
    if found is None:
        return [item]
    name = found.group(1)
    hits = [step for step in draft.steps.values() if name == step.name or (name == step.family and _agree(step, point))]
    if not hits:
        if any(name == step.family for step in draft.steps.values()):
            values = ", ".join(f"{key} {value}" for key, value in point.items())
            raise InputError(f"{place}: grid @{name} has no step with {values}; give both grids the same values")
        later = {raw["name"] for raw in draft.source.content["steps"]}
        if name in later:
            raise InputError(f"{place}: @{name} is not an earlier step; move that step up")
        raise InputError(f"{place}: @{name} is not a step of this file{did_you_mean(name, draft.steps)}")
    needs += [step.name for step in hits]
    start, end = found.span()
    return [item[:start] + display_path(step.folder, draft.root) + item[end:] for step in hits]


def _agree(step: Step, point: Mapping[str, Any]) -> bool:
    return all(step.point[name] == value for name, value in point.items() if name in step.point)

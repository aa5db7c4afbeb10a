"""Interactive views: cards and tables with controls in JupyterLab, the same without controls elsewhere.

    explore.browse(run.folder, samples, loaded.style, disagree=True)        # completions by step, task, reason, group
    explore.change_reward(run.completions("middle"), samples, loaded.style)  # other rules: who wins the group?
    explore.browse_rejection(pool, rows)  # kept and rejected answers, and why

Controls select; the selection is static HTML in an output of its own, which a saved or exported notebook
keeps. Under Papermill and nbconvert there are no controls.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from currreft_nb import InputError
from currreft_nb.core.samples import Sample
from currreft_nb.core.stored_answers import choose_groups, completion_steps, grouped, read_completions
from currreft_nb.method.prompts import Style
from currreft_nb.method.rewards import Rules
from currreft_nb.views.cards import kept_and_rejected
from currreft_nb.views.group_tables import VARIED, by_rules, choosable, groups, most_informative_group, variants
from currreft_nb.views.html_parts import escaped, heading
from currreft_nb.views.live import in_notebook

ANY = "any"
Values = Callable[[], dict[str, Any]]


def interactive() -> bool:
    """Say whether a person runs this cell: JupyterLab names it to the kernel, Papermill and nbconvert do not."""
    if not in_notebook():
        return False
    parent = sys.modules["IPython"].get_ipython().kernel.get_parent()
    return "cellId" in parent.get("metadata", {})


def browse(folder: Path, samples: Iterable[Sample], style: Style, disagree: bool = False, count: int = 2) -> None:
    """Show completions of a run: by step, task and reason with controls; of the first, middle and last step without.

    `disagree`: only groups whose rewards differ; `count`: groups shown at once, shuffled by hash. Only groups
    whose question is among `samples` are shown.
    """
    samples = list(samples)
    known = {sample.id for sample in samples}

    def rows_of(step: int | str, **wanted: Any) -> list[dict]:
        rows = choose_groups(read_completions(folder, step), disagree=disagree, **wanted)
        return [row for row in rows if row["id"] in known]

    def view(step: int, task: str, reason: str, group: int | str) -> str:
        rows = rows_of(step, task=_wanted(task), reason=_wanted(reason))
        chosen = grouped(rows)[group] if isinstance(group, int) else rows
        return groups(chosen, samples, style, count)

    def narrow(values: Values) -> Iterator[tuple[str, list]]:
        rows = rows_of(values()["step"])
        yield "task", [ANY, *dict.fromkeys(row["task"] for row in rows)]
        rows = choose_groups(rows, task=_wanted(values()["task"]))
        yield "reason", [ANY, *dict.fromkeys(row["reason"] for row in rows)]
        rows = choose_groups(rows, reason=_wanted(values()["reason"]))
        yield "group", [(f"{count} shuffled by hash", ANY), *group_labels(rows)]

    steps = completion_steps(folder)
    if not interactive() or not steps:
        named = sorted({steps[0], steps[len(steps) // 2], steps[-1]}) if steps else ["last"]
        _show("".join(groups(rows_of(step), samples, style, count) for step in named))
        return
    watch(view, {"step": (steps, steps[-1]), **dict.fromkeys(("task", "reason", "group"), ([ANY], ANY))}, narrow)


def change_reward(
    rows: Sequence[Mapping], samples: Iterable[Sample], style: Style, rules: Rules = Rules(), format_weight: float = 0.5
) -> None:
    """Show which completion wins a group, and by how much, if the same completions are paid by other rules.

    `rows`: completions of a step (`Run.completions`); `rules`, `format_weight`: what the training paid. Controls choose
    the group and the rules. Without controls one group is shown by several rules, if possible one whose winner changes.
    """
    by_id = {sample.id: sample for sample in samples}
    found = {name: group for name, group in grouped(rows).items() if group[0]["id"] in by_id}
    if not found:
        _show(heading("no such groups"))
        return
    chosen = most_informative_group(found.values(), by_id, style, rules, format_weight)

    def view(group: int, **values: Any) -> str:
        weight = values.pop("format_weight", format_weight)
        now = Rules(**{name: getattr(rules, name) for name in VARIED} | values)
        compared = {"as trained": (rules, format_weight), "now": (now, weight)}
        return by_rules(by_id[found[group][0]["id"]], found[group], style, compared)

    if not interactive():
        sample = by_id[found[chosen][0]["id"]]
        _show(by_rules(sample, found[chosen], style, variants(sample, rules, format_weight)))
        return
    labels = group_labels([row for group in found.values() for row in group])
    watch(view, {"group": (labels, chosen), **choosable(by_id.values(), rules, format_weight)})


def browse_rejection(samples: Iterable[Sample], rows: Sequence[Mapping], count: int = 3) -> None:
    """Show a question's kept and rejected answers: by outcome with controls, `count` questions without.

    `rows`: what `rejection.select.select` returns.
    """
    samples = list(samples)
    if not interactive() or not rows:
        _show(kept_and_rejected(samples, rows, count))
        return

    def chosen(outcome: str) -> list[Mapping]:
        names = {row["id"] for row in rows if outcome in (ANY, row["outcome"])}
        return [row for row in rows if row["id"] in names]

    def view(outcome: str, question: str) -> str:
        return kept_and_rejected(samples, [row for row in chosen(outcome) if question in (ANY, row["id"])], count)

    def narrow(values: Values) -> Iterator[tuple[str, list]]:
        names = dict.fromkeys(row["id"] for row in chosen(values()["outcome"]))
        yield "question", [(f"{count} shuffled by hash", ANY), *((escaped(name), name) for name in names)]

    outcomes = [ANY, *dict.fromkeys(row["outcome"] for row in rows)]
    watch(view, {"outcome": (outcomes, ANY), "question": ([ANY], ANY)}, narrow)


def watch(
    view: Callable[..., str],
    choices: Mapping[str, tuple[list, Any]],
    narrow: Callable[[Values], Iterable[tuple[str, list]]] = lambda values: (),
) -> None:
    """Show a control for each of `choices`, and below them `view(**their values)`, again after each change.

    `choices`: options and first value by name; numbers get a slider, texts and (label, value) pairs a drop-down list.
    `narrow(values)` yields the names and options that remain of controls, in order; it may call `values` in between.
    """
    import ipywidgets as widgets
    from IPython.display import HTML, display

    drawing = False
    controls = {}
    for name, (options, value) in choices.items():
        listed = isinstance(options[0], (str, tuple))
        kind, width = (widgets.Dropdown, "max-content") if listed else (widgets.SelectionSlider, "300px")
        controls[name] = kind(options=options, value=value, description=name.replace("_", " "))
        controls[name].style.description_width = "initial"
        controls[name].layout.width = width

    def values() -> dict[str, Any]:
        return {name: control.value for name, control in controls.items()}

    def draw() -> HTML:
        try:
            for name, options in narrow(values):
                _refill(controls[name], options)
            return HTML(view(**values()))
        except InputError as problem:
            return HTML(heading(str(problem)))

    def redraw(change: Any) -> None:
        nonlocal drawing
        if not drawing:  # refilling a control is a change as well
            drawing = True
            try:
                shown.update(draw())
            finally:
                drawing = False

    first = draw()
    layout = widgets.Layout(flex_flow="row wrap", grid_gap="0 16px")
    display(widgets.HBox(list(controls.values()), layout=layout))
    shown = display(first, display_id=True)
    for control in controls.values():
        control.observe(redraw, "value")


def _refill(control: Any, options: Sequence[Any]) -> None:
    """Give a control other options, and keep its value if that is one of them; otherwise choose the first."""
    known = [option[1] if isinstance(option, tuple) else option for option in options]
    kept = control.value if control.value in known else known[0]
    control.options = options
    control.value = kept


def group_labels(rows: Sequence[Mapping]) -> list[tuple[str, int]]:
    """Return a label for each group, and its number.

    >>> group_labels([{"group": 3, "id": "scene-7", "task": "math", "stage": "open"}])
    [('3: math · open · scene-7', 3)]
    """
    firsts = {number: group[0] for number, group in grouped(rows).items()}
    return [(f"{number}: {row['task']} · {row['stage']} · {row['id'][:60]}", number) for number, row in firsts.items()]


def _wanted(choice: str) -> str:
    return "" if choice == ANY else choice


def _show(html: str) -> None:
    from IPython.display import HTML, display

    display(HTML(html))

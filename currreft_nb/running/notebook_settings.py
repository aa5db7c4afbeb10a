"""The settings of each notebook: one class for each, made of the groups that the packages declare.

A notebook's cell tagged `parameters` shows the settings of its lesson. All others of its class can also be set by YAML,
`--set` and Papermill, and are checked in the same way; `currreft params NAME` lists them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from currreft_nb import InputError
from currreft_nb.core.errors import did_you_mean
from currreft_nb.core.samples import STAGES, TASKS, TRAINED_TASKS, forms_asked
from currreft_nb.core.settings import Declaration, Settings, declared, setting, settings_class
from currreft_nb.data.settings import CurationSettings
from currreft_nb.evaluation.settings import EvaluationSettings
from currreft_nb.rejection.settings import Judging
from currreft_nb.training import settings

if TYPE_CHECKING:
    import pandas as pd


@settings_class
class Output(Settings):
    """Where a notebook writes."""

    output: str = setting("", "folder to write; empty means outputs/notebooks/<notebook>", decides="name")


@settings_class
class Curated(Settings):
    """Which data a notebook reads."""

    data: str = setting("", "run folder of notebook 01; empty means outputs/notebooks/01_data_curation")


@settings_class
class Begun(Settings):
    """Which adapter a training continues from."""

    start_from: str = setting(
        "",
        "base is the bare model; or a run folder with an adapter, or a checkpoint; empty means the previous notebook",
    )


@settings_class
class Asked(Settings):
    """Which questions a training asks."""

    tasks: Sequence[str] = setting(TRAINED_TASKS, "tasks trained", choices=TASKS, least=1)
    validation_questions: int = setting(
        20, "validation questions per task and form; 0 asks none", unit="questions", least=0
    )


@settings_class
class StartHere(settings.Learning, settings.Seeded, settings.Grouped, settings.Pretrained, Output):
    """Notebook 00."""

    questions: int = setting(60, "questions asked before and after", unit="questions", least=1)


@settings_class
class Curation(settings.Seeded, CurationSettings, Output):
    """Notebook 01."""


@settings_class
class RlBinary(settings.GrpoSettings, settings.Adapter, Asked, settings.Loading, Begun, Curated, Output):
    """Notebook 02."""

    start_from = "base"
    stages: Sequence[str] = setting(
        ("binary",), "forms of the questions; several make a mixture", choices=STAGES, least=1
    )

    def check_together(self) -> None:
        super().check_together()
        forms_asked(self.stages, self.rehearse_share)


@settings_class
class RlChoice(RlBinary):
    """Notebook 03."""

    start_from = ""
    stages = ("choice",)


@settings_class
class RlOpen(RlChoice):
    """Notebook 04."""

    stages = ("open",)


@settings_class
class Rejection(
    Judging, settings.Imitating, settings.Adapter, settings.Answers, settings.Loading, Begun, Curated, Output
):
    """Notebook 05. One process, because the number of kept answers is not known beforehand."""

    learning_rate = 1e-4  # lower than in training: the targets are the model's own
    questions: int = setting(200, "questions drawn from the pool", unit="questions", least=1)
    completions: int = setting(8, "answers sampled per question", unit="answers", least=1)
    epochs: int = setting(2, "passes over the kept answers", least=1)

    def check_together(self) -> None:
        super().check_together()
        settings.SftSettings.from_parameters(vars(self))


@settings_class
class Evaluation(EvaluationSettings, Curated, Output):
    """Notebook 06."""


@settings_class
class Report(Curated, Output):
    """Notebook 07. Its page shows title and note, so they decide its result."""

    title: str = setting("My experiment", "the page's title")
    note: str = setting("", "what a reader must know to judge the numbers")
    evaluations: Sequence[str] = setting(("outputs/notebooks/06_evaluation",), "runs of notebook 06")
    trainings: Sequence[str] = setting(
        (
            "outputs/notebooks/02_rl_binary",
            "outputs/notebooks/03_rl_choice",
            "outputs/notebooks/04_rl_open",
            "outputs/notebooks/05_rejection_sampling",
        ),
        "runs of notebooks 02 to 05 and baseline_sft, for curves and costs",
    )
    beside: str = setting("", "folder of a second experiment to compare with, such as outputs/pocket")


@settings_class
class Sft(settings.SftSettings, settings.Adapter, Asked, settings.Loading, Begun, Curated, Output):
    """Notebook baseline_sft."""

    start_from = "base"
    validation_questions = 12


NOTEBOOKS: dict[str, type[Settings]] = {
    "00_start_here": StartHere,
    "01_data_curation": Curation,
    "02_rl_binary": RlBinary,
    "03_rl_choice": RlChoice,
    "04_rl_open": RlOpen,
    "05_rejection_sampling": Rejection,
    "06_evaluation": Evaluation,
    "07_report": Report,
    "baseline_sft": Sft,
}


def declared_by(notebook: str) -> dict[str, Declaration]:
    """Return what the class of a notebook declares; nothing for a notebook of the user's own."""
    return declared(NOTEBOOKS[notebook]) if notebook in NOTEBOOKS else {}


def decides(notebook: str, name: str) -> str:
    """Return what a setting of a notebook decides: result, cost or name.

    In a user's own notebook it is what all classes with that name agree on, else the result.

    >>> decides("06_evaluation", "batch_size"), decides("baseline_sft", "batch_size"), decides("mine", "output")
    ('cost', 'result', 'name')
    """
    if name in (known := declared_by(notebook)):
        return known[name].decides
    found = {declared(kind)[name].decides for kind in NOTEBOOKS.values() if name in declared(kind)}
    return found.pop() if len(found) == 1 else "result"


def check_together(notebook: str, values: Mapping[str, Any]) -> None:
    """Raise `InputError` for values that contradict each other; a user's own notebook is checked as a training."""
    kind = NOTEBOOKS.get(notebook)
    if kind is None and "micro_batch" in values:
        kind = settings.GrpoSettings if "group_size" in values else settings.SftSettings
    if kind is not None:
        kind.from_parameters(values)


def settings_of(notebook: str) -> dict[str, Declaration]:
    """Return what the class of a notebook declares. Raises `InputError` for an unknown notebook."""
    name = Path(notebook).stem
    if name not in NOTEBOOKS:
        raise InputError(f"no notebook {name!r}{did_you_mean(name, NOTEBOOKS)}")
    return declared_by(name)


def settings_rows(declarations: Mapping[str, Declaration]) -> list[dict[str, str]]:
    """Return a row of text for each declaration: name, type, default, unit, bounds, decides, meaning."""
    names = ("name", "type", "default", "unit", "bounds", "decides", "meaning")
    return [
        dict(zip(names, (one.name, one.kind, repr(one.default), one.unit, one.bounds, one.decides, one.help)))
        for one in declarations.values()
    ]


def settings_table(declarations: Mapping[str, Declaration], values: Mapping[str, Any]) -> "pd.DataFrame":
    """Return the same rows as a table, each with the value in effect, the most important columns first."""
    import pandas as pd  # slow to import, and needed only for this

    table = pd.DataFrame(settings_rows(declarations)).assign(value=[repr(values[name]) for name in declarations])
    return table[["name", "value", "meaning", "decides", "default", "unit", "bounds", "type"]]

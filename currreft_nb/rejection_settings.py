"""The settings of rejection sampling: what is sampled, who judges it, and how the kept answers are imitated."""

from collections.abc import Sequence

from currreft_nb.endpoint import read_endpoint
from currreft_nb.judges import read_judges
from currreft_nb.rejection_checks import read_quotas
from currreft_nb.settings import setting, settings_class
from currreft_nb.training_settings import Adapter, Answers, Imitating, Loading, SftSettings


def _check_teacher(text: str) -> None:
    if text:
        read_endpoint(text)


@settings_class
class RejectionSettings(Imitating, Adapter, Answers, Loading):
    """How answers are sampled, judged and imitated; one process, because nobody knows how many answers are kept."""

    learning_rate = 1e-4  # lower than in training: the targets are the model's own
    questions: int = setting(200, "questions drawn from the pool", unit="questions", least=1)
    completions: int = setting(8, "answers sampled per question", unit="answers", least=1)
    threshold: int = setting(85, "points from which an answer may be kept", unit="points", least=0, most=100)
    judges: Sequence[str] = setting(
        ("rule",), "rule, http:MODEL@ADDRESS or recorded:FILE; the first decides", least=1, check=read_judges
    )
    teacher: str = setting(
        "", "MODEL@ADDRESS of an endpoint that answers instead of the model; empty is none", check=_check_teacher
    )
    quotas: Sequence[str] = setting(
        (), 'most answers kept of a task or a source, such as "math 700"', check=read_quotas
    )
    epochs: int = setting(2, "passes over the kept answers", least=1)

    def check_together(self) -> None:
        super().check_together()
        SftSettings.from_parameters(vars(self))

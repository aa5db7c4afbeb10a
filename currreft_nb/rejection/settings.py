"""The settings of rejection sampling: who judges answers, and which of them may be kept."""

from collections.abc import Sequence

from currreft_nb.core.settings import Settings, setting, settings_class
from currreft_nb.endpoints.endpoint import read_endpoint
from currreft_nb.rejection.flaws import read_quotas
from currreft_nb.rejection.judges import read_judges


def _check_teacher(text: str) -> None:
    if text:
        read_endpoint(text)


@settings_class
class Judging(Settings):
    """Who judges, and what is kept."""

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

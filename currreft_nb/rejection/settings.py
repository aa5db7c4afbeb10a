"""The settings of rejection sampling: the judges, and which answers may be kept."""

from collections.abc import Sequence
from functools import partial

from currreft_nb.core.grammar import parse_terms, whole
from currreft_nb.core.settings import Settings, setting, settings_class
from currreft_nb.endpoints.endpoint import read_endpoint
from currreft_nb.rejection.judges import read_judges


def read_quotas(texts: Sequence[str]) -> dict[str, int]:
    """Return the most answers to keep by task or source. Raises `InputError` for an invalid or duplicate quota.

    >>> read_quotas(["math 700", "geo170k 100"])
    {'math': 700, 'geo170k': 100}
    """
    return parse_terms(texts, partial(whole, least=0), "quotas")


def _check_teacher(text: str) -> None:
    if text:
        read_endpoint(text)


@settings_class
class Judging(Settings):
    """The judges, and which answers are kept."""

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

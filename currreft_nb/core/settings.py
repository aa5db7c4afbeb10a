"""Settings: each is declared once, as a field of a class, with its default, unit, bounds, meaning and what it decides.

    @settings_class
    class Learning(Settings):
        learning_rate: float = setting(1e-3, "learning rate of AdamW", above=0)

    @settings_class
    class Rejection(Learning):
        learning_rate = 1e-4        # another default; the rest of the declaration stays

`decides` says what a change of the setting means:

    result   another experiment: an unfinished run begins afresh
    cost     memory, time or records, and the same result up to rounding: an unfinished run resumes
    name     a name, or where something is written

Values come from YAML, a command line or Papermill, and YAML 1.1 reads `1e-5` as text. The declared type decides, so
all three give the same value or the same error. (Pydantic would need a validator for each of these conversions, and a
translation of each of its messages.)
"""

import dataclasses
import inspect
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar, Self, dataclass_transform

from currreft_nb import InputError
from currreft_nb.core.errors import did_you_mean

KINDS = ("str", "int", "float", "bool", "list[str]")
TYPES = dict(zip((str, int, float, bool, Sequence[str]), KINDS))
DECIDES = ("result", "cost", "name")
ALLOWED = {
    "str": 'a str (quote it; "" for none)',
    "int": "an int",
    "float": "a finite float",
    "bool": "a bool (true or false)",
    "list[str]": "a list[str], such as [a, b], or [] for none",
}


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """One setting. `least`, `below` and `most` bound a number, `least` also the items of a list, `above` excludes."""

    name: str
    kind: str
    default: Any
    help: str
    unit: str = ""
    decides: str = "result"
    least: float | None = None
    above: float | None = None
    below: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    check: Callable[[Any], object] | None = None
    line: int = 0

    @property
    def bounds(self) -> str:
        """Say which values are allowed, beyond the type.

        >>> Declaration(name="share", kind="float", default=0.5, help="", least=0, most=1).bounds
        'at least 0 and at most 1'
        """
        parts = [f"{word} {bound:g}" for word, bound, _ in self._limits()]
        if self.choices:
            return ", ".join(self.choices)
        return "not empty" if self.kind == "list[str]" and parts else " and ".join(parts)

    def checked(self, value: Any) -> Any:
        """Return the value in the declared type. Raises `InputError` with name, value and the allowed values."""
        found = convert(value, self.kind)
        if found is None:
            raise InputError(f"{self.name} is {value!r}, but must be {ALLOWED[self.kind]}")
        if self.kind == "list[str]":
            self._check_items(found)
        elif self.choices and found not in self.choices:
            raise InputError(f"{self.name} is {found!r}, but must be one of {self._choices_near(found)}")
        elif self.kind in ("int", "float") and not all(holds(found, bound) for _, bound, holds in self._limits()):
            raise InputError(f"{self.name} is {found!r}, but must be {self.bounds}")
        if self.check is not None:
            self.check(found)
        return found

    def _check_items(self, items: list[str]) -> None:
        if self.least is not None and len(items) < self.least:
            known = f" of {', '.join(self.choices)}" if self.choices else ""
            raise InputError(f"{self.name} is empty; name at least one{known}")
        for item in items if self.choices else ():
            if item not in self.choices:
                raise InputError(f"{self.name} contains {item!r}, but may only contain {self._choices_near(item)}")

    def _choices_near(self, value: str) -> str:
        hint = did_you_mean(value, self.choices)
        return ", ".join(self.choices) + (hint if hint.endswith("?") else "")

    def _limits(self) -> list[tuple[str, float, Callable[[float, float], bool]]]:
        limits = (
            ("at least", self.least, operator.ge),
            ("above", self.above, operator.gt),
            ("below", self.below, operator.lt),
            ("at most", self.most, operator.le),
        )
        return [(word, bound, holds) for word, bound, holds in limits if bound is not None]


def setting(default: Any, help: str, **declaration: Any) -> Any:
    """Declare a field of a settings class: its default, one sentence of meaning, and more of `Declaration`'s fields."""
    if declaration.get("decides", "result") not in DECIDES:
        raise ValueError(f"decides is {declaration['decides']!r}, but must be one of {', '.join(DECIDES)}")
    return dataclasses.field(default=default, metadata={"help": help, **declaration})


@dataclass_transform(frozen_default=True, kw_only_default=True)
def settings_class(kind: type) -> Any:
    """Make a frozen class of settings; a bare `name = value` in it gives an inherited setting another default."""
    own = inspect.get_annotations(kind)
    for base in kind.__mro__[1:]:
        for field in dataclasses.fields(base) if dataclasses.is_dataclass(base) else ():
            if field.name in vars(kind) and field.name not in own:
                own[field.name] = field.type
                setattr(kind, field.name, setting(vars(kind)[field.name], **field.metadata))
    kind.__annotations__ = own
    made: Any = dataclass(frozen=True, kw_only=True)(kind)
    made.DECLARED = {field.name: _declaration(field) for field in dataclasses.fields(made)}
    return made


def _declaration(field: dataclasses.Field) -> Declaration:
    default = list(field.default) if isinstance(field.default, tuple) else field.default
    kind = TYPES[field.type]  # type: ignore[index]
    return Declaration(name=field.name, kind=kind, default=default, **field.metadata)


@settings_class
class Settings:
    """The base of all settings classes. Raises `InputError` for a value out of bounds or an impossible combination."""

    DECLARED: ClassVar[dict[str, Declaration]] = {}

    def __post_init__(self) -> None:
        for name, item in declared(type(self)).items():
            value = item.checked(getattr(self, name))
            object.__setattr__(self, name, tuple(value) if isinstance(value, list) else value)  # hashable
        self.check_together()

    def check_together(self) -> None:
        """Raise `InputError` for values that do not go together; a subclass calls this one first."""

    @classmethod
    def from_parameters(cls, parameters: SimpleNamespace | Mapping[str, Any], **changes: Any) -> Self:
        """Return the settings of this class from those of a notebook, with `changes`."""
        values = parameters if isinstance(parameters, Mapping) else vars(parameters)
        return cls(**{**{name: values[name] for name in declared(cls) if name in values}, **changes})


def declared(kind: type[Settings]) -> dict[str, Declaration]:
    """Return the declarations of a settings class by name, inherited ones first."""
    return kind.DECLARED


def defaults(kind: type[Settings]) -> dict[str, Any]:
    """Return the default of each setting that a class declares."""
    return {field.name: field.default for field in dataclasses.fields(kind)}


def deciding(settings: Settings) -> dict[str, Any]:
    """Return the settings that decide the result, by name."""
    known = declared(type(settings))
    return {name: getattr(settings, name) for name, item in known.items() if item.decides == "result"}


def convert(value: Any, kind: str) -> Any:
    """Return `value` as the kind, where that loses nothing, else None.

    Text becomes a number, because YAML 1.1 reads `1e-5` as text; no other value becomes a bool or a text.

    >>> convert("1e-5", "float"), convert(1, "float"), convert("1e3", "int"), convert(2.5, "int")
    (1e-05, 1.0, 1000, None)
    >>> convert(1, "bool"), convert(True, "int"), convert(["a"], "list[str]"), convert("a", "list[str]")
    (None, None, ['a'], None)
    """
    if kind in ("str", "bool"):
        return value if isinstance(value, str if kind == "str" else bool) else None
    if kind == "list[str]":
        fine = isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
        return list(value) if fine else None
    return _number(value, kind)


def _number(value: Any, kind: str) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, int) and kind == "int":
        return value  # not through float, which would round a large seed
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    return number if kind == "float" else int(number) if number.is_integer() else None


def settle(known: Mapping[str, Declaration], given: Mapping[str, Any], place: Callable[[str], str]) -> dict[str, Any]:
    """Return the value of every declared setting: the given one in the declared type, else the default.

    `place(name)` says where a value was given ("params/pocket.yaml:12 (step binary)"). Raises `InputError` for an
    unknown name, and for a value of another type or out of bounds.
    """
    settled = {name: convert(item.default, item.kind) for name, item in known.items()}
    for name, value in given.items():
        if name not in known:
            raise InputError(f"{place(name)}: unknown parameter {name!r}{did_you_mean(name, known)}")
        try:
            settled[name] = known[name].checked(value)
        except InputError as error:
            raise InputError(f"{place(name)}: {error}") from None
    return settled

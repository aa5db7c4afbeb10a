"""What error messages share."""

import difflib
from collections.abc import Collection


def did_you_mean(name: str, known: Collection[str], others: str = "known are: {}") -> str:
    """Return the end of a message on an unknown name: the known name closest to it, or else all of them.

    `others` is the text used where no known name is close; `{}` in it becomes the sorted names.

    >>> did_you_mean("step", ["steps", "seed"])
    '; did you mean steps?'
    >>> did_you_mean("x", ["steps", "seed"])
    '; known are: seed, steps'
    """
    if close := difflib.get_close_matches(name, known, n=1):
        return f"; did you mean {close[0]}?"
    return "; " + others.format(", ".join(sorted(known)) or "none")

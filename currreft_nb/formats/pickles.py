"""Read a pickle of lists, tuples, dicts, strings, numbers, booleans and None, without running anything it names.

A pickle is a program: the default loader calls any function that the file names. This one refuses all names.
"""

import io
import os
import pickle
from pathlib import Path
from typing import Any

from currreft_nb import InputError

PLAIN = (str, int, float, bool, type(None))


def _refuse_bytearray(_: pickle.Unpickler) -> None:
    raise pickle.UnpicklingError("it holds a bytearray")


class _PlainUnpickler(pickle._Unpickler):  # the one in Python: its memo is a dict, where a large index costs nothing
    dispatch = pickle._Unpickler.dispatch | {pickle.BYTEARRAY8[0]: _refuse_bytearray}  # it allocates any claimed size

    def find_class(self, module: str, name: str) -> None:
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def get_extension(self, code: int) -> None:  # an extension that the process has registered bypasses `find_class`
        raise pickle.UnpicklingError(f"it uses extension {code}")


def load(path: str | os.PathLike) -> Any:
    """Return the plain value in a pickle file. Raises `InputError` for any other file, with the reason."""
    data = Path(path).read_bytes()
    try:
        value = _PlainUnpickler(io.BytesIO(data), encoding="utf-8", errors="replace").load()
        _check_plain(value)
    except Exception as error:  # damaged data raise errors of many types
        raise InputError(
            f"{path} is not a pickle of plain lists, dicts, strings and numbers ({str(error) or 'it ends too early'}); "
            "do not open it with another loader: get the original file, or write the data as JSON lines and read them "
            "as a table"
        ) from None
    return value


def _check_plain(value: Any) -> None:
    seen, waiting = set[int](), [value]
    while waiting:
        item = waiting.pop()
        if type(item) in (list, tuple, dict):
            if id(item) not in seen:
                seen.add(id(item))
                waiting += [*item, *item.values()] if isinstance(item, dict) else item
        elif type(item) not in PLAIN:
            raise ValueError(f"it holds a {type(item).__name__}")

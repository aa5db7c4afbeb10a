"""Read a pickle that holds nothing but lists, tuples, dicts, strings, numbers, booleans and None.

A pickle is a program: Python's own loader calls whatever function the file names. Here every instruction is looked at
before the first is carried out, and only those that build plain values are allowed; nothing of the file is executed.
"""

import io
import os
import pickle
import pickletools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from currreft_nb import InputError

STORING = {"PUT", "BINPUT", "LONG_BINPUT"}  # put a value into a numbered place, to be used again
PLAIN = """
PROTO FRAME STOP MARK MEMOIZE GET BINGET LONG_BINGET NONE NEWTRUE NEWFALSE
INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8
EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT DICT SETITEM SETITEMS
"""
ALLOWED = STORING | set(PLAIN.split())


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> None:  # never reached, since nothing allowed looks names up
        raise pickle.UnpicklingError(f"{module}.{name} is not plain data")


def load(path: str | os.PathLike) -> Any:
    """Return the plain value in a pickle file. Raises `InputError` for any other file, naming what it holds."""
    data = Path(path).read_bytes()
    try:
        _check(data)
        return _PlainUnpickler(io.BytesIO(data), encoding="utf-8", errors="replace").load()
    except (ValueError, LookupError, TypeError, AttributeError, EOFError, OverflowError, pickle.PickleError) as error:
        raise InputError(
            f"{path} is no pickle of plain lists, dicts, strings and numbers ({error}); do not open it otherwise: get "
            "the original file, or write the data as JSON lines and read them as a table"
        ) from None


def _check(data: bytes) -> None:
    """Raise `ValueError` for an instruction that is not allowed, or that asks for memory which the file cannot need."""
    for count, (name, argument, position) in enumerate(_instructions(data)):
        if name not in ALLOWED:
            told = f" {str(argument)[:80]}" if argument is not None else ""
            raise ValueError(f"byte {position} is the instruction {name}{told}")
        if name in STORING and int(argument) > count:
            raise ValueError(f"byte {position} stores a value in place {argument}")


def _instructions(data: bytes) -> Iterator[tuple[str, Any, int]]:
    """Yield (name, argument, position) as `pickletools.genops`, which stops at non-ASCII text of Python 2."""
    stream, names = io.BytesIO(data), {operation.code: operation for operation in pickletools.opcodes}
    while code := stream.read(1).decode("latin-1"):
        position = stream.tell() - 1
        if code not in names:
            raise ValueError(f"byte {position} is no instruction")
        name, kind = names[code].name, names[code].arg
        yield name, stream.readline() if name == "STRING" else kind.reader(stream) if kind else None, position
        if name == "STOP":
            return
    raise ValueError("it has no end")

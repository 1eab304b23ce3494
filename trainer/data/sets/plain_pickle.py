"""Pickles of plain data: numbers, text, lists, dictionaries and numpy arrays, and nothing that could run code."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
from numpy._core import multiarray, numeric


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in the old protocols."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes written in {encoding!r}")
    return text.encode("latin1")


_MULTIARRAY = {"_reconstruct": multiarray._reconstruct, "scalar": multiarray.scalar}
ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
    **{(f"numpy.{core}.multiarray", name): value for core in ("core", "_core") for name, value in _MULTIARRAY.items()},
    **{(f"numpy.{core}.numeric", "_frombuffer"): numeric._frombuffer for core in ("core", "_core")},
}
"""What a file may name; numpy 1 and 2 name the same functions differently."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which plain data do not need and which could run code"
            )
        return ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to objects outside the file")


def load_plain(content: bytes) -> Any:
    """The content of a pickle; Python 2's strings become text.

    Raises:
        Exception: of any kind, if the pickle is damaged; UnpicklingError if it asks for anything but plain data.
    """
    return _PlainUnpickler(io.BytesIO(content), encoding="latin1").load()

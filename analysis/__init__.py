"""Read the records of a study and say what they show: tables, plots and plain sentences.

``analysis.load(*folders)`` gives six tidy frames, ``analysis.columns()`` what their columns mean.

Layers, each importing only from those before it: ``recorded`` (a study as it was written), ``statistics`` (intervals
and decisions), ``frames`` (the same, tidy, of many studies, with what ``ingest`` brings in), ``rendering`` (cells and
consoles), ``sentences``, then ``tables`` and ``figures``, and ``report``, ``experiment`` and ``page`` (all of it).
Nothing here changes a record, and nothing needs torch or ray.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.frames.columns import columns
    from analysis.frames.read import Frames, load

REFERENCE = Path(__file__).parent / "reference"
"""Published and logged results that ``load`` reads like a folder of runs."""
__all__ = ["REFERENCE", "Frames", "columns", "load"]
_WHERE = {"load": "read", "Frames": "read", "columns": "columns"}


def __getattr__(name: str) -> Any:
    """Found when asked for: pandas and scipy take a second, which ``import analysis`` must not."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"analysis.frames.{_WHERE[name]}"), name)

"""Studies: search, controls and confirmation on paired seeds, through Ray Tune or in plain processes.

A study is a declaration (``Study``). The ``engine`` says what will run, what runs next and who is stopped, all from
durable records, and imports neither torch nor ray; ``running`` carries its jobs to one of the ``executors`` and back;
``command`` is the way there from a command line.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from studies.command.hidden import refuse_hidden

refuse_hidden()  # what is imported below is the first that another module could answer

if TYPE_CHECKING:
    from studies.engine.contrasts import Contrast
    from studies.engine.question import Control, Reference, Show, Strata
    from studies.engine.settings import Arm
    from studies.engine.stopping import Judgement, Rule
    from studies.study import Study

__all__ = ["Arm", "Contrast", "Control", "Judgement", "Reference", "Rule", "Show", "Strata", "Study"]
_HOME = {
    "Arm": "studies.engine.settings",
    "Contrast": "studies.engine.contrasts",
    "Control": "studies.engine.question",
    "Judgement": "studies.engine.stopping",
    "Reference": "studies.engine.question",
    "Rule": "studies.engine.stopping",
    "Show": "studies.engine.question",
    "Strata": "studies.engine.question",
    "Study": "studies.study",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is asked for: ``python -m studies`` comes by here before it can heed Ctrl-C."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)

"""Families of models, one folder each; the loop and the evaluation know a family by its name and these faces only.

* ``Config``: the run's settings, a :class:`trainer.config.RunConfig` with the family's model and objective
* ``headline(config)``: which metrics a run is judged by: ``score`` (higher is better), and others by name
* ``source(config, images, dtype, rank, workers)``: where batches come from (:mod:`trainer.source`)
* ``make(config, source)``: the :class:`trainer.method.Method`
* ``probes(config, images, source, method, device)``: its :class:`trainer.method.Probes`
* ``check_evaluation(config, views, subspace)``: raises UsageError for what cannot be evaluated
* ``tables(metrics, config)``: an evaluation's metrics as tables on the console
* ``COLUMNS``, ``LEGEND``: what an epoch's line on the console shows of what its probes measured (label, metric without
  its number of views, format), and what the labels mean
* ``SECOND``, optional: of a second line, where the run has them
* ``epoch_macs(config)``, optional: multiply-adds of an epoch, for a plan's estimate; None where they are not known
* ``METRICS``, optional: what a study may be asked about that only this family records (name, words, unit, whether more
  is better)
* ``USUAL``, optional: patterns of the names in :mod:`studies.engine.metrics` that its probes record as well, beside
  those of the headline

Importing a family costs neither torch nor ray. README.md says how to add one.
"""

from __future__ import annotations

import os
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import TYPE_CHECKING

from trainer.errors import UsageError

if TYPE_CHECKING:
    from trainer.config import RunConfig

DEFAULT = "seq_jepa"
FOLDERS = "SEQ_JEPA_FAMILIES"
"""Environment variable: folders with families of one's own, separated as in PATH; trial processes inherit it."""
__path__ = [*__path__, *filter(None, os.environ.get(FOLDERS, "").split(os.pathsep))]
FACES = ("Config", "headline", "source", "make", "probes", "check_evaluation", "tables", "COLUMNS", "LEGEND")


def names() -> list[str]:
    """Names of the families that ship here, and of those in folders of one's own."""
    return sorted(module.name for module in iter_modules(__path__) if module.ispkg)


def load(name: str) -> ModuleType:
    """The family of a name.

    Raises:
        UsageError: there is none, or it lacks a face.
    """
    where = folder(name)
    family = import_module(f"{__name__}.{name}")
    if lacking := [face for face in FACES if not hasattr(family, face)]:
        raise UsageError(f"{where}: lacks {', '.join(lacking)}; {__file__} says what each is")
    return family


def headline(config: RunConfig) -> dict[str, str]:
    """Which metrics a run is judged by, in its family's words. Raises UsageError where no score is among them."""
    named = load(config.family).headline(config)
    if "score" not in named:
        raise UsageError(f"{folder(config.family)}: its headline names {', '.join(named)}, but no score; add one")
    return named


def folder(name: str) -> Path:
    """Where a family's code is. Raises UsageError if there is none of that name."""
    known = isinstance(name, str) and re.fullmatch("[a-z][a-z0-9_]*", name)
    spec = find_spec(f"{__name__}.{name}") if known else None
    if spec is None or spec.origin is None or spec.submodule_search_locations is None:
        raise UsageError(
            f"family = {name!r}: must be one of {', '.join(names())}; folders that hold others are named in ${FOLDERS},"
            f" now {os.environ.get(FOLDERS, '')!r}"
        )
    return Path(spec.origin).resolve().parent

"""The compared arms of a study: their order, their rows, their short names and whom they refer to.

Every look-up is a dictionary's: a report asks for them many times per arm, and a study may have hundreds of arms.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from analysis.recorded.declared import KINDS, Declared

_REFERRED = ("reference", "best", "control", "grid", "untrained")

NOT_ENDED = ("no record", "not ended", "nothing evaluated")
"""Beginnings of a run's ``problem`` while it may still end well."""
Key = tuple[str, str]
"""(arm_id, role). The role belongs to it because an untrained encoder has the id of its trained arm."""


class Arms:
    """The arms in ``finals``, see ``Study``.

    Args:
        aliases: every key that a ``compare`` line gave an arm.
    """

    def __init__(self, finals: pd.DataFrame, asked: Declared, aliases: dict[str, Key]):
        self._finals, self._asked, self._aliases = finals, asked, aliases

    @cached_property
    def positions(self) -> dict[Key, np.ndarray]:
        """Where the rows of each arm stand in ``finals``."""
        found: dict[Key, list[int]] = {}
        for place, key in enumerate(zip(self._finals["arm_id"], self._finals["role"], strict=True)):
            found.setdefault(key, []).append(place)
        return {key: np.array(places) for key, places in found.items()}

    @cached_property
    def rows(self) -> dict[Key, pd.DataFrame]:
        return {key: self._finals.take(places) for key, places in self.positions.items()}

    def open_runs(self, key: Key) -> int:
        """Runs of an arm that may still end."""
        return int(self.rows[key]["problem"].str.startswith(NOT_ENDED).sum())

    def diverged(self, key: Key) -> bool:
        """Whether a run of an arm did; the untrained encoder is what it was before."""
        return key[1] != "untrained" and bool(self.rows[key]["problem"].str.startswith("diverged").any())

    @cached_property
    def runs(self) -> dict[Key, dict[int, str]]:
        """run_id by seed."""
        seeds, run_ids = self._finals["seed"].to_numpy(), self._finals["run_id"].to_numpy()
        return {
            key: dict(zip(map(int, seeds[places]), run_ids[places], strict=True))
            for key, places in self.positions.items()
        }

    @cached_property
    def first(self) -> dict[Key, dict[str, Any]]:
        """What all runs of an arm share, taken from its first."""
        frame = self._finals.drop_duplicates(["arm_id", "role"])
        shared = frame[
            ["arm_id", "role", "label", "key", *_names(self._asked), "reference", "peer", "search_value", "place"]
        ]
        return {(row["arm_id"], row["role"]): row for row in shared.to_dict("records")}

    @cached_property
    def ordered(self) -> list[Key]:
        """By kind, level, place in the search, the settings that are numbers."""
        asked, rows = self._asked, self.first.values()
        rank = pd.DataFrame(
            {
                "kind": [KINDS.index(asked.kind(role)) for _, role in self.first],
                "level": [_place(asked.level(row), asked.levels) for row in rows],
                "place": [row["place"] for row in rows],
                "search": [-row["search_value"] if key[1] == "best" else None for key, row in self.first.items()],
                **{
                    f"setting {column.name}": [row[column.name] for row in rows]
                    for column in asked.columns
                    if column.number
                },
            },
            index=range(len(self.first)),
        ).astype({"place": "Float64", "search": float})
        keys = list(self.first)
        return [keys[index] for index in rank.sort_values(list(rank), kind="stable").index]

    @cached_property
    def by_id(self) -> dict[str, list[Key]]:
        found: dict[str, list[Key]] = {}
        for key in self.ordered:
            found.setdefault(key[0], []).append(key)
        return found

    @cached_property
    def names(self) -> dict[Key, str]:
        """A short unique name per arm: its settings and what it is; its full label can be a line long."""
        found: dict[Key, str] = {}
        taken: dict[str, int] = {}
        kinds = {key: self._asked.kind(key[1]) for key in self.ordered}
        in_grid = "grid" in kinds.values()
        for key in self.ordered:
            row = self.first[key]
            if in_grid and kinds[key] in ("grid", "reference"):
                name = row["label"]  # short, and names what no column shows
            else:
                name = self._asked.named(row) if kinds[key] != "untrained" else ""
                if not name or (kinds[key] == "control" and key[1] not in name.split()):
                    name = key[1]
                if kinds[key] == "reference" and not self._asked.stratum:
                    name += f" ({key[1]})"
            name += {"best": " (best)", "candidate": f" ({_ordinal(row['place'])})"}.get(key[1], "")
            taken[name] = taken.get(name, 0) + 1
            found[key] = f"{name} #{taken[name]}" if taken[name] > 1 else name
        return found

    @cached_property
    def keys(self) -> dict[str, Key]:
        """By the key under which the study declares an arm; of several with one key the first in order. One arm may
        have several keys."""
        found: dict[str, Key] = {}
        for key in self.ordered:
            if self.first[key]["key"]:
                found.setdefault(self.first[key]["key"], key)
        return {**{name: key for name, key in self._aliases.items() if key in self.first}, **found}

    def reference(self, key: Key, field: str = "reference") -> Key | None:
        """The arm that ``key`` names as its reference (or ``peer``), if it was compared too.

        An id may belong to a trained arm and to its untrained encoder; the trained one is meant, unless
        that is the arm itself.
        """
        candidates = [other for other in self.by_id.get(self.first[key][field], []) if other != key]
        return next((other for kind in _REFERRED for other in candidates if self._asked.kind(other[1]) == kind), None)

    def level(self, key: Key) -> str | None:
        """The stratum of an arm; in a study without strata the one level it has."""
        return self._asked.level(self.first[key])

    def find(self, kind: str, level: str | None = None) -> Key | None:
        """The first arm of a kind (and level) in order; of several best ones, the best searched."""
        fitting = (key for key in self.ordered if self._asked.kind(key[1]) == kind)
        return next((key for key in fitting if level in (None, self.level(key))), None)


def _ordinal(place: Any) -> str:
    """``2nd``, ``3rd``, ``11th``; records without the place say what the arm is."""
    if pd.isna(place):
        return "candidate"
    ending = "th" if place % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"


def _names(asked: Declared) -> list[str]:
    return [column.name for column in asked.columns]


def _place(word: str | None, order: tuple[str, ...]) -> int:
    return order.index(word) if word in order else len(order)

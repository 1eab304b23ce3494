"""A study as its author declares it: one question, what is searched or compared, and against what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from studies.engine import spaces
from studies.engine.consistency import RESERVED, check
from studies.engine.contrasts import Column, Contrast, Declaration, as_recorded
from studies.engine.keys import lookup
from studies.engine.metrics import LINACC, beside, metric
from studies.engine.settings import Arm
from studies.engine.stopping import Rule
from trainer.record.dotted import dotted

WHOLE = "all"
"""The one group of a search without strata."""


@dataclass(frozen=True)
class Strata:
    """Levels that get equal search effort, each with a best arm of its own. Without a search they only order tables and
    figures.

    Attributes:
        name: of the parameter that the space suggests with ``suggest_categorical``, or of a setting of the fixed arms.
        levels: its choices, in the order in which trials take turns and tables show them.
    """

    name: str
    levels: tuple[str, ...]


@dataclass(frozen=True)
class Reference:
    """What a best arm is compared with: itself, with these settings instead.

    Attributes:
        role: its name in keys (``best/<role>``) and tables.
        label: its label from the arm's; default: the settings that differ.
    """

    settings: dict[str, Any]
    role: str = "reference"
    label: Callable[[str], str] | None = None


@dataclass(frozen=True)
class Control:
    """An arm that says what it must do, and is checked.

    Attributes:
        must: ``collapse``: the effective rank falls in every run; ``start``: nothing, it is the untrained encoder,
            epoch 0 of the arm with the same settings.
    """

    key: str
    label: str
    overrides: dict[str, Any]
    must: str = "collapse"

    @property
    def arm(self) -> Arm:
        return Arm(self.key, "untrained" if self.must == "start" else self.key, self.label, self.overrides)


@dataclass(frozen=True)
class Show:
    """How a setting appears in names and figures."""

    symbol: str = ""
    title: str = ""


@dataclass(frozen=True)
class Question:
    """A study's declaration. Everything but name and question has a default.

    Attributes:
        name: of the study's folder, with the preset's behind it.
        question: ends in a question mark; heads the table and the log.
        space: from a trial (``suggest_float``, ``suggest_int``, ``suggest_categorical``) to configuration keys, define
            by run. None: no search.
        trials: default of ``--num-trials``.
        strata: see :class:`Strata`.
        eligible: whether a point, given by its settings, may be confirmed.
        reference: see :class:`Reference`.
        settings: names of the settings on record and the configuration keys behind them, two keys as ``a.b + c.d``;
            default: what the space and the arms set.
        shown: the settings that tables and figures show, the axis of the figures first among the numbers; default: all.
        units: words that follow a parameter's range.
        label: a point's label, from its settings and the run's steps.
        arms: fixed arms, given whether the study is quick.
        controls: see :class:`Control`.
        contrasts: the primary contrasts, given the fixed arms; any iterable.
        first_points: raw points that tpe tries first.
        grid: values of the numbers for ``--sampler grid``.
        metric: what contrasts are about where they do not say it.
        also: metrics that the first table shows beside it, as what wins on one may lose on another; ``r2_action`` is in
            the scaling of the runs.
        rules: stopping rules of the study's own, by the name that ``--stopping`` takes.
        predicts: shares of a run, as 1/3, at which the order of the trials is compared with their order at its end.
        overrides: settings common to all arms, beside those of the command line.
        defaults, quick: other defaults of the command line, by option name; the latter with ``--quick`` only.
    """

    name: str
    question: str
    space: spaces.Space | None = None
    trials: int = 24
    strata: Strata | None = None
    eligible: Callable[[dict[str, Any]], bool] = lambda _: True
    reference: Reference | None = None
    settings: Mapping[str, str] | None = None
    shown: Mapping[str, Show] | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    label: Callable[[dict[str, Any], int], str] | None = None
    arms: Callable[[bool], tuple[Arm, ...]] = lambda _: ()
    controls: tuple[Control, ...] = ()
    contrasts: Callable[[tuple[Arm, ...]], Iterable[Contrast]] = lambda _: ()
    first_points: Callable[[], list[dict[str, Any]]] = list
    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    metric: str = LINACC
    also: tuple[str, ...] = ()
    rules: Mapping[str, type[Rule]] = field(default_factory=dict)
    predicts: tuple[float, ...] = ()
    overrides: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)

    # --- what the space holds

    @property
    def levels(self) -> tuple[str, ...]:
        """Whose best arms are confirmed; one for a search without strata, () without a search."""
        return () if self.space is None else self.strata.levels if self.strata else (WHOLE,)

    @cached_property
    def ranges(self) -> dict[str, str]:
        """Parameters of the space and their ranges in words."""
        return spaces.parameters(self.space, self.units) if self.space is not None else {}

    @cached_property
    def walked(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Raw points at the corners of the space, and their configuration keys."""
        return spaces.corners(self.space) if self.space is not None else []

    @property
    def corners(self) -> list[dict[str, Any]]:
        return [keys for _, keys in self.walked]

    @property
    def eligible_corners(self) -> list[dict[str, Any]]:
        return [keys for keys in self.corners if self.eligible(self.params(keys))]

    @property
    def references(self) -> list[dict[str, Any]]:
        """Configuration keys of the references of arms at the corners, none without a declared reference."""
        changes = self.reference.settings if self.reference else None
        return [] if changes is None else [{**keys, **changes} for keys in self.eligible_corners]

    def grid_points(self) -> list[dict[str, Any]]:
        return spaces.grid(self.space, self.grid, self.strata.name if self.strata else None)

    def stratum(self, number: int) -> dict[str, Any]:
        """What trial ``number`` does not choose: levels alternate.

        Left to the sampler, most trials would go to the level that was ahead early, and a comparison of levels would be
        one of search effort.
        """
        return {self.strata.name: self.strata.levels[number % len(self.strata.levels)]} if self.strata else {}

    def point(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Configuration keys at a raw point. Raises KeyError if the space asks for what the point does not have."""
        return self.space(spaces.Known(raw))

    # --- a point's settings

    @cached_property
    def columns(self) -> dict[str, str]:
        """Settings on record, name and configuration key."""
        if self.settings is not None:
            return dict(self.settings)
        found: dict[str, str] = {}
        for key in dict.fromkeys(
            key for keys in self.points_of_arms(False) for key, value in dotted(keys).items() if value is not None
        ):
            leaf = key.rpartition(".")[2]
            name = leaf if leaf not in found and leaf not in RESERVED else "_".join(key.split(".")[-2:])
            found[name] = key
        return found

    def params(self, keys: dict[str, Any]) -> dict[str, Any]:
        """A point's settings by name, from its configuration keys; only those it has."""
        values = {name: as_recorded(lookup(keys, key)) for name, key in self.columns.items()}
        return {name: value for name, value in values.items() if value is not None}

    def group(self, params: dict[str, Any]) -> str:
        return params[self.strata.name] if self.strata else WHOLE

    def describe(self, params: dict[str, Any], horizon_steps: int) -> str:
        """A short label of a point."""
        if self.label is not None:
            return self.label(params, horizon_steps)
        return " ".join(
            f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in params.items()
        )

    def twin(self, arm: Arm) -> Arm:
        """The arm's reference: everything the same but the declared settings."""
        changed = {**arm.overrides, **self.reference.settings}
        differing = ", ".join(f"{key}={value}" for key, value in self.reference.settings.items())
        label = self.reference.label(arm.label) if self.reference.label else f"{arm.label}, with {differing}"
        key = f"{arm.key}/{self.reference.role}"
        return replace(
            arm,
            key=key,
            role=self.reference.role,
            label=label,
            overrides=changed,
            reference=None,
            search_value=None,
            place=None,
        )

    # --- what is declared

    def fixed_arms(self, quick: bool) -> tuple[Arm, ...]:
        """All arms known before a search: the study's own and the controls."""
        return (*self.arms(quick), *(control.arm for control in self.controls))

    @property
    def taken(self) -> frozenset[str]:
        """Configuration keys that the study sets itself, for whatever arm."""
        return frozenset(key for keys in self.points_of_arms(False) for key, value in keys.items() if value is not None)

    def declaration(self, arms: tuple[Arm, ...], epochs: int = 0) -> Declaration:
        """The plain values of this declaration.

        Args:
            epochs: of a run.

        Raises:
            UsageError: it contradicts itself.
        """
        check(self, arms)
        described = [self.params(keys) for keys in self.points_of_arms(True)]
        shown = self.shown if self.shown is not None else dict.fromkeys(self.columns, Show())
        if self.strata:  # tables are grouped by it, whatever else they show
            shown = dict(shown) if self.strata.name in shown else {self.strata.name: Show(), **shown}
        columns = []
        for name, show in shown.items():
            values = [point[name] for point in described if name in point]
            number = bool(values) and all(
                isinstance(value, int | float) and not isinstance(value, bool) for value in values
            )
            columns.append(Column(name, self.columns[name], show.symbol or name, number, show.title))
        contrasts = tuple(one.measured(self.metric) for one in self.contrasts(arms))
        return Declaration(
            question=self.question,
            contrasts=contrasts,
            metric=metric(self.metric),
            also=tuple(map(beside, dict.fromkeys(self.also))),
            stratum=self.strata.name if self.strata else None,
            levels=self.strata.levels if self.strata else self.levels,
            columns=tuple(columns),
            reference=self._reference_role(arms),
            reference_settings=(
                tuple(sorted(dotted(self.reference.settings).items(), key=lambda one: one[0])) if self.reference else ()
            ),
            controls={control.key: control.must for control in self.controls},
            predicts=tuple(sorted({max(1, round(share * epochs)) for share in self.predicts} - {epochs})),
        )

    def _reference_role(self, arms: tuple[Arm, ...]) -> str | None:
        """How references are called: the searched ones by their declaration, fixed ones by their role."""
        referred = {arm.reference for arm in arms}
        return (
            self.reference.role
            if self.reference
            else next((arm.role for arm in arms if arm.key in referred and arm.role != "grid"), None)
        )

    def points_of_arms(self, controls: bool) -> list[dict[str, Any]]:
        """Configuration keys of every kind of arm."""
        own = [*self.corners, *(arm.overrides for arm in self.arms(False))]
        return [*own, *(control.overrides for control in self.controls)] if controls else own

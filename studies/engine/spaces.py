"""What can be known of a search space without a sampler: its parameters, their ranges, its branches and its corners.

A space is a define-by-run function from a trial to configuration keys. It is run here against trials that take every
choice in turn, so that nothing about it is written a second time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from numbers import Integral, Real
from random import Random
from typing import Any

from studies.engine.guard import line_of
from trainer.errors import UsageError, with_kind

Space = Callable[[Any], dict[str, Any]]
MOST_BRANCHES = 4096
MOST_CORNERS = 128


@dataclass(frozen=True)
class Parameter:
    """What a space asks a trial for.

    Attributes:
        text: its range in words.
        high: the highest value, in steps from ``low`` where there are any.
        whole: whether its values are whole numbers.
        log: whether it is searched on a logarithmic axis.
    """

    text: str
    choices: tuple[Any, ...] | None = None
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    whole: bool = False
    log: bool = False

    @property
    def varies(self) -> bool:
        """Whether there is more than one value."""
        return self.low < self.high if self.choices is None else len(self.choices) > 1

    def holds(self, value: Any) -> bool:
        """Whether a sampler could suggest the value."""
        if self.choices is not None:
            return value in self.choices
        if not _number(value, self.whole) or not self.low <= value <= self.high:
            return False
        return self.step is None or abs((steps := (value - self.low) / self.step) - round(steps)) < 1e-8


class Known:
    """A trial whose parameters are known: it answers with them."""

    def __init__(self, raw: Mapping[str, Any]):
        self._raw = raw

    def suggest_float(self, name: str, low: float, high: float, **_: Any) -> float:
        return self._raw[name]

    def suggest_int(self, name: str, low: int, high: int, **_: Any) -> int:
        return self._raw[name]

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return self._raw[name]


class Walker:
    """A trial on one branch: at every question it takes the option that its path names, the first beyond the path's
    end.

    Args:
        options: the values to branch on for a parameter.
    """

    def __init__(self, path: tuple[int, ...], options: Callable[[str, Parameter], tuple[Any, ...]]):
        self._path, self._options = path, options
        self.taken: list[tuple[int, int]] = []
        self.raw: dict[str, Any] = {}
        self.parameters: dict[str, Parameter] = {}

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        _check_range(name, low, high, step, log, whole=False)
        words = f"{'log-uniform' if log else 'uniform'} {low:g} to {high:g}{f' in steps of {step:g}' if step else ''}"
        return self._take(name, _range(words, low, high, step, whole=False, log=log))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        _check_range(name, low, high, step, log, whole=True)
        words = (
            f"whole numbers {low} to {high}{f' in steps of {step}' if step > 1 else ''}{', log-uniform' if log else ''}"
        )
        return self._take(name, _range(words, low, high, step, whole=True, log=log))

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        if not isinstance(choices, list | tuple) or not choices:
            raise UsageError(f"the search space: {name} has no list of choices; name them, as ['a', 'b']")
        if others := [one for one in choices if not (one is None or isinstance(one, str | int | float))]:
            raise UsageError(
                f"the search space: {name} has the choice {others[0]!r}; it must be a text, a number or None: choose a"
                " name, and look up what it stands for"
            )
        return self._take(name, Parameter(", ".join(map(str, choices)), tuple(choices)))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"a trial has suggest_float, suggest_int and suggest_categorical, and no {name}")

    def describe(self, name: str, text: str) -> None:
        """Say a parameter's range in other words."""
        old = self.parameters[name]
        self.parameters[name] = replace(old, text=text)

    def _take(self, name: str, parameter: Parameter) -> Any:
        if name in self.raw:  # asked again: one answer per trial, as a sampler gives it
            if replace(parameter, text="") != replace(self.parameters[name], text=""):
                raise UsageError(
                    f"the search space: {name} is asked for in {self.parameters[name].text} and again in"
                    f" {parameter.text}; a trial has one value of a name: choose another"
                )
            return self.raw[name]
        values = self._options(name, parameter)
        place = self._path[len(self.taken)] if len(self.taken) < len(self._path) else 0
        self.taken.append((place, len(values)))
        self.parameters[name], self.raw[name] = parameter, values[place]
        return values[place]


def _check_range(name: str, low: Any, high: Any, step: Any, log: bool, whole: bool) -> None:
    """Refuse what the samplers refuse. Raises UsageError."""
    kind = "a whole number" if whole else "a number"
    for said, value in (("low", low), ("high", high), *([] if step is None else [("step", step)])):
        if not _number(value, whole):
            raise UsageError(f"the search space: {name} has {said} = {value!r}; it must be {kind}")
    if low > high:
        raise UsageError(f"the search space: {name} goes from {low:g} to {high:g}; the lower end must come first")
    if step is not None and step <= 0:
        raise UsageError(f"the search space: {name} has step = {step:g}; it must be positive")
    if log and low <= 0:
        raise UsageError(
            f"the search space: {name} is log-uniform from {low:g} on; a logarithm needs a positive lower end"
        )
    if log and step not in (None, 1 if whole else None):
        raise UsageError(f"the search space: {name} is log-uniform in steps of {step:g}; leave out one of the two")


def _number(value: Any, whole: bool) -> bool:
    return isinstance(value, Integral if whole else Real) and not isinstance(value, bool) and math.isfinite(value)


def _range(words: str, low: float, high: float, step: float | None, whole: bool, log: bool) -> Parameter:
    if step is not None:  # the last step may end below high
        high = low + math.floor((high - low) / step + 1e-9) * step
    return Parameter(words, None, low, high, step, whole, log)


def zero_or_log(trial: Any, name: str, low: float, high: float, zero_from: float) -> float:
    """A strength that may be off: log-uniform from ``low`` to ``high``, and exactly 0 where the draw, from
    ``zero_from`` on, is below ``low``.

    Zero then lies next to the small strengths it resembles, where an on/off choice would spend half of a search on it.
    """
    drawn = trial.suggest_float(name, zero_from, high, log=True)
    if isinstance(trial, Walker):
        trial.describe(name, f"0, or log-uniform {low:g} to {high:g}")
    return drawn if drawn >= low else 0.0


def branches(
    space: Space, options: Callable[[str, Parameter], tuple[Any, ...]], most: int = MOST_BRANCHES
) -> Iterator[tuple[Walker, dict[str, Any]]]:
    """Every branch, with the configuration keys there, the first parameter varying slowest.

    Raises:
        UsageError: the space fails, returns no mapping of keys, or has too many branches.
    """
    path: tuple[int, ...] = ()
    for _ in range(most):
        walker = Walker(path, options)
        try:
            keys = space(walker)
        except UsageError:
            raise
        except Exception as error:  # whatever the function of a user raises
            where = f" at {walker.raw}" if walker.raw else ""
            raise UsageError(f"the search space fails{where}: {with_kind(error)}; correct {line_of(error)}") from None
        if not isinstance(keys, dict) or not keys or not all(isinstance(key, str) for key in keys):
            raise UsageError(
                f"the search space returns {keys!r}; it must return a dict of configuration keys, for example"
                " {'optim.lr': 0.001}"
            )
        yield walker, keys
        taken = walker.taken
        while taken and taken[-1][0] == taken[-1][1] - 1:
            taken.pop()
        if not taken:
            return
        path = (*(place for place, _ in taken[:-1]), taken[-1][0] + 1)
    raise UsageError(
        f"the search space has more than {most} branches of choices; give numbers as suggest_int or suggest_float"
    )


def parameters(space: Space, units: Mapping[str, str] | None = None) -> dict[str, str]:
    """The range of every parameter in words, in the order in which the space asks for them; one of some branches says
    of which.

    Args:
        units: words to add to a parameter's range.
    """
    walks = [walker for walker, _ in branches(space, _at("low"))]
    found: dict[str, str] = {}
    for walker in walks:
        for name, parameter in walker.parameters.items():
            more = f" {units[name]}" if units and name in units else ""
            found.setdefault(name, f"{parameter.text}{more}{_only(name, walks)}")
    return found


def choices(space: Space) -> dict[str, tuple[Any, ...]]:
    """The choices of every categorical parameter."""
    found: dict[str, tuple[Any, ...]] = {}
    for walker, _ in branches(space, _at("low")):
        found |= {name: one.choices for name, one in walker.parameters.items() if one.choices is not None}
    return found


def variants(space: Space) -> dict[str, list[Parameter]]:
    """Every parameter as each branch that has it asks for it."""
    found: dict[str, list[Parameter]] = {}
    for walker, _ in branches(space, _at("low")):
        for name, parameter in walker.parameters.items():
            if parameter not in found.setdefault(name, []):
                found[name].append(parameter)
    return found


def corners(space: Space) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Raw points and their configuration keys at the highest and the lowest values of every branch, at most
    ``MOST_CORNERS`` of each, spread evenly."""
    found = []
    for end in ("high", "low"):
        points = [(walker.raw, keys) for walker, keys in branches(space, _at(end))]
        found += points[:: -(-len(points) // MOST_CORNERS)]
    return found


def grid(space: Space, values: Mapping[str, tuple[Any, ...]], stratum: str | None) -> list[dict[str, Any]]:
    """All raw points with these values of the numbers and every choice; a stratum's part in a fixed random order, in
    turns.

    They alternate while all last, then the longer ones go on: any beginning of the grid is a fair sample.

    Raises:
        UsageError: a number has no values.
    """

    def options(name: str, parameter: Parameter) -> tuple[Any, ...]:
        if parameter.choices is None and name not in values:
            raise UsageError(f"--sampler grid: this study gives no grid values for {name}; take another --sampler")
        return parameter.choices if parameter.choices is not None else values[name]

    parts: dict[Any, list[dict[str, Any]]] = {}
    for walker, _ in branches(space, options):
        parts.setdefault(walker.raw.get(stratum), []).append(dict(walker.raw))
    for points in parts.values():
        Random(0).shuffle(points)
    return [point for turn in zip_longest(*parts.values()) for point in turn if point is not None]


def _at(end: str) -> Callable[[str, Parameter], tuple[Any, ...]]:
    return lambda _, parameter: parameter.choices if parameter.choices is not None else (getattr(parameter, end),)


def _only(name: str, walks: list[Walker]) -> str:
    """The choice on which a parameter depends, as ``(on only)``; "" where every branch has it."""
    having = [walker for walker in walks if name in walker.raw]
    if len(having) == len(walks):
        return ""
    for other, parameter in having[0].parameters.items():
        levels = {walker.raw.get(other) for walker in having}
        if parameter.choices is not None and not levels & {
            walker.raw.get(other) for walker in walks if name not in walker.raw
        }:
            return f" ({', '.join(str(one) for one in parameter.choices if one in levels)} only)"
    return " (some branches only)"

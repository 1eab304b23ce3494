"""Metrics of a stream from its matrix: what a model that has seen segments 1..t can do on segment i.

Row t of the matrix is measured after segment t. With T rows, the segments seen so far (a stream may be interrupted):

``acc``         mean_i a[T, i]: what is left at the end
``bwt``         mean_{i<T} (a[T, i] - a[i, i]): what later segments did to earlier ones
``forgetting``  mean_{i<T} (max_{i<=l<T} a[l, i] - a[T, i]): from the best it ever was; below 0 if it still improves
``fwt``         mean_{i>1} (a[i-1, i] - b_i): what earlier segments did for later ones, b of the untrained model
``anytime``     mean_t mean_{i<=t} a[t, i]

With one segment only ``acc`` and ``anytime`` exist. What needs an entry that was not measured is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from trainer.probes.precision import in_double

Row = Sequence[float | None]


def summary(matrix: Sequence[Row], untrained: Row | None = None) -> dict[str, float]:
    """The metrics by name, from the rows so far.

    Args:
        matrix: row t has at least t + 1 entries (from 0); later segments may be absent or None.
        untrained: b_i of all segments, or None.
    """
    size = len(matrix)
    if not size:
        return {}
    last = matrix[-1]
    found = {
        "acc": _mean([last[i] for i in range(size)]),
        "anytime": _mean([_mean([row[i] for i in range(t + 1)]) for t, row in enumerate(matrix)]),
    }
    if size > 1:
        found["bwt"] = _mean([_minus(last[i], matrix[i][i]) for i in range(size - 1)])
        best = [_most([matrix[t][i] for t in range(i, size - 1)]) for i in range(size - 1)]
        found["forgetting"] = _mean([_minus(one, last[i]) for i, one in enumerate(best)])
        if untrained is not None and len(untrained) >= size:
            before = [matrix[i - 1][i] if len(matrix[i - 1]) > i else None for i in range(1, size)]
            found["fwt"] = _mean([_minus(one, untrained[i]) for i, one in enumerate(before, start=1)])
    return {name: value for name, value in found.items() if value is not None}


def cka(first: Tensor, second: Tensor) -> float:
    """Linear centred kernel alignment of (n, d) and (n, k) features of the same inputs, in [0, 1] (Kornblith et al.,
    1905.00414); 1 means equal up to rotation and scale. NaN if one of them is constant."""
    x, y = in_double(first), in_double(second)
    x, y = x - x.mean(0), y - y.mean(0)
    across = (x.T @ y).square().sum()
    return float(across / ((x.T @ x).norm() * (y.T @ y).norm()))


def _mean(values: list[float | None]) -> float | None:
    return None if not values or any(value is None for value in values) else sum(values) / len(values)


def _most(values: list[float | None]) -> float | None:
    return None if any(value is None for value in values) else max(values)


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b

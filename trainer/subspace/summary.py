"""All subspace diagnostics of one evaluation: numbers for the record and arrays for the plots."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trainer.errors import UsageError
from trainer.record.run import write_atomically
from trainer.subspace import circle, operators, overlap, spectra, trajectories, variance
from trainer.subspace.harmonics import harmonic_power, harmonic_shares
from trainer.subspace.matched import MatchedNull, variances_of
from trainer.subspace.names import metric_name
from trainer.subspace.rates import rates_used
from trainer.subspace.sweep import Sweep, split_anchors

Sweeps = Mapping[str, tuple[Any, Any]]
"""{factor: (values (T,), codes (A, T, D))}, tensors or arrays."""
HARMONICS = 4
"""Frequencies that get a metric of their own."""
TOP = 32
"""Length of the stored eigenspectra."""


class Summary(NamedTuple):
    """Metrics by name (NaN where undefined), and arrays by name for :func:`save_arrays`."""

    metrics: dict[str, float]
    arrays: dict[str, np.ndarray]


def summary(
    sweeps: Sweeps,
    *,
    angles: Collection[str],
    baselines: Mapping[str, Sweeps] | None = None,
    code: str = "",
    ks: tuple[int, ...] = (2, 4, 8),
    dims: int = 4,
    seed: int = 0,
    previous: Mapping[str, np.ndarray] | None = None,
    decay: float = 0.9,
) -> Summary:
    """Measure the code and its baselines with the same functions, on the same anchors and split.

    Args:
        sweeps: one sweep per factor; all factors share D, and anchors in the same order. Values: degrees for
            ``angles``, otherwise a unit in which the factor adds up (logarithms of scales).
        angles: factors that go round the full circle; only they get circle, winding and harmonics.
        baselines: {"pixels": sweeps, "untrained": sweeps}: the same factors and values; D may differ.
        code: name of the code in every metric, e.g. ``z_agg@3``; empty names the factor alone.
        ks: numbers of directions (or of functions of the factor) of ``subspace_ev``; even.
        dims: width of the subspaces that are compared (overlap, stability, coordinates).
        seed: splits anchors and resamples them; does not touch any global generator.
        previous: arrays of the last evaluation of the same code, for stability.
        decay: of the moving average of projectors.

    Returns:
        Metrics named as in ``trainer.subspace.names``; arrays ``values/f`` (T,), ``eigenspectrum/f`` (3, K: estimate,
        low, high), ``path/f`` (held, T, 2), ``parallelism/f`` (T,), ``operator_deltas/f`` (J,),
        ``operator_eigenvalues/f`` (J, r), ``operator_r2/f`` (3, J: against mean, identity, the better),
        ``operator_composition/f`` (2,: mean error, plain and weighted), ``basis/f`` (D, k),
        ``projector/f`` (D, D); for angles ``circle/f`` (held, T, 2) and ``harmonic_power/f`` (A, T // 2 + 1);
        ``overlap/f+g...`` and ``overlap_chance/f+g...`` (F, F) and ``overlap_matched/f+g...`` (3, F, F: mean, low and
        high of ``trainer.subspace.matched``); ``factors``, ``angles`` and ``codes`` list the names.

    Raises:
        UsageError: no sweep, an unknown name in ``angles``, baselines with other factors or values, a broken sweep.
    """
    unknown = sorted(set(angles) - set(sweeps))
    if not sweeps or unknown:
        raise UsageError(f"angles = {unknown} are not among the factors {sorted(sweeps)}; every angle needs its sweep")
    if any(k < 2 or k % 2 for k in ks) or dims < 1:
        raise UsageError(f"ks = {ks} must be even and dims = {dims} at least 1")
    codes = {code: sweeps} | dict(baselines or {})
    if len(codes) != 1 + len(baselines or {}):
        raise UsageError(f"code = {code!r} is also the name of a baseline; give it another")
    metrics: dict[str, float] = {}
    arrays = {"factors": np.array(list(sweeps)), "codes": np.array(list(codes))}
    arrays["angles"] = np.array([factor for factor in sweeps if factor in angles], dtype=str)
    main: dict[str, Sweep] = {}
    for name, given in codes.items():
        checked = {factor: Sweep(*pair, factor in angles) for factor, pair in given.items()}
        main = main or checked
        _check_alike(name, checked, main)
        bases = {}
        for factor, sweep in checked.items():
            found = _factor(sweep, ks, dims, seed)
            metrics |= {metric_name(key, factor, code=name): float(value) for key, value in found.metrics.items()}
            arrays |= {metric_name(key, factor, code=name): value for key, value in found.arrays.items()}
            bases[factor] = found.arrays["basis"]
        null = MatchedNull(variances_of(sweep.codes for sweep in checked.values()), seed)
        compared = _overlaps(bases, dims, name, null)
        metrics |= compared.metrics
        arrays |= compared.arrays
    kept = _stability(
        {f: arrays[metric_name("basis", f, code=code)] for f in sweeps}, dims, code, previous or {}, decay
    )
    return Summary(metrics | kept.metrics, arrays | kept.arrays)


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the arrays as compressed .npz, whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of :func:`save_arrays`, for ``previous``."""
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def _factor(sweep: Sweep, ks: tuple[int, ...], dims: int, seed: int) -> Summary:
    """Everything about one factor in one code; names still without factor and code."""
    train, held = split_anchors(len(sweep.codes), seed)
    differences, flat = sweep.differences(), sweep.codes.reshape(-1, sweep.codes.shape[2])
    principal = spectra.principal_axes(differences.reshape(flat.shape))
    spectrum = spectra.eigenspectrum(differences, max(TOP, *ks), seed, principal=principal)
    basis = spectra.subspace_basis(differences, dims, principal)
    metrics: dict[str, float] = {}
    for k, each in zip(ks, spectra.ev_per_anchor(differences, ks), strict=True):
        metrics[f"subspace_ev.pooled.k{k}"] = spectrum.cumulative[min(k, len(spectrum.cumulative)) - 1]
        metrics[f"subspace_ev.anchor.k{k}"] = each
        if k < len(sweep.values):
            metrics[f"subspace_ev.action.k{k}"] = spectra.ev_action(sweep, train, held, k)
    metrics["subspace_effrank"] = spectra.effective_rank(differences)
    metrics["factor_variance"] = variance.factor_variance(sweep.codes)
    metrics["intraclass_correlation"] = variance.intraclass_correlation(sweep.codes)
    metrics["relative_std"] = variance.relative_std(flat)
    metrics["pairwise_cosine"] = variance.mean_pairwise_cosine(flat)
    metrics[f"coordinate_participation.k{dims}"] = variance.coordinate_participation(basis)
    if sweep.codes.shape[2] > 1:
        metrics["hoyer.codes"] = variance.hoyer(flat).mean()
        metrics[f"hoyer.basis.k{dims}"] = variance.hoyer(np.square(basis).sum(1))
    metrics["rate_used.exact"], metrics["rate_used.variational"] = rates_used(flat)
    metrics["parallelism"], parallel = trajectories.parallelism(sweep)
    fitted = operators.fit_operators(sweep, train, held)
    plain, weighted = operators.composition_errors(fitted)
    values = fitted.eigenvalues()
    metrics |= {f"operator_r2.{baseline}": r2 for baseline, r2 in fitted.pooled.items()}
    metrics |= {"operator_dims": len(fitted.variances), "operator_retained": fitted.retained}
    composed = [errors.mean() if len(errors) else float("nan") for errors in (plain, weighted)]
    metrics |= dict(zip(("composition_error.frobenius", "composition_error.weighted"), composed, strict=True))
    metrics["operator_modulus_error"] = np.abs(np.abs(values) - 1).mean()
    arrays = {
        "values": sweep.values, "eigenspectrum": np.stack([spectrum.cumulative, spectrum.low, spectrum.high]),
        "basis": basis, "path": trajectories.plane_paths(sweep, train, held), "parallelism": parallel,
        "operator_deltas": fitted.deltas, "operator_eigenvalues": values,
        "operator_r2": np.stack([fitted.r2_mean, fitted.r2_identity, fitted.r2_best]),
        "operator_composition": np.array(composed),
    }  # fmt: skip
    if sweep.periodic:
        turned, power = circle.rotation_circle(sweep, train, held, HARMONICS), harmonic_power(sweep)
        shares = harmonic_shares(power)
        for harmonic in range(1, min(HARMONICS, shares.shape[1]) + 1):
            metrics[f"circle_score.h{harmonic}"] = turned.scores[harmonic - 1]
            metrics[f"harmonic_share.h{harmonic}"] = shares[:, harmonic - 1].mean()
        metrics |= {"circle_radius_cv": turned.radius_cv, "winding.mean_curve": turned.winding}
        metrics |= {
            "winding.anchors": turned.windings.mean(),
            "winding.agree": (turned.windings == turned.winding).mean(),
        }
        arrays |= {"circle": turned.points, "harmonic_power": power}
    return Summary(metrics, arrays)


def _overlaps(bases: dict[str, np.ndarray], dims: int, code: str, null: MatchedNull) -> Summary:
    tables = {"overlap": overlap.overlap, "overlap_chance": overlap.overlap_chance}
    arrays = {
        metric_name(key, *bases, code=code): np.array([[formula(u, v) for v in bases.values()] for u in bases.values()])
        for key, formula in tables.items()
    }
    widths = [basis.shape[1] for basis in bases.values()]
    by_chance = np.array([[null.overlap(u, v) for v in widths] for u in widths])
    arrays[metric_name("overlap_matched", *bases, code=code)] = np.moveaxis(by_chance, 2, 0)
    metrics: dict[str, float] = {}
    for first, second in combinations(bases, 2):
        u, v = bases[first], bases[second]
        found = {key: formula(u, v) for key, formula in (tables | {"overlap_log": overlap.overlap_log}).items()}
        matched = null.overlap(u.shape[1], v.shape[1])
        found |= {f"overlap_matched.{part}": value for part, value in matched._asdict().items()}
        turned = overlap.principal_angles(u, v)
        extremes = (turned[0], turned[-1]) if len(turned) else (np.nan, np.nan)
        found["principal_angle.min"], found["principal_angle.max"] = extremes
        for key, value in found.items():
            metrics[metric_name(f"{key}.k{dims}", first, second, code=code)] = float(value)
    return Summary(metrics, arrays)


def _stability(
    bases: dict[str, np.ndarray], dims: int, code: str, previous: Mapping[str, np.ndarray], decay: float
) -> Summary:
    """Against the last evaluation, if there is one; the moving averages go on in any case."""
    metrics: dict[str, float] = {}
    arrays: dict[str, np.ndarray] = {}
    for factor, basis in bases.items():
        named = {key: metric_name(key, factor, code=code) for key in ("basis", "projector")}
        average = previous.get(named["projector"])
        arrays[named["projector"]] = overlap.update_projector(average, basis, decay)
        if average is not None:
            metrics[metric_name(f"stability.k{dims}", factor, code=code)] = overlap.stability(basis, average)
            turned = overlap.principal_angles(basis, previous[named["basis"]])
            largest = float(turned[-1]) if len(turned) else float("nan")
            metrics[metric_name(f"stability_angle.k{dims}", factor, code=code)] = largest
    return Summary(metrics, arrays)


def _check_alike(name: str, given: dict[str, Sweep], main: dict[str, Sweep]) -> None:
    """A baseline is one only on the same images in the same poses."""
    if set(given) != set(main):
        raise UsageError(
            f"baseline {name!r} has the factors {sorted(given)}, the code {sorted(main)}; give exactly these"
        )
    widths = {factor: sweep.codes.shape[2] for factor, sweep in given.items()}
    if len(set(widths.values())) > 1:
        raise UsageError(f"features of {name or 'the code'} per factor = {widths}; all must come from one encoder")
    for factor, sweep in given.items():
        same = np.array_equal(sweep.values, main[factor].values) and len(sweep.codes) == len(main[factor].codes)
        if not same:
            raise UsageError(
                f"baseline {name!r} has other values or anchors of {factor} than the code; give both the same"
            )

"""The metrics of one evaluation as tables on the console, each number beside its controls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.table import Table

Metrics = Mapping[str, float | None]
ACCURACIES = {"linacc": "ridge", "probe_linacc": "paper", "knn20": "20-NN", "knn1": "1-NN"}
REGRESSORS = {"": "MLP", "_linear": "linear", "_paper_mlp": "paper MLP", "_paper_linear": "paper linear"}


def tables(metrics: Metrics, m: int) -> list[Table]:
    """Tables of whatever was measured; sweeps of the subspace diagnostics are left to their figures.

    Args:
        m: observed views in training.
    """
    made = [
        _by_views(metrics),
        _single(metrics, m),
        _actions(metrics),
        _poses(metrics, m),
        _path(metrics, m),
        _retrieval(metrics, m),
        _layers(metrics),
        _heads(metrics),
    ]
    return [table for table in made if table.row_count]


def _by_views(metrics: Metrics) -> Table:
    probes = _measured(metrics, ACCURACIES)
    columns = [f"{label}\n{whose}" for label in probes.values() for whose in ("z_agg", "mean z", "untr.")]
    table = _table("accuracy (%) against the number of views; untr.: z_agg of the untrained model", "views", columns)
    counts = sorted(
        {int(name.rpartition("@")[2]) for name in metrics if "/z_agg@" in name and name.partition("/")[0] in probes}
    )
    for k in counts:
        mean = f"z_mean@{k}" if k > 1 else "z_1@1"
        names = [f"{probe}/{feature}" for probe in probes for feature in (f"z_agg@{k}", mean, f"untrained_z_agg@{k}")]
        table.add_row(str(k), *(_percent(metrics, name) for name in names))
    return table


def _single(metrics: Metrics, m: int) -> Table:
    probes = _measured(metrics, ACCURACIES)
    columns = [f"{label}\n{whose}" for label in probes.values() for whose in ("model", "untr.")]
    table = _table("accuracy (%) of other features", "feature", columns)
    rows = {
        "z_1 (one view)": "z_1@1",
        "z_res (original image)": "z_res@1",
        "z_agg without actions": f"z_agg_no_actions@{m}",
    }
    rows |= {"pixels, one view": "pixels@1", "pixels, mean of views": f"pixels_mean@{m}"}
    for label, feature in rows.items() if probes else ():
        table.add_row(
            label, *(_percent(metrics, f"{probe}/{whose}{feature}") for probe in probes for whose in ("", "untrained_"))
        )
    return table


def _actions(metrics: Metrics) -> Table:
    names = [name.partition("/")[0] for name in metrics if name.startswith("r2_") and name.endswith("/z_pair@2")]
    # r2_FACTOR[_REGRESSOR].SCALE; the composites of the record have no column
    stems = [name[3:].rpartition(".") for name in names if "_with_constants" not in name and "_paper." not in name]
    factors = list(dict.fromkeys(_factor(stem) for stem, _, _ in stems))
    scale = stems[0][2] if stems else ""
    kinds = {
        kind: label
        for kind, label in REGRESSORS.items()
        if any(f"r2_{factors[0]}{kind}.{scale}" in names for _ in factors[:1])
    }
    columns = [f"{label}\n{whose}" for label in kinds.values() for whose in ("model", "untr.", "pixels")]
    table = _table(f"R2 of the action between two views, read from both codes (scaling {scale})", "factor", columns)
    for factor in factors:
        features = [(kind, feature) for kind in kinds for feature in ("z_pair", "untrained_z_pair", "pixels_pair")]
        table.add_row(
            factor, *(_share(metrics, f"r2_{factor}{kind}.{scale}/{feature}@2") for kind, feature in features)
        )
    return table


def _poses(metrics: Metrics, m: int) -> Table:
    kinds = {kind: label for kind, label in REGRESSORS.items() if f"r2_pose{kind}/z_1@1" in metrics}
    table = _table(
        "R2 of view 1's own parameters: what the aggregate keeps of them (leakage)", "feature", list(kinds.values())
    )
    rows = {
        "z_1": "z_1@1",
        "mean z": f"z_mean@{m}",
        "z_agg": f"z_agg@{m}",
        "z_agg without actions": f"z_agg_no_actions@{m}",
    }
    for label, feature in (rows | {"untrained z_1": "untrained_z_1@1"}).items() if kinds else ():
        table.add_row(label, *(_share(metrics, f"r2_pose{kind}/{feature}") for kind in kinds))
    for name in metrics:
        if name.startswith("leakage_"):
            table.add_row(name, _share(metrics, name))
    return table


def _path(metrics: Metrics, m: int) -> Table:
    table = _table("path integration: R2 of view 1 -> target", "input", ["MLP", "linear"])
    rows = {"z_agg, last action": "z_agg_a", "z_agg without actions, last action": "z_agg_no_actions_a"}
    rows |= {
        "z_agg without actions": "z_agg_no_actions",
        "z_agg without vision, last action": "z_agg_no_vision_a",
        "last action": "a",
    }
    for label, feature in rows.items():
        if f"r2_path.none/{feature}@{m}" in metrics:
            table.add_row(label, *(_share(metrics, f"r2_path{kind}.none/{feature}@{m}") for kind in ("", "_linear")))
    return table


def _retrieval(metrics: Metrics, m: int) -> Table:
    table = _table("retrieval of the target", "predictor", ["MRR", "H@1", "H@5"])
    for label, feature in {"trained": "z_hat", "untrained": "untrained_z_hat", "chance": "chance"}.items():
        if f"mrr/{feature}@{m}" in metrics:
            table.add_row(label, *(_share(metrics, f"{name}/{feature}@{m}") for name in ("mrr", "hit1", "hit5")))
    return table


LAYER_COLUMNS = {
    "rate": "R(Z)\nbefore", "rate_within": "R^c\nbefore", "rate_within_after": "R^c\nafter", "code_l0": "in\nuse",
    "code_zeros": "exact\nzeros", "dead_atoms": "dead\natoms", "atom_entropy": "entropy\nof use",
}  # fmt: skip


def _layers(metrics: Metrics) -> Table:
    title = "white-box layers: nats a sequence before and after attention; shares of a code's entries and of atoms"
    table = _table(title, "layer", list(LAYER_COLUMNS.values()))
    for part, layer in _opened(metrics):
        row = (_number(metrics, f"{metric}.{layer}/{part}", ".2f") for metric in LAYER_COLUMNS)
        table.add_row(_place(part, layer), *row)
    return table


def _heads(metrics: Metrics) -> Table:
    stems = (name.partition("/")[0].split(".") for name in metrics if name.startswith("head_r2."))
    targets = list(dict.fromkeys(target for _, _, target in stems))
    title = "R2 of the best head's energy; chance: not above 95 % of permutations"
    table = _table(title, "layer", targets)
    for part, layer in _opened(metrics):
        names = [(f"head_r2.{layer}.{target}/{part}", f"head_r2_null.{layer}.{target}/{part}") for target in targets]
        above = (metrics[best] > metrics[null] for best, null in names)
        found = (
            _number(metrics, best, ".2f") if real else "chance" for (best, _), real in zip(names, above, strict=True)
        )
        table.add_row(_place(part, layer), *found)
    return table


def _place(part: str, layer: str) -> str:
    return f"{part.replace('untrained_', 'untr. ')} {layer.removeprefix('layer')}"


def _opened(metrics: Metrics) -> Iterator[tuple[str, str]]:
    """Part and layer of all white-box layers."""
    for name in metrics:
        stem, _, part = name.partition("/")
        if stem.startswith("code_l0."):
            yield part, stem.partition(".")[2]


def _factor(stem: str) -> str:
    return next(
        (stem.removesuffix(kind) for kind in sorted(REGRESSORS, key=len, reverse=True) if kind and stem.endswith(kind)),
        stem,
    )


def _measured(metrics: Metrics, probes: Mapping[str, str]) -> dict[str, str]:
    return {probe: label for probe, label in probes.items() if f"{probe}/z_1@1" in metrics}


def _table(title: str, first: str, columns: list[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", show_lines=False)
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _percent(metrics: Metrics, name: str) -> str:
    return _number(metrics, name, ".1f")


def _share(metrics: Metrics, name: str) -> str:
    return _number(metrics, name, ".3f")


def _number(metrics: Metrics, name: str, form: str) -> str:
    """The number, ``-`` where it was not measured, ``none`` where it is not defined."""
    if name not in metrics:
        return "-"
    return "none" if metrics[name] is None else format(metrics[name], form)

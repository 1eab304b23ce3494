"""An evaluation as tables on the console: each number beside the untrained encoder's and what pixels or chance give."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

ROWS = (
    ("linear accuracy (%)", "linacc", "pixels"),
    ("linear layer by Adam (%)", "linacc_paper", None),
    ("20 nearest neighbours (%)", "knn20", "pixels"),
    ("nearest neighbour (%)", "knn1", "pixels"),
    ("standard deviation over images", "std", None),
    ("cosine of two images", "pair_cosine", None),
    ("effective rank", "rank_pr", None),
    ("RankMe", "rankme", None),
)


def tables(metrics: Mapping[str, float | None]) -> list[Table]:
    """Of the pooled features, of the levels if there is a pyramid, and of the prediction loss."""
    pooled = Table("mean token", "trained", "untrained", "pixels", title="features of whole images")
    for words, name, control in ROWS:
        keys = (f"{name}/z_agg@1", f"{name}/untrained_z_agg@1", f"{name}/{control}@1" if control else None)
        if metrics.get(keys[0]) is not None:
            pooled.add_row(words, *(_number(metrics.get(key)) for key in keys))
    level = 0
    while metrics.get(f"linacc/level{level}@1") is not None:
        pooled.add_row(f"linear accuracy (%), level {level}", _number(metrics[f"linacc/level{level}@1"]), "", "")
        level += 1
    loss = Table("prediction loss", "value", title="a loss says nothing of collapse: it is low there, too")
    names = (
        ("trained", "predict/z_hat@1"),
        ("untrained", "predict/untrained_z_hat@1"),
        ("chance: a constant", "chance_zero/z_hat@1"),
        ("chance: another image's target", "chance_independent/z_hat@1"),
    )
    for words, name in names:
        if metrics.get(name) is not None:
            loss.add_row(words, f"{metrics[name]:.5f}")
    return [pooled, loss]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"

"""An evaluation as tables on the console: each number beside the untrained encoder's and what pixels or chance give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


def tables(metrics: Mapping[str, float | None], sets: Sequence[str] = ()) -> list[Table]:
    """Of the pooled features, of the levels if there is a pyramid, and of the prediction loss.

    Args:
        sets: of a mixture, each of which has tables of its own.
    """
    of_sets = ({key.replace(f".{name}/", "/"): value for key, value in metrics.items()} for name in sets)
    found = [table for name, own in zip(sets, of_sets, strict=True) for table in _tables(own, f" of {name}")]
    return found or _tables(metrics, "")


def _tables(metrics: Mapping[str, float | None], whose: str) -> list[Table]:
    pooled = Table("mean token", "trained", "untrained", "pixels", title=f"features of whole images{whose}")
    levels = sorted({key.partition("/")[2].removesuffix("@1") for key in metrics if "/level" in key})
    for feature in ("z_agg", *levels):
        for words, name, control in ROWS:
            keys = (f"{name}/{feature}@1", f"{name}/untrained_{feature}@1", f"{name}/{control}@1" if control else None)
            if metrics.get(keys[0]) is not None:
                shown = words if feature == "z_agg" else f"{words}, {feature.replace('level', 'level ')}"
                pooled.add_row(shown, *(_number(metrics.get(key)) for key in keys))
    loss = Table(f"prediction loss{whose}", "value", title="a loss says nothing of collapse: it is low there, too")
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

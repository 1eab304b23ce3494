"""Pre-training on several image sets at once, drawn by weight (scientific)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from trainer.config.node import Node, Positive, added, one_of
from trainer.config.sets import SETS, Count, check_sizes, drop_spelled_out, pretraining_images

if TYPE_CHECKING:
    from trainer.config.data import DataConfig


class MixedSet(Node):
    """One image set of a mixture."""

    name: Annotated[str, one_of(SETS)]
    weight: Positive
    """Share of an epoch's images, in any unit; it is kept as a part of all weights' sum."""
    sizes: Annotated[tuple[Count, Count, Count], Field(strict=False)] | None = added(None)
    """As data.sizes, for this set; those of the set that is data.name are data.sizes itself."""
    unlabelled: Annotated[int, Field(ge=0)] | None = added(None)
    """As data.unlabelled, likewise."""

    @classmethod
    def resolve(cls, values: dict[str, Any]) -> None:
        if isinstance(values.get("name"), str) and (facts := SETS.get(values["name"])):
            drop_spelled_out(values, facts)


def _canonical(sets: tuple[MixedSet, ...]) -> tuple[MixedSet, ...]:
    """In the order of ``SETS``, weights of sum 1: neither order nor unit makes another arm."""
    names = [one.name for one in sets]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{sorted(twice)[0]} is named twice; give each set one weight")
    if len(sets) < 2:
        raise ValueError("a mixture has at least two sets; remove it, or add one")
    most = max(one.weight for one in sets)
    total = sum(one.weight / most for one in sets)
    parts = {one.name: one for one in sets}
    if abs(total * most - 1) > 1e-9:  # what was written out once is read as it is
        parts = {n: one.model_copy(update={"weight": round(one.weight / most / total, 12)}) for n, one in parts.items()}
    return tuple(parts[name] for name in SETS if name in parts)


Mixture = Annotated[tuple[MixedSet, ...], Field(strict=False), AfterValidator(_canonical)]


def named(mixture: Any) -> list[str]:
    """The known sets that an unchecked value of ``data.mixture`` names."""
    names = [one.get("name") for one in mixture if isinstance(one, dict)] if isinstance(mixture, (list, tuple)) else []
    return [name for name in names if isinstance(name, str) and name in SETS]


def members(data: DataConfig) -> tuple[DataConfig, ...]:
    """The settings of each image set alone, as a run without a mixture has them; the sets of a mixture in its order."""
    if data.mixture is None:
        return (data,)
    found = []
    for one in data.mixture:
        own = {} if one.name == data.name else {"sizes": one.sizes, "unlabelled": one.unlabelled}
        generated = data.generated and SETS[one.name].test_is_published
        alone = {"name": one.name, "mixture": None, "epoch_images": None, "generated": generated}
        found.append(data.model_copy(update={**alone, **own}))
    return tuple(found)


def channels(data: DataConfig) -> int:
    """Of the images that a model sees: grey ones are repeated where a set of the mixture has colours."""
    return max(SETS[one.name].channels for one in members(data))


def side(data: DataConfig) -> int:
    """Of the images that views are cut from, pixels: that of a mixture's largest set."""
    return max(SETS[one.name].side for one in members(data))


def counts(weights: list[float], total: int) -> list[int]:
    """Whole numbers with the sum ``total``, each less than one from its share of it (largest remainder)."""
    whole_weight = sum(weights)
    exact = [weight * total / whole_weight for weight in weights]
    whole = [int(share) for share in exact]
    order = sorted(range(len(weights)), key=lambda which: whole[which] - exact[which])
    for which in order[: total - sum(whole)]:
        whole[which] += 1
    return whole


def check_mixture(data: DataConfig) -> None:
    """Raise ValueError for sets that cannot be mixed, or settings that mean nothing with a mixture."""
    names = [one.name for one in data.mixture]
    if data.name not in names:
        raise ValueError(
            f"name = {data.name!r} must be one of the mixture's sets, {', '.join(names)}: the run is judged by it"
        )
    if data.transform != "standard":
        raise ValueError(
            f"mixture: views that actions relate (transform = {data.transform!r}) come from one image set; it needs"
            " data.transform=standard, which family h_jepa takes"
        )
    for one in data.mixture:
        facts = SETS[one.name]
        if facts.views > 1:
            raise ValueError(
                f"mixture: {one.name} has {facts.views} pictures of every object, which are not brought to the shape of"
                " single images; leave it out"
            )
        if one.name == data.name and (one.sizes, one.unlabelled) != (None, None):
            raise ValueError(f"mixture: {one.name} is data.name; give its sizes and unlabelled as those of data")
        check_sizes(one.name, one.sizes, data.select_on, "mixture: sizes")
        if one.unlabelled is not None and one.unlabelled > facts.unlabelled:
            raise ValueError(f"mixture: unlabelled = {one.unlabelled}: {one.name} has {facts.unlabelled}")
    if data.epoch_images is None:
        held = sum(pretraining_images(one) for one in members(data))
        raise ValueError(
            f"epoch_images: a mixture has no length of its own; say how many images an epoch draws (the sets hold"
            f" {held:,})"
        )
    if data.draws_per_epoch != 1:
        raise ValueError(f"draws_per_epoch = {data.draws_per_epoch}: a mixture's epoch is epoch_images long; remove it")
    if data.stream is not None:
        raise ValueError("stream: a mixture is drawn at random; remove one of them")


def check_draws(data: DataConfig, draws: int) -> None:
    """Raise ValueError for a weight that never draws anything; ``draws`` are an epoch's, full batches only."""
    weights = [one.weight for one in data.mixture]
    for one, count in zip(data.mixture, counts(weights, draws), strict=True):
        if count == 0:
            raise ValueError(
                f"data.mixture: weight = {one.weight} of {one.name} draws none of an epoch's {draws} images; raise"
                " it or data.epoch_images"
            )

"""A search that was to compare nothing: what it found, in sentences that are no verdict."""

from __future__ import annotations

from analysis.recorded.study import Study
from analysis.rendering.render import number


def search_only(study: Study) -> bool:
    """Whether the study was begun with ``--no-verdict``."""
    return study.setting("search", "verdict", True) is False


def best_found(study: Study) -> list[str]:
    """What stands instead of a comparison: the best of each level; [] where arms are compared, or none is chosen
    yet."""
    if not search_only(study):
        return []
    labels = {line["trial"]: line.get("label") for line in study.decisions if line["event"] == "suggest"}
    said = []
    for level, choice in study.chosen.items():
        for one in choice[:1]:
            of_level = f" of {study.declared.stratum} {level}" if study.declared.stratum else ""
            name = labels.get(one["trial"]) or f"trial {-one['trial']} of those taken over"
            value = "no score" if one["value"] is None else f"linear accuracy {number(one['value'])} percent"
            said.append(f"Best{of_level} in the search: {name}, {value} at epoch {one['epoch']}.")
    return [*said, "The search alone was asked for: nothing was compared, so this is no verdict."] if said else []

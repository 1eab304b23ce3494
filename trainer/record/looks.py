"""When a study that adds seeds until its contrasts are resolved looks at them: fixed before its data.

Each look is a chance to be fooled, so each decides at the study's level divided by the number of looks (Bonferroni over
looks, and Holm over contrasts within one): whatever the looks have in common, a study in which nothing differs calls
anything better or worse in at most one of twenty.
"""

STEP = 2
"""Seeds added at a time: a look costs level, a seed costs runs."""


def looks(first: int, until: int | None) -> tuple[int, ...]:
    """Numbers of seeds at which a study looks: ``first``, and every ``STEP`` more up to ``until``."""
    if until is None or until <= first:
        return (first,)
    return (*range(first, until, STEP), until)

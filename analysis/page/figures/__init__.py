"""The page's figures: ``draw(facts, width)`` gives a matplotlib figure of so many pixels, or raises ``Refused``.

To add one, write a module with ``draw`` and ``describe`` and name it in ``FIGURES``.
"""

from __future__ import annotations

from analysis.page.figures import attempts, curves, importance, objectives, ranks, rungs, search
from analysis.page.figures.drawing import Drawing

FIGURES: dict[str, Drawing] = {
    "curves": Drawing("Curves of the compared arms", curves.draw, curves.describe),
    "search": Drawing("Score by searched setting", search.draw, search.describe),
    "rungs": Drawing("Does the first judgement predict the end?", rungs.draw, rungs.describe),
    "importance": Drawing("Importance of searched settings", importance.draw, importance.describe, importance.caption),
    "objectives": Drawing("Two objectives", objectives.draw, objectives.describe),
    "ranks": Drawing("Effective rank against the untrained encoder", ranks.draw, ranks.describe),
    "attempts": Drawing("Attempts in time", attempts.draw, attempts.describe),
}

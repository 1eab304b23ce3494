"""What a study asks, declared before its data: the question, and the few comparisons that may be answered in words.

The declaration is written into study.json when the study begins and cannot be changed afterwards. All other comparisons
are exploratory: the report gives them intervals and no verdict.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trainer.errors import UsageError

MOST = 6
"""Primary contrasts of one study: each one more makes all of them harder to resolve."""
LINACC = "linacc/z_agg@M"


@dataclass(frozen=True)
class Contrast:
    """Arm minus reference in one metric, of which more is better; adjusted together with the study's others.

    Attributes:
        question: what it tells, in a few words.
        arm, reference: keys of arms. The searched ones are ``best/<teacher>`` and
            ``best/<teacher>/lambda0`` (the same without the rate).
        metric: name on record, ``@M`` standing for the run's number of views.
    """

    question: str
    arm: str
    reference: str
    metric: str = LINACC


@dataclass(frozen=True)
class Declaration:
    question: str = ""
    contrasts: tuple[Contrast, ...] = ()

    def check(self, keys: Iterable[str], teachers: Iterable[str]) -> None:
        """Refuse a contrast between arms that the study will not have. Raises UsageError.

        Args:
            keys: of the arms known before the search.
            teachers: whose best arms the search chooses.
        """
        known = {*keys, *(f"best/{name}{twin}" for name in teachers for twin in ("", "/lambda0"))}
        if len(self.contrasts) > MOST:
            raise UsageError(f"{len(self.contrasts)} primary contrasts are declared, at most {MOST} are allowed; leave the others exploratory")
        for one in self.contrasts:
            for key in (one.arm, one.reference):
                if key not in known:
                    raise UsageError(f"contrast {one.question!r}: no arm {key!r}; the study has {', '.join(sorted(known))}")
            if one.arm == one.reference:
                raise UsageError(f"contrast {one.question!r}: compares {one.arm!r} with itself")

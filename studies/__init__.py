"""Studies: search, controls and confirmation on paired seeds, through Ray Tune.

A study is a declaration (``Study``). ``plan`` says what will run and imports neither torch nor ray; ``jobs`` decides what
runs next and ``halving`` who is stopped, both from durable records; ``tune_adapters`` puts the two behind Ray Tune's
interfaces; ``driver`` runs it all.
"""

from studies.engine.contrasts import Contrast
from studies.engine.question import Control, Reference, Show, Strata
from studies.engine.settings import Arm
from studies.study import Study

__all__ = ["Arm", "Contrast", "Control", "Reference", "Show", "Strata", "Study"]

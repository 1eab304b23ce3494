"""Studies: search, controls and confirmation on paired seeds, through Ray Tune or in plain processes.

A study is a declaration (``Study``). The ``engine`` says what will run, what runs next and who is stopped, all from
durable records, and imports neither torch nor ray; ``conductor`` carries its jobs to one of the ``executors`` and back;
``driver`` runs it all.
"""

from studies.hidden import refuse_hidden

refuse_hidden()  # the imports below are the first that another module could answer

from studies.engine.contrasts import Contrast
from studies.engine.question import Control, Reference, Show, Strata
from studies.engine.settings import Arm
from studies.study import Study

__all__ = ["Arm", "Contrast", "Control", "Reference", "Show", "Strata", "Study"]

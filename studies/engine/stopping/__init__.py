"""Stopping rules, one file each, by the name that ``--stopping`` takes."""

from studies.engine.stopping.asha import Asha, AshaStop
from studies.engine.stopping.face import GO, STOP, WAIT, Judgement, Rule
from studies.engine.stopping.gate import Gate
from studies.engine.stopping.hyperband import Hyperband
from studies.engine.stopping.ladder import Ladder
from studies.engine.stopping.median import Median
from studies.engine.stopping.never import Never

RULES: dict[str, type[Rule]] = {
    "asha": Asha,
    "asha-stop": AshaStop,
    "gate": Gate,
    "hyperband": Hyperband,
    "median": Median,
    "none": Never,
}

__all__ = ["GO", "RULES", "STOP", "WAIT", "Judgement", "Ladder", "Rule"]

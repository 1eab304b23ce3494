"""What a study will run, resolved and checked before anything starts. Imports neither torch nor ray."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from studies.engine import devices
from studies.engine.contrasts import Declaration
from studies.engine.metrics import check_recorded
from studies.engine.settings import Arm, Limits, Resources, SearchPlan, Stopping
from studies.engine.stopping import Rule
from trainer import presets
from trainer.config import RunConfig
from trainer.errors import UsageError
from trainer.record.identity import arm_id, arm_settings
from trainer.record.looks import looks
from trainer.record.run_lines import read_run
from trainer.record.study_lines import SCHEMA_VERSION, read_decisions

NOISE = 100  # seeds of the noise floor begin so far above that of the search; those of the race lie between


@dataclass(frozen=True)
class Plan:
    """A study: an optional search, and arms on paired seeds.

    Attributes:
        arms: known before the search: the controls, or a whole grid.
        declared: the question and its primary contrasts, which alone get verdict words.
        confirm: levels whose best searched arms, and the best one's reference, are compared; () without a search.
        noise_floor: seeds on which the reference arm alone is run first.
        until: seeds are added up to so many while a primary contrast is not resolved.
        revision: the preset's own settings as they were when the study began, where they have changed since.
        probe_epochs: further epochs at which the frozen model is probed, beside the rungs and the end.
    """

    study: str
    folder: Path
    preset: str
    overrides: list[str]
    seeds: tuple[int, ...]
    epochs: int
    resources: Resources
    arms: tuple[Arm, ...]
    declared: Declaration = Declaration()
    num_trials: int = 0
    search_seed: int = 1000
    confirm: tuple[str, ...] = ()
    ranges: dict[str, str] = field(default_factory=dict)
    search: SearchPlan = SearchPlan()
    stopping: Stopping = Stopping()
    limits: Limits = Limits()
    probe_epochs: tuple[int, ...] = ()
    until: int | None = None
    noise_floor: int = 0
    gate: str | None = None
    wandb: str = "off"
    tensorboard: bool = False
    across_commits: bool = False
    runtime: dict[str, Any] = field(default_factory=dict)
    revision: tuple[str, ...] = ()

    @property
    def base(self) -> RunConfig:
        """The preset with what is common to all arms."""
        return presets.load(self.preset, [*self.revision, *self.overrides], {"epochs": self.epochs})

    @property
    def begun(self) -> bool:
        """Whether anything was decided in the folder; a first command that never reached Ray leaves only its settings
        and times.

        Raises:
            UsageError, RecordError: the record is damaged, or its study.json is missing.
        """
        return begun(self.folder)

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs at which trials are judged; none without early stopping."""
        return self.rule.rungs

    @property
    def rule(self) -> Rule:
        """Who goes on at the rungs."""
        return self.stopping.over(self.epochs)

    def config(self, overrides: dict[str, Any], seed: int) -> RunConfig:
        """The run of an arm or a trial; probes run at the rungs, where they decide."""
        probed = sorted({*self.rungs, *self.probe_epochs})
        fixed = {"seed": seed, "epochs": self.epochs, "eval.probe_epochs": probed}
        if self.across_commits:
            fixed["runtime.across_commits"] = True
        return presets.load(self.preset, [*self.revision, *self.overrides], {**overrides, **fixed, **self.runtime})

    def check(self, points: list[dict[str, Any]], here: bool = True) -> None:
        """Build every kind of run once, so that none is found impossible in the middle of the study.

        Args:
            points: overrides at the corners of the search space, and those of the references there.
            here: whether trials run on this machine.

        Raises:
            UsageError: an arm or a corner contradicts the preset, the overrides or the resources.
        """
        for overrides in [*(arm.overrides for arm in self.arms), *points]:
            config = self.config(overrides, self.seeds[0])
            devices.check(config, self.resources, here)
            beside = {one.name for one in self.declared.also} | {*self.search.objectives} - {"linacc"}
            check_recorded(
                beside | {self.declared.metric.name, *(one.metric for one in self.declared.contrasts)}, config
            )
            if config.data.pretrain_on != "train":
                raise UsageError(
                    f"preset {self.preset}: data.pretrain_on = {config.data.pretrain_on!r}, but a study selects on"
                    " validation images, which must be new to the model; override data.pretrain_on=train"
                )
            if config.data.select_on != "validation":
                raise UsageError(
                    f"preset {self.preset}: data.select_on = {config.data.select_on!r}, but a study selects and"
                    " compares on validation; run it with python -m trainer, or override data.select_on=validation"
                )

    def arm_id(self, arm: Arm) -> str:
        return self.id_of(arm.overrides)

    def id_of(self, overrides: dict[str, Any]) -> str:
        return arm_id(self.config(overrides, self.seeds[0]))

    @property
    def twins(self) -> int:
        """References of each level's searched arms."""
        return int(self.declared.reference is not None and bool(self.confirm) and self.search.verdict)

    @property
    def comparison_runs(self) -> int:
        """Runs on the seed list; an untrained row reads epoch 0 of a control's and costs nothing."""
        return (self._fixed + self.chosen) * len(self.seeds)

    @cached_property
    def _fixed(self) -> int:
        # arms with the same settings share their runs
        return len({self.arm_id(arm) for arm in self.arms if arm.role != "untrained"})

    @property
    def handed_on(self) -> list[int]:
        """How many arms each level's search hands on at most; a level that no trial is of has none."""
        if not self.search.verdict or not self.num_trials:
            return []
        if self.search.warm_start:  # trials of earlier studies may be chosen as well, of any level
            return [self.search.top_k] * len(self.confirm)
        trials = [len(range(at, self.num_trials, len(self.confirm))) for at in range(len(self.confirm))]
        return [min(n, self.search.top_k) for n in trials if n]

    @property
    def chosen(self) -> int:
        """Arms on the seed list that the search chooses, and their references."""
        return sum((1 if self.races else top) + self.twins for top in self.handed_on)

    @property
    def sampler_seed(self) -> int:
        return self.search_seed if self.search.seed is None else self.search.seed

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of seeds at which it is asked whether the primary contrasts are resolved."""
        return looks(len(self.seeds), self.until)

    @property
    def races(self) -> tuple[int, ...]:
        """Seeds of the race, after that of the search; none where there is nobody to run against."""
        here = self.num_trials and self.confirm and self.search.top_k > 1 and self.search.verdict
        return tuple(self.search_seed + 1 + n for n in range(self.search.race)) if here else ()

    @property
    def noise_seeds(self) -> tuple[int, ...]:
        return tuple(self.search_seed + NOISE + n for n in range(self.noise_floor))

    @property
    def noise_arm(self) -> tuple[str, dict[str, Any]]:
        """Label and settings of the arm whose spread is measured: the preset with the reference's settings, or the
        first of the given arms that another refers to."""
        if self.declared.reference_settings:
            changed = dict(self.declared.reference_settings)
            return f"the preset with {', '.join(f'{key}={value}' for key, value in changed.items())}", changed
        referred = {arm.reference for arm in self.arms}
        arm = next((arm for arm in self.arms if arm.key in referred), None)
        return (arm.label, arm.overrides) if arm else ("the preset", {})

    @property
    def race_runs(self) -> int:
        return len(self.races) * sum(top for top in self.handed_on if top > 1)

    @property
    def most_epochs(self) -> int:
        added = max(self.looks) / len(self.seeds)
        return round((self.noise_floor + self.num_trials + self.race_runs + added * self.comparison_runs) * self.epochs)

    def expected_epochs(self) -> float:
        """Epochs if the stopping rule keeps its usual share of the trials at each rung."""
        full = self.noise_floor + self.race_runs + self.comparison_runs
        return self.num_trials * self.expected_from(0) + full * self.epochs

    def expected_from(self, epoch: int) -> float:
        """Epochs a search trial has still to train if the rule keeps its usual share at each rung after ``epoch``."""
        total, alive, before = 0.0, 1.0, epoch
        for rung in (*self.rungs, self.epochs):
            if rung > epoch:
                total += alive * (rung - before)
                alive, before = alive * self.rule.share, rung
        return total

    def stored(self) -> dict[str, Any]:
        """``study.json``: what a continued study must agree with, and what the analysis names."""
        content = asdict(self)
        content["folder"] = None  # a study may be moved
        del content["revision"]  # the settings themselves are below
        content["stopping"] = self.stopping.stored(self.epochs)
        content["arms"] = [asdict(arm) for arm in self.arms]
        # a preset's name stays when its content changes
        base = {"base_arm": arm_id(self.base), "base": arm_settings(self.base)}
        return {
            "schema_version": SCHEMA_VERSION,
            **content,
            "seeds": list(self.seeds),
            "rungs": list(self.rungs),
            **base,
        }


def begun(folder: Path) -> bool:
    """See :attr:`Plan.begun`."""
    path = folder / "decisions.jsonl"
    decided = any(line["event"] not in ("begin", "capacity", "tick", "session") for line in read_decisions(path))
    if decided and not (folder / "study.json").exists():
        raise UsageError(
            f"{path} is the record of a study whose study.json is missing: which study it was cannot be told;"
            f" restore {folder / 'study.json'} from a copy, or choose another --study name"
        )
    if not decided and (ended := _ended(folder)):
        raise UsageError(
            f"{folder}: {ended} has ended, and {path} does not know of it: what the study declared before its results"
            f" cannot be told; restore {path} from a copy, or choose another --study name"
        )
    return decided


def _ended(folder: Path) -> str | None:
    """A run on record that ended; a driver that is killed early leaves none without a decision."""
    for path in sorted((folder / "runs").glob("[!.]*/records.jsonl")):
        if any(line["event"] == "stop" for line in read_run(path, path.parent.name)):
            return f"run {path.parent.name}"
    return None

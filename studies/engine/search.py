"""The search half of a study: what is tried, and who waits, goes on or is stopped.

Decides only from what is on record; a restarted driver rebuilds it with :meth:`Search.rebuild`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from studies.engine.candidates import Candidate, finite
from studies.engine.decisions import Decisions
from studies.engine.job import NOT_RUN, PAUSED, Job, Seen
from studies.engine.plan import Plan
from studies.engine.question import WHOLE, Question
from studies.engine.ranking import own, ranked, taken_over
from studies.engine.sampling import Sampling
from studies.engine.stopping import WAIT, Ladder
from studies.engine.stopping.ladder import RungDecision, bracket_name
from studies.engine.stops import Stop
from trainer.errors import UsageError
from trainer.record.identity import arm_id, run_id


class Search:
    """Trials of one study.

    Args:
        question: declares the space.
    """

    def __init__(self, plan: Plan, decisions: Decisions, question: Question):
        self._plan, self._decisions, self.question = plan, decisions, question
        lag = plan.search.lag
        self.sampling = Sampling(question, plan.sampler_seed, plan.search.sampler, plan.search.objectives, lag)
        self.ladder = Ladder(plan.rule, plan.num_trials)
        self.waiting: dict[int, Stop] = {}
        """Trials that wait at a rung, and what their last report said."""
        self.trials: dict[int, Job] = {}
        self._stops: dict[str, Stop] = {}
        self._ended: set[int] = set()
        self._ends: dict[int, dict[str, Any]] = {}
        self._of_group: dict[str, int] = {}
        self._steps = plan.config({}, plan.seeds[0]).horizon_steps

    @property
    def all_suggested(self) -> bool:
        return len(self.trials) >= self._plan.num_trials

    @property
    def all_ended(self) -> bool:
        return self.all_suggested and len(self._ended) == len(self.trials)

    @property
    def model_based(self) -> int:
        return sum(line["source"] == "model" for line in self._decisions.of("suggest"))

    def next(self) -> Job | None:
        """A new trial, or None: all are suggested, or one that this suggestion depends on has not ended."""
        number, lag = len(self.trials), self._plan.search.lag
        if self.all_suggested or (lag and not all(map(self._told, range(number - lag + 1)))):
            return None
        keys, source, raw = self.sampling.suggest(number)
        job = self._trial(number, keys)
        params = self.question.params(keys)
        ids = self._ids(job)
        of_space = {"bracket": job.bracket, "params": params, "raw": raw, "source": source, "label": job.label}
        self._decisions.append("suggest", trial=number, name=job.name, **ids, **of_space)
        return job

    def report(self, job: Job, seen: Seen) -> Stop | None:
        """Judge a trial after an epoch; a stop is on record when this returns."""
        if (known := self._stops.get(job.name)) is not None:
            # a run that was lost is trained again to where it was stopped
            return known if seen.epoch >= known.epoch else None
        if (waits := self.waiting.get(job.trial)) is not None:
            return waits
        who = _who(job, seen.epoch)
        measured_now = seen.probe_epoch == seen.epoch
        if seen.diverged:
            return None  # its run ends by itself, with the reason on its record
        if measured_now and not finite(seen.score):
            reason = f"the score at epoch {seen.epoch} is not finite"
            return self._stop(job, Stop("diverged", reason, seen.epoch, None, seen.objectives))
        rung = self.ladder.due(job.bracket, job.trial, seen.epoch)
        stop, inputs, waits = None, {}, None
        if rung is not None:
            decision = self.ladder.decide(job.bracket, job.trial, rung, seen.score, self._plan.search.lag)
            inputs = decision.inputs
            if decision.stop:
                stop = Stop("pruned", self._why(job, decision), seen.epoch, decision.value, seen.objectives)
            elif decision.verdict == WAIT:
                waits = Stop(PAUSED, f"waits at epoch {rung}", seen.epoch, decision.value, seen.objectives)
        floor = self._plan.stopping.collapse_rank
        judged = measured_now and max(self.ladder.rule.grace, self._plan.epochs // 6) <= seen.epoch < self._plan.epochs
        if floor and judged and seen.rank is not None and seen.rank < floor:
            reason = f"collapsed: effective rank of z_agg {seen.rank:.3g} is below {floor:g} at epoch {seen.epoch}"
            stop = Stop("collapsed", reason, seen.epoch, seen.score, seen.objectives)
            inputs |= {"rank": seen.rank, "floor": floor}
        if rung is not None:
            # one line holds the whole judgement: a kill before the stop line then changes nothing
            outcome = {"state": stop.state, "reason": stop.reason, "objectives": stop.objectives} if stop else {}
            if waits is not None and stop is None:
                outcome = {"wait": True, "objectives": waits.objectives}
            value = seen.score if finite(seen.score) else None
            self._decisions.append("rung", **who, **inputs, value=value, stop=stop is not None, **outcome)
        if stop is not None:
            return self._stop(job, stop, **inputs)
        if waits is not None:
            self.waiting[job.trial] = waits
            self.sampling.tell(job.trial, "pruned", waits.epoch, waits.objectives)
        return waits

    def promote(self, running: Collection[int] = ()) -> Job | None:
        """A trial that waited and now goes on, which is on record when this returns; None if there is none.

        Args:
            running: trials that have a worker. One of these was told to wait, but has not ended yet; a second worker
                would train the same run.
        """
        if not self.waiting or (found := self.ladder.promotable(running)) is None:
            return None
        _, number, decision = found
        job = self.trials[number]
        who = _who(job, self.waiting[number].epoch)
        self._decisions.append("promote", **who, **decision.inputs, value=decision.value)
        del self.waiting[number]
        self.ladder.promote(job.bracket, number, decision.rung)
        return job

    def settle(self, running: Collection[int] = ()) -> list[tuple[Job, Stop]]:
        """Stop the trials that wait in vain: nobody can arrive at their rung any more. The stops are on record.

        Args:
            running: trials that have a worker; they are stopped when these have ended.
        """
        found = []
        for _, number, decision in list(self.ladder.hopeless()) if self.waiting else ():
            if number in running:
                continue
            job, paused = self.trials[number], self.waiting.pop(number)
            stop = Stop("pruned", self._why(job, decision), paused.epoch, paused.value, paused.objectives)
            found.append((job, self._stop(job, stop, **decision.inputs)))
        return found

    def end(self, job: Job, state: str, epoch: int, objectives: dict[str, float | None]) -> None:
        """A trial ended, and is on record as ended."""
        self._ended.add(job.trial)
        self.ladder.leave(job.bracket, job.trial)
        line = self._decisions.last("finish", name=job.name)
        self._ends[job.trial] = line or {}
        self.sampling.tell(job.trial, state, epoch, objectives)

    def candidates(self) -> list[Candidate]:
        """All trials with a score, those of earlier studies first, eligible or not."""
        earlier = taken_over(self._decisions.of("warm"), self.question, self._steps)
        return [*earlier, *own(self.trials, self._ends)]

    def ranking(self, group: str) -> list[Candidate]:
        """Eligible trials of a group, best first, one per arm (:func:`studies.engine.ranking.ranked`)."""
        return ranked(self.candidates(), group, self._plan, self.question)

    def rebuild(self, whole: Callable[[Job], bool]) -> tuple[list[Job], list[tuple[Job, Stop]]]:
        """Bring sampler and rungs to where the record says they were.

        Args:
            whole: whether a trial that ended is still whole on record; otherwise it is run again.

        Returns:
            Trials that are to be run on, and those that were stopped but whose end is not on record.
        """
        for number, line in enumerate(self._decisions.of("warm"), start=1):
            self.sampling.absorb(line["raw"], line["state"], line["epoch"], line["objectives"])
            for rung, value in line["rungs"]:
                self.ladder.put(self._bracket_here(line), -number, rung, value)
        ends = {line["trial"]: line for line in self._decisions.of("finish") if line["trial"] is not None}
        stops = {line["name"]: line for line in self._decisions.of("stop")}
        # their stop lines fell to a kill
        lost = {line["name"]: line for line in self._decisions.of("rung") if line["stop"]}
        unfinished, stopped, waits = [], [], []
        paused = self._decisions.paused()
        for line in self._decisions.of("suggest"):
            number = line["trial"]
            job = self.recreate(line)
            end = ends.get(number)
            if job.name in stops:
                self._stops[job.name] = Stop.on_record(stops[job.name])
            elif job.name in lost:
                line = lost[job.name]
                inputs = {name: line[name] for name in ("rung", "cutoff", "peers", "rank", "floor") if name in line}
                self._stop(job, Stop.on_record(line), **inputs)
            # a trial that failed was not run: a new driver tries it again
            ended = end is not None and end["state"] not in NOT_RUN
            if ended and whole(job):
                self._ended.add(number)
                self.ladder.leave(job.bracket, number)
                self._ends[number] = end
                self.sampling.tell(number, end["state"], end["epoch"], end["objectives"])
            elif job.name in self._stops and not ended:
                stopped.append((job, self._stops[job.name]))
            elif number in paused and not ended:
                line, still = paused[number]
                self.sampling.tell(number, "pruned", line["epoch"], line["objectives"])
                if still:
                    waits.append(job)
                    reason = f"waits at epoch {line['rung']}"
                    self.waiting[number] = Stop(PAUSED, reason, line["epoch"], line["value"], line["objectives"])
                else:
                    unfinished.append(job)
            else:
                unfinished.append(job)
        for line in self._decisions.of("rung"):
            self.ladder.put(line["bracket"], line["trial"], line["rung"], line["value"])
        for job in waits:
            self.ladder.wait(job.bracket, job.trial, paused[job.trial][0]["rung"])
        return unfinished, stopped

    def recreate(self, line: dict[str, Any]) -> Job:
        """The trial of a ``suggest`` line. Raises UsageError if its settings are not those of the run it names."""
        where = f"{self._decisions.path}: the suggest line of trial {line['trial']}"
        remedy = "restore the file from a copy, or choose another --study name"
        try:
            keys, _, _ = self.sampling.suggest(line["trial"], fixed=line["raw"])
            job = self._trial(line["trial"], keys)
            point = self.question.params(keys)
            ours = self._ids(job)["run_id"]
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise UsageError(
                f"{where} has settings that are none of this search space ({type(error).__name__}: {error}); {remedy}"
            ) from None
        if (job.name, job.bracket, ours, point) != (line["name"], line["bracket"], line["run_id"], line["params"]):
            raise UsageError(
                f"{where} names run {line['run_id']} ({line['name']}), but its settings ({job.label}) are run {ours}"
                f" ({job.name}); {remedy}"
            )
        return job

    def _trial(self, number: int, keys: dict[str, Any]) -> Job:
        params = self.question.params(keys)
        group = self.question.group(params)
        among = WHOLE if self._plan.stopping.together else group
        turn = self._of_group.setdefault(among, 0)
        self._of_group[among] += 1
        bracket = bracket_name(among, self.ladder.rule.bracket(turn))
        label = self.question.describe(params, self._steps)
        job = Job(f"t{number:03d}", number, group, bracket, label, keys, self._plan.search_seed)
        self.trials[number] = job
        self.ladder.unsuggested = self._plan.num_trials - len(self.trials)
        self.ladder.enter(bracket, number)
        return job

    def _bracket_here(self, line: dict[str, Any]) -> str:
        """Where a trial of an earlier study is among ours: that one may have had other brackets."""
        group = self.question.group(self.question.params(self.question.point(line["raw"])))
        _, slash, turn = line["bracket"].rpartition("/")
        turn = int(turn) if slash and turn.isdigit() else 0
        return bracket_name(WHOLE if self._plan.stopping.together else group, min(turn, self.ladder.rule.brackets - 1))

    def _told(self, number: int) -> bool:
        """Whether the sampler knows how a trial did so far."""
        return number in self._ended or number in self.waiting

    def _why(self, job: Job, decision: RungDecision) -> str:
        standard = self.ladder.rule.standard
        why = "its score is missing or not finite" if decision.value is None else f"not {standard}"
        strata = self.question.strata and not self._plan.stopping.together
        among = f"{decision.peers} {job.bracket}" if strata else f"{decision.peers}"
        return f"{why} of {among} trials at epoch {decision.rung}"

    def _stop(self, job: Job, stop: Stop, **inputs: Any) -> Stop:
        given = {**_who(job, stop.epoch), **inputs, "value": stop.value if finite(stop.value) else None}
        why = {"state": stop.state, "reason": stop.reason, "objectives": stop.objectives}
        self._decisions.append("stop", **given, **self._ids(job), **why)
        self._stops[job.name] = stop
        self.waiting.pop(job.trial, None)
        self.ladder.leave(job.bracket, job.trial)  # it may have collapsed at the rung at which it was to wait
        return stop

    def _ids(self, job: Job) -> dict[str, str]:
        config = self._plan.config(job.overrides, job.seed)
        return {"run_id": run_id(config), "arm_id": arm_id(config)}


def _who(job: Job, epoch: int) -> dict[str, Any]:
    """What a line on a trial at an epoch begins with."""
    return {"trial": job.trial, "name": job.name, "epoch": epoch, "bracket": job.bracket}


def verify(plan: Plan, decisions: Decisions, question: Question | None) -> None:
    """Refuse a record whose trials are not what it says they are. Raises UsageError; changes nothing."""
    if question is None or not plan.num_trials:
        return
    scratch = Search(plan, decisions, question)
    for line in decisions.of("suggest"):
        scratch.recreate(line)

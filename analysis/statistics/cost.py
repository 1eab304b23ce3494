"""What a study took, from the times on its record: seconds held, device-seconds, money.

An attempt holds its workers from its ``start`` line to the ``finish`` or ``fail`` line of its job; one that a kill
cut short, to the last time known of its session. Whoever pays for a machine pays for all of it: a study costs the
wall time of its sessions, of which each of the places that trials had at that moment (``concurrent``) is an equal
share, and what no attempt held is start-up and idle time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.recorded.study import Study
from analysis.recorded.typed import typed

NAN = float("nan")
PAUSED = "paused"
"""How an attempt ends whose trial waits at a rung: nothing is lost, and nothing is held while it waits."""
CUT = "cut"
"""End of an attempt that its session did not survive."""
RUNNING = "running"
"""The same in the last session, which may still run."""
_COLUMNS = ["name", "trial", "arm", "state", "attempts", "held_seconds", "device_seconds", "usd"]


@dataclass(frozen=True)
class Attempt:
    """One job on its workers.

    Attributes:
        end: state of the job, kind of its failure, ``CUT`` or ``RUNNING``.
        device_seconds: seconds of GPUs, or of CPUs where none were given; of a share of a GPU that share.
        share: seconds of the whole study that it is charged for.
        start: seconds after its session's beginning.
    """

    name: str
    trial: int | None
    seconds: float
    device_seconds: float
    share: float
    usd: float
    end: str
    start: float = 0.0


@dataclass
class Session:
    """One driver's time.

    Attributes:
        begin: its machine and price.
        seconds: to the last line it wrote.
        closed: it noted its own end; otherwise it was killed, or it still runs.
        capacities: (time, places) from which on there were others than at its begin.
    """

    begin: dict[str, Any]
    seconds: float = 0.0
    closed: bool = False
    capacities: list[tuple[float, int]] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def price(self) -> float:
        return float(self.begin.get("usd_per_hour") or 0.0)

    @property
    def devices(self) -> float:
        """Devices of one attempt, all its workers together."""
        return self.begin["workers"] * (self.begin.get("gpus") or self.begin["cpus"])

    @property
    def device(self) -> str:
        return "GPU" if self.begin.get("gpus") else "core"

    @property
    def usd(self) -> float:
        return self.seconds / 3600 * self.price

    def places(self, since: float, until: float) -> list[tuple[float, int]]:
        """(seconds, trials that fitted side by side) of the parts of a time; 0 where nothing fitted."""
        marks = [(0.0, self.begin["concurrent"]), *self.capacities]
        ends = [*(time for time, _ in marks[1:]), float("inf")]
        parts = [(min(until, end) - max(since, begin), n) for (begin, n), end in zip(marks, ends, strict=True)]
        return [(seconds, n) for seconds, n in parts if seconds > 0]

    def attempt(self, start: dict[str, Any], until: float, end: str) -> Attempt:
        held = round(max(0.0, until - start["t"]), 3)  # times are on record in milliseconds
        share = sum(seconds / places for seconds, places in self.places(start["t"], until) if places)
        return Attempt(
            start["name"], start.get("trial"), held, held * self.devices, share, share / 3600 * self.price, end,
            start["t"],
        )  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """The whole study's time and money.

    Attributes:
        sessions: one per driver; none where the record is from before times were noted.
        runs: one row per job: name, trial, arm, state, attempts, held_seconds, device_seconds, usd. A run read from the
            record has 0 attempts. What is unknown, and money without a price, is NaN.
    """

    sessions: list[Session]
    runs: pd.DataFrame

    @property
    def known(self) -> bool:
        return bool(self.sessions)

    @property
    def priced(self) -> bool:
        return any(session.price > 0 for session in self.sessions)

    @property
    def wall_seconds(self) -> float:
        return sum(session.seconds for session in self.sessions)

    @property
    def usd(self) -> float:
        return sum(session.usd for session in self.sessions) if self.priced else NAN

    @property
    def idle(self) -> float:
        """Part of the study's time that no attempt is charged for, weighted with the price where there is one."""
        weights = [session.price if self.priced else 1.0 for session in self.sessions]
        paid = sum(w * s.seconds for w, s in zip(weights, self.sessions, strict=True))
        held = sum(w * sum(a.share for a in s.attempts) for w, s in zip(weights, self.sessions, strict=True))
        return max(0.0, 1 - held / paid) if paid else NAN

    @property
    def free(self) -> float:
        """Part of the study's time, whatever it cost, that no attempt is charged for."""
        taken = sum(attempt.share for session in self.sessions for attempt in session.attempts)
        return max(0.0, 1 - taken / self.wall_seconds) if self.wall_seconds else NAN

    @property
    def device(self) -> str | None:
        """``GPU`` or ``core``; None if the sessions had both kinds, whose seconds do not add up."""
        kinds = {session.device for session in self.sessions}
        return kinds.pop() if len(kinds) == 1 else None

    @property
    def lost(self) -> Counter[str]:
        """Attempts without a result, by kind (``CUT`` included)."""
        kinds = ("failed", "out_of_memory", "hung", "preempted", "memory_pressure", "disk_full", CUT)
        return Counter(a.end for session in self.sessions for a in session.attempts if a.end in kinds)


def cost(study: Study) -> Cost:
    """Add up the record of a study, finished or not."""
    sessions = _sessions(study.decisions)
    shared = len({session.device for session in sessions}) == 1
    priced = any(session.price > 0 for session in sessions)
    of: dict[str, list[Attempt]] = {}
    for session in sessions:
        for attempt in session.attempts:
            of.setdefault(attempt.name, []).append(attempt)
    rows = []
    for row in _jobs(study):
        held = of.get(row["name"], [])
        row |= {
            "attempts": len(held) if sessions else None,
            "held_seconds": sum(a.seconds for a in held) if sessions else NAN,
        }
        row["device_seconds"] = sum(a.device_seconds for a in held) if shared else NAN
        rows.append(row | {"usd": sum(a.usd for a in held) if priced else NAN})
    numbers = ("held_seconds", "device_seconds", "usd")
    return Cost(sessions, typed(rows, _COLUMNS, number=numbers, whole=("trial", "attempts")))


def per_arm(study: Study, found: Cost) -> dict[tuple[str, str], dict[str, float]]:
    """``device_seconds`` and ``usd`` of each compared arm's runs; an untrained one reads another's epoch 0 and costs
    nothing."""
    costs = ["device_seconds", "usd"]
    by_name = found.runs.set_index("name")[costs]
    # min_count: where nothing is known the sum is unknown, not 0
    nothing = (0.0 * by_name.sum(min_count=1)).to_dict()
    trained = study.finals[study.finals["role"] != "untrained"]
    of_run = by_name.reindex(trained["run_id"]).set_axis(trained.index)
    sums = of_run.groupby([trained["arm_id"], trained["role"]]).sum(min_count=1).to_dict("index")
    return {key: sums.get(key, nothing) for key in study.arms.ordered}


def _sessions(decisions: list[dict[str, Any]]) -> list[Session]:
    found: list[Session] = []
    running: dict[str, dict[str, Any]] = {}

    def close(end: str = CUT) -> None:
        for start in running.values():
            found[-1].attempts.append(found[-1].attempt(start, found[-1].seconds, end))
        running.clear()

    for line in decisions:
        event = line["event"]
        if event == "begin":
            close()
            found.append(Session(line))
        if not found:
            continue  # lines of drivers that noted no times
        session = found[-1]
        session.seconds = max(session.seconds, line.get("t", 0.0))
        if event == "capacity":
            session.capacities.append((line["t"], line["concurrent"]))
        elif event == "start":
            running[line["name"]] = line
        elif event == "rung" and line.get("wait") and line.get("name") in running:
            session.attempts.append(session.attempt(running.pop(line["name"]), line["t"], PAUSED))
        elif event in ("finish", "fail") and line.get("name") in running:
            end = line["state"] if event == "finish" else line["kind"]
            session.attempts.append(session.attempt(running.pop(line["name"]), line["t"], end))
        elif event == "session":
            session.closed = True
    close(CUT if found and found[-1].closed else RUNNING)
    return found


def _jobs(study: Study) -> list[dict[str, Any]]:
    """Who each job is: the trials, then the runs of the comparison, each once."""
    rows = [
        {
            "name": trial["name"],
            "trial": trial["trial"],
            "arm": trial["label"],
            "state": trial["state"],
        }
        for _, trial in study.search.iterrows()
    ]
    labels = study.arms.names
    states = {line.get("name"): line["state"] for line in study.decisions if line["event"] == "finish"}
    arm_of: dict[str, str | None] = {}
    for key in study.arms.ordered:
        if key[1] != "untrained":
            complete = study.finals["complete"].to_numpy()[study.arms.positions[key]]
            for run_id, done in zip(study.arms.runs[key].values(), complete, strict=True):
                arm_of.setdefault(run_id, labels[key])
                if done:
                    states.setdefault(run_id, "complete")
    for line in study.decisions:  # runs of arms that are not, or no longer, compared cost something too
        if line["event"] in ("start", "finish") and line.get("trial") is None and line.get("name"):
            arm_of.setdefault(line["name"], None)
    return rows + [
        {"name": name, "trial": None, "arm": arm, "state": states.get(name, "unfinished")}
        for name, arm in arm_of.items()
    ]

"""Between the study's logic and its executor: what fits, whose groups are freed, Ctrl-C, and settings no trial can run
with."""

import errno
import signal

import pytest
from engine import make, plan

from studies import step2_rate
from studies.command.interrupt import Interrupt
from studies.engine import devices
from studies.engine.settings import Resources
from studies.executors import ray_errors
from studies.executors.face import Event
from studies.executors.failure_kinds import refusal, told_kind
from studies.executors.worker_groups import SETTLING_SECONDS, WorkerGroups
from studies.running.capacity import Capacity, idle_gpus, trials_at_once
from studies.running.conductor import Conductor
from studies.running.packing import Packing
from studies.running.watchdog import Watchdog
from trainer import presets
from trainer.errors import UsageError
from trainer.workers.failure import describe


def node(cpus, gpus=0, alive=True):
    return {"Alive": alive, "Resources": {"CPU": float(cpus), "GPU": float(gpus)}}


class Executor:
    """Hands out what there is room for, and hears nothing by itself."""

    def __init__(self, room=lambda running: running < 2):
        self.room, self.tasks, self.stopped = room, [], []

    def start(self, task):
        self.tasks.append(task)

    def events(self):
        return iter(())

    def stop(self, name):
        self.stopped.append(name)

    def resources(self):
        return {"CPU": 2.0}, {"CPU": 0.0}


def conductor_of(jobs, executor=None, interrupt=None, watchdog=None, show=lambda *_: None):
    parts = {"packing": Packing(0), "watchdog": watchdog or Watchdog(60), "interrupt": interrupt or Interrupt()}
    return Conductor(jobs, executor or Executor(), lambda job: {"name": job.name}, show, **parts)


def failed(job, error, kind_of=told_kind, **result):
    """The event of an attempt that ended with an exception, as an executor makes it."""
    failure = describe(error)
    return Event("failed", job.name, result, *kind_of(failure), failure["trace"], refusal(failure))


# --- what fits


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "workers", "fit"),
    [
        ([(8, 0)], 1, 0, 1, 8),
        ([(8, 0), (3, 0)], 2, 0, 1, 5),
        ([(8, 2)], 1, 1, 1, 2),
        ([(8, 2)], 1, 0.5, 1, 4),
        ([(8, 2)], 1, 0.4, 1, 4),  # two of .4 on each; five would need a share that lies on two
        ([(2, 4)], 1, 0.5, 1, 2),
        ([(8, 3)], 1, 2, 1, 1),
        ([(3, 0), (3, 0)], 1, 0, 2, 3),  # workers may be spread
        ([(1, 0), (1, 0)], 2, 0, 1, 0),  # one worker may not
        ([], 1, 0, 1, 0),
    ],
)
def test_trials_that_fit(nodes, cpus, gpus, workers, fit):
    assert trials_at_once([{"CPU": float(c), "GPU": float(g)} for c, g in nodes], cpus, gpus, workers) == fit


def test_capacity_follows_the_cluster_and_says_when_it_changes():
    now, nodes, said = [0.0], [node(2), node(4, alive=False)], []
    capacity = Capacity(Resources(1, 0, 1, "local", 0), lambda: nodes, said.append, lambda: now[0])
    assert [capacity.may_start(running) for running in (0, 1, 2)] == [True, True, False] and said == [2]
    nodes[1] = node(4)
    assert not capacity.may_start(2)  # not asked again at once
    now[0] = 3
    assert capacity.may_start(5) and not capacity.may_start(6) and said == [2, 6]
    nodes.clear()
    now[0] = 6
    assert capacity.may_start(0) and not capacity.may_start(1) and said == [2, 6, 0]  # one shows that there is a demand


def test_more_trials_asked_for_than_fit_let_one_wait_unless_it_starts_workers():
    nodes = [node(2)]
    asked = Capacity(Resources(1, 0, 1, "local", 5), lambda: nodes, [].append)
    assert asked.may_start(2) and not asked.may_start(3)
    fewer, said = Resources(1, 0, 1, "local", 1), []
    capacity = Capacity(fewer, lambda: nodes, said.append)
    assert capacity.may_start(0) and not capacity.may_start(1) and said == []  # as the plan says
    workers = Capacity(Resources(1, 0, 2, "ray-train", 5), lambda: nodes, [].append)
    assert workers.may_start(0) and not workers.may_start(1)
    nodes.clear()
    assert not Capacity(Resources(1, 0, 2, "ray-train", 0), lambda: nodes, [].append).may_start(0)


def test_trials_are_suggested_only_when_there_is_a_place_for_them(tmp_path):
    """24 handed out at once would all be drawn blindly, and no budget could hold them back."""
    jobs = make(plan(tmp_path, num_trials=24))
    executor = Executor(Capacity(Resources(1, 0, 1, "local", 0), lambda: [node(2)], [].append).may_start)
    conductor_of(jobs, executor).hand_out()
    assert [task["name"] for task in executor.tasks] == ["t000", "t001"] and len(jobs.decisions.of("suggest")) == 2


def test_a_cluster_study_is_handed_out_as_its_nodes_allow(tmp_path, capsys):
    command = ["--address", "127.0.0.1:1", "--results-dir", str(tmp_path), "--dry-run"]
    assert step2_rate.main(command) == 0
    assert "as many at once as fit on the cluster" in capsys.readouterr().out
    assert step2_rate.main([*command, "--max-concurrent", "3"]) == 0
    assert "3 at once" in capsys.readouterr().out


def test_gpus_that_no_trial_would_use_are_told_before_a_study_starts(tmp_path, capsys, monkeypatch):
    command = ["--results-dir", str(tmp_path), "--dry-run"]
    at_a_cluster = ["--address", "127.0.0.1:1"]
    for shown, words, told in (("0,1", [], True), ("", [], False), ("0,1", at_a_cluster, False)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
        assert step2_rate.main([*command, *words]) == 0
        assert ("2 left idle: trials train on CPUs; --gpus-per-trial 1" in capsys.readouterr().out) == told
    # of a cluster Ray knows
    assert idle_gpus(Resources(1, 0, 1, "local", 0), 3)[0].startswith("GPUs       3 left idle")
    assert idle_gpus(Resources(1, 0.5, 1, "local", 0), 3) == idle_gpus(Resources(1, 0, 1, "local", 0), 0) == []


# --- placement groups


class Groups:
    """Ray's table of groups, and the rules of WorkerGroups for trials of two workers."""

    def __init__(self):
        self.table, self.now, self.removed = {}, 0.0, []
        self.groups = WorkerGroups(
            {"CPU": 0.99}, 2, lambda: self.table, self.removed.append, "01000000", lambda: self.now
        )

    def add(self, group, cpus=0.99, count=2, state="CREATED"):
        self.table[group] = {"state": state, "bundles": {n: {"CPU": cpus} for n in range(count)}}


def test_a_group_that_was_told_is_freed_with_its_trial():
    ray = Groups()
    ray.groups.started("t0")
    ray.groups.told("t0", "aa01000000")
    ray.groups.told("t0", None)  # of a later report
    ray.groups.gone("t0")
    assert ray.removed == ["aa01000000"] and ray.groups.settled()
    ray.groups.gone("t1")  # it never started
    assert ray.groups.settled() and ray.removed == ["aa01000000"]


def test_the_group_of_a_trial_that_ended_before_its_first_report_is_found():
    ray = Groups()
    for name in ("t0", "t1", "t2"):
        ray.groups.started(name)
    ray.groups.told("t2", "2201000000")
    ray.add("0001000000")
    ray.add("1101000000")
    ray.add("2201000000")
    ray.add("3301000000", cpus=0.01, count=1)  # Tune's own
    ray.add("4402000000")  # of another job on the cluster
    ray.add("5501000000", state="REMOVED")
    ray.groups.gone("t0")
    ray.now = 2 * SETTLING_SECONDS
    assert not ray.groups.settled() and ray.removed == []  # one of the two groups is that of t1, which is starting
    ray.groups.told("t1", "1101000000")
    assert ray.groups.settled() and ray.removed == ["0001000000"]
    assert ray.groups.settled() and ray.removed == ["0001000000"]


def test_a_dying_trial_may_still_make_its_group():
    ray = Groups()
    ray.groups.started("t0")
    ray.groups.gone("t0")
    assert not ray.groups.settled()
    ray.add("0001000000")
    ray.now = SETTLING_SECONDS
    assert ray.groups.settled() and ray.removed == ["0001000000"]


# --- interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_that_something_swallowed_comes_again(tmp_path, number):
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        conductor = conductor_of(make(plan(tmp_path)), interrupt=interrupt)
        conductor.look_around()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt):
            conductor.look_around()
    assert signal.getsignal(number) == before


def test_a_signal_that_is_ignored_on_purpose_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupt():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


# --- while nothing fits


def test_the_budget_is_heeded_while_nothing_fits(tmp_path):
    """No trial says anything then."""
    jobs = make(plan(tmp_path, num_trials=2, budget_hours=1.0))
    clock = [0.0]
    jobs.decisions._clock, jobs.decisions._zero = lambda: clock[0], 0.0
    executor = Executor(lambda running: False)

    def events():
        clock[0] += 1800
        return iter(())

    executor.events = events
    conductor_of(jobs, executor).run()
    assert executor.tasks == [] and jobs.budget_reached and clock[0] == 3600


def test_a_trial_that_waits_for_a_place_is_given_up_with_the_budget(tmp_path, monkeypatch):
    jobs = make(plan(tmp_path, num_trials=2, budget_hours=1.0))
    clock = [0.0]
    jobs.decisions._clock, jobs.decisions._zero = lambda: clock[0], 0.0
    monkeypatch.setattr("studies.running.conductor.TICK_SECONDS", -1)
    waiting, conductor = jobs.next(), conductor_of(jobs, watchdog=(dog := Watchdog(60)))
    conductor.look_around()
    clock[0] = 3601
    with pytest.raises(KeyboardInterrupt):
        conductor.look_around()
    dog.heard(waiting.name)  # one that trains is let finish
    conductor.look_around()


def test_a_start_is_on_record_when_the_trial_has_its_place(tmp_path):
    jobs = make(plan(tmp_path))
    conductor = conductor_of(jobs)
    conductor.hand_out()
    job = next(iter(jobs.running.values()))
    assert jobs.decisions.of("start") == []
    conductor.take(Event("start", job.name))
    assert [line["name"] for line in jobs.decisions.of("start")] == [job.name]


def test_a_silent_trial_is_stopped_and_what_comes_of_it_is_a_hang(tmp_path):
    now, executor, said = [0.0], Executor(), []
    jobs = make(plan(tmp_path))
    conductor = conductor_of(
        jobs, executor, watchdog=Watchdog(60, lambda: now[0]), show=lambda what, name, _: said.append((what, name))
    )
    conductor.hand_out()
    silent, other = jobs.running
    for name in (silent, other):
        conductor.take(Event("start", name))
    for now[0] in range(5, 66, 5):
        conductor.take(Event("epoch", other, {"epoch": 1, "score": 50.0}))
        conductor.look_around()
    assert executor.stopped == [silent] and said.count(("hung", silent)) == 1
    conductor.take(Event("failed", silent, {}, "failed", "its process was killed"))
    (line,) = jobs.decisions.of("fail")
    assert (line["kind"], line["again"], line["reason"]) == ("hung", True, "silent for 1 minutes") and said[-1] == (
        "again",
        silent,
    )


def test_a_cluster_on_which_no_node_is_large_enough_is_refused():
    from studies.executors.ray_tune import _fits

    large = Resources(2, 0, 1, "local", 0)
    _fits(large, [{"CPU": 2.0}])
    with pytest.raises(UsageError, match="1 x .2 CPU., each on one node.*1 CPU and 0 GPU; 1 CPU and 0 GPU"):
        _fits(large, [{"CPU": 1.0}, {"CPU": 1.0}])


# --- settings that cannot run


@pytest.mark.parametrize(
    ("overrides", "gpus", "workers", "said"),
    [
        (["runtime.compile=true"], 0, 1, "this run has cpu, fp32, conv and 1"),
        (["runtime.device=cuda"], 0, 1, "give --gpus-per-trial 1"),
        (["runtime.device=cpu"], 0.5, 1, "--gpus-per-trial 0.5 and not use it"),
        (["runtime.compile=true", "runtime.device=cpu"], 0, 2, "conv and 2"),
    ],
)
def test_settings_no_trial_can_run_with(overrides, gpus, workers, said):
    with pytest.raises(UsageError, match=said):
        devices.check(presets.load("digits", overrides), Resources(1, gpus, workers, "local", 2), here=True)


def test_settings_that_can_run():
    for overrides, gpus in (
        ([], 0),
        ([], 1),
        (["runtime.compile=true"], 1),
        (["runtime.device=cuda"], 1),
        (["runtime.device=cuda"], 0),
        (["runtime.device=cpu"], 0),
    ):
        devices.check(presets.load("digits", overrides), Resources(1, gpus, 1, "local", 1), here=True)


def test_a_study_refuses_them_before_anything_starts(tmp_path, capsys):
    assert step2_rate.main(["--results-dir", str(tmp_path), "--dry-run", "runtime.compile=true"]) == 2
    assert "runtime.compile = True has an effect on" in capsys.readouterr().err


def through_ray(error):
    """An exception of a trial as Ray hands it to the driver."""
    from ray.exceptions import RayTaskError

    return RayTaskError("trial", "trace", error).as_instanceof_cause()


def test_a_refusal_ends_the_study_if_nothing_has_run_and_only_its_trial_later(tmp_path):
    refused = through_ray(UsageError("runtime.device = 'cuda': not present"))
    jobs = make(plan(tmp_path, retries=2))
    conductor = conductor_of(jobs)
    first, second = jobs.next(), jobs.next()
    with pytest.raises(UsageError, match="no trial can run: runtime.device = 'cuda'"):
        conductor.take(failed(first, refused))
    conductor.take(Event("epoch", second.name, {"epoch": 1, "score": 50.0, "probe_epoch": 0, "diverged": False}))
    conductor.take(failed(second, refused))
    assert [line["again"] for line in jobs.decisions.of("fail")] == [False, False] and jobs.states[
        second.name
    ] == "failed"


@pytest.mark.parametrize("kind_of", [told_kind, ray_errors.kind_of], ids=["process", "ray"])
def test_any_other_failure_is_tried_again(tmp_path, kind_of):
    jobs = make(plan(tmp_path, retries=2))
    job = jobs.next()
    conductor_of(jobs).take(failed(job, ValueError("odd"), kind_of))
    (line,) = jobs.decisions.of("fail")
    assert (line["kind"], line["reason"], line["again"]) == ("failed", "odd", True)


def test_workers_without_a_place_count_as_preempted():
    from ray.train import ControllerError
    from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

    error = ControllerError(WorkerGroupStartupTimeoutError(num_workers=2))
    assert ray_errors.kind_of(error)[0] == "preempted"


def test_workers_that_died_while_starting_are_preempted_only_with_their_node(monkeypatch):
    from ray.exceptions import OutOfMemoryError
    from ray.train import ControllerError
    from ray.train.v2._internal.exceptions import WorkerGroupStartupFailedError

    died = ControllerError(WorkerGroupStartupFailedError("a worker died"))
    for lost, kind in ((True, "preempted"), (False, "failed")):
        monkeypatch.setattr(ray_errors, "_lost", lambda nodes, lost=lost: lost)
        assert ray_errors.kind_of(died)[0] == kind
    memory = WorkerGroupStartupFailedError("a worker died")
    memory.__cause__ = OutOfMemoryError("memory of the node too high")
    assert ray_errors.kind_of(ControllerError(memory))[0] == "out_of_memory"


# --- Ray's memory monitor

MONITOR = """1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 192.0.2.2, ID: 9332) was 22.4GB used / 23.54GB limit (0.95)
Considered workers: [
Selected to kill: (Actor(f4c7): job ID=01000000, task name=A.__init__, required resources={{}}, pid=12621, actual memory used={own}GB, worker ID=4862)
Not selected to kill: (Actor(aa): pid=3, actual memory used=19.00GB, worker ID=1)
]
Top 10 memory users: PID	MEM(GB)	COMMAND
11793	19.55	somebody else"""  # noqa: E501 (Ray's own words)


@pytest.mark.parametrize(
    ("own", "kind", "counted"), [("0.51", "memory_pressure", False), ("15.20", "out_of_memory", True)]
)
def test_a_neighbours_memory_pressure_is_named_and_not_the_trials_fault(tmp_path, own, kind, counted):
    from ray.exceptions import OutOfMemoryError

    jobs = make(plan(tmp_path, retries=2))
    conductor_of(jobs).take(failed(jobs.next(), OutOfMemoryError(MONITOR.format(own=own)), ray_errors.kind_of))
    (line,) = jobs.decisions.of("fail")
    assert (line["kind"], line["counted"], line["again"]) == (kind, counted, True)
    assert "22.4 of 23.5 GB in use" in line["reason"] and f"it held {float(own):.1f} GB itself" in line["reason"]


@pytest.mark.parametrize("kind_of", [told_kind, ray_errors.kind_of], ids=["process", "ray"])
def test_a_disk_that_is_full_ends_the_study_and_no_trial(tmp_path, kind_of):
    """A trial's own exception, through Ray or not; it would befall every next trial, and a failed one would change what
    is suggested."""
    full = OSError(errno.ENOSPC, "No space left on device", "/results/checkpoint.pt")
    jobs = make(plan(tmp_path, retries=2))
    with pytest.raises(
        UsageError, match="^No space left on device: '/results/checkpoint.pt'; what is on record stands.*--resume"
    ):
        conductor_of(jobs).take(
            failed(jobs.next(), through_ray(full) if kind_of is ray_errors.kind_of else full, kind_of)
        )
    (line,) = jobs.decisions.of("fail")
    assert (line["kind"], line["counted"], line["again"]) == ("disk_full", False, True) and not jobs.decisions.of(
        "finish"
    )


def test_a_trial_killed_again_and_again_by_others_is_given_up_in_the_end():
    from studies.engine.failures import PREEMPTIONS_WITHOUT_PROGRESS, Failures

    failures = Failures(retries=0)
    assert all(
        failures.note("a", "memory_pressure") for _ in range(PREEMPTIONS_WITHOUT_PROGRESS)
    ) and not failures.note("a", "memory_pressure")


def test_a_trial_that_the_memory_monitor_kills_ends_the_trial_and_not_the_study():
    from ray.air.execution._internal.actor_manager import RayActorManager
    from ray.exceptions import OutOfMemoryError, RayActorError

    from studies.executors.ray_errors import kind_of
    from studies.executors.tune_adapters import errors_kept

    said = "1 worker(s) were killed due to the node running low on memory: 22.42GB used / 23.54GB limit"
    taken = []

    class Actor:
        actor_id = 1

        def _on_error(self, actor, exception):
            taken.append(exception)

    class Task(Actor):
        _tracked_actor = Actor()

    class Manager:
        _failed_actor_ids: set = set()

        def _cleanup_actor(self, tracked_actor):
            pass

    before = RayActorManager._actor_task_failed
    with errors_kept():
        RayActorManager._actor_task_failed(Manager(), tracked_actor_task=Task(), exception=OutOfMemoryError(said))
    assert RayActorManager._actor_task_failed is before
    assert len(taken) == 2 and all(isinstance(error, RayActorError) for error in taken)
    assert kind_of(taken[0])[0] == "memory_pressure"


def test_a_failure_that_a_trial_tells_is_no_epoch():
    """Tune hands its scheduler the result with nested keys joined, its callbacks the result as it is."""
    from ray.tune.schedulers import TrialScheduler
    from ray.tune.utils import flatten_dict

    from studies.executors.tune_adapters import ReportScheduler
    from trainer.workers.ray_worker import FAILURE

    asked = []
    scheduler = ReportScheduler(lambda trial, result: asked.append(result) or True)
    told = flatten_dict({"score": None, FAILURE: describe(ValueError("odd"))})
    assert scheduler.on_trial_result(None, None, told) == TrialScheduler.CONTINUE and not asked
    assert scheduler.on_trial_result(None, None, {"score": None, "epoch": 1}) == TrialScheduler.STOP and len(asked) == 1

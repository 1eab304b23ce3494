"""Faults of a rented machine, each with the seconds within which nothing may be left that bills.

The machines are real (namespaces, ssh, the on-start script), the commands are the real ``ray``; only Ray itself is not
started on them, which no fault here is about.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from vast_emulator.laptop import Laptop
from vast_emulator.server import Emulator, kills, times

IDLE_SECONDS = 30
WATCHDOG = 75
"""Seconds from anything to a deletion by the machine's own watchdog, with IDLE_SECONDS, on a busy computer."""


@dataclass
class World:
    """One laptop and one service; ``machine`` is the home of the newest rented machine."""

    laptop: Laptop
    emulator: Emulator
    notes: list[str] = field(default_factory=list)

    @property
    def machine(self) -> Path:
        return self.emulator.folder / str(max(self.emulator.ledger.rentals)) / "home"

    def up(self, code: int | None = 0) -> str:
        return self.laptop.ray("up", "-y", code=code, seconds=120)

    def reap(self, *words: str, code: int = 0) -> str:
        return self.laptop.run("python", "-m", "clusters.vast", "reap", "--yes", *words, code=code)

    def study(self, seconds: int) -> None:
        """What looks like a study there, for so long."""
        command = f"exec -a 'python studies/x.py' sleep {seconds}"
        # Ray puts the command in parentheses: a second one in front would be arithmetic
        self.laptop.ray("exec", f'true; (setsid nohup bash -c "{command}" > /dev/null 2>&1 < /dev/null &)')

    def killed_up(self, method: str, path: str, number: int = 1, sign: int = signal.SIGKILL) -> None:
        """``ray up``, killed at its n-th request of a kind."""
        started: list[Any] = []
        self.emulator.hooks.append(kills(lambda: started[0].pid, method, path, number, sign))
        started.append(self.laptop.start("ray", "up", str(self.laptop.yaml), "-y"))
        started[0].communicate(timeout=120)
        assert started[0].returncode != 0
        self.emulator.hooks.clear()

    def killed_up_when(self, marker: str) -> None:
        """``ray up``, killed when a file appears on the machine."""
        up = self.laptop.start("ray", "up", str(self.laptop.yaml), "-y")
        deadline = time.time() + 90
        while not (self.emulator.ledger.rentals and (self.machine / marker).exists()):
            assert up.poll() is None and time.time() < deadline, self.laptop.end(up)
            time.sleep(0.05)
        os.killpg(up.pid, signal.SIGKILL)
        up.communicate()


@dataclass(frozen=True)
class Scenario:
    """Attributes: ``within``: seconds after ``act`` until nothing bills; ``rentals``: how many there may have been."""

    name: str
    act: Callable[[World], None]
    within: float = WATCHDOG
    rentals: int = 1
    core: bool = False
    provider: dict[str, Any] = field(default_factory=dict)


def _kill(method: str, path: str, number: int = 1, sign: int = signal.SIGKILL) -> Callable[[World], None]:
    return lambda world: world.killed_up(method, path, number, sign)


def _slow(command: str, marker: str) -> Callable[[World], None]:
    def act(world: World) -> None:
        world.laptop.config[command] = [f"touch ~/{marker}; sleep 100"]
        world.laptop.save()
        world.killed_up_when(marker)

    return act


def _interrupted(world: World) -> None:
    world.emulator.boot_seconds = 20
    world.killed_up("GET", "/v1/instances", 5, signal.SIGINT)


def _failed_setup(world: World) -> None:
    world.laptop.config["setup_commands"] = ["exit 7"]
    world.laptop.save()
    world.up(code=1)


def _failed_setup_down(world: World) -> None:
    _failed_setup(world)
    world.laptop.ray("down", "-y")


def _lost_reply(world: World) -> None:
    world.emulator.hooks.append(times(1, "PUT", "/asks/", "lose"))
    world.up()


def _listing_error(world: World) -> None:
    world.emulator.hooks.append(times(99, "GET", "/v1/instances", lambda: web.json_response({"instances": None})))
    assert "nothing is decided from it" in world.up(code=1)


def _listing_error_in_down(world: World) -> None:
    world.up()
    world.emulator.hooks.append(times(99, "GET", "/v1/instances", lambda: web.json_response({"instances": ""})))
    said = world.laptop.ray("down", "-y", code=1)
    assert "No nodes remaining" not in said and len(world.emulator.ledger.live()) == 1
    world.emulator.hooks.clear()
    world.laptop.ray("down", "-y")


def _stuck(world: World) -> None:
    world.emulator.stuck.add(3)
    world.up()
    assert len(world.emulator.ledger.live()) == 1
    world.laptop.ray("down", "-y")


def _all_stuck(world: World) -> None:
    world.emulator.stuck |= {1, 2, 3, 4}
    assert "offers failed" in world.up(code=1)


def _stuck_and_forgotten(world: World) -> None:
    """The laptop dies while the machine loads for ever: no watchdog ever starts, the reaper finds it."""
    world.emulator.stuck.add(3)
    world.killed_up("GET", "/v1/instances", 4)
    (rental,) = world.emulator.ledger.live()
    rental.began -= 3600
    assert "0 instances left" in world.reap()


def _refused_ssh(world: World) -> None:
    world.emulator.hooks.append(times(9, "POST", "/ssh", lambda: web.json_response({"success": True})))
    assert "Permission denied" in world.up(code=1)


def _no_gpu(world: World) -> None:
    for row in world.emulator.offers:
        row["num_gpus_found"] = 0
    assert "shows 0 GPUs, 1 are paid for" in world.up(code=1)


def _gone(world: World) -> None:
    world.emulator.hooks.append(
        times(2, "PUT", "/asks/", lambda: web.json_response({"error": "no_such_ask"}, status=410))
    )
    world.up()
    world.laptop.ray("down", "-y")


def _bursts(world: World) -> None:
    for method, path in (("PUT", "/asks/"), ("POST", "/bundles/"), ("GET", "/v1/instances")):
        world.emulator.hooks.append(times(2, method, path, lambda: web.json_response({}, status=429)))
    world.up()
    world.laptop.ray("down", "-y")


def _preempted(state: str) -> Callable[[World], None]:
    def act(world: World) -> None:
        world.up()
        world.emulator.preempt(world.emulator.ledger.live()[0], state)
        assert f"is {state}: it is deleted" in world.laptop.ray("exec", "true", code=None)

    return act


def _reaped(world: World) -> None:
    world.up()
    world.emulator.preempt(world.emulator.ledger.live()[0], "offline")
    assert "0 instances left" in world.reap()


def _preempted_up(world: World) -> None:
    world.up()
    world.emulator.preempt(world.emulator.ledger.live()[0])
    world.up()
    assert len(world.emulator.ledger.live()) == 1
    world.laptop.ray("down", "-y")


def _study_without_laptop(world: World) -> None:
    """A study outlives the idle limit, and its machine ends after it although nobody comes back."""
    world.up()
    world.study(3 * IDLE_SECONDS)
    time.sleep(2 * IDLE_SECONDS)
    assert len(world.emulator.ledger.live()) == 1


def _heartbeat(world: World) -> None:
    world.up()
    world.laptop.ray("exec", "touch ~/.study/alive")
    time.sleep(2 * IDLE_SECONDS)
    assert len(world.emulator.ledger.live()) == 1
    os.utime(world.machine / ".study" / "alive", (0, 0))


def _deaf_service(world: World) -> None:
    """The watchdog's deletions fail at first: it asks again."""
    world.killed_up("POST", "/ssh")
    world.emulator.hooks.append(times(3, "DELETE", "/instances/", lambda: web.json_response({}, status=500)))


def _weak_key(world: World) -> None:
    """The machine's key may not delete: it stops itself, and the reaper deletes the disk."""
    refusing = times(999, "DELETE", "/instances/", lambda: web.json_response({"error": "forbidden"}, status=403))
    world.up()
    world.emulator.hooks.append(refusing)
    deadline = time.time() + WATCHDOG
    while world.emulator.ledger.live()[0].state != "stopped":
        assert time.time() < deadline
        time.sleep(0.2)
    world.emulator.hooks.clear()
    assert "0 instances left" in world.reap()


def _shutdown(world: World) -> None:
    world.up()
    world.laptop.ray("exec", "sudo shutdown -h now", code=None)


def _exec_stop(world: World) -> None:
    world.up()
    world.laptop.ray("exec", "--stop", "true", code=None)


def _time_limit(world: World) -> None:
    world.up()
    world.study(200)


def _price_edit(world: World) -> None:
    world.up()
    world.laptop.config["provider"] |= {"max_usd": 3, "idle_minutes": 9}
    world.laptop.save()
    world.up()
    world.laptop.ray("down", "-y")


def _up_after_kill(world: World) -> None:
    """A second ``ray up`` takes the machine that the killed one had rented."""
    world.laptop.config["provider"]["idle_minutes"] = 2
    world.laptop.save()
    world.killed_up("GET", "/v1/instances", 4)
    world.up()
    world.laptop.ray("down", "-y")


def _forgotten_memory(world: World) -> None:
    world.up()
    for file in (world.laptop.home / ".local" / "state").rglob("vast.json"):
        file.unlink()
    world.laptop.ray("down", "-y")


def _down_twice(world: World) -> None:
    world.up()
    world.laptop.ray("down", "-y")
    world.laptop.ray("down", "-y")


def _other_peoples(world: World) -> None:
    world.up()
    (mine,) = world.emulator.ledger.live()
    world.emulator._rent(4, {"env": {}, "onstart": "", "label": "seq-jepa-studies x", "disk": 20, "image": "a:b"})
    assert "0 instances left (1 of others on the account)" in world.reap("--all")
    assert not mine.live
    (other,) = world.emulator.ledger.live()
    world.emulator._end(other, "its owner")


def _wrong_key(world: World) -> None:
    (world.laptop.home / ".config" / "vastai" / "vast_api_key").write_text("wrong")
    said = world.up(code=1)
    assert "is the account key right?" in said and "Traceback" not in said


def _no_credit(world: World) -> None:
    world.emulator.credit = 0
    said = world.up(code=1)
    assert "credit is 0.00 USD" in said and "Traceback" not in said


SCENARIOS = (
    Scenario("ray up killed at its first request", _kill("GET", "/v1/instances"), rentals=0),
    Scenario("ray up killed at the question for credit", _kill("GET", "/users/current"), rentals=0),
    Scenario("ray up killed at the search", _kill("POST", "/bundles"), rentals=0),
    Scenario("ray up killed at the rent request", _kill("PUT", "/asks/"), core=True),
    Scenario("ray up killed while the ssh key is sent", _kill("POST", "/ssh")),
    Scenario("ray up killed at the first look at the machine", _kill("GET", "/v1/instances", 3)),
    Scenario("ray up killed after the machine was accepted", _kill("GET", "/v1/instances", 4)),
    Scenario("ray up killed in the initial commands", _slow("initialization_commands", "begun")),
    Scenario("ray up killed in setup", _slow("setup_commands", "begun"), core=True),
    Scenario("ray up killed while Ray starts", _slow("head_start_ray_commands", "begun")),
    Scenario("ray up terminated (SIGTERM) at the rent request", _kill("PUT", "/asks/", 1, signal.SIGTERM)),
    Scenario("Ctrl-C while the machine loads", _interrupted, within=10, core=True),
    Scenario("setup fails, nobody comes back", _failed_setup, core=True),
    Scenario("setup fails, ray down", _failed_setup_down, within=0),
    Scenario("the reply to the rent request is lost", _lost_reply),
    Scenario("the list of instances is not to be had", _listing_error, within=0, rentals=0),
    Scenario("... during ray down", _listing_error_in_down, within=0, provider={"idle_minutes": 5}),
    Scenario(
        "a machine loads for ever", _stuck, within=0, rentals=2, provider={"boot_minutes": 0.15, "idle_minutes": 5}
    ),
    Scenario("every machine loads for ever", _all_stuck, within=0, rentals=4, provider={"boot_minutes": 0.1}),
    Scenario("a machine loads for ever and the laptop is gone", _stuck_and_forgotten, within=0),
    Scenario("ssh refuses the key everywhere", _refused_ssh, within=0, rentals=4, provider={"boot_minutes": 0.1}),
    Scenario("the GPU is missing everywhere", _no_gpu, within=0, rentals=4, provider={"boot_minutes": 0.1}),
    Scenario("two offers are gone", _gone, within=0, provider={"idle_minutes": 5}),
    Scenario("bursts of 429", _bursts, within=0, provider={"idle_minutes": 5}),
    Scenario("outbid (exited), seen by the next command", _preempted("exited"), within=0),
    Scenario("stopped, seen by the next command", _preempted("stopped"), within=0),
    Scenario("the host goes away, reaped", _reaped, within=0),
    Scenario("taken away, ray up again", _preempted_up, within=0, rentals=2, provider={"idle_minutes": 5}),
    Scenario(
        "a bid is outbid, ray up again",
        _preempted_up,
        within=0,
        rentals=2,
        provider={"idle_minutes": 5, "interruptible": True},
    ),
    Scenario("the laptop is gone while a study runs", _study_without_laptop),
    Scenario("a program that shows its life by a file", _heartbeat),
    Scenario("the service fails at the watchdog's deletions", _deaf_service, within=WATCHDOG + 40),
    Scenario("the machine's key may not delete", _weak_key, within=0),
    Scenario("sudo shutdown on the machine", _shutdown, within=15, provider={"idle_minutes": 5}),
    Scenario("ray exec --stop", _exec_stop, within=15, core=True, provider={"idle_minutes": 5}),
    Scenario(
        "a study that does not end meets the time limit", _time_limit, provider={"max_hours": 0.012, "idle_minutes": 5}
    ),
    Scenario("limits are changed, ray up again", _price_edit, within=0, provider={"idle_minutes": 5}),
    Scenario("ray up again after a kill", _up_after_kill, within=0),
    Scenario("the laptop's memory is lost, ray down", _forgotten_memory, within=0, provider={"idle_minutes": 5}),
    Scenario("ray down twice", _down_twice, within=0, provider={"idle_minutes": 5}),
    Scenario(
        "others' instances beside ours, reap --all", _other_peoples, within=0, rentals=2, provider={"idle_minutes": 5}
    ),
    Scenario("a wrong key", _wrong_key, within=0, rentals=0),
    Scenario("no credit", _no_credit, within=0, rentals=0),
)


def play(scenario: Scenario, folder: Path) -> tuple[float, int]:
    """Seconds until nothing billed, and how many rentals there were. Raises AssertionError if the promise is broken."""
    with Emulator(folder / "e") as emulator:
        laptop = Laptop(
            folder / "l",
            emulator,
            **({"idle_minutes": IDLE_SECONDS / 60, "max_usd": 4, "max_hours": 2} | scenario.provider),
        )
        laptop.config["head_setup_commands"] = []
        laptop.config["head_start_ray_commands"] = ["true"]
        laptop.config["file_mounts"] = {}
        laptop.config["setup_commands"] = ["true"]
        laptop.save()
        scenario.act(World(laptop, emulator))
        took = emulator.ledger.wait_empty(scenario.within or 1)
        assert took is not None, (
            f"still billing after {scenario.within:g} s: {[(r.id, r.state) for r in emulator.ledger.live()]}"
        )
        assert len(emulator.ledger.rentals) == scenario.rentals, emulator.ledger.ended_by()
        alone = emulator.ledger.most_at_once() <= (2 if scenario.act is _other_peoples else 1)
        assert alone, "two machines at once"
        return took, len(emulator.ledger.rentals)

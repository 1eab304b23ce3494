"""The documented endpoints: shapes, limits, and answers to wrong requests. Faults are injected by ``hooks``."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from vast_emulator.container import Container
from vast_emulator.ledger import Ledger, Rental
from vast_emulator.pump import pump

ACCOUNT_KEY = "account-key-1f7d"
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: a == b,
    "gte": lambda a, b: a >= b,
    "lte": lambda a, b: a <= b,
    "in": lambda a, b: a in b,
}


def offer(number: int, card: str = "RTX 4090", price: float = 0.4, **changed: Any) -> dict[str, Any]:
    """A row of the market."""
    row = {
        "id": number,
        "ask_contract_id": number,
        "machine_id": 9000 + number,
        "gpu_name": card,
        "num_gpus": 1,
        "dph_total": price,
        "min_bid": price / 2,
        "storage_total_cost": 0.01,
        "reliability": 0.995,
        "verified": True,
        "external": False,
        "rentable": True,
        "rented": False,
        "cuda_max_good": 13.2,
        "inet_down": 900.0,
        "inet_up": 500.0,
        "inet_down_cost": 0.002,
        "inet_up_cost": 0.004,
        "disk_space": 400.0,
        "duration": 30 * 86400.0,
        "direct_port_count": 20,
        "geolocation": "Sweden, SE",
    }
    return {**row, **changed}


class Emulator:
    """A context; ``url`` is the service, ``ledger`` what it billed.

    Args:
        folder: for the instances' homes and sockets; its path must be short (unix sockets).
        containers: False: instances "run" without a machine behind them, for tests of requests only.
        credit: of the account, in USD.
        outside: further ports of this computer that machines reach, each on their own loopback.
    """

    def __init__(
        self,
        folder: Path,
        containers: bool = True,
        credit: float = 25.0,
        boot_seconds: float = 0.3,
        outside: tuple[int, ...] = (),
    ):
        self.folder, self.containers, self.credit, self.boot_seconds = folder, containers, credit, boot_seconds
        self.outside = outside
        self.doors: dict[int, Path] = {}
        self.ledger = Ledger()
        self.offers = [offer(1, "RTX 3090", 0.2), offer(2, price=0.42), offer(3, price=0.40), offer(4, price=0.44)]
        self.requests: list[tuple[str, str, str, Any]] = []
        """(who, method, path, body) of every request; who: account, instance <id>, or nobody."""
        self.hooks: list[Callable[[str, str, Any], web.Response | str | None]] = []
        """Called with (method, path, body); a response replaces the answer, "lose" acts and then answers 502."""
        self.stuck: set[int] = set()
        """Offers whose instances stay "loading"."""
        self.url = ""
        self._number = 1000
        self._ready = threading.Event()

    def __enter__(self) -> Emulator:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        for rental in self.ledger.live():
            self._end(rental, "the end of the test")
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    def preempt(self, rental: Rental, state: str = "exited") -> None:
        """The host takes the machine back: its processes are gone, the disk stays and is billed."""
        if rental.container:
            rental.container.kill()
        rental.state = state

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=2**20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self.url = f"http://127.0.0.1:{self.port}"
        self.socket = self.folder / "api"
        await web.UnixSite(runner, str(self.socket)).start()
        self.doors = {self.port: self.socket}
        for port in self.outside:
            self.doors[port] = self.folder / str(port)
            await asyncio.start_unix_server(_leading_to(port), str(self.doors[port]))
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        text = await request.text()
        body = json.loads(text) if text else {}
        method, path = request.method, request.path
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        owner = next((r for r in self.ledger.rentals.values() if r.key == key), None)
        who = "account" if key == ACCOUNT_KEY else f"instance {owner.id}" if owner else "nobody"
        self.requests.append((who, method, path, body))
        lose = False
        for hook in list(self.hooks):
            reply = await asyncio.to_thread(hook, method, path, body)
            if isinstance(reply, web.Response):
                return reply
            lose = lose or reply == "lose"
        if who == "nobody":
            return _no(401, "invalid key")
        if owner and path.rstrip("/") != f"/api/v0/instances/{owner.id}":
            return _no(403, "an instance's key is for this instance only")
        answer = await asyncio.to_thread(self._act, method, path.rstrip("/"), request, body, who)
        return _no(502, "bad gateway") if lose else answer

    def _act(self, method: str, path: str, request: web.Request, body: Any, who: str) -> web.Response:
        parts = path.split("/")[2:]
        match method, parts:
            case "POST", ["v0", "bundles"]:
                return web.json_response({"offers": self._search(body)})
            case "PUT", ["v0", "asks", number]:
                return self._rent(int(number), body)
            case "GET", ["v1", "instances"]:
                return self._list(request)
            case "GET", ["v0", "users", "current"]:
                return web.json_response({"id": 7, "credit": self.credit, "balance": 0, "email": "someone@example.org"})
            case verb, ["v0", "instances", number, *rest]:
                rental = self.ledger.rentals.get(int(number))
                if rental is None or not rental.live:
                    return _no(404, "no_such_instance")
                if verb == "POST" and rest == ["ssh"]:
                    rental.ssh_keys.append(body["ssh_key"])
                    if rental.container:
                        rental.container.allow(rental.ssh_keys)
                    return web.json_response({"success": True})
                if verb == "DELETE" and not rest:
                    self._end(rental, who)
                    return web.json_response({"success": True})
                if verb == "PUT" and not rest and body.get("state") == "stopped":
                    self.preempt(rental, "stopped")
                    return web.json_response({"success": True})
        return _no(404, f"no such endpoint: {method} {path}")

    def _search(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        taken = {rental.offer["id"] for rental in self.ledger.live()}
        found = [row for row in self.offers if row["id"] not in taken and _matches(row, query)]
        return sorted(found, key=lambda row: row["dph_total"])[: int(query.get("limit", 64))]

    def _rent(self, number: int, body: dict[str, Any]) -> web.Response:
        row = next((row for row in self.offers if row["id"] == number), None)
        if row is None or any(rental.offer["id"] == number for rental in self.ledger.live()):
            return _no(410, "no_such_ask")
        wrong = [k for k, v in body["env"].items() if len(k) + len(v) + 1 > 256]
        if wrong or len(body["onstart"]) > 4048 or len(body["label"] or "") > 256 or float(body["disk"]) < 8:
            return _no(400, f"invalid_args {wrong}")
        if self.credit <= 0:
            return _no(400, "insufficient_credit")
        if body.get("price") is not None:  # a bid
            if body["price"] < row["min_bid"]:
                return _no(400, "bid_too_low")
            row = {**row, "dph_total": body["price"] + row["storage_total_cost"], "is_bid": True}
        self._number += 1
        rental = Rental(self._number, row, body, key=f"instance-key-{self._number}")
        self.ledger.rentals[rental.id] = rental
        threading.Thread(target=self._boot, args=(rental,), daemon=True).start()
        return web.json_response({"success": True, "new_contract": rental.id, "instance_api_key": rental.key})

    def _boot(self, rental: Rental) -> None:
        rental.state = "loading"
        time.sleep(self.boot_seconds)
        if rental.offer["id"] in self.stuck or not rental.live:
            return
        if self.containers:
            rental.container = Container(self.folder / str(rental.id), rental, self.doors)
            rental.container.allow(rental.ssh_keys)
            if not rental.live:
                rental.container.kill()
        rental.state = "running"

    def _list(self, request: web.Request) -> web.Response:
        rows = [self._row(rental) for rental in self.ledger.live()]
        limit, after = int(request.query.get("limit", 25)), request.query.get("after_token")
        if limit > 25:
            return _no(400, "limit")
        start = int(after.strip('"')) if after else 0
        following = start + limit if start + limit < len(rows) else None
        return web.json_response(
            {
                "instances": rows[start : start + limit],
                "next_token": str(following) if following else None,
                "total_instances": len(rows),
            }
        )

    def _row(self, rental: Rental) -> dict[str, Any]:
        row = {
            "id": rental.id,
            "machine_id": rental.offer["machine_id"],
            "actual_status": rental.state,
            "intended_status": "running",
            "extra_env": [[k, v] for k, v in rental.body["env"].items()],
            "label": rental.body["label"],
            "image_uuid": rental.body["image"],
            "gpu_name": rental.offer["gpu_name"],
            "num_gpus": rental.offer["num_gpus"],
            "dph_total": rental.offer["dph_total"],
            "start_date": rental.began,
            "end_date": rental.began + 86400,
            "public_ipaddr": None,
            "ports": {},
            "ssh_host": None,
            "ssh_port": None,
        }
        if rental.state == "running":
            port = rental.container.port if rental.container else 22
            row |= {"public_ipaddr": "127.0.0.1 ", "ports": {"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": str(port)}]}}
        return row

    def _end(self, rental: Rental, who: str) -> None:
        rental.ended, rental.ended_by, rental.state = time.time(), who, "deleted"
        if rental.container:
            rental.container.kill()


def _leading_to(port: int) -> Callable[..., Any]:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            other = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pump(reader, other[1]), pump(other[0], writer))

    return accept


def _matches(row: dict[str, Any], query: dict[str, Any]) -> bool:
    for name, condition in query.items():
        if isinstance(condition, dict):
            for operator, value in condition.items():
                if name not in row or not OPERATORS[operator](row[name], value):
                    return False
    return True


def _no(status: int, message: str) -> web.Response:
    return web.json_response({"success": False, "error": message, "msg": message}, status=status)


def times(
    count: int, method: str, path: str, reply: Callable[[], web.Response] | str
) -> Callable[[str, str, Any], Any]:
    """A hook that answers the first ``count`` requests of a kind with ``reply``."""
    left = [count]

    def hook(verb: str, where: str, _body: Any) -> Any:
        if verb == method and path in where and left[0] > 0:
            left[0] -= 1
            return reply if isinstance(reply, str) else reply()
        return None

    return hook


def kills(
    process: Callable[[], int], method: str, path: str, number: int = 1, sign: int = signal.SIGKILL
) -> Callable[[str, str, Any], Any]:
    """A hook that signals a process at its n-th request of a kind; the request itself is still answered."""
    seen = [0]

    def hook(verb: str, where: str, _body: Any) -> Any:
        if verb == method and path in where:
            seen[0] += 1
            if seen[0] == number:
                os.kill(process(), sign)
        return None

    return hook

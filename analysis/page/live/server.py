"""Serves the page on loopback: the page itself, its parts when they change, and a stream that says which did."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from analysis.page.live.guard import HEADERS, guard
from analysis.page.live.watch import Watched
from analysis.page.writing import LISTING, LIVE, Live, document, listing, policy

LOOK_SECONDS = 1.0
FOUND_SECONDS = 5.0
ENDED_SECONDS = 10.0
"""How often a study is looked at, new studies are looked for, and a study at its end is looked at."""
SHARE, LONGEST_SECONDS = 20, 30.0
"""A page is made again after twenty times what it took, at the latest after half a minute: runs need the processor
more."""
HEARTBEAT_SECONDS = 15.0


class Server:
    """Studies below some folders.

    Args:
        roots: study folders, or folders of studies; new ones are noticed.
        token: of a port.
    """

    def __init__(self, roots: list[Path], token: Callable[[int], str]):
        self.roots, self._token_at = roots, token
        self.port, self.token = 0, ""
        self.boot = secrets.token_hex(4)
        self.studies: dict[str, Watched] = {}
        self._worker = ThreadPoolExecutor(1, "page")  # drawing is not for several threads
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self.app = web.Application(middlewares=[guard(lambda: self.token, lambda: self.port)])
        self.app.add_routes(
            [
                web.get("/", self.front),
                web.get("/s/{key}", self.page),
                web.get("/s/{key}/events", self.events),
                web.get("/s/{key}/part/{name}", self.part),
            ]
        )
        self.app.on_startup.append(self._begin)
        self.app.on_cleanup.append(self._end)

    async def start(self, *ports: int) -> tuple[web.AppRunner, int]:
        """Listen on 127.0.0.1; returns the runner, to be cleaned up, and the port.

        Args:
            ports: the first that is free is taken; 0 is any.

        Raises:
            OSError: all are taken.
        """
        listening = _listening(ports)
        self.port = listening.getsockname()[1]
        self.token = self._token_at(self.port)  # before anybody is answered
        runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.SockSite(runner, listening).start()
        return runner, self.port

    # --- what is asked for

    async def front(self, request: web.Request) -> web.Response:
        """The one study, or a list of them."""
        if len(self.studies) == 1:
            return web.Response(status=303, headers={"Location": f"/s/{next(iter(self.studies))}"})
        found = [(study.key, study.folder, study.facts, study.error) for study in self.studies.values()]
        return self._html(await self._work(lambda: listing(found, self.roots)), LISTING)

    async def page(self, request: web.Request) -> web.Response:
        study = self._study(request)
        if study.facts is None:
            await self._work(study.refresh)
        if study.facts is None:
            raise web.HTTPServiceUnavailable(reason=f"{study.folder} cannot be read: {study.error}"[:300])
        live = Live(study.key, dict(study.hashes), len(self.studies) > 1)
        return self._html(await self._work(lambda: document([study.written()], LIVE, live=live)), LIVE)

    async def part(self, request: web.Request) -> web.Response:
        """One part's HTML, or the tables' data."""
        study, name = self._study(request), request.match_info["name"]
        if name == "data":
            text, kind = study.data, "application/json"
        elif name in study.parts:
            text, kind = str(study.parts[name].html), "text/html"
        else:
            raise web.HTTPNotFound
        return web.Response(text=text, content_type=kind, charset="utf-8")

    async def events(self, request: web.Request) -> web.StreamResponse:
        """A line whenever parts have changed, at most one a second; a heartbeat when nothing has."""
        study = self._study(request)
        stream = web.StreamResponse(headers=HEADERS | {"Content-Type": "text/event-stream; charset=utf-8"})
        await stream.prepare(request)
        sent: dict[str, Any] = {}
        heard = time.monotonic()
        with suppress(ConnectionResetError, asyncio.CancelledError):
            while True:
                now = {"boot": self.boot, "error": study.error, "ended": study.ended, "parts": study.hashes}
                if now != sent:
                    sent, heard = {**now, "parts": dict(study.hashes)}, time.monotonic()
                    await stream.write(f"event: parts\ndata: {json.dumps(now)}\n\n".encode())
                elif time.monotonic() - heard > HEARTBEAT_SECONDS:
                    heard = time.monotonic()
                    await stream.write(b": still here\n\n")
                async with self._changed:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._changed.wait(), 5)
        return stream

    # --- how

    def _study(self, request: web.Request) -> Watched:
        try:
            return self.studies[request.match_info["key"]]
        except KeyError:
            raise web.HTTPNotFound from None

    def _html(self, text: str, scripts: tuple[str, ...]) -> web.Response:
        return web.Response(
            text=text, content_type="text/html", charset="utf-8",
            headers={"Content-Security-Policy": f"{policy(scripts, live=True)}; frame-ancestors 'none'"},
        )  # fmt: skip

    async def _work(self, make: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._worker, make)

    async def _begin(self, _: web.Application) -> None:
        await self._work(self.find)
        self._task = asyncio.create_task(self._follow())

    async def _end(self, _: web.Application) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._worker.shutdown(wait=False, cancel_futures=True)

    async def _follow(self) -> None:
        """Look at every study again and again; one that nobody could read yet is tried like the others."""
        found, looked = time.monotonic(), dict.fromkeys(self.studies, float("-inf"))
        while True:
            if time.monotonic() - found > FOUND_SECONDS:
                await self._work(self.find)
                found = time.monotonic()
            changed = False
            for study in list(self.studies.values()):
                share = max(LOOK_SECONDS, min(LONGEST_SECONDS, SHARE * study.seconds))
                every = ENDED_SECONDS if study.ended else share
                if time.monotonic() - looked.get(study.key, float("-inf")) >= every:
                    changed |= await self._work(study.refresh)
                    looked[study.key] = time.monotonic()
            if changed:
                async with self._changed:
                    self._changed.notify_all()
            await asyncio.sleep(LOOK_SECONDS)

    def find(self) -> None:
        """Note studies that are new."""
        known = {study.folder for study in self.studies.values()}
        for folder in (folder for root in self.roots for folder in studies_in(root)):
            if folder not in known:
                key = key_of(folder)
                self.studies[key] = Watched(key, folder)


def key_of(folder: Path) -> str:
    """A study's part of an address: no path can be read from it, and it is the same after a restart."""
    return hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:12]


def _listening(ports: tuple[int, ...]) -> socket.socket:
    for port in ports:
        try:
            return socket.create_server(("127.0.0.1", port))
        except OSError:
            if port == ports[-1]:
                raise
    raise AssertionError("no port was named")


def studies_in(root: Path) -> list[Path]:
    """The folder itself, or the studies in it, by name."""
    if (root / "study.json").is_file():
        return [root]
    return sorted(path.parent for path in root.glob("*/study.json"))

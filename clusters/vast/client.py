"""The endpoints of Vast.ai that renting one machine needs, at the pace the service allows.

A listing that cannot be had, or is not understood, raises: it never means that nothing is rented. A rent request is
never sent twice: after a lost reply only the list of instances can say what happened (see ``rent``).
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clusters.vast.errors import OfferGone, Refused, Unreachable, VastError

URL = "https://console.vast.ai"
GAPS = {"search": 6.0, "rent": 4.5, "list": 1.0, "show": 2.0, "change": 1.0, "destroy": 3.0, "account": 1.0}
"""Seconds between two requests of a kind: the documented limits."""

PATIENCE = 6
"""Attempts before an answer of "too many requests", or none at all, is an error."""

FIRST_WAIT, LONGEST_WAIT = 5.0, 60.0
GONE = {404, 410}
PAGE = 25


def account_key(environment: Mapping[str, str] = os.environ) -> str:
    """The account's key: VAST_API_KEY, else the file that the ``vastai`` command writes.

    Raises:
        VastError: there is none, or its file can be read by others.
    """
    if key := environment.get("VAST_API_KEY", "").strip():
        return key
    home = Path(environment.get("HOME", "~")).expanduser()
    configuration = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    for file in (configuration / "vastai" / "vast_api_key", home / ".vast_api_key"):
        if file.is_file():
            if file.stat().st_mode & 0o077:
                raise VastError(f"{file}: others can read the account key; run: chmod 600 {file}")
            if key := file.read_text(encoding="utf-8").strip():
                return key
    raise VastError(
        f"no key of Vast.ai: write it to {configuration / 'vastai' / 'vast_api_key'} (chmod 600), or set VAST_API_KEY"
    )


class Client:
    """One account.

    Args:
        key: of the account; sent to ``url`` only, also after a redirect.
        url: default: VAST_URL, else the service itself.
        sleep, clock: for tests.
    """

    def __init__(
        self,
        key: str,
        url: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        timeout: float = 60.0,
    ):
        self.url = (url or os.environ.get("VAST_URL") or URL).rstrip("/")
        self._key, self._sleep, self._clock, self._timeout = key, sleep, clock, timeout
        self._free: dict[str, float] = {}
        self._lock = threading.Lock()

    def offers(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Rows of the market that match ``query``."""
        return _rows(self._ask("search", "POST", "/api/v0/bundles/", query), "offers")

    def rent(self, offer: int, body: Mapping[str, Any]) -> int:
        """Rent an offer; the number of the new instance.

        Raises:
            OfferGone: it is not to be had any more.
            Unreachable: the reply was lost; the instance may exist.
        """
        try:
            answer = self._ask("rent", "PUT", f"/api/v0/asks/{offer}/", body, repeat=False)
        except Refused as error:
            if getattr(error, "status", 0) in GONE or "no_such_ask" in str(error):
                raise OfferGone(f"offer {offer} is gone") from None
            raise
        contract = answer.get("new_contract")
        if not isinstance(contract, int):
            raise Unreachable(f"renting offer {offer}: the reply names no instance: {_short(answer)}")
        return contract

    def instances(self) -> list[dict[str, Any]]:
        """Every instance of the account, in any state.

        Raises:
            VastError: the list is not complete or not understood.
        """
        rows: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            page: dict[str, Any] = {"select_filters": {}, "order_by": [{"col": "id", "dir": "asc"}], "limit": PAGE}
            if after:
                page["after_token"] = after
            answer = self._ask("list", "GET", f"/api/v1/instances/?{_query(page)}")
            rows += _rows(answer, "instances")
            following = answer.get("next_token")
            if not following:
                return rows
            if following == after:
                raise Unreachable("the list of instances repeats a page; see the account's page on the web")
            after = following

    def attach_key(self, instance: int, public_key: str) -> None:
        self._ask("change", "POST", f"/api/v0/instances/{instance}/ssh/", {"ssh_key": public_key})

    def destroy(self, instance: int) -> None:
        """End an instance and delete its disk; one that is already gone is fine."""
        try:
            self._ask("destroy", "DELETE", f"/api/v0/instances/{instance}/", {})
        except Refused as error:
            if getattr(error, "status", 0) not in GONE:
                raise

    def account(self) -> dict[str, Any]:
        return self._ask("account", "GET", "/api/v0/users/current")

    def _ask(
        self, kind: str, method: str, path: str, body: Mapping[str, Any] | None = None, repeat: bool = True
    ) -> dict[str, Any]:
        wait = FIRST_WAIT
        for attempt in range(1, PATIENCE + 1):
            self._take_turn(kind)
            try:
                return self._send(method, path, body)
            except _Busy as busy:
                if attempt == PATIENCE:
                    raise Unreachable(
                        f"Vast.ai still limits our requests after {attempt} attempts ({kind}); wait some minutes"
                    ) from None
                self._again("Vast.ai limits our requests", attempt, min(busy.seconds or wait, LONGEST_WAIT))
            except Unreachable as error:
                if not repeat or attempt == PATIENCE:
                    raise
                self._again(str(error), attempt, wait)
            wait = min(2 * wait, LONGEST_WAIT)
        raise AssertionError("unreachable")

    def _again(self, why: str, attempt: int, seconds: float) -> None:
        # two minutes of waiting must not look like a command that hangs
        print(f"{why}; attempt {attempt + 1} of {PATIENCE} in {seconds:.0f} s", file=sys.stderr, flush=True)
        self._sleep(seconds)

    def _take_turn(self, kind: str) -> None:
        with self._lock:
            now = self._clock()
            turn = max(now, self._free.get(kind, now))
            self._free[kind] = turn + GAPS[kind]
        if turn > now:
            self._sleep(turn - now)

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        request = urllib.request.Request(self.url + path, method=method)  # noqa: S310 - the scheme is checked by urlopen
        request.add_header("Authorization", f"Bearer {self._key}")
        request.add_header("Accept", "application/json")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with _OPENER.open(request, timeout=self._timeout) as reply:
                status, data = reply.status, reply.read()
        except urllib.error.HTTPError as error:
            status, data = error.code, error.read()
            if status == 429 and b"search_quota_exceeded" not in data:
                raise _Busy(_seconds(error.headers.get("Retry-After"))) from None
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{method} {self.url}{path.partition('?')[0]}: {error}") from None
        where = f"{method} {path.partition('?')[0]}"
        if status >= 500:
            raise Unreachable(f"{where}: the service answered {status}")
        try:
            answer = json.loads(data)
        except ValueError:
            answer = None
        if status >= 400:
            refused = Refused(
                f"{where}: {status} "
                f"{_short(answer if answer is not None else data.decode(errors='replace'))}{_ADVICE.get(status, '')}"
            )
            refused.status = status  # type: ignore[attr-defined]
            raise refused
        if not isinstance(answer, dict):
            raise Unreachable(f"{where}: the answer is not an object: {_short(data.decode(errors='replace'))}")
        if answer.get("success") is False:
            raise Refused(f"{where}: {_short(answer)}")
        return answer


class _Busy(Exception):
    def __init__(self, seconds: float | None):
        super().__init__()
        self.seconds = seconds


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the account's key elsewhere."""

    def redirect_request(self, *_: object) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)
_ADVICE = {
    401: " (is the account key right? see the account's page; it is VAST_API_KEY, or ~/.config/vastai/vast_api_key)",
    403: " (the key lacks a right: it needs instance_read, instance_write and misc)",
}


def _query(parameters: Mapping[str, Any]) -> str:
    return "&".join(
        f"{k}={urllib.parse.quote_plus(v if isinstance(v, str) else json.dumps(v))}" for k, v in parameters.items()
    )


def _rows(answer: dict[str, Any], name: str) -> list[dict[str, Any]]:
    rows = answer.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get("id"), int) for row in rows):
        raise Unreachable(f"the list of {name} is not understood, so nothing is decided from it: {_short(answer)}")
    return rows


def _seconds(value: str | None) -> float | None:
    try:
        return float(value) if value is not None else None
    except ValueError:
        return None


def _short(answer: object) -> str:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return " ".join(text.split())[:200]

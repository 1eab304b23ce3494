"""Who may ask, and how: this machine, by our own name for it, with the token, and reading only."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

from aiohttp import web

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADERS = {
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin", "X-Frame-Options": "DENY",
}  # fmt: skip


def guard(token: Callable[[], str], port: Callable[[], int]):
    """Middleware that lets nobody else in.

    Args:
        port: on which the page is served. The ``Host`` header must name this machine and it, since a page elsewhere
            whose name is made to point here would send its own; and so does the cookie, as browsers do not keep those
            of several ports apart.
    """

    @web.middleware
    async def let_in(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            return _refused(405, "This page can only be read.", {"Allow": "GET, HEAD"})
        cookie = f"page-{port()}"
        if request.host not in {f"127.0.0.1:{port()}", f"localhost:{port()}"}:
            return _refused(403, "This page answers under 127.0.0.1 and localhost only.")
        given = request.query.get("token")
        if given is not None and secrets.compare_digest(given.encode(), token().encode()):
            answer = web.Response(status=303, headers=HEADERS | {"Location": "/"})
            answer.set_cookie(cookie, token(), httponly=True, samesite="Strict", path="/")
            return answer
        if not secrets.compare_digest(request.cookies.get(cookie, "").encode(), token().encode()):
            return _refused(403, "Open the address that was printed when the page was started: it holds the token.")
        try:
            answer = await handler(request)
        except web.HTTPException as error:
            return _refused(error.status, error.reason)
        if not answer.prepared:
            for name, value in HEADERS.items():
                answer.headers.setdefault(name, value)
        return answer

    return let_in


def _refused(status: int, why: str, more: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=f"{why}\n", headers=HEADERS | (more or {}))

"""Who may ask: the token, the pages of other sites that stay out, and what holds for every answer."""

import asyncio
import hmac
import json
import sys
import traceback
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN_PATHS = ("/", "/healthz")
"""The page says nothing of the networks before it has the token."""
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
"""What a browser on this machine calls it."""

HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""Content-Security-Policy of every answer; the page's own adds what the page needs."""


class Guard:
    """Stands before the application: refuses, sets headers, bounds the time, and turns what fails into an answer."""

    def __init__(self, app: ASGIApp, token: str | None, hosts: Collection[str] | None, seconds: float) -> None:
        """Let pass what fits.

        Args:
            token: what every request but those for `OPEN_PATHS` has to bring; None: nothing.
            hosts: names that requests may call the server by; None: any. Without this check, a page whose own name is
                made to lead to this machine could ask (DNS rebinding).
            seconds: for a whole answer.
        """
        self._app, self._token, self._hosts, self._seconds = app, token, hosts, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in {**HEADERS, "Content-Security-Policy": POLICY}.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope["method"], scope["path"], Headers(scope=scope))
        if refusal is not None:
            await _answer(sending, *refusal)
            return
        try:
            async with asyncio.timeout(self._seconds):
                await self._app(scope, receive, sending)
        except Exception as error:
            late = isinstance(error, TimeoutError)
            if not late:
                print("".join(traceback.format_exception(error)), file=sys.stderr)
            if begun:
                raise
            said = "the answer took too long" if late else "the server failed on it; its terminal says how"
            await _answer(sending, 504 if late else 500, said)

    def _refusal(self, method: str, path: str, headers: Headers) -> tuple[int, str] | None:
        """Status and reason, if it is refused."""
        host = headers.getlist("host")
        if len(host) != 1 or (self._hosts is not None and _name(host[0]) not in self._hosts):
            return 403, "this server is asked by another name than its own"
        if method not in ("GET", "HEAD") and _from_elsewhere(headers, host[0]):
            return 403, "pages of other sites may not ask"
        if self._token is not None and path not in OPEN_PATHS and not self._has_token(headers):
            return 401, "a token is needed: Authorization: Bearer TOKEN"
        return None

    def _has_token(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        assert self._token is not None
        return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token.encode())


def _name(host: str) -> str:
    """A Host header without its port."""
    name, _, port = host.rpartition(":")
    return (name if port.isdigit() and name else host).lower()


def _from_elsewhere(headers: Headers, host: str) -> bool:
    """Whether a browser says that the page which asks is another site's; programs say nothing."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != host.lower()


async def _answer(send: Send, status: int, error: str) -> None:
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

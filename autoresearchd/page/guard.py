"""Who may ask the page, and what a browser may do with an answer: host, token, origin, and a strict content policy.

Against: other web sites open in the same browser (forged requests, DNS rebinding), other machines, and markup in what
experiments and models wrote. Not against other users of this machine on loopback without a token: they may look.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "autoresearchd-page"
CSRF_HEADER = "x-autoresearchd-form"
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
SAFE = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What this server demands of a request."""

    names: frozenset[str]
    """Names under which it may be called; a page of another name (DNS rebinding) gets nothing."""
    any_address: bool = False
    """It listens on every address of the machine: any IP address is one of its names, for no DNS can rebind those."""
    token: str = ""
    """Empty on loopback, where none is demanded."""
    control: bool = False
    form: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    """What only our own page can know and send: it has read it from us."""


class Guard:
    """Lets through what the rules allow, and adds the headers to every answer."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app, self._rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        answer = verdict(Request(scope), self._rules) or self._app
        await answer(scope, receive, headed)


def verdict(request: Request, rules: Rules) -> Response | None:
    """What is answered in place of the app; None where the request may pass."""
    if not _is_ours(request.headers, rules):
        return PlainTextResponse("this page is not served under that name", 403)
    if rules.token and not _knows_token(request, rules.token):
        return _asked_in(request, rules)
    if request.method in SAFE:
        return None
    if not rules.control:
        return PlainTextResponse("read-only: start it with --control", 403)
    host, origin = request.headers.get("host", ""), request.headers.get("origin", "")
    form = request.headers.get(CSRF_HEADER, "")
    if urlsplit(origin).netloc != host or not _same(form, rules.form):
        return PlainTextResponse("that did not come from this page; load it again", 403)
    return None


def _is_ours(headers: Headers, rules: Rules) -> bool:
    hosts = headers.getlist("host")
    try:
        name = urlsplit(f"//{hosts[0]}").hostname if len(hosts) == 1 else None
    except ValueError:
        return False
    return name is not None and (name in rules.names or (rules.any_address and _is_address(name)))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _knows_token(request: Request, token: str) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return _same(request.cookies.get(COOKIE, ""), token) or (scheme.lower() == "bearer" and _same(given, token))


def _asked_in(request: Request, rules: Rules) -> Response:
    """The address with the token in it is the door: it becomes a cookie, and leaves the address bar."""
    given = parse_qs(request.url.query).get("token", [""])[0]
    if request.url.path != "/" or request.method != "GET" or not _same(given, rules.token):
        return PlainTextResponse("a token is needed: open the address that `autoresearchd serve` printed", 401)
    answer = RedirectResponse("/", 303)
    answer.set_cookie(COOKIE, rules.token, httponly=True, samesite="strict", path="/")
    return answer


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())

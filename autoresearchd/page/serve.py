"""Starting the page: where it listens, under which names, and whether a token is demanded."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import uvicorn
from starlette.applications import Starlette

from autoresearchd.errors import UserError
from autoresearchd.page.app import build
from autoresearchd.page.guard import Rules
from autoresearchd.page.lab import Lab
from autoresearchd.page.news import News
from autoresearchd.program import Program

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
SHORTEST_TOKEN = 16


def serve(
    program: Program,
    path: Path,
    *,
    host: str,
    port: int,
    control: bool,
    token: str,
    names: tuple[str, ...],
    say: Callable[[str], None],
) -> None:
    """Serve until a signal comes; `say` is told the address to open.

    `token` is demanded where it is not empty; off loopback one is made up where none is given.

    Raises: UserError when the address cannot be had or the token is no secret.
    """
    token = _secret(host, token)
    lab = Lab(program, path)
    news = News(lab)
    listening = _listen(host, port)
    rules = Rules(names=_names(host, names), any_address=_is_wildcard(host), token=token, control=control)
    door = f"?token={quote(token, safe='')}" if token else ""
    say(f"{_address(host, listening.getsockname()[1])}{door}")
    _Server(build(lab, news, rules), news).run(sockets=[listening])


def _secret(host: str, token: str) -> str:
    if token and len(token) < SHORTEST_TOKEN:
        raise UserError(f"the page's token has {len(token)} characters; give it {SHORTEST_TOKEN} or more")
    return token or ("" if is_loopback(host) else secrets.token_urlsafe(24))


class _Server(uvicorn.Server):
    """Ends the streams of news before it waits for the connections to end: they would never do so by themselves."""

    def __init__(self, app: Starlette, news: News) -> None:
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        super().__init__(config)
        self._news = news

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._news.end()
        await super().shutdown(sockets)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_wildcard(host: str) -> bool:
    return host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


def _names(host: str, more: tuple[str, ...]) -> frozenset[str]:
    here = {socket.gethostname().lower(), host.lower()} if not is_loopback(host) else {host.lower()}
    return LOOPBACK | here | {name.lower() for name in more}


def _address(host: str, port: int) -> str:
    name = socket.gethostname() if _is_wildcard(host) else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/"


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UserError(f"{host}:{port} cannot be listened on ({error.strerror or error}); choose another") from error

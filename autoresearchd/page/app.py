"""The page's routes: what can be read, what can be asked for, and the stream of news."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from autoresearchd.errors import CorruptRecord, UserError
from autoresearchd.ledger import Ledger
from autoresearchd.page import shown
from autoresearchd.page.guard import Guard, Rules
from autoresearchd.page.lab import Lab
from autoresearchd.page.news import News
from autoresearchd.report.log import Row as Tried
from autoresearchd.report.log import experiment_of
from autoresearchd.report.rows import comparable, row
from autoresearchd.report.show import absent, runs_of
from autoresearchd.report.words import plain, skip_asked

STATIC = Path(__file__).parent / "static"
PATCH_BYTES = 1_000_000
MOST_COMPARED = 12
KEEP_ALIVE_SECONDS = 15.0


def build(lab: Lab, news: News, rules: Rules) -> Starlette:
    """The application of one lab."""
    page = Page(lab, news, rules)

    @asynccontextmanager
    async def alive(_app: Starlette) -> AsyncIterator[None]:
        async with page.news:
            yield
        lab.close()

    return Starlette(
        routes=page.routes(),
        middleware=[Middleware(Guard, rules=rules), Middleware(GZipMiddleware, minimum_size=2_000)],
        exception_handlers={UserError: _sentence, CorruptRecord: _sentence, HTTPException: _plainly},
        lifespan=alive,
    )


class Page:
    """The answers of one lab's page."""

    def __init__(self, lab: Lab, news: News, rules: Rules) -> None:
        self._lab, self.news, self._rules = lab, news, rules

    def routes(self) -> list[Route | Mount]:
        """All of them; those that ask for something are there in any case, the guard refuses them without --control."""
        reading = {
            "/": self.index,
            "/api/lab": self.overview,
            "/api/chart": self.chart,
            "/api/experiments": self.experiments,
            "/api/experiments/{number:int}": self.experiment,
            "/api/curves": self.curves,
            "/api/ideas": self.ideas,
            "/events": self.events,
        }
        asking = {
            "/api/pause": self.pause,
            "/api/resume": self.resume,
            "/api/skip/{number:int}": self.skip,
            "/api/ideas": self.propose,
        }
        return [
            *(Route(path, answer, methods=["POST"]) for path, answer in asking.items()),
            *(Route(path, answer, methods=["GET"]) for path, answer in reading.items()),
            Mount("/static", StaticFiles(directory=STATIC)),
        ]

    async def index(self, _request: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    async def overview(self, _request: Request) -> Response:
        moment, found = await self._lab.moment(), await self._lab.facts()
        rights = {"control": self._rules.control, "form": self._rules.form if self._rules.control else ""}
        return JSONResponse({**shown.overview(found), **rights, "status": shown.status(moment.status)})

    async def chart(self, _request: Request) -> Response:
        return JSONResponse(shown.chart(await self._lab.facts()))

    async def experiments(self, request: Request) -> Response:
        asked = request.query_params
        page = shown.table(
            await self._lab.facts(),
            text=asked.get("text", ""),
            verdict=asked.get("verdict", ""),
            offset=_number(asked.get("offset", "0")),
            limit=_number(asked.get("limit", "50")),
        )
        return JSONResponse(page)

    async def experiment(self, request: Request) -> Response:
        number, direction = request.path_params["number"], self._lab.program.metric.direction

        def read(ledger: Ledger) -> dict[str, object]:
            found = _found(ledger, number)
            own = experiment_of(found)
            return shown.experiment(
                row(found, direction=direction, made={}),
                rationale=own.rationale,
                reason=own.reason,
                diff=ledger.diff(own),
                runs=runs_of(ledger, own),
            )

        return JSONResponse(await self._lab.ask(read))

    async def curves(self, request: Request) -> Response:
        numbers = [_number(word) for word in request.query_params.get("numbers", "").split(",") if word]

        def read(ledger: Ledger) -> list[dict[str, object]]:
            found = {number: _found(ledger, number) for number in numbers[:MOST_COMPARED]}
            runs = {number: comparable(runs_of(ledger, experiment_of(each)), each) for number, each in found.items()}
            return [curve for number, measured in runs.items() for curve in shown.curves(number, measured)]

        return JSONResponse({"curves": await self._lab.ask(read)})

    async def ideas(self, _request: Request) -> Response:
        waiting, refused = await self._lab.ask(lambda ledger: (ledger.ideas(), ledger.refused()))
        found = [shown.idea(idea.ref, idea.title, idea.why, is_wish=idea.wish is not None) for idea in waiting]
        away = [{**shown.idea(idea.ref, idea.title, idea.why), "at": idea.at} for idea in reversed(refused)]
        return JSONResponse({"ideas": found[: shown.MOST_ROWS], "total": len(found), "refused": away})

    async def events(self, _request: Request) -> Response:
        return StreamingResponse(self._stream(), media_type="text/event-stream")

    async def _stream(self) -> AsyncIterator[str]:
        """Server-sent events: `status` whenever it is new, `experiments` when there is something to read again."""
        async for item in self.news.items(KEEP_ALIVE_SECONDS):
            if item is None:
                yield ": nothing new\n\n"
            else:
                yield f"event: {item.kind}\ndata: {json.dumps(item.data)}\n\n"

    async def pause(self, _request: Request) -> Response:
        await self._lab.ask(lambda ledger: ledger.pause_switch.touch())
        return await self._done("paused")

    async def resume(self, _request: Request) -> Response:
        await self._lab.ask(lambda ledger: ledger.pause_switch.unlink(missing_ok=True))
        return await self._done("resumed")

    async def skip(self, request: Request) -> Response:
        number = request.path_params["number"]
        await self._lab.ask(lambda ledger: ledger.skip(number))
        return await self._done(skip_asked(number))

    async def propose(self, request: Request) -> Response:
        given = await _body(request)
        if isinstance(words := given.get("words"), str):
            ref = await self._lab.ask(lambda ledger: ledger.submit_wish(words))
            return await self._done(f"queued as {ref.removeprefix('refs/heads/')}")
        patch, title = given.get("patch"), given.get("title")
        if not isinstance(patch, str) or not isinstance(title, str) or not patch.strip() or not title.strip():
            raise UserError("an idea needs a title and a patch")
        ref = await self._lab.submit(_patch(patch), title=plain(title))
        return await self._done(f"queued as {ref.removeprefix('refs/heads/')}")

    async def _done(self, sentence: str) -> Response:
        self.news.look()
        return JSONResponse({"said": sentence})


def _patch(text: str) -> bytes:
    """As git wants it: forms send line ends of two characters, and people forget the last one."""
    return (text.replace("\r\n", "\n").rstrip("\n") + "\n").encode()


async def _body(request: Request) -> dict[str, object]:
    """The JSON of a request, bounded before it is read. Raises: UserError."""
    read = bytearray()
    async for chunk in request.stream():
        read += chunk
        if len(read) > PATCH_BYTES:
            raise UserError(
                f"a patch of more than {PATCH_BYTES} bytes is too large for a form; push a branch to idea/*"
            )
    try:
        found = json.loads(bytes(read))
    except ValueError as error:
        raise UserError("the form sent something that is no JSON") from error
    return found if isinstance(found, dict) else {}


def _found(ledger: Ledger, number: int) -> Tried:
    found = ledger.find(number)
    if found is None:
        raise HTTPException(404, absent(ledger, number))
    return found


def _number(word: str) -> int:
    if not word.isdecimal() or len(word) > 9:
        raise HTTPException(400, "that is no number")
    return int(word)


async def _sentence(_request: Request, error: Exception) -> Response:
    """A person's mistake, or a record that cannot be read: its sentence."""
    return PlainTextResponse(plain(error.sentence if isinstance(error, CorruptRecord) else str(error)), 422)


async def _plainly(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(plain(error.detail), error.status_code, error.headers)

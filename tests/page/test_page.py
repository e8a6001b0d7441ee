"""What the page answers, over real HTTP: figures, and refusals to whoever is not its own user."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from autoresearchd.bulletin import read_live, write_status
from autoresearchd.ledger import Ledger
from autoresearchd.page.lab import Lab
from autoresearchd.page.news import Item, News
from autoresearchd.program import load
from tests.acceptance.daemon import command
from tests.page.served import DEADLINE, Server, climbed_lab, hostile_lab, serving
from tests.report.nouns import status
from tests.support.projects import git

PATCH = "--- a/train.py\n+++ b/train.py\n@@ -1 +1 @@\n-{old}+RATE = 77\n"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile_lab(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def reading(program: Path) -> Iterator[Server]:
    with serving(program) as server:
        yield server


@pytest.fixture(scope="module")
def steering(program: Path) -> Iterator[Server]:
    with serving(program, "--control") as server:
        yield server


def _form(server: Server) -> dict[str, str]:
    """What the page itself sends along."""
    return {"x_autoresearchd_form": server.read("/api/lab")["form"], "origin": server.url.rstrip("/")}


def test_the_table_is_searched_and_paged_on_the_server(reading: Server) -> None:
    everything = reading.read("/api/experiments?limit=10")
    assert (everything["total"], len(everything["rows"]), everything["rows"][0]["number"]) == (60, 10, 59)
    older = reading.read("/api/experiments?limit=10&offset=10")
    assert older["rows"][0]["number"] == 49
    assert [row["number"] for row in reading.read("/api/experiments?text=rate+to+0.21")["rows"]] == [21]
    assert [row["number"] for row in reading.read("/api/experiments?verdict=keep")["rows"]] == [40, 20]
    assert reading.ask("/api/experiments?offset=-1")[0] == 400
    assert reading.ask("/api/experiments/4711")[0] == 404


@pytest.mark.parametrize("what", ["best", "an experiment"])
def test_what_was_deleted_is_said_by_the_page_as_by_the_command_line(tmp_path: Path, what: str) -> None:
    program = climbed_lab(tmp_path)
    write_status(tmp_path / "experiments.git", status())
    names = {"best": "refs/heads/best", "an experiment": "refs/heads/exp/0003-take-out-0001-it"}
    git(tmp_path / "experiments.git", "update-ref", "-d", names[what])
    words, path = (["status"], "/api/lab") if what == "best" else (["show", "3"], "/api/experiments/3")
    told = command(tmp_path, *words, check=False).stderr
    with serving(program) as server:
        code, _, text = server.ask(path)
    assert code in (404, 422)
    assert told == f"autoresearchd: {text}\n"
    assert "`autoresearchd fsck`" in text if what == "best" else "`git fetch BACKUP " in text


def test_who_listens_while_best_is_gone_hears_of_it_when_it_is_back_and_the_log_says_so_once(tmp_path: Path) -> None:
    program = load(climbed_lab(tmp_path))
    path = tmp_path / "experiments.git"
    write_status(path, status())
    best = git(path, "rev-parse", "best").strip()
    git(path, "update-ref", "-d", "refs/heads/best")

    async def listen() -> Item | None:
        lab = Lab(program, path)
        news = News(lab)
        async with news:
            first = asyncio.ensure_future(anext(news.items(DEADLINE)))
            while not (logs or first.done()):
                await asyncio.sleep(0.01)
            git(path, "update-ref", "refs/heads/best", best)
            return await first

    with capture_logs() as logs:
        heard = asyncio.run(asyncio.wait_for(listen(), DEADLINE))
    assert heard is not None
    assert heard.kind == "status"
    assert [entry["event"] for entry in logs] == ["lab_unreadable"]


def test_the_chart_has_the_staircase_and_every_try(reading: Server) -> None:
    chart = reading.read("/api/chart")
    assert [number for number, _ in chart["steps"]] == [0, 20, 40]
    assert (chart["tried"], chart["failed"], len(chart["number"])) == (58, [58], 58)


def test_the_chart_of_a_great_lab_is_thinned_but_keeps_every_step_and_the_extremes() -> None:
    from dataclasses import replace

    from autoresearchd.experiment import Outcome
    from autoresearchd.page.shown import MOST_DOTS, chart
    from autoresearchd.program import parse
    from autoresearchd.report.facts import Source, facts
    from tests.page.served import PROGRAM
    from tests.report.nouns import concluded

    rows = [concluded(0, Outcome.BASELINE, 1.0)]
    rows += [concluded(n, Outcome.DISCARD, 1.0 + (n * 37 % 101) / 100, 1.0) for n in range(1, 10_000)]
    found = facts(Source(now=0.0, program=parse(PROGRAM), concluded=rows))
    thin = chart(replace(found, rows=(*found.rows[:500], replace(found.rows[500], verdict="keep"), *found.rows[501:])))
    assert thin["tried"] == 10_000
    assert len(thin["number"]) <= MOST_DOTS + 2
    assert 500 in thin["number"]
    assert (min(thin["value"]), max(thin["value"])) == (1.0, 2.0)


def test_no_answer_has_a_control_character_in_its_words(reading: Server) -> None:
    for path in ("/api/lab", "/api/experiments?limit=100", "/api/experiments/58", "/api/chart", "/api/ideas"):
        text = json.dumps(reading.read(path), ensure_ascii=False)
        assert not re.search(r"\\u00[01]|\x1b|\u202e", text), path


def test_every_answer_forbids_foreign_and_inline_scripts(reading: Server) -> None:
    for path in ("/", "/api/lab", "/static/js/main.js", "/nowhere"):
        _, headers, _ = reading.ask(path)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
    page = reading.ask("/")[2]
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=|https?://", page)


def test_a_name_that_somebody_else_pointed_at_this_machine_gets_nothing(reading: Server) -> None:
    for name in ("evil.example", f"evil.example:{reading.host.split(':')[1]}", "127.0.0.1.evil.example", ""):
        assert reading.ask("/api/lab", host=name)[0] in (400, 403), name
    assert reading.ask("/api/lab", host=f"localhost:{reading.host.split(':')[1]}")[0] == 200


def test_read_only_refuses_every_wish(reading: Server, program: Path) -> None:
    form = {**_form(reading), "x_autoresearchd_form": ""}
    for path in ("/api/pause", "/api/resume", "/api/skip/59", "/api/ideas"):
        status, _, said = reading.ask(path, "POST", body={}, **form)
        assert (status, said) == (403, "read-only: start it with --control")
    assert not Ledger(program.parent / "experiments.git").pause_switch.exists()


def test_a_wish_that_another_site_sends_through_the_browser_is_refused(steering: Server, program: Path) -> None:
    form, pause = _form(steering), Ledger(program.parent / "experiments.git").pause_switch
    foreign = {**form, "origin": "http://evil.example"}
    for headers in ({}, {"origin": form["origin"]}, foreign, {**form, "x_autoresearchd_form": "guessed"}):
        status, _, said = steering.ask("/api/pause", "POST", body={}, **headers)
        assert (status, "did not come from this page" in said) == (403, True), headers
    assert not pause.exists()
    assert steering.ask("/api/pause", "POST", body={}, **form)[0] == 200
    assert pause.exists()
    assert steering.ask("/api/resume", "POST", body={}, **form)[0] == 200
    assert not pause.exists()


def test_ideas_and_skips_are_for_the_daemon_to_find(steering: Server, program: Path) -> None:
    form, lab = _form(steering), Ledger(program.parent / "experiments.git")
    old = lab.files(lab.best().tree, lambda path: path == "train.py")["train.py"].decode()
    idea = {"title": "Try 77", "patch": PATCH.format(old=old).replace("\n", "\r\n")}
    status, _, said = steering.ask("/api/ideas", "POST", body=idea, **form)
    assert status == 200, said
    assert [item["title"] for item in steering.read("/api/ideas")["ideas"]] == ["Try 77"]
    assert steering.ask("/api/ideas", "POST", body={"title": "x", "patch": "nonsense"}, **form)[0] == 422
    assert steering.ask("/api/ideas", "POST", body={"title": "", "patch": "x"}, **form)[0] == 422
    assert steering.ask("/api/ideas", "POST", body={"title": "x", "patch": "x" * 1_100_000}, **form)[0] == 422
    assert steering.ask("/api/skip/59", "POST", body={}, **form)[0] == 200
    assert (lab.path / "autoresearchd" / "skip" / "0059").exists()
    assert steering.ask("/api/skip/1", "POST", body={}, **form)[0] == 422


def test_off_loopback_nothing_is_shown_without_the_token(program: Path) -> None:
    with serving(program, "--host", "0.0.0.0") as server:
        port = server.host.split(":")[1]
        here = Server(url=f"http://127.0.0.1:{port}/", token=server.token)
        for path in ("/", "/api/lab", "/events", "/static/js/main.js", "/?token=wrong"):
            assert here.ask(path)[0] == 401, path
        status, headers, _ = here.ask(f"/?token={here.token}")
        assert (status, headers["location"]) == (303, "/")
        cookie = headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert here.ask("/api/lab", cookie=cookie.split(";")[0])[0] == 200
        assert here.ask("/api/lab", authorization=f"Bearer {here.token}")[0] == 200
        assert here.ask("/api/lab", authorization=f"Bearer {here.token}", host="evil.example")[0] == 403


def test_a_token_of_ones_own_is_demanded_on_loopback_too_and_a_foreign_address_is_refused(program: Path) -> None:
    with serving(program, token="a-token-of-my-own-choice") as server:
        assert server.token == "a-token-of-my-own-choice"
        assert server.ask("/api/lab")[0] == 401
    refused = command(program.parent, "serve", "--host", "10.255.255.1", check=False)
    assert (refused.returncode, "cannot be listened on" in refused.stderr) == (2, True)


def test_the_address_that_is_printed_opens_the_page_whatever_signs_are_in_the_token(program: Path) -> None:
    own = '1+1=2 & 100%/#?;,"token'
    with serving(program, token=own) as server:
        status, headers, _ = server.ask(f"/?token={server.token}")
        assert status == 303, server.token
        assert server.ask("/api/lab", cookie=headers["set-cookie"].rsplit("; HttpOnly")[0])[0] == 200
        assert server.ask("/api/lab", authorization=f"Bearer {own}")[0] == 200


def test_a_token_that_is_no_secret_is_refused(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTORESEARCHD_PAGE_TOKEN", "short")
    refused = command(program.parent, "serve", "--port", "0", check=False)
    assert (refused.returncode, "5 characters" in refused.stderr) == (2, True)


def test_news_come_as_a_stream_without_being_asked_for(steering: Server, program: Path) -> None:
    connection = http.client.HTTPConnection(steering.host, timeout=DEADLINE)
    connection.request("GET", "/events")
    answer = connection.getresponse()
    assert answer.getheader("content-type", "").startswith("text/event-stream")
    assert answer.readline() == b"event: status\n"
    pause = Ledger(program.parent / "experiments.git").pause_switch
    pause.touch()
    try:
        while b'"paused": true' not in answer.readline():
            pass
    finally:
        pause.unlink()
        connection.close()


def test_a_live_file_that_a_power_cut_emptied_hides_nothing_else(program: Path) -> None:
    lab = program.parent / "experiments.git"
    (lab / "autoresearchd" / "live.json").write_text("")
    assert read_live(lab) == []
    (lab / "autoresearchd" / "live.json").unlink()
    assert read_live(lab) == []


def test_the_server_ends_without_a_word_while_a_browser_listens(program: Path) -> None:
    with serving(program) as server:
        connection = http.client.HTTPConnection(server.host, timeout=DEADLINE)
        connection.request("GET", "/events")
        answer = connection.getresponse()
        assert answer.readline() == b"event: status\n"
    assert answer.read().endswith(b"\n\n"), "the stream was cut in the middle of an event"
    connection.close()

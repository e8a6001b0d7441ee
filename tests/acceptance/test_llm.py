"""The whole daemon with a language model behind real HTTP: ideas are trained and kept, failures cost no device time."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autoresearchd.experiment import Outcome
from autoresearchd.ledger import Ledger
from autoresearchd.propose.llm.purse import Purse
from tests.acceptance.daemon import PROGRAM, command, events, foreign_project, start, stop
from tests.propose.llm.room import KEY
from tests.support.messages import Json, MessagesServer, Say, Script, edit, submit

TRAIN = '''"""Trains nothing: the metric is a function of one line, plus a little noise."""
import os
import random

DECAY = 0.2
LEAKED = sorted(name for name, value in os.environ.items() if "sk-ant" in value)


def schedule():
    return "linear"


def main():
    if LEAKED:
        raise SystemExit(f"a key is in the environment: {LEAKED}")
    worse = 0.0 if schedule() == "cosine" else 0.4
    print(f"val_bpb: {0.95 + worse + abs(DECAY - 0.2) + random.gauss(0, 0.0005):.6f}")


main()
'''
ONE_CALL = 0.02
OFFLINE = "".join(f"[propose.{name}]\nenabled = false\n" for name in ("patterns", "refine", "retest", "combine"))
"""Left is the numeric sampler: with `steer_share = 1.0` each of its turns is one of the model's as well."""
LINEAR, COSINE = 'return "linear"', 'return "cosine"'
GOOD = Say(tools=(edit(LINEAR, COSINE), submit("Decay as a cosine", "schedule")))


def lab(folder: Path, server: MessagesServer, extra: str = "") -> Path:
    """A project with the numeric sampler, and a model at the server."""
    toml = PROGRAM + f'{OFFLINE}[propose.llm]\nbase_url = "{server.url}"\nsteer_share = 1.0\n{extra}'
    project = foreign_project(folder, train=TRAIN, program=toml)
    command(project, "init")
    return project


@contextmanager
def running(project: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`autoresearchd run` with a key in its environment and no end of its own; stopped afterwards."""
    daemon = start(project, key=KEY)
    try:
        yield daemon
        assert daemon.poll() is None, (project / "daemon.jsonl").read_text()[-3000:]
        assert stop(daemon) == 0
    finally:
        daemon.kill()
        daemon.wait()
    assert KEY not in (project / "daemon.jsonl").read_text()


def until(project: Path, reached: Callable[[Json], bool], *, seconds: float = 120.0) -> Json:
    """The first status for which `reached` holds; fails after `seconds`, enough for the slowest machine."""
    path, deadline = project / "experiments.git" / "autoresearchd" / "status.json", time.monotonic() + seconds
    status: Json = {}
    while time.monotonic() < deadline:
        if path.exists():
            status = json.loads(path.read_text())
            if reached(status):
                return status
        time.sleep(0.05)
    raise AssertionError(f"not reached in {seconds} s: {status}")


def count(project: Path) -> int:
    """Experiments with a verdict."""
    return sum(
        json.loads((project / "experiments.git" / "autoresearchd" / "status.json").read_text())["verdicts"].values()
    )


def proposers(project: Path) -> dict[str, list[Outcome]]:
    """Who proposed, and what became of it."""
    found: dict[str, list[Outcome]] = {}
    for line in Ledger(project / "experiments.git").concluded():
        found.setdefault(line.experiment.proposer, []).append(line.verdict.outcome)
    return found


def no_file_holds(folder: Path, secret: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def test_a_models_idea_is_trained_and_kept_and_its_price_is_in_the_commit(tmp_path: Path) -> None:
    with MessagesServer([Say(text="I think.", tools=(("read_file", {"path": "train.py"}),)), GOOD]) as server:
        project = lab(tmp_path, server)
        with running(project):
            status = until(project, lambda status: status["verdicts"].get("keep", 0) >= 1)
    lines = [line for line in Ledger(project / "experiments.git").concluded() if line.experiment.proposer == "llm"]
    assert lines
    first = lines[0]
    assert first.verdict.outcome is Outcome.KEEP
    assert first.experiment.title == "Decay as a cosine"
    assert first.experiment.cost_usd is not None
    assert first.experiment.cost_usd > 0
    billed = sum(u_cost(u) for u in server.usages)
    assert rebuilt(project) == pytest.approx(billed, abs=ONE_CALL)  # the last call may have been cut off by the end
    assert 0 < status["llm"]["spent_total"] <= billed + 1e-5
    shown = subprocess.run(
        ["git", "--git-dir=experiments.git", "log", "--all", "--format=%(trailers:key=Cost-USD,valueonly)%B"],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert str(first.experiment.cost_usd) in shown
    assert KEY not in shown


def rebuilt(project: Path) -> float:
    """USD in all, as the next start would read them."""
    lab = project / "experiments.git"
    purse = Purse(lab / "autoresearchd" / "spend.jsonl")
    purse.look(Ledger(lab).concluded(), ())
    return purse.spent(time.time()).total


def u_cost(usage: Json) -> float:
    """By hand, at the price of claude-sonnet-5-5."""
    hour = usage["cache_creation"]["ephemeral_1h_input_tokens"]
    minutes = usage["cache_creation"]["ephemeral_5m_input_tokens"]
    read = usage["cache_read_input_tokens"]
    return (2 * usage["input_tokens"] + 10 * usage["output_tokens"] + 0.1 * read + 2.5 * minutes + 4 * hour) / 1_000_000


def test_a_crash_is_given_back_and_the_corrected_code_is_kept_as_the_same_experiment(tmp_path: Path) -> None:
    broken = 'return "cosine" + e'
    wrong = Say(tools=(edit(LINEAR, broken), submit("Decay as a cosine", "schedule")))
    mended = Say(tools=(edit(broken, COSINE), submit("Drop the stray name")))

    def answer(body: Json) -> Say:
        return mended if "FIX: " in json.dumps(body["messages"][0]) else wrong

    with MessagesServer(answer) as server:
        project = lab(tmp_path, server)
        with running(project):
            until(project, lambda status: status["verdicts"].get("keep", 0) >= 1)
        told = [
            body["messages"][0]["content"] for body in server.requests if "FIX: " in json.dumps(body["messages"][0])
        ]
    kept = [line for line in Ledger(project / "experiments.git").concluded() if line.verdict.outcome is Outcome.KEEP]
    own = kept[0].experiment
    assert (own.title, own.proposer, own.fix_attempts) == ("Decay as a cosine", "llm", 1)
    assert "Mended after it crashed (NameError: name 'e' is not defined" in own.rationale
    assert "NameError: name 'e' is not defined" in json.dumps(told[0])
    assert 'File \\"' in json.dumps(told[0])
    assert rebuilt(project) == pytest.approx(sum(u_cost(u) for u in server.usages), abs=ONE_CALL)
    assert Ledger(project / "experiments.git").verify() == ()


OUTAGES: dict[str, tuple[Script, str, str]] = {
    "the key is wrong": (
        [Say(status=401, error=("authentication_error", "invalid x-api-key"))],
        "blocked",
        "refuses the API key",
    ),
    "it is overloaded": (
        [Say(status=529, error=("overloaded_error", "Overloaded"), headers=(("retry-after", "0"),))],
        "waiting",
        "overloaded",
    ),
    "the connection drops": ([Say(text="x" * 3000, drop_after=4)], "waiting", "cannot be reached"),
}
NONSENSE: dict[str, tuple[Script, str]] = {
    "it refuses": ([Say(text="I will not.", stop="refusal")], "refused"),
    "its tool input is no JSON": ([Say(tools=(("edit_file", '{"path": }'),))], "malformed"),
}


@pytest.mark.parametrize("name", OUTAGES)
def test_the_devices_go_on_while(name: str, tmp_path: Path) -> None:
    script, state, words = OUTAGES[name]
    with MessagesServer(script) as server:
        project = lab(tmp_path, server)
        with running(project):
            until(project, lambda status: status["llm"]["state"] == state)
            before = count(project)
            status = until(project, lambda _: count(project) >= before + 3)
            assert words in command(project, "status").stdout
        assert 1 <= server.calls <= 10
    assert words in status["llm"]["why"]
    assert status["llm"]["until"] > status["now"]
    assert "llm" not in proposers(project)
    assert not [line for line in events(project) if line.get("level") == "error"]


@pytest.mark.parametrize("name", NONSENSE)
def test_the_devices_go_on_when(name: str, tmp_path: Path) -> None:
    script, words = NONSENSE[name]
    with MessagesServer(script) as server:
        project = lab(tmp_path, server, "max_turns = 4\n")
        with running(project):
            status = until(project, lambda status: words in status["llm"]["endings"] and count(project) >= 4)
    assert status["llm"]["endings"][words] >= 1
    assert "llm" not in proposers(project)
    assert not [line for line in events(project) if line.get("level") == "error"]


def test_the_key_is_in_no_file_no_log_and_no_child(tmp_path: Path) -> None:
    leak = Say(tools=(edit(LINEAR, f"{COSINE}  # {KEY}"), submit(f"Print {KEY}")))
    with MessagesServer([leak]) as server:
        project = lab(tmp_path, server)
        with running(project):
            until(project, lambda _: "llm" in proposers(project))
        assert any(headers["authorization"] == f"Bearer {KEY}" for headers in server.headers)
        assert KEY not in json.dumps(server.requests[0])
    endings = [entry for entry in events(project) if entry["event"] == "run_finished"]
    assert endings
    assert not [entry for entry in endings if "key" in (entry.get("why") or "")]
    no_file_holds(project, KEY)


def test_a_slow_model_keeps_no_device_waiting(tmp_path: Path) -> None:
    with MessagesServer([Say(tools=GOOD.tools, wait=300.0)]) as server:
        project = lab(tmp_path, server)
        with running(project):
            until(project, lambda _: server.calls >= 1)
            before = count(project)
            until(project, lambda _: count(project) >= before + 4)
    assert [e for e in events(project) if e["event"] == "conversation_ended" and e["ending"] == "cancelled"]
    spent = (project / "experiments.git" / "autoresearchd" / "spend.jsonl").read_text()
    assert "cancelled" in spent


def test_the_money_of_the_day_outlives_the_daemon(tmp_path: Path) -> None:
    with MessagesServer([Say(text="I will not.", stop="refusal", output_tokens=2_000)]) as server:
        project = lab(tmp_path, server, "usd_per_day = 0.06\nmax_tokens = 3000\n")
        with running(project):
            until(project, lambda status: status["llm"]["state"] == "over budget")
        calls, before = server.calls, count(project)
        with running(project):
            status = until(project, lambda _: count(project) >= before + 2)
        assert server.calls == calls
    billed = sum(u_cost(u) for u in server.usages)
    assert 0 < billed <= 0.06
    assert rebuilt(project) == pytest.approx(billed, abs=ONE_CALL)
    assert status["llm"]["state"] == "over budget"
    assert status["llm"]["until"] % 86_400 == 0


def test_a_signal_ends_a_conversation_at_once(tmp_path: Path) -> None:
    with MessagesServer([Say(wait=300.0)]) as server:
        project = lab(tmp_path, server)
        with running(project) as daemon:
            until(project, lambda _: server.calls >= 1)
            assert KEY.encode() not in Path(f"/proc/{daemon.pid}/environ").read_bytes()
    assert [e for e in events(project) if e["event"] == "conversation_ended" and e["ending"] == "cancelled"]
    assert not [e for e in events(project) if e["event"] == "proposer_abandoned"]

"""The whole daemon with a language model behind real HTTP: ideas are trained and kept, failures cost no device time."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from autoresearchd.experiment import Outcome
from autoresearchd.ledger import Ledger
from autoresearchd.propose.llm.purse import Purse
from tests.acceptance.daemon import PROGRAM, command, events, foreign_lab, start, status_of, stop
from tests.propose.llm.room import KEY
from tests.support.forks import Started
from tests.support.messages import Json, MessagesServer, Say, edit, submit
from tests.support.patience import until
from tests.support.projects import without

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
OFFLINE = without("patterns", "refine", "retest", "combine")
"""Left is the numeric sampler: with `steer_share = 1.0` each of its turns is one of the model's as well."""
LINEAR, COSINE = 'return "linear"', 'return "cosine"'
GOOD = Say(tools=(edit(LINEAR, COSINE), submit("Decay as a cosine", "schedule")))


def program(server: MessagesServer, extra: str = "") -> str:
    """The numeric sampler, and a model at the server."""
    return PROGRAM + f'{OFFLINE}[propose.llm]\nbase_url = "{server.url}"\nsteer_share = 1.0\n{extra}'


def lab(folder: Path, server: MessagesServer, extra: str = "") -> Path:
    """A project and its lab."""
    return foreign_lab(folder, train=TRAIN, program=program(server, extra))


@dataclass(frozen=True)
class Daemon:
    """`autoresearchd run` in a project."""

    project: Path
    process: Started

    def until(self, reached: Callable[[Json], bool]) -> Json:
        """The first status of this daemon's for which `reached` holds."""

        def told() -> Json:
            assert self.process.poll() is None, (self.project / "daemon.jsonl").read_text()[-3000:]
            found = status_of(self.project)
            return found if found.get("pid") == self.process.pid and reached(found) else {}

        return until(told, said=lambda: f"not reached: {status_of(self.project)}")

    def concludes(self, more: int) -> Json:
        """The status once so many experiments more have their verdict."""
        enough = count(self.project) + more
        return self.until(lambda _: count(self.project) >= enough)


@contextmanager
def running(project: Path) -> Iterator[Daemon]:
    """With a key in its environment and no end of its own; stopped afterwards."""
    process = start(project, key=KEY)
    try:
        yield Daemon(project, process)
        assert process.poll() is None, (project / "daemon.jsonl").read_text()[-3000:]
        assert stop(process) == 0
    finally:
        process.kill()
        process.wait()
    assert KEY not in (project / "daemon.jsonl").read_text()


def count(project: Path) -> int:
    """Experiments with a verdict."""
    return sum(status_of(project)["verdicts"].values())


def no_device_waited(project: Path) -> None:
    """The proposers had something to train whenever they were asked, and nothing went wrong that is not expected."""
    assert not [line for line in events(project) if line["event"] == "no_proposal" or line.get("level") == "error"]


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


def test_what_a_model_is_asked_is_shown_word_for_word_with_its_price_and_asks_nobody(tmp_path: Path) -> None:
    with MessagesServer([GOOD]) as server:
        project = lab(tmp_path, server)
        shown = command(project, "propose", "--llm", "--dry-run").stdout
        assert server.calls == 0
        with running(project) as daemon:
            daemon.until(lambda _: server.calls >= 1)
        asked = server.requests[0]
    assert asked["system"][0]["text"] in shown
    assert asked["messages"][0]["content"][0]["text"] in shown
    assert all(json.dumps(each, ensure_ascii=False) in shown for each in asked["tools"])
    assert re.search(r"^\d+ tokens \(counted by the API\)$", shown, re.MULTILINE)
    assert re.search(r"^about \$0\.\d{4} a proposal with claude-sonnet-5-5: ", shown, re.MULTILINE)


def test_an_agent_that_only_fails_is_named_with_why_and_the_others_go_on(tmp_path: Path) -> None:
    with MessagesServer([GOOD]) as server:
        project = lab(tmp_path, server, '[propose.command]\ncommand = "false"\n')
        with running(project) as daemon:
            status = daemon.until(lambda status: "command" in status["failing"])
            daemon.concludes(2)
            shown = command(project, "status").stdout
    assert set(status["failing"]) == {"command"}
    assert re.search(r"^failing command: .*exit.*; it is asked less and less, the others go on$", shown, re.MULTILINE)


def test_a_models_idea_is_trained_and_kept_and_its_price_is_in_the_commit(tmp_path: Path) -> None:
    with MessagesServer([Say(text="I think.", tools=(("read_file", {"path": "train.py"}),)), GOOD]) as server:
        project = lab(tmp_path, server)
        with running(project) as daemon:
            status = daemon.until(lambda status: status["verdicts"].get("keep", 0) >= 1)
    lines = [line for line in Ledger(project / "experiments.git").concluded() if line.experiment.proposer == "llm"]
    first = next(line for line in lines if line.verdict.outcome is Outcome.KEEP)
    assert first.experiment.title == "Decay as a cosine"
    assert first.experiment.cost_usd is not None
    assert first.experiment.cost_usd > 0
    assert server.usages[1]["cache_read_input_tokens"] > 0
    assert status["llm"]["cached_tokens"] > 0
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
    usd: float = (
        2 * usage["input_tokens"] + 10 * usage["output_tokens"] + 0.1 * read + 2.5 * minutes + 4 * hour
    ) / 1_000_000
    return usd


def test_a_crash_is_given_back_and_the_corrected_code_is_kept_as_the_same_experiment(tmp_path: Path) -> None:
    broken = 'return "cosine" + e'
    wrong = Say(tools=(edit(LINEAR, broken), submit("Decay as a cosine", "schedule")))
    mended = Say(tools=(edit(broken, COSINE), submit("Drop the stray name")))

    def answer(body: Json) -> Say:
        return mended if "FIX: " in json.dumps(body["messages"][0]) else wrong

    with MessagesServer(answer) as server:
        project = lab(tmp_path, server)
        with running(project) as daemon:
            daemon.until(lambda status: status["verdicts"].get("keep", 0) >= 1)
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


def no(status: int, kind: str, words: str, **headers: str) -> Say:
    """An error of the API; the SDK tries 429 and 5xx again, at once here."""
    more = {"retry-after": "0"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return Say(status=status, error=(kind, words), headers=tuple(more.items()))


OUTAGES: dict[str, tuple[Say, str, str]] = {
    "limited": (no(429, "rate_limit_error", "slow down", retry_after="1800"), "waiting", "limits the rate"),
    "overloaded": (no(529, "overloaded_error", "Overloaded"), "waiting", "overloaded"),
    "dropping": (Say(text="x" * 3000, drop_after=4), "waiting", "cannot be reached"),
    "locked": (no(401, "authentication_error", "invalid x-api-key"), "blocked", "refuses the API key"),
    "unknown": (no(404, "not_found_error", "model: unknown"), "blocked", "does not know the model 'unknown'"),
    "unpaid": (no(400, "invalid_request_error", "Your credit balance is too low"), "blocked", "credit is used up"),
}
"""By the model that fails like that: another model in program.toml is asked at once."""


def test_while_the_api_fails_in_every_way_the_devices_go_on_and_once_it_works_it_is_used(tmp_path: Path) -> None:
    def answer(body: Json) -> Say:
        return OUTAGES[body["model"]][0] if body["model"] in OUTAGES else GOOD

    with MessagesServer(answer) as server:
        project = lab(tmp_path, server, f'model = "{next(iter(OUTAGES))}"\n')
        with running(project) as daemon:
            for model, (_, state, words) in OUTAGES.items():
                save(project, program(server, f'model = "{model}"\n'))
                status = daemon.until(_is(model, state))
                assert words in status["llm"]["why"]
                assert status["llm"]["until"] > status["now"] + (1200 if model == "limited" else 0)
                daemon.concludes(2)
                if model == "locked":
                    assert words in command(project, "status").stdout
            assert "llm" not in proposers(project)
            save(project, program(server))
            daemon.until(lambda status: status["verdicts"].get("keep", 0) >= 1)
    calls = Counter(body["model"] for body in server.requests)
    assert all(1 <= calls[model] <= 10 for model in OUTAGES), calls
    assert Outcome.KEEP in proposers(project)["llm"]  # the first may begin with a bad point
    no_device_waited(project)


def _is(model: str, state: str) -> Callable[[Json], bool]:
    return lambda status: (status["llm"]["model"], status["llm"]["state"]) == (model, state)


def save(project: Path, text: str) -> None:
    """As an editor does, at once."""
    (project / "program.toml.new").write_text(text)
    (project / "program.toml.new").replace(project / "program.toml")


CUT_OFF = Say(text="Once upon a time", stop="max_tokens")
NO_JSON = Say(tools=(("edit_file", '{"path": }'),))
NO_MATCH = Say(tools=(edit('return "logarithmic"', COSINE),))
MANY = Say(tools=(edit("main()", "train()"), ("submit", {"title": "x"})))


def test_whatever_a_model_says_wrong_is_counted_and_told_and_the_devices_go_on(tmp_path: Path) -> None:
    refusal = Say(text="I will not.", stop="refusal")
    script = [refusal, *3 * [CUT_OFF], *3 * [NO_JSON], *3 * [Say(text="Let me think.")], NO_MATCH, MANY, GOOD]
    with MessagesServer(script) as server:
        project = lab(tmp_path, server, "in_flight = 1\n")
        with running(project) as daemon:
            status = daemon.until(lambda status: status["verdicts"].get("keep", 0) >= 1)
    endings = status["llm"]["endings"]
    assert [endings[word] for word in ("refused", "cut off", "malformed", "no submission")] == [1, 1, 1, 1]
    told = [json.dumps(body["messages"][-1]) for body in server.requests]
    assert "cut off at" in told[2]
    assert "not valid JSON" in told[5]
    assert "does not occur in train.py" in told[11]
    assert 'return \\\\\\"linear\\\\\\"' in told[11] or "linear" in told[11].partition("nearest text")[2]
    assert "occurs 2 times in train.py" in told[12]
    assert "the input of submit is wrong" in told[12]
    assert Outcome.KEEP in proposers(project)["llm"]  # the first may begin with a bad point
    no_device_waited(project)


def test_a_stream_that_never_ends_is_given_up_and_keeps_no_device_waiting(tmp_path: Path) -> None:
    with MessagesServer([Say(text="and then " * 100_000, pause=0.2)]) as server:
        project = lab(tmp_path, server, "max_seconds = 6.0\n")
        with running(project) as daemon:
            daemon.until(lambda s: "too long" in s["llm"]["endings"] and s["llm"]["spent_total"] > 0)
            daemon.concludes(3)
    assert "llm" not in proposers(project)
    no_device_waited(project)


def test_the_key_is_in_no_file_no_log_and_no_child(tmp_path: Path) -> None:
    leak = Say(tools=(edit(LINEAR, f"{COSINE}  # {KEY}"), submit(f"Print {KEY}")))
    with MessagesServer([leak]) as server:
        project = lab(tmp_path, server)
        with running(project) as daemon:
            daemon.until(lambda _: "llm" in proposers(project))
        assert any(headers["authorization"] == f"Bearer {KEY}" for headers in server.headers)
        assert KEY not in json.dumps(server.requests[0])
    endings = [entry for entry in events(project) if entry["event"] == "run_finished"]
    assert endings
    assert not [entry for entry in endings if "key" in (entry.get("why") or "")]
    no_file_holds(project, KEY)


def test_the_money_of_the_day_outlives_the_daemon(tmp_path: Path) -> None:
    with MessagesServer([Say(text="I will not.", stop="refusal", output_tokens=2_000)]) as server:
        project = lab(tmp_path, server, "usd_per_day = 0.06\nmax_tokens = 3000\n")
        with running(project) as daemon:
            daemon.until(lambda status: status["llm"]["state"] == "over budget")
        calls = server.calls
        with running(project) as daemon:
            status = daemon.concludes(2)
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
            daemon.until(lambda _: server.calls >= 1)
            assert KEY.encode() not in Path(f"/proc/{daemon.process.pid}/environ").read_bytes()
    assert [e for e in events(project) if e["event"] == "conversation_ended" and e["ending"] == "cancelled"]
    assert not [e for e in events(project) if e["event"] == "proposer_abandoned"]

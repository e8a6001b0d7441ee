"""Wins found at once on several devices: each is used, and none is believed before it is measured on the others."""

from __future__ import annotations

import json
from pathlib import Path

from autoresearchd.experiment import Device, Environment, Measurement, Outcome, RunSpec
from autoresearchd.judge import Fate, fate
from autoresearchd.lab import Lab
from autoresearchd.ledger import Ledger
from autoresearchd.loop import Loop
from autoresearchd.program import parse
from autoresearchd.report import summary
from autoresearchd.report.status import text
from autoresearchd.run.fleet import Fleet
from autoresearchd.world import Session
from tests.support.fakes import FakeExecutor, FakePipeline, finished, proposal
from tests.support.projects import PROGRAM, fsck, git
from tests.support.projects import lab as new_lab

NOISE = (0.0, 0.01, -0.01, 0.005, -0.005, 0.002, -0.002)
GAIN = 0.3
APART = "\n" * 5
"""Lines between two constants, so that changes of both merge."""
NAMES = ("FIRST", "SECOND", "SAME")


def source(**values: int) -> str:
    return APART.join(f"{name} = {values.get(name, 0)}" for name in NAMES) + "\n"


def loss_of(text: str) -> float:
    """FIRST and SECOND gain each; SAME gains what FIRST does, so that both gain no more than one."""
    values: dict[str, int] = {}
    exec(text, {}, values)
    return 3.0 - GAIN * (values["FIRST"] > 0 or values["SAME"] > 0) - GAIN * (values["SECOND"] > 0)


def four_wins(path: Path) -> Ledger:
    """Four experiments made at once from the baseline, on four devices, until all have their verdicts."""
    ledger = new_lab(path, {"train.py": source()})
    executor = FakeExecutor(lambda spec, now: result(ledger, spec, now))
    pipeline = FakePipeline()
    devices = tuple(Device(name=f"cpu:{index}") for index in range(4))
    lab = Lab(
        ledger=ledger,
        executor=executor,
        pipeline=pipeline,  # type: ignore[arg-type]
        fleet=Fleet(environment=Environment("test"), devices=devices),
        session=Session(started=1000.0, experiments=4),
        free=lambda _: 2**50,
    )
    loop = Loop(lab, parse(PROGRAM))
    now = 1000.0
    while ledger.best().number is None:
        now += 10.0
        loop.step(now)
    best = ledger.best().commit
    changes = {"first": {"FIRST": 1}, "second": {"SECOND": 1}, "same": {"SAME": 1}, "other": {"FIRST": 2}}
    for title, change in reversed(changes.items()):
        pipeline.put(proposal(best, source(**change), title=title))
    started = len(executor.started)
    loop.step(now)
    assert len(executor.started) == started + 4, "four wins at the same time need four devices"
    while loop.step(now) is None:
        now += 10.0
        assert now < 10_000.0, "it does not come to an end"
    (path / "status.txt").write_text(text(json.loads(json.dumps(loop.status.to_json())), loop.status.pid))
    (path / "summary.txt").write_text(summary.text(ledger, loop.status))
    return ledger


def result(ledger: Ledger, spec: RunSpec, now: float) -> Measurement:
    text = ledger.files(spec.tree, lambda path: path == "train.py")["train.py"].decode()
    return finished(spec, "loss", loss_of(text) + NOISE[spec.seed % len(NOISE)], now=now)


def test_of_four_wins_at_once_what_adds_up_is_kept_and_what_does_not_is_known(tmp_path: Path) -> None:
    ledger = four_wins(tmp_path / "project")
    found = {row.experiment.title: row for row in ledger.concluded()}
    outcomes = {title: row.verdict.outcome for title, row in found.items() if title in ("first", "second", "other")}
    assert outcomes == {"first": Outcome.KEEP, "second": Outcome.KEEP, "other": Outcome.STALE}
    assert found["same"].verdict.outcome not in (Outcome.KEEP, Outcome.STALE)
    ends = {title: fate(row) for title, row in found.items() if title in ("first", "second", "same", "other")}
    assert ends == {"first": None, "second": Fate.ADDED_UP, "same": Fate.REDUNDANT, "other": Fate.CONFLICT}
    for title in ("second", "same", "other"):
        alone = found[title].experiment.alone
        assert alone is not None
        assert alone.std_error is not None
        assert abs(alone.value - GAIN) < 5 * alone.std_error
    together = found["same"].verdict.together
    assert together is not None
    assert abs(together.value) < 0.05

    line = git(ledger.path, "log", "best", "--format=%s|%P").splitlines()
    assert [entry.split("|")[0] for entry in line] == ["second", "first", "Measure the baseline", "Import"]
    assert all(len(entry.split("|")[1].split()) <= 1 for entry in line), "best is a line"
    assert ledger.verify() == (), "every step of best was measured on its very tree"
    assert fsck(ledger.path) == ""
    assert git(ledger.path, "show", "best:train.py").split() == source(FIRST=1, SECOND=1).split()


def test_it_is_in_the_commits_in_the_status_and_in_the_summary(tmp_path: Path) -> None:
    ledger = four_wins(tmp_path / "project")
    form = "--format=%s|%(trailers:key=Additivity,valueonly,separator=)"
    said = dict(line.split("|") for line in git(ledger.path, "log", "--branches=exp/*", form).splitlines())
    assert said["first"] == ""
    assert said["second"].startswith("alone=0.3") or said["second"].startswith("alone=0.2")
    assert " together=0." in said["second"]
    assert "together" not in said["other"]
    words = "3 wins found beside a faster one: 1 added up, 1 conflicted, 1 gained nothing more"
    assert words in (tmp_path / "project/status.txt").read_text()
    assert f"{words}; alone they gained +0." in (tmp_path / "project/summary.txt").read_text()


def test_it_is_known_after_a_restart(tmp_path: Path) -> None:
    path = four_wins(tmp_path / "project").path
    ends = [end for row in Ledger(path).concluded() if (end := fate(row)) is not None]
    assert sorted(ends) == sorted([Fate.ADDED_UP, Fate.CONFLICT, Fate.REDUNDANT])

"""The real `autoresearchd serve` in a process of its own, on a lab whose words want to be markup."""

from __future__ import annotations

import http.client
import json
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from urllib.parse import urlsplit

from autoresearchd.experiment import ABLATE, Concluded, Ending, Environment, Outcome
from autoresearchd.standing import Standing
from autoresearchd.status import RefusedIdea
from tests.acceptance.daemon import environment
from tests.report.lab import NOW, Lab

HOSTILE = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\"> \x1b[2J\u202e"
PROGRAM = """
[program]
name = "hostile <b>model</b>"
project = "project"
editable = ["train.py"]
[train]
command = "python train.py"
[metric]
name = "val_bpb"
pattern = '^val_bpb: (\\\\S+)$'
"""
DEADLINE = 240.0


@dataclass(frozen=True, kw_only=True)
class Server:
    """One that answers."""

    url: str
    token: str

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    def ask(
        self, path: str, method: str = "GET", *, body: object = None, **headers: str
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers and body; nothing is followed, and no header but Host is sent that is not given."""
        connection = http.client.HTTPConnection(self.host, timeout=DEADLINE)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body=None if body is None else json.dumps(body), headers=given)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
        finally:
            connection.close()

    def read(self, path: str) -> Any:
        status, _, text = self.ask(path)
        assert status == 200, text
        return json.loads(text)


@contextmanager
def serving(program: Path, *arguments: str, token: str = "") -> Iterator[Server]:
    """`autoresearchd serve` on a free port; it must never have anything to complain about, its end included."""
    command = [sys.executable, "-m", "autoresearchd", "serve", "--program", str(program), "--port", "0", *arguments]
    with (
        TemporaryFile() as said,
        subprocess.Popen(
            command,
            env={**environment(), **({"AUTORESEARCHD_PAGE_TOKEN": token} if token else {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        ) as process,
    ):
        try:
            yield _found(process)
        finally:
            process.terminate()
            process.wait(timeout=DEADLINE)
            said.seek(0)
            complaints = said.read().decode()
        assert complaints == ""


def _found(process: subprocess.Popen[str]) -> Server:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], DEADLINE)
    assert ready, "the page did not start"
    line = process.stdout.readline()
    found = re.match(r"open (http://\S+?/)(?:\?token=(\S+))? ", line)
    assert found, line
    server = Server(url=found[1], token=found[2] or "")
    until = time.monotonic() + DEADLINE
    while True:
        try:
            server.ask("/")
        except ConnectionRefusedError:
            assert time.monotonic() < until
        else:
            return server


LONG = "Raise_" + "the_learning_rate_" * 20
"""A title in which no line may be broken, and the first 72 characters of which a commit has."""
LADDER = """
[[scale]]
name = "d12"
args = "--depth 12"
[[scale]]
name = "d24"
args = "--depth 24"
"""


def climbed_lab(folder: Path) -> Path:
    """The program.toml of a lab whose two keeps were tried on two rungs, and the first of them taken out again."""
    lab = Lab(folder)
    (folder / "program.toml").write_text(PROGRAM + LADDER)
    with lab.ledger.hold():
        baseline = lab.baseline(1.0)
        first = _kept(lab, LONG, 0.9, 1.0)
        second = _kept(lab, HOSTILE, 0.8, 0.9)
        taken = lab.open("Take out 0001: it", "RATE = 0.10\n", proposer=ABLATE, category="simplify")
        lab.conclude(taken, Outcome.DISCARD, 0.85, baseline=0.8, std_error=0.004, runs=2)
        climb(lab, baseline, first, second)
        for index in range(3):
            why, ref = f"{index} {HOSTILE}", f"refs/heads/idea/{LONG}"
            lab.ledger.file_refused(RefusedIdea(ref=ref, title=HOSTILE, why=why, at=NOW + index), HOSTILE)
    return folder / "program.toml"


def _kept(lab: Lab, title: str, metric: float, before: float) -> Concluded:
    opened = lab.open(title, f"RATE = {metric}\n")
    seeds = tuple(range(4))
    for seed in seeds:
        lab.measure(opened.tree, metric, seed=seed)
    evidence = {"std_error": 0.002, "confidence": 0.999, "runs": len(seeds), "seeds": seeds}
    return lab.conclude(opened, Outcome.KEEP, metric, baseline=before, **evidence)


def climb(lab: Lab, baseline: Concluded, first: Concluded, second: Concluded) -> None:
    """The first holds on both rungs and is promoted, the second falls on the first of them."""
    ladder, (one, two) = lab.ledger.promotion, (each.experiment.commit for each in (first, second))
    ladder.look(two, baseline=baseline.experiment.commit)
    evidence, environment = "Δ -0.012300 +-0.004100, n=24", Environment("cpu+d12")
    for commit, holds in ((one, True), (two, False)):
        ladder.note({commit: Standing(scale="d12", holds=holds, environment=environment, evidence=evidence)}, now=NOW)
    trailers = {one: {f"Scale-{rung}": f"val_bpb=0.5 ({evidence})" for rung in ("d12", "d24")}}
    ladder.promote([one], trailers, onto=baseline.experiment.commit, now=NOW)


def hostile_lab(folder: Path) -> Path:
    """The program.toml of a lab of 60: keeps, discards, a crash, an open one, and words that want to be markup."""
    lab = Lab(folder)
    (folder / "program.toml").write_text(PROGRAM)
    with lab.ledger.hold():
        lab.baseline(1.0)
        for number in range(1, 58):
            opened = lab.open(f"Set RATE to 0.{number}", f"RATE = 0.{number}\n")
            outcome = Outcome.KEEP if number % 20 == 0 else Outcome.DISCARD
            value = 1.0 - 0.001 * number if number % 20 == 0 else 1.0 + 0.0005 * (number % 7)
            figures = {"baseline": 1.0, "std_error": 0.0007, "confidence": 0.9, "runs": 1, "seeds": (0,)}
            lab.conclude(opened, outcome, value, why="worse than best", **figures)
        crash = lab.open(HOSTILE, f"RATE = '{HOSTILE}'\n", rationale=HOSTILE, proposer=HOSTILE)
        lab.measure(crash.tree, None, ending=Ending.CRASH, why=HOSTILE, log_tail=f"{HOSTILE}\nTraceback", curve=())
        lab.conclude(crash, Outcome.CRASH, why=HOSTILE)
        lab.open("Waits for its verdict", "RATE = 9\n")
    return folder / "program.toml"

"""A researcher at a real server: one conversation, or several, on a lab in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from autoresearchd.experiment import Experiment, TreeOid
from autoresearchd.proposal import Edit, Proposal
from autoresearchd.propose._protocol import Workbench
from autoresearchd.propose.llm import Key, Llm
from autoresearchd.status import LlmStatus
from tests.propose.fakes import FakeLab
from tests.support.messages import MessagesServer

KEY = "sk-ant-test-0123456789abcdef"
FILES = {"train.py": "MATRIX_LR = 0.04\nWEIGHT_DECAY = 0.2\n\n\ndef main():\n    return MATRIX_LR\n"}
CALL = "MATRIX_LR = 0.04", "MATRIX_LR = 0.08"


class Clock:
    """A time that only the test moves."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class FakeWorkbench:
    """Says what the test wants of every draft; remembers what it was asked."""

    def __init__(self, why: str = "", edits: tuple[Edit, ...] = ()) -> None:
        self.why, self.edits = why, edits
        self.checked: list[tuple[str, tuple[Edit, ...]]] = []
        self.digests: list[str] = []
        self.networks: list[bool] = []

    async def check(self, tree: TreeOid, edits: tuple[Edit, ...], *, command: str, seconds: float) -> str:
        del tree, seconds
        self.checked.append((command, edits))
        return self.why

    async def work(
        self,
        tree: TreeOid,
        *,
        command: str,
        digest: str,
        seconds: float,
        environment: object,
        network: bool = False,
    ) -> tuple[tuple[Edit, ...], str]:
        del tree, command, seconds, environment
        self.networks.append(network)
        self.digests.append(digest)
        return self.edits, self.why


def lab(server: MessagesServer | None = None, extra: str = "", *, files: dict[str, str] = FILES) -> FakeLab:
    """A lab whose program names the server."""
    url = f'base_url = "{server.url}"\n' if server else ""
    return FakeLab(dict(files), toml=f"[propose.llm]\n{url}{extra}")


def researcher(
    the_lab: FakeLab,
    *,
    key: str = KEY,
    workbench: Workbench | None = None,
    spend: Path | None = None,
    clock: Clock | None = None,
) -> Llm:
    return Llm(the_lab.program, key=Key(key), workbench=workbench, spend=spend, clock=clock or Clock())


async def thought(llm: Llm) -> None:
    """Wait for the ends of all conversations."""
    while llm.is_thinking:
        await llm.wait()
        await asyncio.sleep(0)


async def think(llm: Llm, the_lab: FakeLab, pending: Sequence[Proposal | Experiment] = ()) -> Proposal | None:
    """Begin a conversation and wait for its end."""
    assert await llm.propose(the_lab.context(pending=pending)) is None
    await thought(llm)
    return llm.finished(the_lab.context(pending=pending))


def ask(
    the_lab: FakeLab, llm: Llm | None = None, pending: Sequence[Proposal | Experiment] = ()
) -> tuple[Proposal | None, LlmStatus]:
    """One whole conversation, and the status after it."""
    who = llm or researcher(the_lab)

    async def whole() -> tuple[Proposal | None, LlmStatus]:
        found = await think(who, the_lab, pending)
        await who.close()
        return found, who.status

    return asyncio.run(whole())

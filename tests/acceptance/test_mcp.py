"""A coding agent works with the lab through the Model Context Protocol: the real server, and the SDK's own client."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from autoresearchd.ledger import Ledger
from autoresearchd.status import RefusedIdea
from tests.acceptance.daemon import command, environment, foreign_lab, patch_of, start, stop
from tests.report.nouns import EVIL
from tests.support.forks import Started
from tests.support.projects import git

mcp = pytest.importorskip("mcp", reason="the extra [mcp] is not installed")
DEADLINE = 240.0


@asynccontextmanager
async def client(folder: Path) -> AsyncIterator[Any]:
    """The SDK's client on a server process of its own."""
    arguments = ["-m", "autoresearchd", "mcp", "--program", str(folder / "program.toml")]
    process = mcp.StdioServerParameters(command=sys.executable, args=arguments, env=environment())
    async with mcp.Client(mcp.stdio_client(process)) as connected:
        yield connected


async def call(agent: Any, tool: str, **given: Any) -> dict[str, Any]:
    """What a tool answers; a refusal is an AssertionError with its sentence."""
    result = await agent.call_tool(tool, given)
    assert not result.is_error, result.content[0].text
    return dict(result.structured_content)


async def refused(agent: Any, tool: str, **given: Any) -> str:
    result = await agent.call_tool(tool, given)
    assert result.is_error
    return str(result.content[0].text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return foreign_lab(tmp_path / "project")


def test_an_agent_takes_a_proposal_from_question_to_verdict(folder: Path) -> None:
    daemons: list[Started] = []

    async def work() -> dict[str, Any]:
        async with client(folder) as agent:
            status = await call(agent, "status")
            assert (status["metric"], status["editable"]) == ("val_bpb", ["train.py"])
            assert (await call(agent, "read_best"))["editable_files"] == ["train.py"]
            code = await call(agent, "read_best", path="train.py")
            assert code["is_exact"]
            assert "MATRIX_LR = 0.04" in code["content"]
            patch = patch_of(folder, "MATRIX_LR = 0.04", "MATRIX_LR = 0.08")
            idea = (await call(agent, "propose", patch=patch, title="Double the rate"))["idea"]
            daemons.append(start(folder, "--experiments", "1"))  # not before: a search might have had the same idea
            until = time.monotonic() + DEADLINE
            while (seen := await call(agent, "watch", idea=idea, seconds=5.0))["waiting"]:
                assert time.monotonic() < until, seen
            number = seen["experiment"]["number"]
            assert "MATRIX_LR = 0.08" in (await call(agent, "read_diff", number=number))["diff"]
            shown = await call(agent, "show_experiment", number=number)
            assert len(shown["run_list"]) >= 1
            listed = await call(agent, "list_experiments", text="double")
            assert [row["number"] for row in listed["experiments"]] == [number]
            assert (await call(agent, "read_curves", number=number))["curves"][0]["points"] == []
            return dict(seen["experiment"])

    try:
        verdict = asyncio.run(asyncio.wait_for(work(), DEADLINE * 2))
    finally:
        for daemon in daemons:
            stop(daemon)
    assert verdict["verdict"] == "keep", verdict
    best = Ledger(folder / "experiments.git")
    assert verdict["number"] in {row.experiment.number for row in best.concluded()}


def test_an_agent_is_told_its_mistakes_in_sentences_and_gets_harmless_text(folder: Path) -> None:
    lab = Ledger(folder / "experiments.git")
    patch = patch_of(folder, "DEPTH = 8", 'DEPTH = "\x1b]0;owned\x07" + "x" * 9')
    ref = lab.submit_patch(patch.encode(), title=EVIL)
    command(folder, "run", "--experiments", "1")

    async def work() -> None:
        async with client(folder) as agent:
            assert "does not apply" in await refused(agent, "propose", patch="nonsense", title="Try")
            assert "no experiment 0099" in await refused(agent, "show_experiment", number=99)
            assert "no verdict 'good'" in await refused(agent, "list_experiments", verdict="good")
            assert "either" in await refused(agent, "watch")
            assert "no file '../program.toml'" in await refused(agent, "read_best", path="../program.toml")
            seen = await call(agent, "watch", idea=ref.removeprefix("refs/heads/"), seconds=0)
            assert not seen["waiting"]
            said = [seen, await call(agent, "show_experiment", number=1), await call(agent, "read_diff", number=1)]
            for answer in said:
                assert not any(ord(char) < 32 and char not in "\n\t" for text in _texts(answer) for char in text)
            nobody = await call(agent, "watch", idea="idea/nobody", seconds=0)
            assert (nobody["waiting"], nobody["queued"], nobody["daemon_running"]) == (False, False, False)
            assert nobody["refused"]
            lab.file_refused(RefusedIdea(ref="refs/heads/idea/old", title=EVIL, why=EVIL, at=1e9), "Paint it")
            old = await call(agent, "watch", idea="idea/old", seconds=0)
            assert "owned" in old["refused"], "whatever became of the daemon that said it"
            assert "\x1b" not in old["refused"]

            (first,) = git(lab.path, "for-each-ref", "--format=%(refname)", "refs/heads/exp/0001-*").split()
            git(lab.path, "update-ref", "-d", first)
            assert "0001 was given and its branch is gone" in await refused(agent, "show_experiment", number=1)
            git(lab.path, "update-ref", "-d", "refs/heads/best")
            gone = "refs/heads/best: it is missing; `autoresearchd fsck` says what is wrong"
            for tool in ("status", "read_best"):
                assert await refused(agent, tool) == f"Error executing tool {tool}: {gone}"

    asyncio.run(asyncio.wait_for(work(), DEADLINE))


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in inner for text in _texts(item)]

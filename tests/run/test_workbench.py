"""Drafts are tried, and commands edit, in throw-away copies: nothing else is reached, nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import sys
from pathlib import Path

import pytest

from autoresearchd.experiment import TreeOid
from autoresearchd.program import parse
from autoresearchd.proposal import Edit
from autoresearchd.run.workbench import LocalWorkbench
from tests.run.room import PATIENCE, alive, pid_in
from tests.support.messages import MessagesServer, Say

PROGRAM = """
[program]
name = "toy"
editable = ["src/**", "train.py"]
protected = ["src/data.py"]
[train]
command = "python train.py"
[metric]
name = "loss"
"""
FILES = {"train.py": "RATE = 1\n", "src/model.py": "DEPTH = 2\n", "src/data.py": "DATA = 3\n", "README.md": "words\n"}
TREE = TreeOid("0" * 40)


def bench(folder: Path, more: str = "") -> LocalWorkbench:
    def checkout(tree: TreeOid, place: Path) -> None:
        assert tree == TREE
        for path, text in FILES.items():
            (place / path).parent.mkdir(exist_ok=True)
            (place / path).write_text(text)

    return LocalWorkbench(parse(PROGRAM + more), folder=folder, work=folder / "errands", checkout=checkout)


def edit(path: str, text: str) -> Edit:
    return Edit(path=path, content=text.encode())


def check(folder: Path, command: str, *edits: Edit, seconds: float = 30.0) -> str:
    found = asyncio.run(bench(folder).check(TREE, edits, command=command, seconds=seconds))
    assert not list((folder / "errands").iterdir())
    return found


def work(
    folder: Path, command: str, *, network: bool = False, **environment: str
) -> tuple[dict[str, bytes | None], str]:
    made = bench(folder).work(
        TREE, command=command, digest="the digest", seconds=120.0, environment=environment, network=network
    )
    edits, why = asyncio.run(made)
    assert not list((folder / "errands").iterdir())
    return {edit.path: edit.content for edit in edits}, why


def test_a_check_sees_the_draft_and_says_what_is_wrong(tmp_path: Path) -> None:
    command = "python -c 'import train; assert train.RATE == 2, train.RATE'"
    assert check(tmp_path, command, edit("train.py", "RATE = 2\n")) == ""
    assert "AssertionError: 5" in check(tmp_path, command, edit("train.py", "RATE = 5\n"))
    assert "ModuleNotFoundError" in check(tmp_path, command, Edit(path="train.py", content=None))


def test_an_errand_imports_nothing_of_the_folder_that_the_daemon_was_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("queue.py", "structlog.py", "json.py"):
        (tmp_path / name).write_text("raise SystemExit('not this one')\n")
    monkeypatch.chdir(tmp_path)
    assert check(tmp_path, "true") == ""


def test_a_check_that_hangs_is_ended(tmp_path: Path) -> None:
    why = check(tmp_path, "sleep 300", seconds=1.0)
    assert "still running after 1 s" in why


async def _cut_off(folder: Path, command: str) -> int:
    """Cancel a command, twice as a closing daemon may, once it has noted the number of what it started; this number."""
    made = bench(folder, '[sandbox]\nmode = "none"\n').work(
        TREE, command=command, digest="", seconds=PATIENCE, environment={}
    )
    working = asyncio.create_task(made)
    async with asyncio.timeout(PATIENCE):
        while not (noted := [pid for file in folder.rglob("work/escaped") if (pid := pid_in(file))]):
            await asyncio.sleep(0.02)
    for _ in range(2):
        working.cancel()
        await asyncio.sleep(0)
    with contextlib.suppress(asyncio.CancelledError):
        await working
    return noted[0]


def test_a_command_that_is_cut_off_takes_with_it_all_that_it_started(tmp_path: Path) -> None:
    stray = "import os, time; open('escaped', 'w').write(str(os.getpid())); time.sleep(600)"
    start = f"""import subprocess, sys, time
subprocess.Popen([sys.executable, "-S", "-c", {stray!r}], start_new_session=True, env={{}})
time.sleep(600)"""
    assert not alive(asyncio.run(_cut_off(tmp_path, shlex.join([sys.executable, "-c", start]))))
    assert not list((tmp_path / "errands").iterdir())


def test_a_dry_run_takes_one_step_and_no_gpu(tmp_path: Path) -> None:
    command = (
        """python -c 'import os; assert os.environ["AUTORESEARCH_STEPS"] + os.environ["CUDA_VISIBLE_DEVICES"] == "1"'"""
    )
    assert check(tmp_path, command) == ""


def test_what_a_command_changes_in_editable_files_is_what_it_gives(tmp_path: Path) -> None:
    script = (
        "echo RATE=7 > train.py; rm src/model.py; echo x > src/new.py; echo evil > README.md; echo evil > src/data.py"
    )
    edits, why = work(tmp_path, f"sh -c '{script}'")
    assert why == ""
    assert edits == {"train.py": b"RATE=7\n", "src/model.py": None, "src/new.py": b"x\n"}


def test_links_that_a_command_leaves_lead_nowhere(tmp_path: Path) -> None:
    edits, _ = work(tmp_path, "sh -c 'ln -s /etc/passwd src/words.py; mkfifo src/pipe.py; ln -sf /etc src/folder'")
    assert edits == {}


def test_a_command_reads_the_digest_and_only_the_variables_it_was_given(tmp_path: Path) -> None:
    script = 'cat "$AUTORESEARCH_DIGEST" > train.py; echo "$TOKEN${HOME:-none}" >> train.py'
    edits, why = work(tmp_path, f"sh -c '{script}'", TOKEN="it's")
    assert why == ""
    assert edits["train.py"] == b"the digestit'snone\n"


def test_a_command_that_fails_gives_nothing(tmp_path: Path) -> None:
    edits, why = work(tmp_path, "sh -c 'echo RATE=9 > train.py; echo broken >&2; exit 3'")
    assert edits == {}
    assert "broken" in why


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("../../evil.py", "leads out of the checkout"),
        ("train.py/evil.py", "cannot be written: "),
        ("src", "cannot be written: Is a directory"),
        ("evil" * 64 + ".py", "cannot be written: File name too long"),
        ("evil\0.py", "cannot be written: embedded null byte"),
    ],
)
def test_a_draft_that_cannot_be_laid_out_is_told_why(tmp_path: Path, path: str, why: str) -> None:
    found = check(tmp_path, "true", edit(path, "x"))
    assert found.startswith(repr(path))
    assert why in found
    assert not list(tmp_path.rglob("evil*"))


def test_a_command_reaches_a_server_only_where_it_may(tmp_path: Path) -> None:
    with MessagesServer([Say(text="Hello.")]) as server:
        ask = f"""import json, urllib.request as u
body = json.dumps({{"model": "m", "messages": []}}).encode()
found = json.load(u.urlopen(u.Request("{server.url}/v1/messages", body)))
open("train.py", "w").write("# " + found["content"][0]["text"])"""
        command = shlex.join([sys.executable, "-c", ask])
        assert work(tmp_path, command, network=True) == ({"train.py": b"# Hello."}, "")
        found, why = work(tmp_path, command)
    assert not found
    assert "URLError" in why
    assert server.calls == 1


def test_a_command_with_a_network_still_reaches_neither_the_project_nor_the_lab(tmp_path: Path) -> None:
    files = [str(tmp_path / "secret.txt"), str(tmp_path / "experiments.git" / "config")]
    for file in files:
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).write_text("not for everybody")
    look = f"""seen = []
for path in {files!r}:
    try:
        seen += [open(path).read()]
    except OSError:
        pass
open("train.py", "w").write(repr(seen))"""
    found, why = work(tmp_path, shlex.join([sys.executable, "-c", look]), network=True)
    assert (found, why) == ({"train.py": b"[]"}, "")

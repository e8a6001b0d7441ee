"""Where drafts are tried: satisfies `propose.Workbench` with a process of its own for every errand. Knows no git.

A process of its own, because the executor kills whatever of its children it does not know.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoresearchd.experiment import Edit, TreeOid
from autoresearchd.program import Program
from autoresearchd.run._protocol import Checkout
from autoresearchd.run.errand import DIGEST, VARIABLES
from autoresearchd.run.folders import remove
from autoresearchd.run.target import INHERITED

GRACE_SECONDS = 60.0
"""Beyond an errand's own limit: start-up, copying, a slow end."""
MOST_ANSWER = 32 * 2**20


class LocalWorkbench:
    """Runs commands in copies of a tree, on the CPU of this machine."""

    def __init__(self, program: Program, *, folder: Path, work: Path, checkout: Checkout) -> None:
        """`folder` is where program.toml lies, `work` gets a folder for every errand."""
        self._program, self._folder, self._work, self._checkout = program, folder.resolve(), work.absolute(), checkout
        remove(self._work)  # what a killed daemon left

    async def check(self, tree: TreeOid, edits: tuple[Edit, ...], *, command: str, seconds: float) -> str:
        """What `command` says against these edits of this tree; empty where it ends well in time."""
        answer = await self._errand(tree, edits, {}, command=command, seconds=seconds, wanted=False)
        return str(answer["why"])

    async def work(
        self,
        tree: TreeOid,
        *,
        command: str,
        digest: str,
        seconds: float,
        environment: Mapping[str, str],
        network: bool = False,
    ) -> tuple[tuple[Edit, ...], str]:
        """Let `command` change a checkout of this tree: what it changed, or why it ended badly."""
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
        files = {DIGEST: digest.encode(), VARIABLES: exports.encode()}
        answer = await self._errand(tree, (), files, command=command, seconds=seconds, wanted=True, network=network)
        edits = tuple(
            Edit(path=path, content=None if content is None else base64.b64decode(content))
            for path, content in sorted(answer["files"].items())
        )
        return edits, str(answer["why"])

    async def _errand(
        self,
        tree: TreeOid,
        edits: tuple[Edit, ...],
        files: Mapping[str, bytes],
        *,
        command: str,
        seconds: float,
        wanted: bool,
        network: bool = False,
    ) -> dict[str, Any]:
        self._work.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="errand-", dir=self._work))
        try:
            place = work / "tree"
            place.mkdir()
            self._checkout(tree, place)
            _apply(place, edits)
            for name, content in files.items():
                (place / name).write_bytes(content)
            order = {
                "program": self._program.model_dump_json(),
                "folder": str(self._folder),
                "work": str(work / "runs"),
                "tree": str(place),
                "command": command,
                "seconds": seconds,
                "edits": wanted,
                "network": network,
            }
            return await _run(json.dumps(order).encode(), seconds + GRACE_SECONDS)
        finally:
            remove(work)


async def _run(order: bytes, seconds: float) -> dict[str, Any]:
    environment = {name: os.environ[name] for name in ("PATH", "TMPDIR", *INHERITED) if name in os.environ}
    package = str(Path(__file__).resolve().parents[2])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "autoresearchd.run.errand"),  # -P: no module of the folder that it is started in
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**environment, "PYTHONPATH": package},
        start_new_session=True,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(order), seconds)
    except TimeoutError:
        return {"why": f"still running after {seconds:g} s", "files": {}}
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode or len(out) > MOST_ANSWER:
        raise OSError(f"an errand failed: {err.decode('utf-8', 'replace')[-500:]}")
    found: dict[str, Any] = json.loads(out)
    return found


def _apply(place: Path, edits: tuple[Edit, ...]) -> None:
    """Write edits into a checkout; links in it are not followed."""
    for edit in edits:
        path = place / edit.path
        if not path.parent.resolve().is_relative_to(place.resolve()) or path.is_symlink():
            raise OSError(f"{edit.path!r} leads out of the checkout")
        if edit.content is None:
            path.unlink(missing_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(edit.content)

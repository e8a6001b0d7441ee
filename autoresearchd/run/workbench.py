"""Where drafts are tried: satisfies `propose.Workbench` with a process of its own for every errand. Knows no git.

A process of its own, because the executor kills whatever of its children it does not know.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoresearchd.experiment import TreeOid
from autoresearchd.program import Program
from autoresearchd.proposal import Edit
from autoresearchd.run._protocol import Checkout
from autoresearchd.run.errand import DIGEST, VARIABLES, Order, dump
from autoresearchd.run.folders import remove
from autoresearchd.run.leftovers import reap_leftovers
from autoresearchd.run.target import INHERITED

GRACE_SECONDS = 60.0
"""Beyond an errand's own limit: start-up, copying, a slow end."""
END_SECONDS = 30.0
"""For an errand that is told to end, to end what it runs; usually milliseconds."""
MOST_ANSWER = 32 * 2**20
_NO_PLACE = (errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG)
"""Errors of a path itself: no machine could write there."""


class LocalWorkbench:
    """Runs commands in copies of a tree, on the CPU of this machine."""

    def __init__(self, program: Program, *, folder: Path, work: Path, checkout: Checkout) -> None:
        """`folder` is where program.toml lies, `work` gets a folder for every errand."""
        self._program, self._folder, self._work, self._checkout = program, folder.resolve(), work.absolute(), checkout
        reap_leftovers(self._work)

    async def check(self, tree: TreeOid, edits: tuple[Edit, ...], *, command: str, seconds: float) -> str:
        """What `command` says against these edits of this tree; empty where it ends well in time."""
        with self._laid_out(tree, command, seconds) as order:
            if why := _apply(order.tree, edits):
                return why
            return str((await _run(order))["why"])

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
        with self._laid_out(tree, command, seconds) as order:
            for name, text in ((DIGEST, digest), (VARIABLES, exports)):
                (order.tree / name).write_text(text, "utf-8")
            answer = await _run(replace(order, edits=True, network=network))
        edits = tuple(
            Edit(path=path, content=None if content is None else base64.b64decode(content))
            for path, content in sorted(answer["files"].items())
        )
        return edits, str(answer["why"])

    @contextlib.contextmanager
    def _laid_out(self, tree: TreeOid, command: str, seconds: float) -> Iterator[Order]:
        """A checkout of a tree and what is to be done there; nothing of it is left afterwards."""
        self._work.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="errand-", dir=self._work))
        order = Order(
            program=self._program,
            folder=self._folder,
            work=work / "runs",
            tree=work / "tree",
            command=command,
            seconds=seconds,
        )
        try:
            order.tree.mkdir()
            self._checkout(tree, order.tree)
            yield order
        finally:
            remove(work)


async def _run(order: Order) -> dict[str, Any]:
    environment = {name: os.environ[name] for name in ("PATH", "TMPDIR", *INHERITED) if name in os.environ}
    package = str(Path(__file__).resolve().parents[2])
    seconds = order.seconds + GRACE_SECONDS
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "autoresearchd.run.errand"),  # -P: no module of the folder that it is started in
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**environment, "PYTHONPATH": package},
        start_new_session=True,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(dump(order)), seconds)
    except TimeoutError:
        return {"why": f"still running after {seconds:g} s", "files": {}}
    finally:
        ending = asyncio.create_task(_end(process))
        while not ending.done():  # also where this is cancelled twice
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(ending)
    if process.returncode or len(out) > MOST_ANSWER:
        raise OSError(f"an errand failed: {err.decode('utf-8', 'replace')[-500:]}")
    found: dict[str, Any] = json.loads(out)
    return found


async def _end(process: asyncio.subprocess.Process) -> None:
    """Only the errand itself finds all that its command has started: it is killed where it does not end by itself."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), END_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


def _apply(place: Path, edits: tuple[Edit, ...]) -> str:
    """Write edits into a checkout, following no link in it; why one of them cannot be there, empty where all are.

    Raises: OSError where this machine cannot write.
    """
    for edit in edits:
        path = place / edit.path
        try:
            if not path.parent.resolve().is_relative_to(place.resolve()) or path.is_symlink():
                return f"{edit.path!r} leads out of the checkout"
            if edit.content is None:
                path.unlink(missing_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(edit.content)
        except ValueError as error:
            return f"{edit.path!r} cannot be written: {error}"
        except OSError as error:
            if error.errno not in _NO_PLACE:
                raise
            return f"{edit.path!r} cannot be written: {error.strerror}"
    return ""

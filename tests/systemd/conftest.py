"""A machine that boots a real systemd, for one module of tests; they are skipped, with the reason, where none does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.systemd.machine import LAB, USER, Machine, booted, missing


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """It has a user, and an empty folder of the user's; nothing of ours."""
    if why := missing():
        pytest.skip(why)
    with ExitStack() as stack:
        try:
            machine = stack.enter_context(booted(tmp_path_factory.mktemp("machine") / "state"))
        except RuntimeError as error:
            pytest.skip(str(error))
        machine.run("useradd", "--create-home", "--shell", "/bin/sh", USER)
        # Where the interpreter or the checkout lie in root's home: only here, in the overlay, everybody may pass.
        for path in (Path(sys.executable), Path(sys.executable).resolve(), Path(__file__)):
            machine.run("chmod", "a+x", *map(str, path.parents))
        machine.run("install", "-d", "-o", USER, "-g", USER, str(LAB))
        yield machine

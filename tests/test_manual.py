"""The manual page and shell completion: what a person finds without the internet."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autoresearchd.cli.manual import manual

PAGE = Path(__file__).parents[1] / "docs" / "autoresearchd.1"


def test_the_manual_page_is_that_of_todays_commands() -> None:
    assert PAGE.read_text("utf-8") == manual(), "the commands have changed: `make man` writes the page anew"


def test_the_manual_page_has_every_command_and_reads_without_a_warning() -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", str(PAGE)], capture_output=True, text=True, check=True,
        env={**os.environ, "GROFF_NO_SGR": "1"},
    )  # fmt: skip
    assert done.stderr == ""
    for heading in ("init", "run", "log", "show WHICH", "report", "top", "service install"):
        assert f"   {heading}\n" in re.sub(".\b", "", done.stdout), "bold is typed twice"


@pytest.mark.parametrize(("typed", "offered"), [("repo", "report"), ("log --cat", "--category")])
def test_the_shell_completes_commands_and_options(typed: str, offered: str) -> None:
    words = f"autoresearchd {typed}"
    environment = {
        **os.environ,
        "_AUTORESEARCHD_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    command = Path(sys.executable).with_name("autoresearchd")
    done = subprocess.run([command], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == [offered]
